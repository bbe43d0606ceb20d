"""Cancel scopes: level-triggered, in a tree, delivered at checkpoints only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf, nan

import pytest

import proactor_trio
from proactor_trio import (
    Cancelled,
    CancelScope,
    Event,
    current_effective_deadline,
    lowlevel,
    open_nursery,
    run,
    sleep,
    sleep_forever,
)
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- one scope --------------------------------------------------------------------------------------------------


async def test_a_cancelled_scope_ends_the_block_at_its_next_checkpoint() -> None:
    steps: list[str] = []
    with CancelScope() as scope:
        scope.cancel()
        steps.append("before the checkpoint")
        await lowlevel.checkpoint()
        steps.append("never reached")
    assert steps == ["before the checkpoint"]
    assert scope.cancel_called
    assert scope.cancelled_caught


async def test_a_scope_that_nobody_cancels_does_nothing() -> None:
    with CancelScope() as scope:
        await lowlevel.checkpoint()
    assert not scope.cancel_called
    assert not scope.cancelled_caught


async def test_a_block_without_a_checkpoint_is_not_cancelled() -> None:
    with CancelScope() as scope:
        scope.cancel()
    assert scope.cancel_called
    assert not scope.cancelled_caught


async def test_cancelling_twice_is_the_same_as_once() -> None:
    with CancelScope() as scope:
        scope.cancel()
        scope.cancel()
        await sleep_forever()
    assert scope.cancelled_caught


async def test_a_blocked_task_is_woken_by_the_cancel() -> None:
    scope = CancelScope()

    async def canceller() -> None:
        await wait_all_tasks_blocked()
        scope.cancel()

    async with open_nursery() as nursery:
        nursery.start_soon(canceller)
        with scope:
            await sleep_forever()
    assert scope.cancelled_caught


async def test_a_task_may_cancel_the_scope_of_another_task() -> None:
    scopes: list[CancelScope] = []
    ends: list[str] = []

    async def child() -> None:
        with CancelScope() as scope:
            scopes.append(scope)
            await sleep_forever()
        ends.append("child")

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        scopes[0].cancel()
    assert ends == ["child"]


async def test_every_checkpoint_of_a_cancelled_scope_raises_again() -> None:
    count = 0
    with CancelScope() as scope:
        scope.cancel()
        for _ in range(10):
            try:
                await lowlevel.checkpoint()
            except Cancelled:
                count += 1
    assert count == 10


async def test_a_swallowed_cancellation_is_raised_again_at_the_next_checkpoint() -> None:
    with CancelScope() as scope:
        scope.cancel()
        try:
            await sleep_forever()
        except Cancelled:
            pass
        await sleep_forever()
    assert scope.cancelled_caught


async def test_a_cancellation_that_is_swallowed_for_good_is_not_caught_by_the_scope() -> None:
    with CancelScope() as scope:
        scope.cancel()
        with pytest.raises(Cancelled):
            await sleep_forever()
    assert scope.cancel_called
    assert not scope.cancelled_caught


async def test_blocking_after_a_swallowed_cancellation_raises_at_once() -> None:
    event = Event()
    with CancelScope() as scope:
        scope.cancel()
        for _ in range(3):
            with pytest.raises(Cancelled):
                await event.wait()
    assert event.statistics().tasks_waiting == 0


async def test_cancelled_is_not_an_exception_that_ordinary_handlers_catch() -> None:
    assert issubclass(Cancelled, BaseException)
    assert not issubclass(Cancelled, Exception)
    with CancelScope() as scope:
        scope.cancel()
        try:
            await sleep_forever()
        except Exception:
            raise AssertionError("caught Cancelled") from None
    assert scope.cancelled_caught


def test_cancelled_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="no public constructor"):
        Cancelled()


def test_cancelled_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Subclass", (Cancelled,), {})


def test_cancel_scope_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Subclass", (CancelScope,), {})


async def test_code_after_the_block_of_a_cancelled_scope_is_free_again() -> None:
    with CancelScope() as scope:
        scope.cancel()
        await sleep_forever()
    await lowlevel.checkpoint()
    await sleep(0)


async def test_finally_blocks_run_on_the_way_out() -> None:
    steps: list[str] = []
    with CancelScope() as scope:
        scope.cancel()
        try:
            try:
                await sleep_forever()
            finally:
                steps.append("inner")
        finally:
            steps.append("outer")
    assert steps == ["inner", "outer"]


async def test_another_error_raised_on_the_way_out_replaces_the_cancellation() -> None:
    with pytest.raises(ValueError) as caught:
        with CancelScope() as scope:
            scope.cancel()
            try:
                await sleep_forever()
            finally:
                raise ValueError
    assert not scope.cancelled_caught
    assert isinstance(caught.value.__context__, Cancelled)


async def test_an_error_passes_a_scope_that_is_not_cancelled() -> None:
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        with CancelScope():
            raise error
    assert caught.value is error


async def test_an_error_passes_a_scope_that_is_cancelled() -> None:
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        with CancelScope() as scope:
            scope.cancel()
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert not scope.cancelled_caught


async def test_a_scope_takes_cancelled_out_of_a_group() -> None:
    cancelled: list[Cancelled] = []
    with pytest.raises(ExceptionGroup) as caught:
        with CancelScope() as scope:
            scope.cancel()
            try:
                await sleep_forever()
            except Cancelled as error:
                cancelled.append(error)
            raise BaseExceptionGroup("mixed", [cancelled[0], ValueError(), BaseExceptionGroup("inner", [cancelled[0]])])
    assert scope.cancelled_caught
    assert caught.value.message == "mixed"
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_scope_swallows_a_group_of_nothing_but_cancelled() -> None:
    with CancelScope() as scope:
        scope.cancel()
        try:
            await sleep_forever()
        except Cancelled as error:
            raise BaseExceptionGroup("all cancelled", [error, BaseExceptionGroup("inner", [error])]) from None
    assert scope.cancelled_caught


async def test_a_scope_that_is_not_cancelled_lets_a_foreign_cancelled_pass() -> None:
    kept: list[Cancelled] = []
    with CancelScope() as scope:
        scope.cancel()
        try:
            await sleep_forever()
        except Cancelled as error:
            kept.append(error)
    with pytest.raises(Cancelled):
        with CancelScope() as innocent:
            raise kept[0]
    assert not innocent.cancelled_caught


# ---- before, during and after the block -------------------------------------------------------------------------


async def test_a_scope_may_be_cancelled_before_it_is_entered() -> None:
    scope = CancelScope()
    scope.cancel()
    assert scope.cancel_called
    with scope:
        await sleep_forever()
    assert scope.cancelled_caught


def test_a_scope_may_be_made_and_cancelled_outside_of_a_run() -> None:
    scope = CancelScope()
    scope.cancel()

    async def main() -> None:
        with scope:
            await sleep_forever()

    run(main)
    assert scope.cancelled_caught


async def test_a_scope_may_be_made_in_one_task_and_entered_in_another() -> None:
    scope = CancelScope()

    async def child() -> None:
        with scope:
            await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught


async def test_a_scope_is_for_one_block_only() -> None:
    scope = CancelScope()
    with scope:
        pass
    with pytest.raises(RuntimeError, match="single"):
        with scope:
            raise AssertionError("must not be entered")


async def test_a_scope_cannot_be_entered_again_while_it_is_active() -> None:
    with CancelScope() as scope:
        with pytest.raises(RuntimeError, match="single"):
            with scope:
                raise AssertionError("must not be entered")


async def test_cancelling_a_scope_after_its_block_does_nothing_to_the_task() -> None:
    with CancelScope() as scope:
        pass
    scope.cancel()
    await lowlevel.checkpoint()
    assert scope.cancel_called
    assert not scope.cancelled_caught


async def test_entering_a_scope_gives_the_scope() -> None:
    scope = CancelScope()
    with scope as entered:
        assert entered is scope


def test_a_scope_needs_a_task_to_be_entered() -> None:
    with pytest.raises(RuntimeError):
        with CancelScope():
            raise AssertionError("must not be entered")


async def test_cancelled_caught_is_for_reading() -> None:
    with CancelScope() as scope:
        with pytest.raises(AttributeError):
            scope.cancel_called = True  # type: ignore[misc]


async def test_a_scope_works_inside_an_exit_stack() -> None:
    with ExitStack() as stack:
        scope = stack.enter_context(CancelScope())
        scope.cancel()
        await sleep_forever()
    assert scope.cancelled_caught


async def test_a_scope_works_inside_a_context_manager_of_the_user() -> None:
    @contextmanager
    def cancelled_at_once() -> Iterator[CancelScope]:
        with CancelScope() as scope:
            scope.cancel()
            yield scope

    with cancelled_at_once() as scope:
        await sleep_forever()
    assert scope.cancelled_caught


async def test_scopes_in_a_loop_are_independent() -> None:
    caught = []
    for number in range(6):
        with CancelScope() as scope:
            if number % 2:
                scope.cancel()
            await lowlevel.checkpoint()
        caught.append(scope.cancelled_caught)
    assert caught == [False, True] * 3


# ---- scopes in scopes -------------------------------------------------------------------------------------------


async def test_the_outermost_cancelled_scope_catches() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            inner.cancel()
            outer.cancel()
            await sleep_forever()
        raise AssertionError("the inner scope must not catch what the outer scope asked for")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_cancelling_an_outer_scope_leaves_the_inner_one_uncalled() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            outer.cancel()
            await sleep_forever()
    assert outer.cancelled_caught
    assert not inner.cancel_called
    assert not inner.cancelled_caught


async def test_cancelling_an_inner_scope_leaves_the_outer_one_alone() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            inner.cancel()
            await sleep_forever()
        await lowlevel.checkpoint()
    assert inner.cancelled_caught
    assert not outer.cancel_called


async def test_a_scope_entered_inside_a_cancelled_one_is_cancelled_too() -> None:
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope() as inner:
            assert current_effective_deadline() == -inf
            await lowlevel.checkpoint()
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_a_thousand_scopes_one_in_the_other() -> None:
    with CancelScope() as outermost:
        with ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(CancelScope())
            outermost.cancel()
            await sleep_forever()
    assert outermost.cancelled_caught


async def test_the_middle_one_of_a_thousand_scopes_catches_its_cancellation() -> None:
    scopes = [CancelScope() for _ in range(1000)]
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        scopes[500].cancel()
        try:
            await sleep_forever()
        finally:
            pass
    assert [index for index, scope in enumerate(scopes) if scope.cancelled_caught] == [500]


async def test_a_cancelled_scope_around_a_nursery_cancels_every_task_in_it() -> None:
    cancelled = 0

    async def child() -> None:
        nonlocal cancelled
        try:
            await sleep_forever()
        except Cancelled:
            cancelled += 1
            raise

    with CancelScope() as scope:
        async with open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(child)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert cancelled == 100
    assert scope.cancelled_caught


async def test_a_task_inherits_the_scopes_of_its_nursery_and_not_of_its_spawner() -> None:
    finished: list[str] = []

    async def child() -> None:
        await lowlevel.checkpoint()
        finished.append("child")

    async with open_nursery() as nursery:
        with CancelScope() as scope:
            nursery.start_soon(child)
            scope.cancel()
    assert finished == ["child"]


async def test_a_task_whose_new_nursery_is_inside_a_cancelled_scope_is_cancelled_from_the_start() -> None:
    steps: list[str] = []

    async def child() -> None:
        steps.append("first step")
        assert current_effective_deadline() == -inf
        await sleep_forever()

    with CancelScope() as scope:
        scope.cancel()
        async with open_nursery() as nursery:
            nursery.start_soon(child)
    assert steps == ["first step"]
    assert scope.cancelled_caught


# ---- shields ----------------------------------------------------------------------------------------------------


async def test_a_shield_keeps_outer_cancellations_out() -> None:
    steps: list[str] = []
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope(shield=True):
            await lowlevel.checkpoint()
            steps.append("shielded")
        await lowlevel.checkpoint()
        steps.append("never reached")
    assert steps == ["shielded"]
    assert outer.cancelled_caught


async def test_a_shield_does_not_keep_out_the_cancellation_of_its_own_scope() -> None:
    with CancelScope(shield=True) as scope:
        scope.cancel()
        await sleep_forever()
    assert scope.cancelled_caught


async def test_a_shield_does_not_keep_out_cancellations_from_inside() -> None:
    with CancelScope(shield=True) as shielded:
        with CancelScope() as inner:
            inner.cancel()
            await sleep_forever()
        assert inner.cancelled_caught
    assert not shielded.cancel_called


async def test_a_shielded_and_cancelled_scope_inside_a_cancelled_one_catches_its_own() -> None:
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope(shield=True) as inner:
            inner.cancel()
            await sleep_forever()
        assert inner.cancelled_caught
        await sleep_forever()
    assert outer.cancelled_caught


async def test_shields_may_be_nested() -> None:
    steps: list[str] = []
    with CancelScope() as outer:
        with CancelScope(shield=True) as middle:
            outer.cancel()
            await lowlevel.checkpoint()
            middle.cancel()
            with CancelScope(shield=True):
                await lowlevel.checkpoint()
                steps.append("inside both shields")
            await lowlevel.checkpoint()
            steps.append("never reached")
        assert middle.cancelled_caught
        await lowlevel.checkpoint()
        steps.append("never reached")
    assert steps == ["inside both shields"]


async def test_dropping_the_shield_lets_the_cancellation_in() -> None:
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope() as inner:
            inner.shield = True
            await lowlevel.checkpoint()
            inner.shield = False
            await sleep_forever()
    assert outer.cancelled_caught


async def test_dropping_the_shield_wakes_a_blocked_task() -> None:
    shielded = CancelScope(shield=True)

    async def child() -> None:
        with shielded:
            await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            shielded.shield = False
    assert nursery.cancel_scope.cancelled_caught


async def test_raising_a_shield_after_the_cancellation_keeps_it_out_from_then_on() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            outer.cancel()
            with pytest.raises(Cancelled):
                await lowlevel.checkpoint()
            inner.shield = True
            await lowlevel.checkpoint()
    assert not outer.cancelled_caught


async def test_cancelled_that_got_in_before_the_shield_was_raised_is_not_stopped_by_it() -> None:
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope() as inner:
            try:
                await sleep_forever()
            finally:
                inner.shield = True
        raise AssertionError("never reached")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_a_shield_around_a_nursery_protects_its_children() -> None:
    finished: list[str] = []

    async def child() -> None:
        await lowlevel.checkpoint()
        finished.append("child")

    with CancelScope() as outer:
        outer.cancel()
        with CancelScope(shield=True):
            async with open_nursery() as nursery:
                nursery.start_soon(child)
    assert finished == ["child"]


async def test_the_shield_of_a_nursery_scope_protects_its_children() -> None:
    finished: list[str] = []

    async def child() -> None:
        await lowlevel.checkpoint()
        finished.append("child")

    with CancelScope() as outer:
        async with open_nursery() as nursery:
            nursery.cancel_scope.shield = True
            nursery.start_soon(child)
            outer.cancel()
    assert finished == ["child"]


async def test_a_shield_may_be_set_before_the_scope_is_entered() -> None:
    scope = CancelScope()
    assert scope.shield is False
    scope.shield = True
    with CancelScope() as outer:
        outer.cancel()
        with scope:
            await lowlevel.checkpoint()
    assert scope.shield is True


@pytest.mark.parametrize("value", [None, 1, "yes"])
async def test_a_shield_is_a_bool(value: object) -> None:
    with CancelScope() as scope:
        with pytest.raises(TypeError, match="bool"):
            scope.shield = value  # type: ignore[assignment]
        assert scope.shield is False


# ---- effective deadlines ----------------------------------------------------------------------------------------


async def test_without_a_deadline_the_effective_deadline_is_infinite() -> None:
    assert current_effective_deadline() == inf
    with CancelScope():
        assert current_effective_deadline() == inf


async def test_the_effective_deadline_is_the_earliest_one_around(mock_clock: MockClock) -> None:
    with CancelScope(deadline=20):
        assert current_effective_deadline() == 20
        with CancelScope(deadline=30):
            assert current_effective_deadline() == 20
            with CancelScope(deadline=10):
                assert current_effective_deadline() == 10
            assert current_effective_deadline() == 20


async def test_the_effective_deadline_ends_at_a_shield(mock_clock: MockClock) -> None:
    with CancelScope(deadline=20):
        with CancelScope(deadline=30, shield=True) as shielded:
            assert current_effective_deadline() == 30
            shielded.shield = False
            assert current_effective_deadline() == 20


async def test_a_cancelled_scope_makes_the_effective_deadline_minus_infinite() -> None:
    with CancelScope() as scope:
        scope.cancel()
        assert current_effective_deadline() == -inf
        with CancelScope(shield=True):
            assert current_effective_deadline() == inf
        assert current_effective_deadline() == -inf


async def test_the_effective_deadline_reaches_into_child_tasks(mock_clock: MockClock) -> None:
    deadlines: list[float] = []

    async def child() -> None:
        deadlines.append(current_effective_deadline())

    with CancelScope(deadline=5):
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.cancel_scope.deadline = 3
    assert deadlines == [3]


# ---- bad arguments and looks ------------------------------------------------------------------------------------


def test_a_deadline_is_a_number() -> None:
    with pytest.raises(ValueError, match="NaN"):
        CancelScope(deadline=nan)
    with pytest.raises(ValueError, match="NaN"):
        CancelScope(relative_deadline=nan)
    with pytest.raises(ValueError, match="negative"):
        CancelScope(relative_deadline=-1)


def test_a_scope_has_one_kind_of_deadline() -> None:
    with pytest.raises(ValueError):
        CancelScope(deadline=7, relative_deadline=3)


def test_the_arguments_of_a_scope_are_named() -> None:
    with pytest.raises(TypeError):
        CancelScope(5)  # type: ignore[misc]


async def test_the_repr_of_a_scope_tells_its_state(mock_clock: MockClock) -> None:
    scope = CancelScope()
    assert "unbound" in repr(scope)
    with scope:
        assert "active" in repr(scope)
        scope.deadline = 10
        assert "10.00 seconds from now" in repr(scope)
        mock_clock.jump(12)
        assert "2.00 seconds ago" in repr(scope)
        scope.cancel()
        assert "cancelled" in repr(scope)
    assert "exited" in repr(scope)


def test_the_repr_of_a_scope_needs_no_run() -> None:
    assert "unbound" in repr(CancelScope(deadline=5))


async def test_cancelled_has_no_effect_on_what_did_not_block() -> None:
    """Synchronous calls of the library are never checkpoints."""
    with CancelScope() as scope:
        scope.cancel()
        Event().set()
        proactor_trio.current_time()
        lowlevel.current_statistics()
        async with open_nursery() as nursery:
            nursery.start_soon(sleep, 0)
    assert scope.cancelled_caught  # by the child's checkpoint only
