"""FrontierTracker: axes advance, waits for frontiers end. Reference: frontier_tracker_test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from proactor_trio.proactor import (
    AlreadyExists,
    Axis,
    FailedPrecondition,
    Frontier,
    FrontierTracker,
    NotFound,
    OperationCancelled,
    ResourceExhausted,
    TimelineSemaphore,
)
from proactor_trio.proactor.frontier import LARGEST_EPOCH
from tests.proactor.interruptions import interrupt_at

A, B, C, UNKNOWN = 1, 2, 3, 99
BROKEN = OSError("broken")

Told = list[BaseException | None]


@pytest.fixture
def tracker() -> Iterator[FrontierTracker]:
    """With the axes A, B and C."""
    with FrontierTracker() as tracker:
        for axis in (A, B, C):
            tracker.register_axis(axis)
        yield tracker


@pytest.fixture
def told() -> Told:
    """What a callback was called with: `told.append` is the callback."""
    return []


def frontier(epochs: dict[int, int]) -> Frontier:
    return Frontier.from_epochs(epochs)


def refuse(error: BaseException | None) -> None:
    raise LookupError("callback")


# Axes ----------------------------------------------------------------------------------------------------------------


def test_it_says_who_it_is() -> None:
    tracker = FrontierTracker(session_epoch=7, machine_index=8)
    assert (tracker.session_epoch, tracker.machine_index) == (7, 8)


def test_an_axis_starts_at_epoch_0(tracker: FrontierTracker) -> None:
    assert tracker.query_epoch(A) == 0


def test_an_axis_that_is_not_registered_has_no_epoch(tracker: FrontierTracker) -> None:
    assert tracker.query_epoch(UNKNOWN) is None


def test_an_axis_is_registered_once(tracker: FrontierTracker) -> None:
    with pytest.raises(AlreadyExists, match="axis 0x1 "):
        tracker.register_axis(A)


def test_a_table_that_is_full_takes_no_axis() -> None:
    tracker = FrontierTracker(axis_table_capacity=2)
    tracker.register_axis(A)
    tracker.register_axis(B)
    with pytest.raises(ResourceExhausted, match="axis_table_capacity"):
        tracker.register_axis(C)
    assert tracker.query_epoch(C) is None


def test_an_axis_that_is_there_is_that_also_when_the_table_is_full() -> None:
    tracker = FrontierTracker(axis_table_capacity=1)
    tracker.register_axis(A)
    with pytest.raises(AlreadyExists):
        tracker.register_axis(A)


def test_a_table_without_room() -> None:
    """Reference: zero capacity."""
    with pytest.raises(ResourceExhausted):
        FrontierTracker(axis_table_capacity=0).register_axis(A)


@pytest.mark.parametrize(
    "argument",
    [{"axis_table_capacity": -1}, {"axis_table_capacity": 1 << 30}, {"session_epoch": 256}, {"machine_index": -1}],
)
def test_a_number_that_does_not_fit_is_refused_by_name(argument: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(argument))):
        FrontierTracker(**argument)


def test_what_is_no_axis_or_semaphore_is_refused_by_name(tracker: FrontierTracker) -> None:
    with pytest.raises(ValueError, match="axis"):
        tracker.register_axis(-1)
    with pytest.raises(TypeError, match="semaphore"):
        tracker.register_axis(9, object())  # type: ignore[arg-type]
    assert tracker.query_epoch(9) is None


# Advancing -----------------------------------------------------------------------------------------------------------


def test_advancing_moves_the_epoch(tracker: FrontierTracker) -> None:
    assert tracker.advance(A, 5) == 0
    assert (tracker.query_epoch(A), tracker.query_epoch(B)) == (5, 0)


@pytest.mark.parametrize("epoch", [0, 4, 5])
def test_an_epoch_that_is_not_later_changes_nothing(tracker: FrontierTracker, epoch: int) -> None:
    tracker.advance(A, 5)
    assert tracker.advance(A, epoch) == 0
    assert tracker.query_epoch(A) == 5


def test_the_largest_epoch(tracker: FrontierTracker) -> None:
    tracker.advance(A, LARGEST_EPOCH)
    assert tracker.query_epoch(A) == LARGEST_EPOCH


def test_advancing_an_axis_that_is_not_registered_does_nothing(tracker: FrontierTracker) -> None:
    assert tracker.advance(UNKNOWN, 5) == 0


def test_a_wrong_epoch_is_refused_by_name(tracker: FrontierTracker) -> None:
    with pytest.raises(ValueError, match="epoch"):
        tracker.advance(A, LARGEST_EPOCH + 1)


# Waiting -------------------------------------------------------------------------------------------------------------


def test_an_empty_frontier_is_reached(tracker: FrontierTracker, told: Told) -> None:
    tracker.acquire_timepoint(Frontier(), told.append)
    assert told == [None]


def test_a_frontier_that_is_reached_is_told_at_once(tracker: FrontierTracker, told: Told) -> None:
    tracker.advance(A, 5)
    tracker.acquire_timepoint(frontier({A: 5}), told.append)
    assert told == [None]


def test_a_wait_ends_when_its_axis_has_come_so_far(tracker: FrontierTracker, told: Told) -> None:
    tracker.acquire_timepoint(frontier({A: 5}), told.append)
    assert (tracker.advance(A, 4), told) == (0, [])
    assert (tracker.advance(A, 6), told) == (1, [None])


def test_a_wait_for_several_axes_ends_with_the_last(tracker: FrontierTracker, told: Told) -> None:
    tracker.advance(B, 2)
    tracker.acquire_timepoint(frontier({A: 1, B: 2, C: 3}), told.append)
    assert (tracker.advance(C, 3), told) == (0, [])
    assert (tracker.advance(A, 1), told) == (1, [None])


def test_a_wait_is_told_once(tracker: FrontierTracker, told: Told) -> None:
    tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    for axis in (A, B):
        tracker.advance(axis, 1)
        tracker.advance(axis, 2)
    tracker.fail_axis(A, BROKEN)
    assert told == [None]


def test_one_advance_ends_several_waits_by_epoch_and_arrival(tracker: FrontierTracker) -> None:
    order: list[str] = []
    for name, epoch in [("b", 2), ("a", 1), ("c", 2), ("later", 3)]:
        tracker.acquire_timepoint(frontier({A: epoch}), lambda error, name=name: order.append(name))  # type: ignore[misc]
    assert tracker.advance(A, 2) == 3
    assert order == ["a", "b", "c"]


def test_waits_for_different_axes_end_apart(tracker: FrontierTracker) -> None:
    order: list[str] = []
    tracker.acquire_timepoint(frontier({A: 1}), lambda error: order.append("a"))
    tracker.acquire_timepoint(frontier({B: 1}), lambda error: order.append("b"))
    tracker.advance(B, 1)
    assert order == ["b"]


def test_an_axis_that_is_not_registered_is_refused_by_name(tracker: FrontierTracker, told: Told) -> None:
    with pytest.raises(NotFound, match="frontier: axis 0x63 is not registered"):
        tracker.acquire_timepoint(frontier({A: 1, UNKNOWN: 1}), told.append)
    tracker.advance(A, 1)
    assert told == []


def test_what_is_no_frontier_is_refused_by_name(tracker: FrontierTracker) -> None:
    with pytest.raises(TypeError, match="frontier must be a Frontier"):
        tracker.acquire_timepoint({A: 1}, print)  # type: ignore[arg-type]


def test_a_callback_may_advance_and_wait(tracker: FrontierTracker, told: Told) -> None:
    tracker.acquire_timepoint(
        frontier({A: 1}),
        lambda error: (tracker.acquire_timepoint(frontier({B: 1}), told.append), tracker.advance(B, 1)),
    )
    tracker.advance(A, 1)
    assert told == [None]


def test_what_callbacks_raise_goes_to_the_thread_that_advanced(tracker: FrontierTracker, told: Told) -> None:
    tracker.acquire_timepoint(frontier({A: 1}), refuse)
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    with pytest.raises(LookupError) as caught:
        tracker.advance(A, 1)
    assert (told, tracker.query_epoch(A)) == ([None], 1)
    assert "<FrontierTimepoint for <Frontier {0x1: 1}>>" in caught.value.__notes__[0]


# Cancelling ----------------------------------------------------------------------------------------------------------


def test_a_wait_that_was_cancelled_is_not_told(tracker: FrontierTracker, told: Told) -> None:
    wait = tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    assert (wait.cancel(), wait.cancel()) == (True, False)
    assert tracker.advance(A, 1) + tracker.advance(B, 1) == 0
    assert told == []


def test_a_wait_that_was_told_cannot_be_cancelled(tracker: FrontierTracker, told: Told) -> None:
    wait = tracker.acquire_timepoint(frontier({A: 1}), told.append)
    tracker.advance(A, 1)
    assert not wait.cancel()


def test_a_wait_that_is_half_reached_can_be_cancelled(tracker: FrontierTracker, told: Told) -> None:
    wait = tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    tracker.advance(A, 1)
    assert wait.cancel()


# Failing and retiring ------------------------------------------------------------------------------------------------

End = Callable[[FrontierTracker, int, BaseException], None]
ends = pytest.mark.parametrize("end", [FrontierTracker.fail_axis, FrontierTracker.retire_axis], ids=["fail", "retire"])


@ends
def test_an_axis_that_ends_also_ends_what_waits_for_it(tracker: FrontierTracker, end: End, told: Told) -> None:
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    tracker.acquire_timepoint(frontier({A: 2, B: 1}), told.append)
    end(tracker, A, BROKEN)
    assert told == [BROKEN, BROKEN]


@ends
def test_an_axis_that_ends_also_ends_what_comes_later(tracker: FrontierTracker, end: End, told: Told) -> None:
    end(tracker, A, BROKEN)
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    assert told == [BROKEN]


@ends
def test_an_axis_that_ends_goes_before_an_epoch_that_was_reached(
    tracker: FrontierTracker, end: End, told: Told
) -> None:
    tracker.advance(A, 5)
    end(tracker, A, BROKEN)
    tracker.acquire_timepoint(frontier({A: 5}), told.append)
    assert told == [BROKEN]


@ends
@pytest.mark.parametrize("other", [A, C], ids=["an earlier axis", "a later axis"])
def test_an_axis_that_ends_also_ends_a_wait_at_once_whatever_its_other_axes_do(
    tracker: FrontierTracker, end: End, other: int, told: Told
) -> None:
    """The reference lets it wait for an axis that sorts before."""
    end(tracker, B, BROKEN)
    tracker.acquire_timepoint(frontier({B: 1, other: 1}), told.append)
    assert told == [BROKEN]


@ends
def test_an_axis_that_ends_leaves_waits_for_other_axes(tracker: FrontierTracker, end: End, told: Told) -> None:
    tracker.acquire_timepoint(frontier({B: 1}), told.append)
    end(tracker, A, BROKEN)
    assert told == []
    tracker.advance(B, 1)
    assert told == [None]


@ends
def test_an_axis_that_ends_keeps_its_first_error(tracker: FrontierTracker, end: End, told: Told) -> None:
    end(tracker, A, BROKEN)
    end(tracker, A, OSError("later"))
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    assert told == [BROKEN]


@ends
def test_the_end_of_an_axis_that_is_not_registered_is_ignored(tracker: FrontierTracker, end: End) -> None:
    end(tracker, UNKNOWN, BROKEN)
    assert tracker.query_epoch(UNKNOWN) is None


@ends
def test_an_axis_that_ends_still_has_its_epoch(tracker: FrontierTracker, end: End) -> None:
    tracker.advance(A, 5)
    end(tracker, A, BROKEN)
    assert tracker.query_epoch(A) == 5


@ends
def test_an_axis_that_ends_also_ends_a_wait_once_though_its_other_axis_moves(
    tracker: FrontierTracker, end: End, told: Told
) -> None:
    wait = tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    end(tracker, A, BROKEN)
    tracker.advance(B, 1)
    end(tracker, B, OSError("later"))
    assert (told, wait.cancel()) == ([BROKEN], False)


@ends
def test_the_end_of_an_axis_needs_an_exception(tracker: FrontierTracker, end: End) -> None:
    with pytest.raises(TypeError, match="error must be an exception"):
        end(tracker, A, None)  # type: ignore[arg-type]


@ends
def test_the_end_of_an_axis_raises_what_callbacks_raise_after_all_were_called(
    tracker: FrontierTracker, end: End, told: Told
) -> None:
    tracker.acquire_timepoint(frontier({A: 1}), refuse)
    tracker.acquire_timepoint(frontier({A: 1}), refuse)
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    with pytest.raises(ExceptionGroup):
        end(tracker, A, BROKEN)
    assert told == [BROKEN]


@ends
def test_the_end_of_an_axis_that_has_come_far_enough_ends_a_wait_for_others(
    tracker: FrontierTracker, end: End, told: Told
) -> None:
    tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    tracker.advance(A, 1)
    end(tracker, A, BROKEN)
    assert told == [BROKEN]


@ends
def test_a_wait_that_an_axis_has_ended_is_not_told_again(tracker: FrontierTracker, end: End, told: Told) -> None:
    tracker.advance(A, 1)
    wait = tracker.acquire_timepoint(frontier({A: 1, B: 1, C: 1}), told.append)
    end(tracker, A, BROKEN)
    for axis in (B, C):
        tracker.advance(axis, 1)
    assert (told, wait.cancel()) == ([BROKEN], False)


# The semaphore of an axis --------------------------------------------------------------------------------------------


def test_a_semaphore_follows_its_axis() -> None:
    """Reference: bridging."""
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    tracker.advance(A, 5)
    assert (semaphore.query(), semaphore.query_frontier()) == (5, frontier({A: 5}))


def test_a_semaphore_is_signalled_before_waits_are_told() -> None:
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    seen: list[int] = []
    tracker.acquire_timepoint(frontier({A: 5}), lambda error: seen.append(semaphore.query()))
    assert (tracker.advance(A, 5), seen) == (1, [5])


def test_a_semaphore_that_is_further_already_is_left_alone() -> None:
    """The reference fails it, which two threads that advance one axis can bring about."""
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    semaphore.signal(7)
    tracker.advance(A, 5)
    assert (semaphore.query(), semaphore.error) == (7, None)


def test_a_semaphore_fails_with_its_axis() -> None:
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    tracker.fail_axis(A, BROKEN)
    assert semaphore.error is BROKEN


def test_callbacks_of_the_semaphore_may_use_the_tracker() -> None:
    """The reference fails the semaphore under the tracker's lock."""
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    seen: Told = []
    semaphore.acquire_timepoint(1, lambda error: tracker.acquire_timepoint(frontier({A: 1}), seen.append))
    tracker.fail_axis(A, BROKEN)
    assert seen == [BROKEN]


