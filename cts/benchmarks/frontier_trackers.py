"""frontier_tracker: advances, waits, cancellations, as calls and as operations. And the timepoints of a semaphore."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from time import process_time_ns

from cts.benchmarks.frontiers import frontier_of, repeated
from cts.benchmarks.measuring import Benchmark, Flat, Linear, Scene, Work, drive, register
from proactor_trio.proactor import Frontier, FrontierTracker, FrontierWait, OperationState, Proactor, TimelineSemaphore

WAITERS = (1, 16, 256)
AXES = (1, 8, 32)
WAITS = (1, 100, 1000)
SIXTEEN = 16
#: An epoch that no axis reaches here.
FAR = 1 << 60


def _told(error: BaseException | None) -> None:
    return


@contextmanager
def _tracker(axes: int) -> Iterator[FrontierTracker]:
    with FrontierTracker() as tracker:
        for axis in range(1, axes + 1):
            tracker.register_axis(axis)
        yield tracker


# What there is to compare with ---------------------------------------------------------------------------------------


def baseline_mutex(proactor: Proactor, size: int) -> Iterator[Work]:
    """A lock that is taken and given back."""
    lock = threading.Lock()

    def take() -> None:
        with lock:
            pass

    yield repeated(take)


def baseline_callback(proactor: Proactor, size: int) -> Iterator[Work]:
    """A callback that is called."""
    yield repeated(lambda: _told(None))


def baseline_indirect(proactor: Proactor, size: int) -> Iterator[Work]:
    """A callback that stands in a table."""
    table: dict[int, Callable[[BaseException | None], None]] = {1: _told}
    yield repeated(lambda: table[1](None))


# Advancing -----------------------------------------------------------------------------------------------------------


def advance_no_waiters(proactor: Proactor, size: int) -> Iterator[Work]:
    with _tracker(1) as tracker:
        yield _advancing(tracker)


def advance_unaffected(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many wait for another axis."""
    with _tracker(2) as tracker:
        for _ in range(size):
            tracker.acquire_timepoint(Frontier.from_epochs({2: 5}), _told)
        yield _advancing(tracker)


def _advancing(tracker: FrontierTracker) -> Work:
    epoch = 0

    def advance() -> None:
        nonlocal epoch
        epoch += 1
        tracker.advance(1, epoch)

    return repeated(advance)


