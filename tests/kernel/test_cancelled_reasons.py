"""Cancelled says where it came from: source, source_task, reason."""

from __future__ import annotations

import pickle
import signal

import pytest

from proactor_trio import (
    Cancelled,
    CancelScope,
    TooSlowError,
    fail_after,
    lowlevel,
    move_on_after,
    open_nursery,
    run,
    sleep,
    sleep_forever,
)
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


async def cancelled_here() -> Cancelled:
    """The Cancelled that the next checkpoint raises."""
    with pytest.raises(Cancelled) as caught:
        await sleep_forever()
    return caught.value


async def test_an_explicit_cancel_says_who_and_why() -> None:
    with CancelScope() as scope:
        scope.cancel("the user left")
        error = await cancelled_here()
    assert error.source == "explicit"
    assert error.reason == "the user left"
    assert error.source_task == repr(lowlevel.current_task())


async def test_an_explicit_cancel_needs_no_reason() -> None:
    with CancelScope() as scope:
        scope.cancel()
        error = await cancelled_here()
    assert error.source == "explicit"
    assert error.reason is None


async def test_the_source_task_is_the_one_that_cancelled() -> None:
    errors: list[Cancelled] = []
    scope = CancelScope()

    async def child() -> None:
        with scope:
            errors.append(await cancelled_here())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert errors[0].source_task == repr(lowlevel.current_task())


def test_a_cancel_outside_of_tasks_has_no_source_task() -> None:
    scope = CancelScope()
    scope.cancel("before the run")

    async def main() -> Cancelled:
        with scope:
            return await cancelled_here()

    error = run(main)
    assert error.source == "explicit"
    assert error.source_task is None
    assert error.reason == "before the run"


async def test_a_deadline_says_that_it_was_one(mock_clock: MockClock) -> None:
    with move_on_after(5):
        mock_clock.jump(10)
        error = await cancelled_here()
    assert error.source == "deadline"
    assert error.source_task is None
    assert error.reason is None


async def test_a_deadline_in_the_past_says_that_it_was_one() -> None:
    with CancelScope(deadline=-float("inf")):
        with pytest.raises(Cancelled) as caught:
            await lowlevel.checkpoint()
    assert caught.value.source == "deadline"


async def test_too_slow_has_the_cancelled_as_its_context(autojump_clock: MockClock) -> None:
    with pytest.raises(TooSlowError) as caught:
        with fail_after(5):
            await sleep_forever()
    context = caught.value.__context__
    assert isinstance(context, Cancelled)
    assert context.source == "deadline"


async def test_a_failing_child_is_named_in_the_cancellation_of_its_siblings() -> None:
    errors: list[Cancelled] = []
    names: list[str] = []

    async def sibling() -> None:
        errors.append(await cancelled_here())

    async def failing() -> None:
        names.append(repr(lowlevel.current_task()))
        raise ValueError("the cause")

    with pytest.raises(ExceptionGroup):
        async with open_nursery() as nursery:
            nursery.start_soon(sibling)
            await wait_all_tasks_blocked()
            nursery.start_soon(failing)
    (error,) = errors
    assert error.source == "nursery"
    assert error.source_task == names[0]
    assert error.reason is not None
    assert "ValueError('the cause')" in error.reason


async def test_a_failing_body_is_named_in_the_cancellation_of_its_children() -> None:
    errors: list[Cancelled] = []

    async def child() -> None:
        errors.append(await cancelled_here())

    with pytest.raises(ExceptionGroup):
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            await wait_all_tasks_blocked()
            raise ValueError("the cause")
    (error,) = errors
    assert error.source == "nursery"
    assert error.source_task == repr(lowlevel.current_task())
    assert error.reason is not None
    assert "ValueError('the cause')" in error.reason


def test_system_tasks_are_cancelled_by_the_shutdown() -> None:
    errors: list[Cancelled] = []

    async def system_task() -> None:
        errors.append(await cancelled_here())

    async def main() -> None:
        lowlevel.spawn_system_task(system_task)
        await wait_all_tasks_blocked()

    run(main)
    (error,) = errors
    assert error.source == "shutdown"
    assert error.reason is not None


def test_children_of_an_interrupted_task_are_cancelled_by_the_interrupt() -> None:
    errors: list[Cancelled] = []

    async def child() -> None:
        errors.append(await cancelled_here())

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            await wait_all_tasks_blocked()
            lowlevel.current_trio_token().run_sync_soon(signal.raise_signal, signal.SIGINT)

    with pytest.raises(BaseExceptionGroup):
        run(main)
    assert errors[0].source == "KeyboardInterrupt"


async def test_the_first_reason_wins() -> None:
    with CancelScope() as scope:
        scope.cancel("first")
        scope.cancel("second")
        error = await cancelled_here()
    assert error.reason == "first"


async def test_a_deadline_after_an_explicit_cancel_changes_no_reason(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as scope:
        scope.cancel("explicit")
        mock_clock.jump(10)
        error = await cancelled_here()
    assert (error.source, error.reason) == ("explicit", "explicit")


async def test_an_inner_scope_hands_the_reason_of_the_outer_one_on() -> None:
    with CancelScope() as outer:
        with CancelScope():
            outer.cancel("from outside")
            with CancelScope():
                error = await cancelled_here()
    assert error.reason == "from outside"


async def test_a_child_task_gets_the_reason_of_the_scope_around_its_nursery() -> None:
    errors: list[Cancelled] = []

    async def child() -> None:
        errors.append(await cancelled_here())

    with CancelScope() as scope:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            await wait_all_tasks_blocked()
            scope.cancel("from outside")
    assert errors[0].reason == "from outside"


async def test_every_kind_of_checkpoint_gives_the_reason() -> None:
    with CancelScope() as scope:
        scope.cancel("the reason")
        for operation in (lowlevel.checkpoint, lowlevel.checkpoint_if_cancelled, sleep_forever):
            with pytest.raises(Cancelled) as caught:
                await operation()
            assert caught.value.reason == "the reason"
        with pytest.raises(Cancelled) as caught:
            await sleep(10)
        assert caught.value.reason == "the reason"


async def test_the_text_of_cancelled_tells_the_whole_story() -> None:
    with CancelScope() as scope:
        scope.cancel("tired")
        error = await cancelled_here()
    assert str(error) == f"cancelled due to explicit with reason 'tired' from task {lowlevel.current_task()!r}"


async def test_the_text_of_cancelled_leaves_out_what_is_not_known(mock_clock: MockClock) -> None:
    with move_on_after(0):
        error = await cancelled_here()
    assert str(error) == "cancelled due to deadline"


async def test_cancelled_can_be_pickled() -> None:
    with CancelScope() as scope:
        scope.cancel("tired")
        error = await cancelled_here()
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is Cancelled
    assert (copy.source, copy.source_task, copy.reason) == (error.source, error.source_task, error.reason)
    assert str(copy) == str(error)
