"""The checkpoint family, and the trap below it: wait_task_rescheduled, reschedule, Abort."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

import outcome
import pytest

from proactor_trio import (
    Cancelled,
    CancelScope,
    Event,
    TaskStatus,
    TrioInternalError,
    current_time,
    lowlevel,
    open_nursery,
    run,
    sleep,
    sleep_until,
    to_thread,
)
from proactor_trio.lowlevel import Abort, RaiseCancelT, Task, wait_task_rescheduled
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

AsyncFunction = Callable[[], Awaitable[object]]


async def is_cancel_point(function: AsyncFunction) -> bool:
    with CancelScope() as scope:
        scope.cancel()
        await function()
    return scope.cancelled_caught


async def is_schedule_point(function: AsyncFunction) -> bool:
    """Whether another task got its turn. Within one turn the order is open, so the function is called twice."""
    other_task_ran = False

    async def other() -> None:
        nonlocal other_task_ran
        other_task_ran = True

    async with open_nursery() as nursery:
        nursery.start_soon(other)
        await function()
        await function()
        return other_task_ran


async def wait_for_set_event() -> None:
    event = Event()
    event.set()
    await event.wait()


async def sleep_until_now() -> None:
    await sleep_until(current_time())


async def thread_that_returns_at_once() -> None:
    await to_thread.run_sync(lambda: None)


async def start_a_task() -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        await lowlevel.checkpoint()
        task_status.started()

    async with open_nursery() as nursery:
        await nursery.start(child)


async def empty_nursery() -> None:
    async with open_nursery():
        pass


async def nothing() -> None:
    pass


CHECKPOINTS = [
    lowlevel.checkpoint,
    lambda: sleep(0),
    lambda: sleep(0.0001),
    sleep_until_now,
    wait_for_set_event,
    wait_all_tasks_blocked,
    thread_that_returns_at_once,
    start_a_task,
]
CHECKPOINT_NAMES = [
    "checkpoint",
    "sleep(0)",
    "sleep",
    "sleep_until",
    "Event.wait",
    "wait_all_tasks_blocked",
    "to_thread.run_sync",
    "Nursery.start",
]


@pytest.mark.parametrize("function", CHECKPOINTS, ids=CHECKPOINT_NAMES)
async def test_every_async_function_that_returns_is_a_cancel_point(function: AsyncFunction) -> None:
    assert await is_cancel_point(function)


@pytest.mark.parametrize("function", CHECKPOINTS, ids=CHECKPOINT_NAMES)
async def test_every_async_function_that_returns_is_a_schedule_point(function: AsyncFunction) -> None:
    assert await is_schedule_point(function)


async def test_a_shielded_checkpoint_is_a_schedule_point_only() -> None:
    assert await is_schedule_point(lowlevel.cancel_shielded_checkpoint)
    assert not await is_cancel_point(lowlevel.cancel_shielded_checkpoint)


async def test_an_empty_nursery_is_a_schedule_point_only() -> None:
    assert await is_schedule_point(empty_nursery)
    assert not await is_cancel_point(empty_nursery)


async def test_checkpoint_if_cancelled_is_nothing_when_not_cancelled() -> None:
    assert not await is_schedule_point(lowlevel.checkpoint_if_cancelled)


async def test_checkpoint_if_cancelled_raises_when_cancelled() -> None:
    assert await is_cancel_point(lowlevel.checkpoint_if_cancelled)


async def test_an_async_function_of_the_user_without_await_is_no_checkpoint() -> None:
    assert not await is_schedule_point(nothing)
    assert not await is_cancel_point(nothing)


async def test_a_checkpoint_before_the_cancel_does_not_save_from_it() -> None:
    with CancelScope() as scope:
        await lowlevel.checkpoint()
        scope.cancel()
        await lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_scope_cancelled_while_its_task_stands_at_a_checkpoint_is_seen_there() -> None:
    scope = CancelScope()

    async def canceller() -> None:
        scope.cancel()

    async with open_nursery() as nursery:
        nursery.start_soon(canceller)
        with scope:
            await lowlevel.checkpoint()
            await lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_the_two_halves_of_a_checkpoint_make_an_operation_that_is_cancelled_without_effect() -> None:
    effects: list[str] = []

    async def operation() -> None:
        await lowlevel.checkpoint_if_cancelled()
        effects.append("done")
        await lowlevel.cancel_shielded_checkpoint()

    with CancelScope() as scope:
        scope.cancel()
        await operation()
    assert effects == []
    await operation()
    assert effects == ["done"]


async def test_a_checkpoint_returns_none() -> None:
    assert await lowlevel.checkpoint() is None  # type: ignore[func-returns-value]
    assert await lowlevel.cancel_shielded_checkpoint() is None  # type: ignore[func-returns-value]
    assert await lowlevel.checkpoint_if_cancelled() is None  # type: ignore[func-returns-value]


async def test_a_checkpoint_sees_a_deadline_that_came_during_it(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as scope:
        await lowlevel.checkpoint()
        mock_clock.jump(10)
        await lowlevel.checkpoint()
    assert scope.cancelled_caught


# ---- parking by hand --------------------------------------------------------------------------------------------


def refuse_to_abort(raise_cancel: RaiseCancelT) -> Abort:
    return Abort.FAILED


def abort(raise_cancel: RaiseCancelT) -> Abort:
    return Abort.SUCCEEDED


class Parked:
    """A child task that waits by hand, with what came of it."""

    def __init__(self, abort_function: Callable[[RaiseCancelT], Abort] = abort) -> None:
        self.abort_function = abort_function
        self.scope = CancelScope()
        self.task: Task | None = None
        self.result: outcome.Outcome[object] | None = None

    async def __call__(self) -> None:
        self.task = lowlevel.current_task()
        with self.scope:
            self.result = await outcome.acapture(wait_task_rescheduled, self.abort_function)

    def wake(self, *arguments: outcome.Outcome[object]) -> None:
        assert self.task is not None
        lowlevel.reschedule(self.task, *arguments)


async def test_reschedule_wakes_a_parked_task_with_none() -> None:
    parked = Parked()
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.wake()
    assert parked.result == outcome.Value(None)


async def test_reschedule_hands_a_value_over() -> None:
    parked = Parked()
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.wake(outcome.Value("the value"))
    assert parked.result == outcome.Value("the value")


async def test_reschedule_raises_an_error_in_the_parked_task() -> None:
    parked = Parked()
    error = ValueError()
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.wake(outcome.Error(error))
    assert isinstance(parked.result, outcome.Error)
    assert parked.result.error is error


async def test_reschedule_runs_nothing_at_once() -> None:
    parked = Parked()
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.wake()
        assert parked.result is None


async def test_a_task_may_arrange_its_wake_up_before_it_parks() -> None:
    task = lowlevel.current_task()
    results: list[object] = []

    def wake() -> None:
        lowlevel.reschedule(task, outcome.Value("early"))

    lowlevel.current_trio_token().run_sync_soon(wake)
    results.append(await wait_task_rescheduled(refuse_to_abort))
    assert results == ["early"]


async def test_tasks_woken_one_after_the_other_all_run() -> None:
    parked = [Parked() for _ in range(100)]
    async with open_nursery() as nursery:
        for each in parked:
            nursery.start_soon(each)
        await wait_all_tasks_blocked()
        for number, each in enumerate(parked):
            each.wake(outcome.Value(number))
    assert [each.result for each in parked] == [outcome.Value(number) for number in range(100)]


async def test_cancelling_a_parked_task_calls_its_abort_function_once() -> None:
    calls: list[RaiseCancelT] = []

    def count(raise_cancel: RaiseCancelT) -> Abort:
        calls.append(raise_cancel)
        return Abort.SUCCEEDED

    parked = Parked(count)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.scope.cancel()
        nursery.cancel_scope.cancel()
    assert len(calls) == 1
    assert isinstance(parked.result, outcome.Error)
    assert isinstance(parked.result.error, Cancelled)


async def test_the_abort_function_runs_inside_the_cancel() -> None:
    order: list[str] = []

    def note(raise_cancel: RaiseCancelT) -> Abort:
        order.append("abort")
        return Abort.SUCCEEDED

    parked = Parked(note)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        order.append("before")
        parked.scope.cancel()
        order.append("after")
    assert order == ["before", "abort", "after"]


async def test_parking_in_a_cancelled_scope_calls_the_abort_function() -> None:
    calls: list[str] = []

    def note(raise_cancel: RaiseCancelT) -> Abort:
        calls.append("abort")
        return Abort.SUCCEEDED

    with CancelScope() as scope:
        scope.cancel()
        await wait_task_rescheduled(note)
    assert calls == ["abort"]
    assert scope.cancelled_caught


async def test_an_abort_that_failed_leaves_the_task_parked_until_somebody_wakes_it() -> None:
    parked = Parked(refuse_to_abort)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.scope.cancel()
        await wait_all_tasks_blocked()
        assert parked.result is None
        parked.wake(outcome.Value("the result that won"))
    assert parked.result == outcome.Value("the result that won")
    assert not parked.scope.cancelled_caught


async def test_an_abort_that_failed_is_not_tried_again() -> None:
    calls: list[str] = []

    def fail(raise_cancel: RaiseCancelT) -> Abort:
        calls.append("abort")
        return Abort.FAILED

    parked = Parked(fail)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.scope.cancel()
        nursery.cancel_scope.cancel()
        with CancelScope(shield=True):
            await wait_all_tasks_blocked()
        parked.wake()
    assert calls == ["abort"]


async def test_a_cancellation_that_came_late_may_be_raised_from_outside() -> None:
    kept: list[RaiseCancelT] = []

    def keep(raise_cancel: RaiseCancelT) -> Abort:
        kept.append(raise_cancel)
        return Abort.FAILED

    parked = Parked(keep)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.scope.cancel()
        await wait_all_tasks_blocked()
        parked.wake(outcome.capture(kept[0]))
    assert isinstance(parked.result, outcome.Error)
    assert isinstance(parked.result.error, Cancelled)


async def test_a_cancellation_that_came_late_may_be_raised_from_inside() -> None:
    kept: list[RaiseCancelT] = []
    scope = CancelScope()

    def keep(raise_cancel: RaiseCancelT) -> Abort:
        kept.append(raise_cancel)
        return Abort.FAILED

    async def child() -> None:
        with scope:
            await wait_task_rescheduled(keep)
            kept[0]()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        scope.cancel()
        lowlevel.reschedule(task)
    assert scope.cancelled_caught


async def test_a_task_woken_before_the_cancel_is_not_aborted() -> None:
    calls: list[str] = []

    def note(raise_cancel: RaiseCancelT) -> Abort:
        calls.append("abort")
        return Abort.SUCCEEDED

    parked = Parked(note)
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        parked.wake(outcome.Value("first"))
        parked.scope.cancel()
    assert calls == []
    assert parked.result == outcome.Value("first")


async def test_a_shielded_task_is_not_aborted_from_outside() -> None:
    calls: list[str] = []

    def note(raise_cancel: RaiseCancelT) -> Abort:
        calls.append("abort")
        return Abort.SUCCEEDED

    parked = Parked(note)
    parked.scope.shield = True
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert calls == []
        parked.wake()
    assert parked.result == outcome.Value(None)


async def test_custom_sleep_data_is_cleared_when_the_task_is_rescheduled() -> None:
    parked = Parked()
    async with open_nursery() as nursery:
        nursery.start_soon(parked)
        await wait_all_tasks_blocked()
        assert parked.task is not None
        assert parked.task.custom_sleep_data is None
        parked.task.custom_sleep_data = "data"
        parked.wake()
        assert parked.task.custom_sleep_data is None


broken_run = pytest.mark.filterwarnings(
    # A loop that breaks drops its tasks where they stand, and the collector complains about them.
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::RuntimeWarning",
)


async def test_abort_has_two_answers() -> None:
    assert list(Abort) == [Abort.SUCCEEDED, Abort.FAILED]


@broken_run
@pytest.mark.parametrize("answer", [None, True, 1, "SUCCEEDED"])
def test_an_abort_function_that_gives_no_answer_breaks_the_run(answer: object, gc_collect: Callable[[], None]) -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            await wait_task_rescheduled(lambda _: answer)  # type: ignore[arg-type,return-value]

    with pytest.raises(TrioInternalError):
        run(main)
    gc_collect()


@broken_run
def test_an_abort_function_that_raises_breaks_the_run(gc_collect: Callable[[], None]) -> None:
    error = KeyError()

    def crash(raise_cancel: RaiseCancelT) -> NoReturn:
        raise error

    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            await wait_task_rescheduled(crash)

    with pytest.raises(TrioInternalError) as caught:
        run(main)
    assert caught.value.__cause__ is error
    del caught
    gc_collect()


@broken_run
def test_the_thread_is_ready_for_the_next_run_after_a_broken_one(gc_collect: Callable[[], None]) -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            await wait_task_rescheduled(lambda _: None)  # type: ignore[arg-type,return-value]

    with pytest.raises(TrioInternalError):
        run(main)
    run(sleep, 0)
    gc_collect()