def advance_dispatch_many(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many waits that one advance satisfies; with their registration."""
    with _tracker(1) as tracker:
        epoch = 0

        def dispatch() -> None:
            nonlocal epoch
            epoch += 1
            wanted = Frontier.from_epochs({1: epoch})
            for _ in range(size):
                tracker.acquire_timepoint(wanted, _told)
            tracker.advance(1, epoch)

        yield repeated(dispatch)


def advance_dispatch_only(proactor: Proactor, size: int) -> Iterator[Work]:
    """Each advance satisfies one wait of many that were registered beforehand; they are outside of what is measured."""
    with _tracker(1) as tracker:
        epoch = 0

        def work(units: int) -> int:
            nonlocal epoch
            for wanted in range(epoch + 1, epoch + units + 1):
                tracker.acquire_timepoint(Frontier.from_epochs({1: wanted}), _told)
            begun = process_time_ns()
            for _ in range(units):
                epoch += 1
                tracker.advance(1, epoch)
            return process_time_ns() - begun

        yield work


def advance_multi_entry(proactor: Proactor, size: int) -> Iterator[Work]:
    """A wait for so many axes, which come one after the other; with its registration."""
    with _tracker(size) as tracker:
        epoch = 0

        def dispatch() -> None:
            nonlocal epoch
            epoch += 1
            tracker.acquire_timepoint(frontier_of(size, epoch), _told)
            for axis in range(1, size + 1):
                tracker.advance(axis, epoch)

        yield repeated(dispatch)


# Waiting and letting go ----------------------------------------------------------------------------------------------


def wait_immediate(proactor: Proactor, size: int) -> Iterator[Work]:
    with _tracker(size) as tracker:
        for axis in range(1, size + 1):
            tracker.advance(axis, 5)
        wanted = frontier_of(size, 5)
        yield repeated(lambda: tracker.acquire_timepoint(wanted, _told))


def wait_pending(proactor: Proactor, size: int) -> Iterator[Work]:
    """A wait for so many axes that stays pending; letting it go is outside of what is measured."""
    with _tracker(size) as tracker:
        wanted = frontier_of(size, 5)

        def work(units: int) -> int:
            begun = process_time_ns()
            waits = [tracker.acquire_timepoint(wanted, _told) for _ in range(units)]
            spent = process_time_ns() - begun
            for wait in waits:
                wait.cancel()
            return spent

        yield work


def _cancelling(epoch: int) -> Scene:
    """A wait for `epoch` beside others for 7."""

    def scene(proactor: Proactor, size: int) -> Iterator[Work]:
        """One wait beside so many others, let go; its registration is outside of what is measured."""
        with _tracker(1) as tracker:
            for _ in range(size):
                tracker.acquire_timepoint(Frontier.from_epochs({1: 7}), _told)
            wanted = Frontier.from_epochs({1: epoch})

            def work(units: int) -> int:
                spent = 0
                for _ in range(units):
                    wait = tracker.acquire_timepoint(wanted, _told)
                    begun = process_time_ns()
                    wait.cancel()
                    spent += process_time_ns() - begun
                return spent

            yield work

    return scene


# Scenes --------------------------------------------------------------------------------------------------------------


def gpu_completion(proactor: Proactor, size: int) -> Iterator[Work]:
    """A queue's axis with a semaphore; one waits for each submission."""
    with TimelineSemaphore() as semaphore, FrontierTracker() as tracker:
        tracker.register_axis(1, semaphore)
        epoch = 0

        def complete() -> None:
            nonlocal epoch
            epoch += 1
            tracker.acquire_timepoint(Frontier.from_epochs({1: epoch}), _told)
            tracker.advance(1, epoch)

        yield repeated(complete)


def fan_in(proactor: Proactor, size: int) -> Iterator[Work]:
    """One waits for so many axes."""
    yield from advance_multi_entry(proactor, size)


def fan_out(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many wait for one axis."""
    yield from advance_dispatch_many(proactor, size)


def semaphore_signal(proactor: Proactor, size: int) -> Iterator[Work]:
    """A signal that so many timepoints wait for; with their acquisition."""
    with TimelineSemaphore() as semaphore:
        value = 0

        def signal() -> None:
            nonlocal value
            value += 1
            for _ in range(size):
                semaphore.acquire_timepoint(value, _told)
            semaphore.signal(value)

        yield repeated(signal)


# Operations ----------------------------------------------------------------------------------------------------------


@contextmanager
def _many_waits(proactor: Proactor, size: int) -> Iterator[FrontierTracker]:
    """16 axes, and so many operations that wait for two of them each, and are never reached."""
    with _tracker(SIXTEEN) as tracker:
        pairs = [(number % SIXTEEN, (number * 7 + 3) % SIXTEEN) for number in range(size)]
        waits = [tracker.wait(Frontier.from_epochs(dict.fromkeys({1 + one, 1 + other}, FAR))) for one, other in pairs]
        proactor.submit(*waits)
        proactor.poll(0)
        yield tracker
        for wait in waits:
            proactor.cancel(wait)
        drive(proactor, lambda: all(wait.state is OperationState.DONE for wait in waits))


def operations_unaffected(proactor: Proactor, size: int) -> Iterator[Work]:
    """An advance of one of 16 axes, for later epochs of which so many operations wait."""
    with _many_waits(proactor, size) as tracker:
        turns = count()

        def advance() -> None:
            turn = next(turns)
            tracker.advance(1 + turn % SIXTEEN, 1 + turn)

        yield repeated(advance)


def operation_reached(proactor: Proactor, size: int) -> Iterator[Work]:
    """A wait is submitted, its axis is advanced, its completion is polled, beside so many other waits."""
    with _many_waits(proactor, size) as tracker:
        epochs = count(1)
        wait = FrontierWait(tracker, Frontier())

        def reach() -> None:
            epoch = next(epochs)
            wait.frontier = Frontier([(1, epoch)])
            proactor.submit(wait)
            tracker.advance(1, epoch)
            proactor.poll(0)

        yield repeated(reach)


register(Benchmark("frontier_tracker/Baseline/Mutex", baseline_mutex))
register(Benchmark("frontier_tracker/Baseline/Callback", baseline_callback))
register(Benchmark("frontier_tracker/Baseline/Indirect", baseline_indirect))
register(Benchmark("frontier_tracker/Advance/NoWaiters", advance_no_waiters))
register(Benchmark("frontier_tracker/Advance/UnaffectedWaiters", advance_unaffected, WAITERS, Flat(1.5)))
register(Benchmark("frontier_tracker/Advance/DispatchOne", advance_dispatch_many))
register(Benchmark("frontier_tracker/Advance/DispatchOnly", advance_dispatch_only))
register(Benchmark("frontier_tracker/Advance/DispatchMany", advance_dispatch_many, WAITERS, Linear(1.5)))
register(Benchmark("frontier_tracker/Advance/MultiEntry", advance_multi_entry, AXES, Linear(1.5)))
register(Benchmark("frontier_tracker/Wait/Immediate", wait_immediate, AXES, Linear(1.5)))
register(Benchmark("frontier_tracker/Wait/Pending", wait_pending))
register(Benchmark("frontier_tracker/Wait/MultiEntry", wait_pending, AXES, Linear(1.5)))
register(Benchmark("frontier_tracker/Cancel/Head", _cancelling(6), WAITERS, Flat(2.0)))
register(Benchmark("frontier_tracker/Cancel/Tail", _cancelling(8), WAITERS, Flat(2.0)))
register(Benchmark("frontier_tracker/Scenario/GPUCompletion", gpu_completion))
register(Benchmark("frontier_tracker/Scenario/FanIn", fan_in, AXES, Linear(1.5)))
register(Benchmark("frontier_tracker/Scenario/FanOut", fan_out, WAITERS, Linear(1.5)))
register(Benchmark("semaphore/SignalTimepoints", semaphore_signal, WAITERS, Linear(1.5)))
register(Benchmark("frontier_tracker/Operations/UnaffectedWaits", operations_unaffected, WAITS, Flat(1.5)))
register(Benchmark("frontier_tracker/Operations/ReachedWait", operation_reached, WAITS, Flat(1.5)))
