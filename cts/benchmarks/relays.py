"""sync/relay: relays from descriptor to descriptor; and futexes."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator

from cts.benchmarks.measuring import Benchmark, Linear, Work, drive, register
from proactor_trio.proactor import (
    Capability,
    FutexWait,
    FutexWake,
    OperationState,
    Proactor,
    Relay,
    RelayFlags,
    SignalHandle,
)

DONE = OperationState.DONE


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def persistent_relay(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many persistent relays; a unit is a firing of all of them."""
    sources, sink = [_eventfd() for _ in range(size)], _eventfd()
    relays = [Relay(proactor, source, SignalHandle(sink), RelayFlags.PERSISTENT) for source in sources]

    def work(units: int) -> None:
        for _ in range(units):
            before = relays[0].fired
            for source in sources:
                os.eventfd_write(source, 1)
            while any(relay.fired == before for relay in relays):
                proactor.poll(1)

    yield work
    for relay in relays:
        relay.close()
    drive(proactor, lambda: not proactor.statistics()["in_flight"])
    for descriptor in (*sources, sink):
        os.close(descriptor)


def one_shot_relay(proactor: Proactor, size: int) -> Iterator[Work]:
    """Made, spoken to, fired: in the kernel where it links."""
    source, sink = _eventfd(), _eventfd()

    def work(units: int) -> None:
        for _ in range(units):
            relay = Relay(proactor, source, SignalHandle(sink))
            os.eventfd_write(source, 1)
            while not relay.fired:
                proactor.poll(1)
            os.eventfd_read(source)

    yield work
    os.close(source)
    os.close(sink)


def futex_wake_no_waiters(proactor: Proactor, size: int) -> Iterator[Work]:
    memory = mmap.mmap(-1, 4096)
    view = memoryview(memory)
    word = view[:4]
    wake = FutexWake(word)

    def work(units: int) -> None:
        for _ in range(units):
            proactor.submit(wake)
            while wake.state is not DONE:
                proactor.poll(1)

    yield work
    word.release()
    view.release()
    wake.word = None
    memory.close()


def futex_round_trip(proactor: Proactor, size: int) -> Iterator[Work]:
    memory = mmap.mmap(-1, 4096)
    view = memoryview(memory)
    word = view[:4]
    wait, wake = FutexWait(word, 0), FutexWake(word)

    def work(units: int) -> None:
        for _ in range(units):
            proactor.submit(wait, wake)
            while wait.state is not DONE or wake.state is not DONE:
                proactor.poll(1)

    yield work
    word.release()
    view.release()
    wait.word = wake.word = None
    memory.close()


def futex_cross_thread(proactor: Proactor, size: int) -> Iterator[Work]:
    """A wait that is ended by the proactor of another thread."""
    memory = mmap.mmap(-1, 4096)
    view = memoryview(memory)
    word = view[:4]
    wait = FutexWait(word, 0)
    asked, stop = threading.Semaphore(0), threading.Event()

    def waker() -> None:
        wake = FutexWake(word)
        with Proactor(proactor.backend_name) as other:
            while asked.acquire() and not stop.is_set():
                word[0] = 1
                other.submit(wake)
                while wake.state is not DONE:
                    other.poll(1)
        wake.word = None

    thread = threading.Thread(target=waker)
    thread.start()

    def work(units: int) -> None:
        for _ in range(units):
            word[0] = 0
            proactor.submit(wait)
            proactor.poll(0)
            asked.release()
            while wait.state is not DONE:
                proactor.poll(1)

    yield work
    stop.set()
    asked.release()
    thread.join()
    word.release()
    view.release()
    wait.word = None
    memory.close()


register(Benchmark("sync/relay/RelayThroughput", persistent_relay))
register(Benchmark("sync/relay/RelayLatency", one_shot_relay))
register(Benchmark("sync/relay/RelayScalability", persistent_relay, (1, 4, 16, 64, 256, 1024), Linear(1.5)))
register(Benchmark("futex/FutexWakeNoWaiters", futex_wake_no_waiters, needs=Capability.FUTEX_OPERATIONS))
register(Benchmark("futex/FutexCrossThread", futex_cross_thread, needs=Capability.FUTEX_OPERATIONS))
register(Benchmark("futex/FutexRoundTrip", futex_round_trip, needs=Capability.FUTEX_OPERATIONS))
