"""Nurseries: no task outlives its nursery, no error is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import proactor_trio
from proactor_trio import (
    TASK_STATUS_IGNORED,
    Cancelled,
    CancelScope,
    Event,
    Nursery,
    TaskStatus,
    current_effective_deadline,
    lowlevel,
    move_on_after,
    open_nursery,
    sleep,
    sleep_forever,
)
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


async def fail_with(error: BaseException) -> None:
    raise error


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group of groups, without the groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


# ---- life -------------------------------------------------------------------------------------------------------


async def test_a_nursery_waits_for_its_children() -> None:
    finished: list[int] = []

    async def child(number: int) -> None:
        for _ in range(number):
            await lowlevel.checkpoint()
        finished.append(number)

    async with open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(child, number)
        assert finished == []
    assert sorted(finished) == [0, 1, 2, 3, 4]


async def test_start_soon_runs_nothing_before_the_next_checkpoint() -> None:
    started: list[str] = []

    async def child() -> None:
        started.append("child")

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        assert started == []
        await wait_all_tasks_blocked()
        assert started == ["child"]


async def test_what_a_child_returns_is_dropped() -> None:
    async def child() -> str:
        return "nobody looks at this"

    async with open_nursery() as nursery:
        assert nursery.start_soon(child) is None  # type: ignore[func-returns-value]


async def test_entering_a_nursery_is_no_checkpoint() -> None:
    other_task_ran = False

    async def other() -> None:
        nonlocal other_task_ran
        other_task_ran = True

    async with open_nursery() as outer:
        outer.start_soon(other)
        async with open_nursery(), open_nursery(), open_nursery():
            assert not other_task_ran


async def test_leaving_an_empty_nursery_lets_other_tasks_run() -> None:
    other_task_ran = False

    async def other() -> None:
        nonlocal other_task_ran
        other_task_ran = True

    async with open_nursery() as outer:
        outer.start_soon(other)
        for _ in range(2):  # within one turn the order is open, after two it is not
            async with open_nursery():
                pass
        assert other_task_ran


async def test_leaving_a_nursery_is_never_what_raises_cancelled() -> None:
    with CancelScope() as scope:
        scope.cancel()
        async with open_nursery():
            pass
        reached = True
    assert reached
    assert not scope.cancelled_caught


async def test_a_nursery_whose_children_ignore_the_cancellation_ends_normally() -> None:
    async def child() -> None:
        with CancelScope(shield=True):
            await lowlevel.checkpoint()

    with CancelScope() as scope:
        scope.cancel()
        async with open_nursery() as nursery:
            nursery.start_soon(child)
    assert not scope.cancelled_caught


async def test_a_nursery_knows_its_children_while_they_live() -> None:
    async with open_nursery() as nursery:
        assert nursery.child_tasks == frozenset()
        for _ in range(3):
            nursery.start_soon(sleep_forever)
        assert len(nursery.child_tasks) == 3
        assert isinstance(nursery.child_tasks, frozenset)
        nursery.cancel_scope.cancel()
        await lowlevel.cancel_shielded_checkpoint()
        await lowlevel.cancel_shielded_checkpoint()
        await lowlevel.cancel_shielded_checkpoint()
        assert nursery.child_tasks == frozenset()


async def test_a_nursery_knows_its_parent_task() -> None:
    async with open_nursery() as nursery:
        assert nursery.parent_task is lowlevel.current_task()


def test_nurseries_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="no public constructor"):
        Nursery(None, None, True)  # type: ignore[call-arg,arg-type]


async def test_a_task_may_be_started_in_the_nursery_of_another_task() -> None:
    started: list[lowlevel.Task] = []

    async def grandchild() -> None:
        started.append(lowlevel.current_task())

    async def child(nursery: Nursery) -> None:
        nursery.start_soon(grandchild)

    async with open_nursery() as nursery:
        nursery.start_soon(child, nursery)
    assert started[0].parent_nursery is nursery


async def test_a_nursery_takes_new_children_while_it_waits_for_the_old_ones() -> None:
    generations: list[int] = []

    async def child(nursery: Nursery, generation: int) -> None:
        await lowlevel.checkpoint()
        generations.append(generation)
        if generation < 5:
            nursery.start_soon(child, nursery, generation + 1)

    async with open_nursery() as nursery:
        nursery.start_soon(child, nursery, 0)
    assert generations == [0, 1, 2, 3, 4, 5]


async def test_a_closed_nursery_takes_no_new_children() -> None:
    async with open_nursery() as nursery:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        nursery.start_soon(sleep_forever)
    with pytest.raises(RuntimeError, match="closed"):
        await nursery.start(sleep_forever)


async def test_a_cancelled_nursery_still_takes_children_and_cancels_them() -> None:
    steps: list[str] = []

    async def child() -> None:
        steps.append("started")
        await lowlevel.checkpoint()
        steps.append("never reached")

    async with open_nursery() as nursery:
        nursery.cancel_scope.cancel()
        nursery.start_soon(child)
    assert steps == ["started"]


async def test_returning_out_of_a_nursery_waits_for_the_children_first() -> None:
    finished: list[str] = []

    async def child() -> None:
        await lowlevel.checkpoint()
        finished.append("child")

    async def scene() -> str:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            return "result"

    assert await scene() == "result"
    assert finished == ["child"]


async def test_breaking_out_of_a_loop_over_nurseries_waits_for_the_children_first() -> None:
    finished: list[int] = []

    async def child(number: int) -> None:
        await lowlevel.checkpoint()
        finished.append(number)

    for number in range(10):
        async with open_nursery() as nursery:
            nursery.start_soon(child, number)
            if number == 2:
                break
            continue
    assert finished == [0, 1, 2]


async def test_a_task_has_many_nurseries_one_in_the_other() -> None:
    finished: list[str] = []

    async def child(name: str) -> None:
        await lowlevel.checkpoint()
        finished.append(name)

    async with open_nursery() as outer:
        async with open_nursery() as inner:
            outer.start_soon(child, "outer")
            inner.start_soon(child, "inner")
        assert "inner" in finished
    assert sorted(finished) == ["inner", "outer"]


async def test_a_nursery_inside_an_async_context_manager_of_the_user() -> None:
    finished: list[str] = []

    async def child() -> None:
        try:
            await sleep_forever()
        finally:
            finished.append("child")

    @asynccontextmanager
    async def background() -> AsyncIterator[None]:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            yield
            nursery.cancel_scope.cancel()

    async with background():
        await wait_all_tasks_blocked()
        assert finished == []
    assert finished == ["child"]


async def test_a_nursery_is_entered_with_async_with_only() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        with open_nursery():  # type: ignore[attr-defined]
            pass


async def test_a_nursery_of_ten_thousand_children() -> None:
    count = 0

    async def child() -> None:
        nonlocal count
        await lowlevel.checkpoint()
        count += 1

    async with open_nursery() as nursery:
        for _ in range(10_000):
            nursery.start_soon(child)
    assert count == 10_000


# ---- errors -----------------------------------------------------------------------------------------------------


async def test_the_error_of_a_child_comes_out_of_the_nursery_in_a_group() -> None:
    error = ValueError("child")
    with pytest.raises(ExceptionGroup, match="nursery") as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, error)
    assert caught.value.exceptions == (error,)
    assert type(caught.value) is ExceptionGroup


async def test_the_error_of_the_body_comes_out_of_the_nursery_in_a_group() -> None:
    error = ValueError("body")
    with pytest.raises(ExceptionGroup, match="nursery") as caught:
        async with open_nursery():
            raise error
    assert caught.value.exceptions == (error,)


async def test_errors_of_several_children_and_of_the_body_are_all_in_the_group() -> None:
    errors = [ValueError("first"), KeyError("second"), IndexError("body")]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, errors[0])
            nursery.start_soon(fail_with, errors[1])
            raise errors[2]
    assert set(caught.value.exceptions) == set(errors)


async def test_a_base_exception_makes_it_a_base_exception_group() -> None:
    error = SystemExit(3)
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, error)
    assert caught.value.exceptions == (error,)
    assert not isinstance(caught.value, ExceptionGroup)


async def test_the_first_failure_cancels_the_other_children_and_the_body() -> None:
    cancelled: list[str] = []

    async def sleeper(name: str) -> None:
        try:
            await sleep_forever()
        except Cancelled:
            cancelled.append(name)
            raise

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(sleeper, "child")
            await wait_all_tasks_blocked()
            nursery.start_soon(fail_with, ValueError())
            await sleeper("body")
    assert sorted(cancelled) == ["body", "child"]
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert nursery.cancel_scope.cancel_called
    assert nursery.cancel_scope.cancelled_caught


async def test_a_failing_body_cancels_the_children() -> None:
    cancelled: list[str] = []

    async def sleeper() -> None:
        try:
            await sleep_forever()
        finally:
            cancelled.append("child")

    with pytest.raises(ExceptionGroup):
        async with open_nursery() as nursery:
            nursery.start_soon(sleeper)
            await wait_all_tasks_blocked()
            raise ValueError
    assert cancelled == ["child"]


async def test_errors_raised_while_being_cancelled_join_the_group() -> None:
    async def sore_loser() -> None:
        try:
            await sleep_forever()
        finally:
            raise KeyError("raised on the way out")

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(sore_loser)
            await wait_all_tasks_blocked()
            nursery.start_soon(fail_with, ValueError())
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}
    key_error = next(error for error in caught.value.exceptions if isinstance(error, KeyError))
    assert isinstance(key_error.__context__, Cancelled)


async def test_cancelled_is_taken_out_of_the_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(sleep_forever)
            nursery.start_soon(fail_with, ValueError())
    assert [type(error) for error in leaves(caught.value)] == [ValueError]


async def test_a_nursery_that_was_only_cancelled_by_itself_ends_without_an_error() -> None:
    async with open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(sleep_forever)
        nursery.cancel_scope.cancel()
        await sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


async def test_cancelled_of_an_outer_scope_passes_a_nursery_in_a_group() -> None:
    seen: list[BaseException] = []
    with CancelScope() as scope:
        try:
            async with open_nursery() as nursery:
                nursery.start_soon(sleep_forever)
                nursery.start_soon(sleep_forever)
                scope.cancel()
        except BaseException as error:
            seen.append(error)
            raise
    assert scope.cancelled_caught
    assert isinstance(seen[0], BaseExceptionGroup)
    assert all(isinstance(leaf, Cancelled) for leaf in leaves(seen[0]))


async def test_nested_nurseries_give_nested_groups() -> None:
    error = ValueError()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery():
            async with open_nursery() as inner:
                inner.start_soon(fail_with, error)
    (group,) = caught.value.exceptions
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (error,)


async def test_the_shape_of_a_nested_group_stays_when_cancelled_is_taken_out() -> None:
    async def inner() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(sleep_forever)
            try:
                await sleep_forever()
            finally:
                raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(inner)
            await wait_all_tasks_blocked()
            raise ValueError
    shapes = sorted(type(error).__name__ for error in caught.value.exceptions)
    assert shapes == ["ExceptionGroup", "ValueError"]
    assert sorted(type(leaf).__name__ for leaf in leaves(caught.value)) == ["KeyError", "ValueError"]


async def test_except_star_picks_errors_out_of_nested_nurseries() -> None:
    picked: list[type[BaseException]] = []
    try:
        async with open_nursery() as outer:
            outer.start_soon(fail_with, ValueError())
            async with open_nursery() as inner:
                inner.start_soon(fail_with, KeyError())
    except* ValueError:
        picked.append(ValueError)
    except* KeyError:
        picked.append(KeyError)
    assert ValueError in picked


async def test_the_traceback_of_an_error_leads_into_the_child() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, ValueError())
    traceback = caught.value.exceptions[0].__traceback__
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "fail_with"


async def test_the_context_of_the_errors_is_theirs() -> None:
    """Neither the nursery nor the loop puts a `__context__` on an error that had none."""
    error = ValueError()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, error)
    assert error.__context__ is None
    assert caught.value.__context__ is None


async def test_the_context_of_an_error_in_an_except_block_is_kept() -> None:
    async def child() -> None:
        try:
            raise KeyError
        except KeyError:
            raise ValueError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
    assert isinstance(caught.value.exceptions[0].__context__, KeyError)


@pytest.mark.parametrize("error", [StopIteration("value"), StopAsyncIteration("value"), GeneratorExit()])
async def test_errors_that_mean_something_to_generators_come_through(error: BaseException) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_nursery():
            raise error
    assert caught.value.exceptions == (error,)


async def test_an_error_while_the_nursery_waits_at_its_end_comes_out() -> None:
    release = Event()

    async def child() -> None:
        await release.wait()
        raise ValueError

    async with open_nursery() as outer:
        with pytest.raises(ExceptionGroup):
            outer.start_soon(sleep, 0)
            async with open_nursery() as nursery:
                nursery.start_soon(child)
                release.set()


async def test_one_exception_object_may_be_raised_by_many_children() -> None:
    error = ValueError()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, error)
            nursery.start_soon(fail_with, error)
    assert caught.value.exceptions == (error, error)


async def test_an_error_leaves_a_thousand_cancelled_children_behind() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(sleep_forever)
            await wait_all_tasks_blocked()
            nursery.start_soon(fail_with, ValueError())
    assert len(leaves(caught.value)) == 1


async def test_a_deep_tree_of_tasks_is_cancelled_at_once() -> None:
    deepest = Event()
    finished = 0

    async def level(depth: int) -> None:
        nonlocal finished
        try:
            if depth == 100:
                deepest.set()
                await sleep_forever()
            async with open_nursery() as nursery:
                nursery.start_soon(level, depth + 1)
        finally:
            finished += 1

    async with open_nursery() as nursery:
        nursery.start_soon(level, 0)
        await deepest.wait()
        nursery.cancel_scope.cancel()
    assert finished == 101


async def test_a_wide_and_deep_tree_of_tasks_is_cancelled_at_once() -> None:
    living = 0

    async def level(depth: int) -> None:
        nonlocal living
        living += 1
        try:
            async with open_nursery() as nursery:
                if depth < 5:
                    for _ in range(4):
                        nursery.start_soon(level, depth + 1)
                await sleep_forever()
        finally:
            living -= 1

    async with open_nursery() as nursery:
        nursery.start_soon(level, 0)
        await wait_all_tasks_blocked()
        assert living == sum(4**depth for depth in range(6))
        nursery.cancel_scope.cancel()
    assert living == 0


async def test_an_error_deep_down_climbs_up_through_every_nursery() -> None:
    async def level(depth: int) -> None:
        if depth == 30:
            raise ValueError
        async with open_nursery() as nursery:
            nursery.start_soon(level, depth + 1)
            await sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await level(0)
    assert [type(leaf) for leaf in leaves(caught.value)] == [ValueError]


# ---- groups that are not strict ---------------------------------------------------------------------------------


def loose_nursery() -> Any:
    with pytest.warns(proactor_trio.TrioDeprecationWarning, match="strict_exception_groups"):
        return open_nursery(strict_exception_groups=False)


async def test_a_loose_nursery_raises_a_single_error_bare() -> None:
    error = ValueError()
    with pytest.raises(ValueError) as caught:
        async with loose_nursery() as nursery:
            nursery.start_soon(fail_with, error)
    assert caught.value is error


async def test_a_loose_nursery_raises_the_error_that_is_left_without_the_cancelled_bare() -> None:
    with pytest.raises(ValueError):
        async with loose_nursery() as nursery:
            nursery.start_soon(sleep_forever)
            nursery.start_soon(sleep_forever)
            await wait_all_tasks_blocked()
            nursery.start_soon(fail_with, ValueError())


async def test_a_loose_nursery_with_several_errors_raises_a_group_that_says_it_is_loose() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with loose_nursery() as nursery:
            nursery.start_soon(fail_with, ValueError())
            nursery.start_soon(fail_with, KeyError())
    assert len(caught.value.exceptions) == 2
    assert any("loose" in note for note in caught.value.__notes__)


async def test_a_strict_group_is_never_unwrapped_when_cancelled_is_taken_out() -> None:
    with pytest.raises(ExceptionGroup):
        with CancelScope() as scope:
            async with open_nursery() as nursery:
                nursery.start_soon(sleep_forever)
                await wait_all_tasks_blocked()
                scope.cancel()
                nursery.start_soon(fail_with, ValueError())


# ---- start() ----------------------------------------------------------------------------------------------------


async def test_start_returns_what_was_passed_to_started() -> None:
    async def child(first: int, second: int, *, task_status: TaskStatus[int]) -> None:
        task_status.started(first + second)

    async with open_nursery() as nursery:
        assert await nursery.start(child, 1, 2) == 3


async def test_start_returns_none_when_started_was_called_without_a_value() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started()

    async with open_nursery() as nursery:
        assert await nursery.start(child) is None


async def test_start_waits_for_started_and_for_no_more() -> None:
    steps: list[str] = []
    may_start, may_end = Event(), Event()

    async def child(*, task_status: TaskStatus[None]) -> None:
        await may_start.wait()
        steps.append("started")
        task_status.started()
        await may_end.wait()
        steps.append("ended")

    async def caller(nursery: Nursery) -> None:
        await nursery.start(child)
        steps.append("start returned")

    async with open_nursery() as nursery:
        nursery.start_soon(caller, nursery)
        await wait_all_tasks_blocked()
        assert steps == []
        may_start.set()
        await wait_all_tasks_blocked()
        assert steps == ["started", "start returned"]
        may_end.set()
    assert steps == ["started", "start returned", "ended"]


async def test_an_error_before_started_comes_out_of_start_alone_and_bare() -> None:
    error = ValueError()

    async def child(*, task_status: TaskStatus[None]) -> None:
        await lowlevel.checkpoint()
        raise error

    async with open_nursery() as nursery:
        with pytest.raises(ValueError) as caught:
            await nursery.start(child)
        assert caught.value is error
        assert not nursery.cancel_scope.cancel_called
    assert error.__context__ is None


async def test_a_group_before_started_loses_only_the_wrapping_of_start() -> None:
    group = ExceptionGroup("of the child", [ValueError()])

    async def child(*, task_status: TaskStatus[None]) -> None:
        raise group

    async with open_nursery() as nursery:
        with pytest.raises(ExceptionGroup) as caught:
            await nursery.start(child)
    assert caught.value.message == "of the child"
    assert caught.value.exceptions == group.exceptions


async def test_an_error_after_started_comes_out_of_the_nursery() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        task_status.started("value")
        raise ValueError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            assert await nursery.start(child) == "value"
            await sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_child_that_ends_without_started_is_an_error_of_start() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        await lowlevel.checkpoint()

    async with open_nursery() as nursery:
        with pytest.raises(RuntimeError, match="started"):
            await nursery.start(child)


async def test_started_may_be_called_once_only() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        task_status.started("first")
        with pytest.raises(RuntimeError, match="twice"):
            task_status.started("second")

    async with open_nursery() as nursery:
        assert await nursery.start(child) == "first"


async def test_the_second_started_is_refused_when_the_value_was_none_too() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started(None)
        with pytest.raises(RuntimeError, match="twice"):
            task_status.started(None)

    async with open_nursery() as nursery:
        await nursery.start(child)


async def test_the_ignored_task_status_takes_started_any_number_of_times() -> None:
    async def child(*, task_status: TaskStatus[int] = TASK_STATUS_IGNORED) -> str:
        task_status.started(1)
        task_status.started(2)
        return "works without a nursery"

    assert await child() == "works without a nursery"
    assert repr(TASK_STATUS_IGNORED) == "TASK_STATUS_IGNORED"


async def test_start_needs_a_function_that_takes_a_task_status() -> None:
    async def child() -> None:
        raise AssertionError("must not run")

    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="task_status"):
            await nursery.start(child)


async def cancel_later(scope: CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def set_later(event: Event) -> None:
    await wait_all_tasks_blocked()
    event.set()


async def test_a_start_that_is_cancelled_cancels_the_child() -> None:
    ends: list[type[BaseException]] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        try:
            await sleep_forever()
        except BaseException as error:
            ends.append(type(error))
            raise

    async with open_nursery() as nursery:
        with CancelScope() as scope:
            nursery.start_soon(cancel_later, scope)
            await nursery.start(child)
        assert scope.cancelled_caught
        assert not nursery.cancel_scope.cancel_called
    assert ends == [Cancelled]


async def test_a_deadline_of_the_caller_reaches_the_child_before_started(autojump_clock: MockClock) -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        await sleep(10)
        task_status.started()

    async with open_nursery() as nursery:
        with move_on_after(1) as scope:
            await nursery.start(child)
        assert scope.cancelled_caught
    assert proactor_trio.current_time() == 1


async def test_a_child_that_starts_after_the_cancel_stays_with_its_caller() -> None:
    """It is cancelled as part of start(), so start() has to see it to its end."""
    steps: list[str] = []

    async def child(nursery: Nursery, *, task_status: TaskStatus[str]) -> None:
        try:
            await sleep_forever()
        except Cancelled:
            pass
        task_status.started("too late")
        assert lowlevel.current_task().parent_nursery is not nursery
        with CancelScope(shield=True):
            await lowlevel.checkpoint()
        steps.append("child ended")

    async with open_nursery() as nursery:
        with CancelScope() as scope:
            nursery.start_soon(cancel_later, scope)
            assert await nursery.start(child, nursery) == "too late"
            steps.append("start returned")
    assert steps == ["child ended", "start returned"]


async def test_a_started_child_is_out_of_reach_of_its_callers_scopes() -> None:
    finished: list[str] = []
    release = Event()

    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await release.wait()
        finished.append("child")

    async with open_nursery() as nursery:
        with CancelScope() as scope:
            await nursery.start(child)
            scope.cancel()
            with CancelScope(shield=True):
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        release.set()
    assert finished == ["child"]


async def test_a_started_child_is_within_reach_of_its_new_nursery() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await sleep_forever()

    async with open_nursery() as nursery:
        with CancelScope(shield=True):
            await nursery.start(child)
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


async def test_a_child_moves_with_the_scopes_it_is_in() -> None:
    """started() is called inside scopes of the child: these go with it, the caller's stay behind."""
    steps: list[str] = []
    own_scope = CancelScope()

    async def child(*, task_status: TaskStatus[None]) -> None:
        with own_scope:
            with CancelScope():
                task_status.started()
                await sleep_forever()
        steps.append("own scope ended")
        await sleep_forever()

    async with open_nursery() as nursery:
        with CancelScope() as callers_scope:
            await nursery.start(child)
            callers_scope.cancel()
        await wait_all_tasks_blocked()
        assert steps == []
        own_scope.cancel()
        await wait_all_tasks_blocked()
        assert steps == ["own scope ended"]
        nursery.cancel_scope.cancel()
    assert own_scope.cancelled_caught