def test_a_semaphore_outlives_an_axis_that_is_retired() -> None:
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    tracker.retire_axis(A, BROKEN)
    tracker.advance(A, 5)
    assert (semaphore.query(), semaphore.error) == (0, None)


def test_what_callbacks_of_the_semaphore_raise_goes_to_the_thread_that_advanced(
    told: Told,
) -> None:
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    semaphore.acquire_timepoint(1, refuse)
    tracker.acquire_timepoint(frontier({A: 1}), told.append)
    with pytest.raises(LookupError):
        tracker.advance(A, 1)
    assert told == [None]


def test_an_advance_that_is_interrupted_anywhere_is_made_completely_or_not_at_all() -> None:
    point = 0
    was_interrupted = True
    outcomes = set()
    while was_interrupted:
        point += 1
        tracker, semaphore = FrontierTracker(), TimelineSemaphore()
        tracker.register_axis(A, semaphore)
        tracker.register_axis(B)
        tracker.advance(B, 1)
        called: list[str] = []
        tracker.acquire_timepoint(frontier({A: 1, B: 1}), lambda error: called.append("first"))  # noqa: B023
        tracker.acquire_timepoint(frontier({A: 1, B: 2}), lambda error: called.append("later"))  # noqa: B023
        was_interrupted = interrupt_at(point, lambda: tracker.advance(A, 1))  # noqa: B023
        outcomes.add((tracker.query_epoch(A), semaphore.query(), *called))
        tracker.advance(B, 2)
        assert called[-1:] == ["later"] or tracker.query_epoch(A) == 0
    assert outcomes <= {(0, 0), (1, 1, "first"), (1, 1)}
    assert point > 30


