"""Semaphores among threads, and interrupted by signal handlers. Reference: semaphore_test: concurrency."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import Frontier, SemaphoreSource, TimelineSemaphore, WaitMode, multi_wait
from tests.proactor.interruptions import interrupt_at

THREADS = 4
ROUNDS = 300

Make = Callable[[], SemaphoreSource]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


def hammer(*calls: Callable[[], object]) -> None:
    """Make the calls at the same time, a thread each; the first error of any is raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        start.wait(10)
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_signals_of_many_threads_are_each_made_or_refused(make: Make) -> None:
    semaphore = make()
    made: list[int] = []

    def signal_often() -> None:
        for _ in range(ROUNDS):
            value = semaphore.query() + 1
            try:
                semaphore.signal(value, Frontier([(1, value)]))
            except ValueError:
                continue
            made.append(value)

    hammer(*[signal_often] * THREADS)
    assert sorted(made) == list(range(1, semaphore.query() + 1))
    assert semaphore.query_frontier() == Frontier([(1, semaphore.query())])


def test_each_timepoint_is_called_once_whoever_signals(make: Make) -> None:
    semaphore = make()
    called: list[int] = []

    def acquire_often() -> None:
        for value in range(1, ROUNDS + 1):
            semaphore.acquire_timepoint(value, lambda error, value=value: called.append(value))  # type: ignore[misc]

    def signal_often() -> None:
        while (value := semaphore.query() + 1) <= ROUNDS:
            try:
                semaphore.signal(value)
            except ValueError:
                continue

    hammer(acquire_often, acquire_often, signal_often, signal_often)
    assert sorted(called) == sorted([*range(1, ROUNDS + 1)] * 2)


def test_a_timepoint_is_called_or_cancelled_and_never_both(make: Make) -> None:
    semaphore = make()
    called: list[int] = []
    cancelled: list[int] = []
    timepoints = {
        value: semaphore.acquire_timepoint(value, lambda error, value=value: called.append(value))  # type: ignore[misc]
        for value in range(1, ROUNDS + 1)
    }

    def cancel_all() -> None:
        cancelled.extend([value for value, timepoint in timepoints.items() if timepoint.cancel()])

    def signal_all() -> None:
        for value in timepoints:
            semaphore.signal(value)

    hammer(signal_all, cancel_all)
    assert sorted(called + cancelled) == list(timepoints)


def test_a_failure_among_signals_reaches_what_waits_exactly_once(make: Make) -> None:
    for _ in range(20):
        semaphore = make()
        told: list[BaseException | None] = []
        for value in range(1, 20):
            semaphore.acquire_timepoint(value, told.append)
        first, second = OSError("first"), OSError("second")
        hammer(lambda: semaphore.fail(first), lambda: semaphore.fail(second), lambda: semaphore.signal(19))  # noqa: B023
        assert len(told) == 19
        assert set(told) <= {None, semaphore.error}


@pytest.mark.parametrize("mode", [WaitMode.ALL, WaitMode.ANY])
def test_waits_of_many_threads_end(make: Make, mode: WaitMode) -> None:
    for _ in range(20):
        semaphores = [make() for _ in range(THREADS)]
        calls: list[Callable[[], object]] = [
            lambda semaphore=semaphore: semaphore.signal(1)  # type: ignore[misc]
            for semaphore in semaphores
        ]
        hammer(*calls, *[lambda: multi_wait(semaphores, [1] * THREADS, mode, 10)] * 2)  # noqa: B023
        assert [semaphore._agenda.entries for semaphore in semaphores] == [[]] * THREADS


# Interruptions -------------------------------------------------------------------------------------------------------


def test_a_signal_that_is_interrupted_anywhere_is_made_completely_or_not_at_all() -> None:
    point = 0
    was_interrupted = True
    outcomes = set()
    while was_interrupted:
        point += 1
        semaphore, linked = TimelineSemaphore(), TimelineSemaphore()
        called: list[str] = []
        semaphore.acquire_timepoint(1, lambda error: called.append("first"))  # noqa: B023
        semaphore.link(1, linked, 1)
        semaphore.acquire_timepoint(1, lambda error: called.append("last"))  # noqa: B023
        was_interrupted = interrupt_at(point, lambda: semaphore.signal(1, Frontier([(1, 1)])))  # noqa: B023
        state = semaphore.query(), len(semaphore.query_frontier()), linked.query(), len(semaphore._agenda.entries)
        outcomes.add((*state, *called))
        semaphore.close()
    assert outcomes <= {
        (0, 0, 0, 3),
        (1, 1, 1, 0, "first", "last"),
        # Interrupted at the first step of a callback itself, which is not called again:
        (1, 1, 1, 0, "last"),
        (1, 1, 1, 0, "first"),
    }
    assert point > 30


def test_a_failure_that_is_interrupted_anywhere_is_told_to_all_or_to_nobody() -> None:
    point = 0
    was_interrupted = True
    outcomes = set()
    while was_interrupted:
        point += 1
        semaphore, linked = DeviceSemaphore(), TimelineSemaphore()
        called: list[str] = []
        semaphore.acquire_timepoint(1, lambda error: called.append("callback"))  # noqa: B023
        semaphore.link(1, linked, 1)
        was_interrupted = interrupt_at(point, lambda: semaphore.fail(OSError()))  # noqa: B023
        outcomes.add((semaphore.error is None, linked.error is None, *called, len(semaphore.failures)))
        linked.close()
        semaphore.close()
    assert outcomes <= {
        (True, True, 0),
        (False, False, "callback", 1),
        # Interrupted at the first step of the callback, or of on_fail() itself:
        (False, False, 1),
        (False, False, "callback", 0),
    }
    assert point > 30


def test_a_timepoint_whose_acquisition_is_interrupted_is_called_at_most_once() -> None:
    point = 0
    was_interrupted = True
    while was_interrupted:
        point += 1
        semaphore = TimelineSemaphore()
        called: list[object] = []
        was_interrupted = interrupt_at(point, lambda: semaphore.acquire_timepoint(1, called.append))  # noqa: B023
        semaphore.signal(1)
        assert len(called) <= 1
        semaphore.close()
    assert called == [None]
