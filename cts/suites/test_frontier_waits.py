"""FrontierWait and FrontierWaitAny: operations that wait for frontiers of a tracker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import proactor_trio
from cts.suites.frontiers import UNKNOWN, A, B, C, at, in_a_thread, refuse, three_axes
from cts.support import Completions, cause_of, finish, perform, settle, start
from proactor_trio.proactor import (
    CancelCause,
    ClosedResourceError,
    DeadlineExceeded,
    FailedPrecondition,
    Frontier,
    FrontierAdvance,
    FrontierTracker,
    FrontierWait,
    FrontierWaitAny,
    NotFound,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    SemaphoreSignal,
    TimelineSemaphore,
    Timer,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


@pytest.fixture
def tracker() -> Iterator[FrontierTracker]:
    """One with the axes A, B and C, in which nothing may be left."""
    with three_axes() as tracker:
        yield tracker


# FrontierWait --------------------------------------------------------------------------------------------------------


def test_a_wait_for_what_was_reached(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.advance(A, 1)
    assert perform(proactor, FrontierWait(tracker, at(a=1))) == at(a=1)


def test_a_wait_for_an_empty_frontier_succeeds(proactor: Proactor, tracker: FrontierTracker) -> None:
    assert perform(proactor, FrontierWait(tracker, Frontier())) == Frontier()


def test_a_wait_does_not_complete_in_submit(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, Frontier())
    proactor.submit(wait)
    assert wait.state is OperationState.SUBMITTED
    settle(proactor, wait)


def test_a_wait_ends_with_the_last_of_its_axes(
    proactor: Proactor, tracker: FrontierTracker, completions: Completions
) -> None:
    wait = FrontierWait(tracker, at(a=1, b=2), completions, "wait")
    start(proactor, wait)
    tracker.advance(B, 2)
    proactor.poll(0)
    assert completions.labels == []
    tracker.advance(A, 1)
    settle(proactor, wait)
    assert completions.outcomes == [("wait", "ok")]


def test_the_result_is_how_far_the_axes_have_come_by_then(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1, b=2))
    start(proactor, wait)
    tracker.advance(C, 9)
    tracker.advance(A, 7)
    tracker.advance(B, 3)
    settle(proactor, wait)
    assert wait.result == at(a=7, b=3)


def test_the_result_can_be_given_to_a_later_signal(proactor: Proactor, tracker: FrontierTracker) -> None:
    semaphore = TimelineSemaphore()
    signal = SemaphoreSignal([semaphore], [1])
    wait = FrontierWait(tracker, at(a=1), lambda wait, flags: setattr(signal, "frontier", wait.result), flags=LINKED)
    start(proactor, wait, signal)
    tracker.advance(A, 4)
    settle(proactor, wait, signal)
    assert semaphore.query_frontier() == at(a=4)


def test_an_advance_from_another_thread_ends_a_poll_that_waits(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1))
    start(proactor, wait)
    thread = in_a_thread(lambda: tracker.advance(A, 1))
    settle(proactor, wait)
    thread.join()
    assert wait.error is None


def test_an_advance_ends_the_waits_that_it_reaches_and_no_other(
    proactor: Proactor, tracker: FrontierTracker, completions: Completions
) -> None:
    waits = [FrontierWait(tracker, at(a=epoch), completions, epoch) for epoch in (3, 1, 2)]
    start(proactor, *waits)
    assert tracker.advance(A, 2) == 2
    settle(proactor, *waits[1:])
    assert (completions.labels, waits[0].state) == ([1, 2], OperationState.SUBMITTED)
    tracker.advance(A, 3)
    settle(proactor, *waits)


def test_waits_of_two_proactors_for_one_frontier(
    make_proactor: Callable[[], Proactor], tracker: FrontierTracker
) -> None:
    proactors = [make_proactor(), make_proactor()]
    waits = [FrontierWait(tracker, at(a=1)) for _ in proactors]
    for proactor, wait in zip(proactors, waits, strict=True):
        start(proactor, wait)
    assert tracker.advance(A, 1) == 2
    for proactor, wait in zip(proactors, waits, strict=True):
        settle(proactor, wait)
    assert [wait.error for wait in waits] == [None, None]


def test_a_wait_can_be_submitted_again(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1))
    for epoch in range(1, 5):
        wait.frontier = at(a=epoch)
        start(proactor, wait)
        tracker.advance(A, epoch)
        settle(proactor, wait)
        assert wait.result == at(a=epoch)


def test_an_axis_that_fails_ends_the_wait_with_a_copy(proactor: Proactor, tracker: FrontierTracker) -> None:
    broken = PermissionError("not allowed")
    waits = [FrontierWait(tracker, at(a=1, b=1)) for _ in range(2)]
    start(proactor, *waits)
    tracker.fail_axis(B, broken)
    settle(proactor, *waits)
    assert [(type(wait.error), str(wait.error)) for wait in waits] == [(PermissionError, "not allowed")] * 2
    assert len({id(wait.error) for wait in waits} | {id(broken)}) == 3


def test_an_axis_that_has_failed_ends_a_wait_for_what_was_reached(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.advance(A, 1)
    tracker.fail_axis(A, PermissionError("not allowed"))
    assert isinstance(finish(proactor, FrontierWait(tracker, at(a=1, b=1))).error, PermissionError)


def test_an_axis_that_is_retired_ends_the_wait(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1))
    start(proactor, wait)
    tracker.retire_axis(A, PermissionError("gone"))
    settle(proactor, wait)
    assert isinstance(wait.error, PermissionError)


def test_a_wait_that_was_reached_keeps_its_result_when_an_axis_fails_before_it_is_delivered(
    proactor: Proactor, tracker: FrontierTracker
) -> None:
    wait = FrontierWait(tracker, at(a=1))
    start(proactor, wait)
    tracker.advance(A, 1)
    tracker.fail_axis(A, OSError("too late"))
    settle(proactor, wait)
    assert wait.result == at(a=1)


# FrontierWaitAny -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_wait_for_any_ends_with_the_first(proactor: Proactor, tracker: FrontierTracker, index: int) -> None:
    wait = FrontierWaitAny(tracker, [at(a=1), at(b=1), at(c=1)])
    start(proactor, wait)
    tracker.advance((A, B, C)[index], 5)
    settle(proactor, wait)
    assert (wait.result, wait.frontier) == (index, Frontier([((A, B, C)[index], 5)]))


def test_a_wait_for_any_names_the_lowest_that_was_reached(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.advance(C, 1)
    tracker.advance(B, 1)
    assert perform(proactor, FrontierWaitAny(tracker, [at(a=1), at(b=1), at(c=1)])) == 1


def test_a_wait_for_any_goes_on_while_each_misses_something(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWaitAny(tracker, [at(a=1, b=1), at(b=1, c=1)])
    start(proactor, wait)
    tracker.advance(A, 1)
    tracker.advance(C, 1)
    proactor.poll(0)
    assert wait.state is OperationState.SUBMITTED
    tracker.advance(B, 1)
    settle(proactor, wait)
    assert wait.result in (0, 1)


def test_a_failed_axis_of_any_frontier_ends_a_wait_for_any(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWaitAny(tracker, [at(a=1), at(b=1, c=1)])
    start(proactor, wait)
    tracker.fail_axis(C, LookupError("gone"))
    settle(proactor, wait)
    assert isinstance(wait.error, LookupError)


def test_a_failure_goes_before_a_frontier_that_was_reached(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.advance(A, 1)
    tracker.fail_axis(C, LookupError("gone"))
    wait = finish(proactor, FrontierWaitAny(tracker, [at(a=1), at(c=1)]))
    assert (type(wait.error), wait.frontier) == (LookupError, None)


def test_cancelling_a_wait_for_any_withdraws_all_of_it(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWaitAny(tracker, [at(a=1), at(b=1, c=1)])
    start(proactor, wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert cause_of(wait) is CancelCause.REQUESTED
    assert [tracker.advance(axis, 1) for axis in (A, B, C)] == [0, 0, 0]


# Cancelling, deadlines, closing --------------------------------------------------------------------------------------


def test_cancelling_a_wait_withdraws_it(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1, b=1))
    start(proactor, wait)
    tracker.advance(A, 1)
    assert proactor.cancel(wait)
    settle(proactor, wait)
    assert (cause_of(wait), tracker.advance(B, 1)) == (CancelCause.REQUESTED, 0)


def test_a_wait_that_was_cancelled_in_submit_leaves_nothing_behind(
    proactor: Proactor, tracker: FrontierTracker
) -> None:
    wait = FrontierWait(tracker, at(a=1))
    proactor.submit(wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert tracker.advance(A, 1) == 0


def test_a_cancellation_after_the_advance_comes_too_late(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = FrontierWait(tracker, at(a=1))
    start(proactor, wait)
    tracker.advance(A, 1)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert wait.result == at(a=1)


@pytest.mark.parametrize("kind", ["all", "any"])
def test_the_race_of_cancel_and_advance_has_one_end(
    proactor: Proactor, tracker: FrontierTracker, completions: Completions, kind: str
) -> None:
    for epoch in range(1, 51):
        wait: Operation = FrontierWait(tracker, at(a=epoch, b=epoch), completions)
        if kind == "any":
            wait = FrontierWaitAny(tracker, [at(a=epoch), at(b=epoch)], completions)
        start(proactor, wait)
        thread = in_a_thread(lambda: [tracker.advance(axis, epoch) for axis in (A, B)])  # noqa: B023
        proactor.cancel(wait)
        thread.join()
        settle(proactor, wait)
        proactor.poll(0)
    assert len(completions) == 50
    assert all(error is None or isinstance(error, OperationCancelled) for error in completions.errors)


def test_threads_that_advance_and_fail_end_each_wait_once(
    make_proactor: Callable[[], Proactor], completions: Completions
) -> None:
    proactor = make_proactor()
    for _ in range(30):
        tracker = FrontierTracker()
        for axis in (A, B, C):
            tracker.register_axis(axis)
        wait = FrontierWait(tracker, at(a=1, b=1, c=1), completions)
        proactor.submit(wait)
        threads = [in_a_thread(lambda axis=axis: tracker.advance(axis, 1)) for axis in (A, B, C)]  # type: ignore[misc]  # noqa: B023
        threads.append(in_a_thread(lambda: tracker.fail_axis(A, OSError())))  # noqa: B023
        threads.append(in_a_thread(tracker.close))
        settle(proactor, wait)
        for thread in threads:
            thread.join()
        proactor.poll(0)
    assert len(completions) == 30


def test_a_wait_ends_at_its_deadline(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = finish(proactor, tracker.wait(at(a=1), timeout=0.01))
    assert isinstance(wait.error, DeadlineExceeded)


def test_a_wait_for_any_ends_at_its_deadline(proactor: Proactor, tracker: FrontierTracker) -> None:
    wait = finish(proactor, tracker.wait_any([at(a=1), at(b=1)], deadline=time.monotonic() + 0.01))
    assert isinstance(wait.error, DeadlineExceeded)


def test_closing_the_tracker_cancels_a_wait(proactor: Proactor, tracker: FrontierTracker) -> None:
    waits: list[Operation] = [tracker.wait(at(a=1, b=1)), tracker.wait_any([at(a=1), at(b=1, c=1)])]
    start(proactor, *waits)
    tracker.close()
    settle(proactor, *waits)
    assert [cause_of(wait) for wait in waits] == [CancelCause.RESOURCE_CLOSED] * 2


def test_closing_the_tracker_before_the_turn_of_a_wait_cancels_it(proactor: Proactor, tracker: FrontierTracker) -> None:
    chain = [Timer(time.monotonic() + 0.005, flags=LINKED), tracker.wait(at(a=1))]
    start(proactor, *chain)
    tracker.close()
    settle(proactor, *chain)
    assert (chain[0].error, cause_of(chain[1])) == (None, CancelCause.RESOURCE_CLOSED)


def test_closing_the_proactor_withdraws_a_wait(make_proactor: Callable[[], Proactor], tracker: FrontierTracker) -> None:
    proactor = make_proactor()
    wait = tracker.wait(at(a=1))
    proactor.submit(wait)
    proactor.close()
    assert (cause_of(wait), tracker.advance(A, 1)) == (CancelCause.PROACTOR_CLOSED, 0)


def test_waits_and_advances_leave_no_cyclic_garbage(proactor: Proactor, tracker: FrontierTracker) -> None:
    def once(epoch: int) -> None:
        wait, any_of = tracker.wait(at(a=epoch)), tracker.wait_any([at(a=epoch), at(b=1)])
        proactor.submit(wait, any_of, FrontierAdvance(tracker, A, epoch))
        settle(proactor, wait, any_of)
        finish(proactor, FrontierWait(tracker, at(c=1), timeout=0))

    once(1)
    gc.collect()
    gc.disable()
    try:
        for epoch in range(2, 7):
            once(epoch)
        assert gc.collect() == 0
    finally:
        gc.enable()


# In tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_awaits_a_frontier(run: Callable[..., Any], tracker: FrontierTracker) -> None:
    async def main() -> tuple[Frontier, int, int]:
        thread = in_a_thread(lambda: tracker.advance(A, 2))
        reached = await tracker.wait(at(a=1))
        thread.join()
        ended = await FrontierAdvance(tracker, B, 1)
        return reached, ended, await tracker.wait_any([at(c=1), at(b=1)])

    assert run(main) == (at(a=2), 0, 1)


def test_a_scope_cancels_a_wait_and_withdraws_it(run: Callable[..., Any], tracker: FrontierTracker) -> None:
    async def main() -> bool:
        with proactor_trio.move_on_after(0.005) as scope:
            await tracker.wait(at(a=1))
        return scope.cancelled_caught

    assert run(main)
    assert tracker.advance(A, 1) == 0


def test_a_scope_that_is_cancelled_already_begins_no_wait(run: Callable[..., Any], tracker: FrontierTracker) -> None:
    tracker.advance(A, 1)

    async def main() -> bool:
        with proactor_trio.CancelScope() as scope:
            scope.cancel()
            await tracker.wait(at(a=1))
        return scope.cancelled_caught

    assert run(main)


def test_a_task_gets_the_failure_of_an_axis(run: Callable[..., Any], tracker: FrontierTracker) -> None:
    async def main() -> None:
        thread = in_a_thread(lambda: tracker.fail_axis(A, LookupError("gone")))
        with pytest.raises(LookupError, match="gone"):
            await tracker.wait(at(a=1))
        thread.join()

    run(main)


def test_a_task_whose_tracker_is_closed_gets_closed_resource_error(
    run: Callable[..., Any], tracker: FrontierTracker
) -> None:
    async def main() -> None:
        thread = in_a_thread(tracker.close)
        try:
            with pytest.raises((ClosedResourceError, FailedPrecondition)):
                await tracker.wait(at(a=1))
        finally:
            thread.join()

    run(main)


def test_the_deadline_of_a_wait_is_on_the_clock_of_the_run(run: Callable[..., Any], tracker: FrontierTracker) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await tracker.wait(at(a=1), deadline=proactor_trio.current_time() + 1000)

    run(main, clock=proactor_trio.testing.MockClock(autojump_threshold=0))


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [FrontierWait, lambda tracker, frontier: FrontierWaitAny(tracker, [frontier])])
def test_an_axis_that_is_not_registered_is_refused_by_name(
    proactor: Proactor, tracker: FrontierTracker, make: Callable[..., Operation]
) -> None:
    wait = make(tracker, Frontier([(A, 1), (UNKNOWN, 1)]))
    with pytest.raises(NotFound, match=r"frontiers?: axis 0x63 is not registered"):
        proactor.submit(wait)
    assert wait.state is OperationState.NEW


@pytest.mark.parametrize("make", [FrontierWait, lambda tracker, frontier: FrontierWaitAny(tracker, [frontier])])
@pytest.mark.parametrize("frontier", [None, 1, {1: 1}])
def test_what_is_no_frontier_is_refused_by_name(
    proactor: Proactor, tracker: FrontierTracker, make: Callable[..., Operation], frontier: Any
) -> None:
    with pytest.raises(TypeError, match=r"frontiers? must be a Frontier"):
        proactor.submit(make(tracker, frontier))


def test_a_wait_for_any_of_no_frontiers_is_refused_by_name(proactor: Proactor, tracker: FrontierTracker) -> None:
    with pytest.raises(ValueError, match="frontiers must be at least one"):
        proactor.submit(tracker.wait_any([]))


def test_one_frontier_in_place_of_several_is_refused_by_name(proactor: Proactor, tracker: FrontierTracker) -> None:
    with pytest.raises(TypeError, match="frontiers must be a sequence"):
        proactor.submit(tracker.wait_any(at(a=1)))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [FrontierWait, FrontierWaitAny, FrontierAdvance])
def test_what_is_no_tracker_is_refused_by_name(make: Callable[..., Operation]) -> None:
    with pytest.raises(TypeError, match="tracker must be a FrontierTracker, not TimelineSemaphore"):
        make(TimelineSemaphore(), *[Frontier()] * (2 if make is FrontierAdvance else 1))


def test_a_tracker_that_is_closed_is_refused(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        proactor.submit(tracker.wait(at(a=1)))


def test_a_callback_in_place_of_a_limit_is_refused(tracker: FrontierTracker) -> None:
    with pytest.raises(TypeError):
        tracker.wait(at(a=1), refuse)  # type: ignore[call-arg]