async def test_a_child_moves_with_the_nurseries_it_is_in() -> None:
    finished: list[str] = []

    async def grandchild() -> None:
        try:
            await sleep_forever()
        finally:
            finished.append("grandchild")

    async def child(*, task_status: TaskStatus[None]) -> None:
        async with open_nursery() as inner:
            inner.start_soon(grandchild)
            await lowlevel.checkpoint()
            task_status.started()

    async with open_nursery() as nursery:
        with CancelScope() as callers_scope:
            await nursery.start(child)
            callers_scope.cancel()
        await wait_all_tasks_blocked()
        assert finished == []
        nursery.cancel_scope.cancel()
    assert finished == ["grandchild"]


async def test_the_effective_deadline_of_a_child_changes_when_it_moves(mock_clock: MockClock) -> None:
    deadlines: list[float] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        with CancelScope(deadline=30):
            deadlines.append(current_effective_deadline())
            task_status.started()
            deadlines.append(current_effective_deadline())
        deadlines.append(current_effective_deadline())

    with CancelScope(deadline=50):
        async with open_nursery() as nursery:
            with CancelScope(deadline=10):
                await nursery.start(child)
    assert deadlines == [10, 30, 50]


async def test_a_child_that_moves_into_a_cancelled_nursery_is_cancelled_there() -> None:
    steps: list[str] = []

    async def child(*, task_status: TaskStatus[None]) -> None:
        await lowlevel.checkpoint()
        steps.append("not cancelled under the caller")
        task_status.started()
        await lowlevel.checkpoint()
        steps.append("never reached")

    async with open_nursery() as caller_nursery:
        async with open_nursery() as nursery:
            opened = Event()

            async def hold() -> None:
                with CancelScope(shield=True):
                    await opened.wait()

            nursery.start_soon(hold)
            nursery.cancel_scope.cancel()

            async def caller() -> None:
                await nursery.start(child)
                opened.set()

            caller_nursery.start_soon(caller)
    assert steps == ["not cancelled under the caller"]


