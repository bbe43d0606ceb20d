"""frontier and frontier_tracker: vector clocks; no backend takes part."""

from __future__ import annotations

from collections.abc import Iterator

from cts.benchmarks.measuring import Benchmark, Flat, Linear, Work, register
from proactor_trio.proactor import Frontier, FrontierTracker, Proactor, TimelineSemaphore

ENTRIES = (1, 8, 32, 120)
EIGHT = (8,)


def _frontier(entries: int, epoch: int = 5, first: int = 1, step: int = 1) -> Frontier:
    return Frontier.from_epochs({first + step * index: epoch for index in range(entries)})


def _comparing(left: Frontier, right: Frontier) -> Work:
    def work(units: int) -> None:
        for _ in range(units):
            left.compare(right)

    return work


def _merging(left: Frontier, right: Frontier) -> Work:
    def work(units: int) -> None:
        for _ in range(units):
            left.merge(right)

    return work


def compare_fast(proactor: Proactor, size: int) -> Iterator[Work]:
    left, right = _frontier(size, 5), _frontier(size, 6)
    yield _comparing(left, right)


def compare_slow(proactor: Proactor, size: int) -> Iterator[Work]:
    left, right = _frontier(size, 5, 1, 2), _frontier(size, 6, 2, 2)
    yield _comparing(left, right)


def merge_epoch_max(proactor: Proactor, size: int) -> Iterator[Work]:
    left, right = _frontier(size, 5), _frontier(size, 6)
    yield _merging(left, right)


def merge_right_to_left(proactor: Proactor, size: int) -> Iterator[Work]:
    left, right = _frontier(size, 5, 1, 2), _frontier(size, 6, 2, 2)
    yield _merging(left, right)


def is_satisfied(proactor: Proactor, size: int) -> Iterator[Work]:
    wanted, current = _frontier(size, 5), dict(_frontier(size, 6))

    def work(units: int) -> None:
        for _ in range(units):
            wanted.is_satisfied(current)

    yield work


def find_undominated(proactor: Proactor, size: int) -> Iterator[Work]:
    reference, target = _frontier(size, 5), _frontier(size, 6)

    def work(units: int) -> None:
        for _ in range(units):
            target.find_undominated(reference)

    yield work


def network_update(proactor: Proactor, size: int) -> Iterator[Work]:
    """A frontier that arrives as bytes and is merged."""
    known, wire = _frontier(size, 5), _frontier(size, 6).to_bytes()

    def work(units: int) -> None:
        for _ in range(units):
            known.merge(Frontier.from_bytes(wire))

    yield work


def advance_no_waiters(proactor: Proactor, size: int) -> Iterator[Work]:
    tracker = FrontierTracker()
    tracker.register_axis(1)
    epoch = 0

    def work(units: int) -> None:
        nonlocal epoch
        for _ in range(units):
            epoch += 1
            tracker.advance(1, epoch)

    yield work
    tracker.close()


def advance_unaffected(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many wait for another axis."""
    tracker = FrontierTracker()
    tracker.register_axis(1)
    tracker.register_axis(2)
    for _ in range(size):
        tracker.wait(Frontier.from_epochs({2: 5}), lambda error: None)
    epoch = 0

    def work(units: int) -> None:
        nonlocal epoch
        for _ in range(units):
            epoch += 1
            tracker.advance(1, epoch)

    yield work
    tracker.close()


def advance_dispatch_many(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many waits that one advance satisfies; with their registration."""
    tracker = FrontierTracker()
    tracker.register_axis(1)
    epoch = 0

    def work(units: int) -> None:
        nonlocal epoch
        for _ in range(units):
            epoch += 1
            wanted = Frontier.from_epochs({1: epoch})
            for _ in range(size):
                tracker.wait(wanted, lambda error: None)
            tracker.advance(1, epoch)

    yield work
    tracker.close()


def wait_immediate(proactor: Proactor, size: int) -> Iterator[Work]:
    tracker = FrontierTracker()
    for axis in range(1, size + 1):
        tracker.register_axis(axis)
        tracker.advance(axis, 5)
    wanted = _frontier(size, 5)

    def work(units: int) -> None:
        for _ in range(units):
            tracker.wait(wanted, lambda error: None)

    yield work
    tracker.close()


def semaphore_signal(proactor: Proactor, size: int) -> Iterator[Work]:
    """A signal that so many timepoints wait for; with their acquisition."""
    semaphore = TimelineSemaphore()
    value = 0

    def work(units: int) -> None:
        nonlocal value
        for _ in range(units):
            value += 1
            for _ in range(size):
                semaphore.acquire_timepoint(value, lambda error: None)
            semaphore.signal(value)

    yield work
    semaphore.close()


register(Benchmark("frontier/Compare/FastPath", compare_fast, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/Compare/SlowPath", compare_slow, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/Compare/8", compare_slow, EIGHT, limit_us=3.0))
register(Benchmark("frontier/Merge/EpochMax", merge_epoch_max, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/Merge/RightToLeft", merge_right_to_left, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/Merge/8", merge_right_to_left, EIGHT, limit_us=3.0))
register(Benchmark("frontier/IsSatisfied", is_satisfied, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/FindUndominated", find_undominated, ENTRIES, Linear(1.5)))
register(Benchmark("frontier/ScenarioNetworkUpdate", network_update, ENTRIES, Linear(1.5)))
register(Benchmark("frontier_tracker/AdvanceNoWaiters", advance_no_waiters))
register(Benchmark("frontier_tracker/AdvanceUnaffectedWaiters", advance_unaffected, (1, 16, 256), Flat(1.5)))
register(Benchmark("frontier_tracker/AdvanceDispatchMany", advance_dispatch_many, (1, 16, 256), Linear(1.5)))
register(Benchmark("frontier_tracker/WaitImmediate", wait_immediate, (1, 8, 32), Linear(1.5)))
register(Benchmark("semaphore/SignalTimepoints", semaphore_signal, (1, 16, 256), Linear(1.5)))
