"""event/event and event/event_pool: events, and pools of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import process_time_ns

from cts.benchmarks.measuring import Benchmark, Linear, Work, register
from proactor_trio.proactor import Event, EventPool, EventWait, OperationState, Proactor

DONE = OperationState.DONE
BATCHES = (4, 16, 64)


def acquire_release(proactor: Proactor, size: int) -> Iterator[Work]:
    with EventPool(size) as pool:

        def work(units: int) -> None:
            for _ in range(units):
                events = [pool.acquire() for _ in range(size)]
                for event in events:
                    pool.release(event)

        yield work


def batch_acquire(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many at a time; giving them back is outside of what is measured."""
    with EventPool(size) as pool:

        def work(units: int) -> int:
            spent = 0
            for _ in range(units):
                begun = process_time_ns()
                events = [pool.acquire() for _ in range(size)]
                spent += process_time_ns() - begun
                for event in events:
                    pool.release(event)
            return spent

        yield work


def acquire_grow(proactor: Proactor, size: int) -> Iterator[Work]:
    """Cold: each acquire makes an event, and so many make a pool."""

    def work(units: int) -> None:
        for _ in range(units):
            with EventPool() as pool:
                pool.release(pool.acquire())

    yield work


def wait_pre_signaled(proactor: Proactor, size: int) -> Iterator[Work]:
    with Event() as event:
        wait = EventWait(event)

        def work(units: int) -> None:
            for _ in range(units):
                event.set()
                proactor.submit(wait)
                while wait.state is not DONE:
                    proactor.poll(1)

        yield work


def signal_wait(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many waits that are pending, then signalled."""
    events = [Event() for _ in range(size)]
    waits = [EventWait(event) for event in events]

    def work(units: int) -> None:
        for _ in range(units):
            proactor.submit(*waits)
            proactor.poll(0)
            for event in events:
                event.set()
            while any(wait.state is not DONE for wait in waits):
                proactor.poll(1)

    yield work
    for event in events:
        event.close()


def cross_thread_signal(proactor: Proactor, size: int) -> Iterator[Work]:
    with Event() as event:
        wait = EventWait(event)
        asked, stop = threading.Semaphore(0), threading.Event()

        def signaller() -> None:
            while True:
                asked.acquire()
                if stop.is_set():
                    return
                event.set()

        thread = threading.Thread(target=signaller)
        thread.start()

        def work(units: int) -> None:
            for _ in range(units):
                proactor.submit(wait)
                asked.release()
                while wait.state is not DONE:
                    proactor.poll(1)

        yield work
        stop.set()
        asked.release()
        thread.join()


register(Benchmark("event/event/EventPoolAcquireRelease", acquire_release))
register(Benchmark("event/event/EventPoolBatchAcquireRelease", acquire_release, BATCHES, Linear(1.5)))
register(Benchmark("event/event_pool/EventPoolAcquireRelease", acquire_release, limit_us=1.0))
register(Benchmark("event/event_pool/EventPoolAcquireGrow", acquire_grow))
register(Benchmark("event/event_pool/EventPoolBatchAcquire", batch_acquire, BATCHES, Linear(1.5)))
register(Benchmark("event/event/EventWaitPreSignaled", wait_pre_signaled))
register(Benchmark("event/event/EventSignalWait", signal_wait))
register(Benchmark("event/event/EventBatchSignalWait", signal_wait, BATCHES, Linear(1.5)))
register(Benchmark("event/event/EventCrossThreadSignal", cross_thread_signal))