async def test_a_nursery_stays_open_as_long_as_a_start_is_under_way() -> None:
    steps: list[str] = []
    may_start = Event()

    async def child(*, task_status: TaskStatus[None]) -> None:
        await may_start.wait()
        task_status.started()
        await lowlevel.checkpoint()
        steps.append("child")

    async with open_nursery() as outer:
        async with open_nursery() as nursery:
            outer.start_soon(nursery.start, child)
            await wait_all_tasks_blocked()
            outer.start_soon(set_later, may_start)
        steps.append("nursery closed")
    assert steps == ["child", "nursery closed"]


async def test_a_nursery_closes_when_the_start_it_waited_for_fails() -> None:
    may_fail = Event()

    async def child(*, task_status: TaskStatus[None]) -> None:
        await may_fail.wait()
        raise ValueError

    async def caller(nursery: Nursery) -> None:
        with pytest.raises(ValueError):
            await nursery.start(child)

    async with open_nursery() as outer:
        async with open_nursery() as nursery:
            outer.start_soon(caller, nursery)
            await wait_all_tasks_blocked()
            outer.start_soon(set_later, may_fail)


async def test_started_may_be_called_by_another_task() -> None:
    statuses: list[TaskStatus[str]] = []

    async def child(*, task_status: TaskStatus[str]) -> None:
        statuses.append(task_status)
        await sleep_forever()

    async def helper() -> None:
        await wait_all_tasks_blocked()
        statuses[0].started("from the helper")

    async with open_nursery() as nursery:
        nursery.start_soon(helper)
        assert await nursery.start(child) == "from the helper"
        nursery.cancel_scope.cancel()


async def test_an_error_in_the_nursery_during_start_cancels_the_child_through_the_caller() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        await sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(fail_with, ValueError())
            await nursery.start(child)
    assert [type(error) for error in leaves(caught.value)] == [ValueError]


async def test_many_starts_at_once_go_into_one_nursery() -> None:
    values: list[int] = []

    async def child(number: int, *, task_status: TaskStatus[int]) -> None:
        await lowlevel.checkpoint()
        task_status.started(number)
        await sleep_forever()

    async def caller(nursery: Nursery, number: int) -> None:
        values.append(await nursery.start(child, number))

    async with open_nursery() as nursery:
        async with open_nursery() as callers:
            for number in range(50):
                callers.start_soon(caller, nursery, number)
        assert len(nursery.child_tasks) == 50
        nursery.cancel_scope.cancel()
    assert sorted(values) == list(range(50))


async def test_an_error_after_the_move_goes_past_the_scopes_of_the_caller() -> None:
    """The caller is still in start() when the child, already moved, crashes in the same step."""

    async def child(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        raise ValueError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            try:
                await nursery.start(child)
            except ValueError:
                raise AssertionError("the error belongs to the nursery") from None
    assert [type(error) for error in leaves(caught.value)] == [ValueError]