# The end -------------------------------------------------------------------------------------------------------------


def test_closing_ends_what_waits(told: Told) -> None:
    """Reference: destroy with waiters."""
    tracker = FrontierTracker()
    tracker.register_axis(A)
    tracker.register_axis(B)
    tracker.acquire_timepoint(frontier({A: 1, B: 1}), told.append)
    tracker.close()
    tracker.close()
    assert [type(error) for error in told] == [OperationCancelled]


def test_closing_without_waits(tracker: FrontierTracker) -> None:
    """Reference: destroy without waiters."""
    tracker.close()


def test_a_closed_tracker_takes_nothing(tracker: FrontierTracker) -> None:
    tracker.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        tracker.register_axis(9)
    with pytest.raises(FailedPrecondition, match="closed"):
        tracker.acquire_timepoint(Frontier(), print)


# Threads -------------------------------------------------------------------------------------------------------------


def in_threads(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_threads_that_advance_different_axes(tracker: FrontierTracker) -> None:
    """Reference: concurrent advance, different axes."""
    told: Told = []
    for epoch in range(1, 201):
        tracker.acquire_timepoint(frontier({A: epoch, B: epoch, C: epoch}), told.append)
    ended: list[int] = []

    def advance(axis: int) -> None:
        ended.append(sum(tracker.advance(axis, epoch) for epoch in range(1, 201)))

    in_threads(*[lambda axis=axis: advance(axis) for axis in (A, B, C)])  # type: ignore[misc]
    assert (told, sum(ended)) == ([None] * 200, 200)


def test_threads_that_advance_one_axis() -> None:
    """Reference: concurrent advance, same axis."""
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    told: Told = []
    for epoch in range(1, 201):
        tracker.acquire_timepoint(frontier({A: epoch}), told.append)

    def advance() -> None:
        for epoch in range(1, 201):
            tracker.advance(A, epoch)

    in_threads(advance, advance, advance, advance)
    assert (told, tracker.query_epoch(A), semaphore.query(), semaphore.error) == ([None] * 200, 200, 200, None)


def test_a_failure_among_advances_is_told_once_to_each(tracker: FrontierTracker) -> None:
    told: Told = []
    for epoch in range(1, 101):
        tracker.acquire_timepoint(frontier({A: epoch, B: 1}), told.append)

    def advance() -> None:
        for epoch in range(1, 101):
            tracker.advance(A, epoch)

    in_threads(advance, lambda: tracker.advance(B, 1), lambda: tracker.fail_axis(A, BROKEN))
    assert len(told) == 100
    assert set(told) <= {None, BROKEN}


# Scenarios -----------------------------------------------------------------------------------------------------------


def test_a_pipeline_of_queues(tracker: FrontierTracker) -> None:
    """Reference: scenario GpuPipeline: each stage begins when the one before it is done."""
    done: list[str] = []
    tracker.acquire_timepoint(frontier({A: 1}), lambda error: (done.append("copied"), tracker.advance(B, 1)))
    tracker.acquire_timepoint(frontier({A: 1, B: 1}), lambda error: (done.append("computed"), tracker.advance(C, 1)))
    tracker.acquire_timepoint(frontier({B: 1, C: 1}), lambda error: done.append("sent"))
    tracker.advance(A, 1)
    assert done == ["copied", "computed", "sent"]


def test_fan_out_and_fan_in() -> None:
    """Reference: scenario FanOutFanIn."""
    tracker = FrontierTracker()
    queues = [Axis.make_queue(1, 0, device, 0) for device in range(8)]
    for queue in queues:
        tracker.register_axis(queue)
    told: Told = []
    tracker.acquire_timepoint(Frontier([(queue, 1) for queue in queues]), told.append)
    assert [tracker.advance(queue, 1) for queue in queues] == [0] * 7 + [1]
    assert told == [None]


def test_a_device_is_lost(tracker: FrontierTracker) -> None:
    """Reference: scenario DeviceLost: what needs it fails, the rest goes on."""
    outcomes: dict[str, BaseException | None] = {}
    tracker.acquire_timepoint(frontier({A: 1, B: 1}), lambda error: outcomes.update(both=error))
    tracker.acquire_timepoint(frontier({B: 1}), lambda error: outcomes.update(other=error))
    tracker.fail_axis(A, BROKEN)
    tracker.advance(B, 1)
    assert outcomes == {"both": BROKEN, "other": None}
