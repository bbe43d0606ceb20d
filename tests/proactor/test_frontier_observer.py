"""Observers of a frontier tracker: what they are told, when, and what they leave alone."""

from __future__ import annotations

import threading

import pytest

from proactor_trio.proactor import AxisState, Frontier, FrontierTracker, TimelineSemaphore


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def axis_registered(self, axis: int) -> None:
        self.told.append(("registered", axis))

    def axis_advanced(self, axis: int, epoch: int) -> None:
        self.told.append(("advanced", axis, epoch))

    def axis_failed(self, axis: int, error: BaseException) -> None:
        self.told.append(("failed", axis, error))


@pytest.fixture
def tracker() -> FrontierTracker:
    made = FrontierTracker(axis_table_capacity=4)
    made.register_axis(1)
    return made


@pytest.fixture
def notes(tracker: FrontierTracker) -> Notes:
    observer = Notes()
    tracker.add_observer(observer)
    return observer


def test_it_is_told_of_an_advance(tracker: FrontierTracker, notes: Notes) -> None:
    tracker.advance(1, 5)
    assert notes.told == [("advanced", 1, 5)]


def test_it_is_not_told_of_an_advance_that_moves_nothing(tracker: FrontierTracker, notes: Notes) -> None:
    tracker.advance(1, 5)
    tracker.advance(1, 5)
    tracker.advance(1, 4)
    tracker.advance(2, 9)
    assert notes.told == [("advanced", 1, 5)]


def test_it_is_told_of_an_axis_that_is_registered_later_and_of_what_that_does(
    tracker: FrontierTracker, notes: Notes
) -> None:
    tracker.register_axis(2)
    tracker.advance(2, 1)
    assert notes.told == [("registered", 2), ("advanced", 2, 1)]


@pytest.mark.parametrize("end", [FrontierTracker.fail_axis, FrontierTracker.retire_axis])
def test_it_is_told_of_a_failure_once(end: object, tracker: FrontierTracker, notes: Notes) -> None:
    error = RuntimeError("the device is gone")
    for _ in range(2):
        end(tracker, 1, error)  # type: ignore[operator]
    assert notes.told == [("failed", 1, error)]


def test_it_learns_how_all_stand_when_it_comes(tracker: FrontierTracker) -> None:
    error = RuntimeError()
    tracker.register_axis(2)
    tracker.advance(1, 3)
    tracker.fail_axis(2, error)
    assert tracker.add_observer(Notes()) == [AxisState(1, 3, None), AxisState(2, 0, error)]


def test_it_is_told_once_although_it_was_added_twice(tracker: FrontierTracker, notes: Notes) -> None:
    tracker.add_observer(notes)
    tracker.advance(1, 1)
    assert notes.told == [("advanced", 1, 1)]


def test_it_is_told_nothing_after_it_was_removed(tracker: FrontierTracker, notes: Notes) -> None:
    tracker.remove_observer(notes)
    tracker.remove_observer(notes)
    tracker.register_axis(2)
    tracker.advance(1, 1)
    tracker.advance(2, 1)
    assert notes.told == []


def test_it_is_told_before_the_waits_are(tracker: FrontierTracker, notes: Notes) -> None:
    order: list[list[tuple[object, ...]]] = []
    semaphore = TimelineSemaphore()
    semaphore.acquire_timepoint(1, lambda error: order.append(list(notes.told)))
    tracker.register_axis(2, semaphore)
    tracker.advance(2, 1)
    assert semaphore.query() == 1
    assert order == [[("registered", 2)]]  # the semaphore goes first
    assert notes.told[-1] == ("advanced", 2, 1)


def test_a_retired_axis_leaves_its_semaphore_alone_and_tells_its_observer(tracker: FrontierTracker) -> None:
    semaphore = TimelineSemaphore()
    tracker.register_axis(2, semaphore)
    observer = Notes()
    tracker.add_observer(observer)
    tracker.retire_axis(2, RuntimeError())
    assert [told[0] for told in observer.told] == ["failed"]
    semaphore.signal(1)  # it has not failed


def test_it_may_use_the_tracker(tracker: FrontierTracker) -> None:
    class Copier(Notes):
        def axis_advanced(self, axis: int, epoch: int) -> None:
            if axis == 1:
                tracker.advance(2, epoch)

    tracker.register_axis(2)
    tracker.add_observer(Copier())
    tracker.advance(1, 7)
    assert tracker.query_epoch(2) == 7


def test_every_advance_of_several_threads_is_told(tracker: FrontierTracker, notes: Notes) -> None:
    axes = (1, 2, 3, 4)
    for axis in axes[1:]:
        tracker.register_axis(axis)

    def advance(axis: int) -> None:
        for epoch in range(1, 501):
            tracker.advance(axis, epoch)

    threads = [threading.Thread(target=advance, args=(axis,)) for axis in axes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for axis in axes:
        assert [told[2] for told in notes.told if told[:2] == ("advanced", axis)] == list(range(1, 501))


def test_many_axes_fail_at_once_and_each_is_told(tracker: FrontierTracker, notes: Notes) -> None:
    error = RuntimeError()
    tracker.register_axis(2)
    tracker.register_axis(3)
    notes.told.clear()
    tracker.fail_axes((1, 3, 99), error)
    assert notes.told == [("failed", 1, error), ("failed", 3, error)]


def test_a_wait_that_names_several_of_many_that_fail_at_once_ends_once(tracker: FrontierTracker) -> None:
    ended: list[BaseException | None] = []
    error = RuntimeError()
    tracker.register_axis(2)
    tracker.register_axis(3)
    tracker.advance(2, 5)
    tracker.acquire_timepoint(Frontier([(1, 1), (2, 1)]), ended.append)
    tracker.acquire_timepoint(Frontier([(1, 1), (3, 1)]), ended.append)
    tracker.acquire_timepoint(Frontier([(3, 1)]), ended.append)
    tracker.fail_axes((1, 2), error)
    assert ended == [error, error]
    tracker.advance(3, 1)
    assert ended == [error, error, None]
