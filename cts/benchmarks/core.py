"""core/dispatch_scalability and core/sequence: what idle handlers, relays and steps cost."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cts.benchmarks.measuring import Benchmark, Flat, Linear, Work, drive, register
from proactor_trio.proactor import (
    EventSource,
    Nop,
    Notification,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Relay,
    RelayFlags,
    Sequence,
    SignalNotification,
)

DONE = OperationState.DONE
IDLE_SIZES = (1, 16, 256, 4096)
STEPS = (1, 4, 16, 64)


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def _settle(proactor: Proactor) -> None:
    """Poll until nothing is in flight."""
    drive(proactor, lambda: not proactor.statistics()["in_flight"])


def dispatch_among_idle_handlers(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many idle event sources, and one relay that is active."""
    descriptors = [_eventfd() for _ in range(size)]
    sources = [EventSource(proactor, descriptor, lambda source, events: None) for descriptor in descriptors]
    source, sink = _eventfd(), Notification()
    relay = Relay(proactor, source, SignalNotification(sink), RelayFlags.PERSISTENT)

    def work(units: int) -> None:
        for _ in range(units):
            before = relay.fired
            os.eventfd_write(source, 1)
            while relay.fired == before:
                proactor.poll(1)

    yield work
    relay.close()
    for idle in sources:
        idle.close()
    _settle(proactor)
    for descriptor in (*descriptors, source):
        os.close(descriptor)


def relay_dispatch_scalability(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many relays, of which one is spoken to."""
    descriptors = [_eventfd() for _ in range(size)]
    sink = Notification()
    relays = [
        Relay(proactor, descriptor, SignalNotification(sink), RelayFlags.PERSISTENT) for descriptor in descriptors
    ]

    def work(units: int) -> None:
        for _ in range(units):
            before = relays[0].fired
            os.eventfd_write(descriptors[0], 1)
            while relays[0].fired == before:
                proactor.poll(1)

    yield work
    for relay in relays:
        relay.close()
    _settle(proactor)
    for descriptor in descriptors:
        os.close(descriptor)


def notification_relay_fan_out(proactor: Proactor, size: int) -> Iterator[Work]:
    """One notification that feeds so many others."""
    source = Notification()
    relays = [Relay(proactor, source, SignalNotification(Notification()), RelayFlags.PERSISTENT) for _ in range(size)]

    def work(units: int) -> None:
        for _ in range(units):
            before = relays[-1].fired
            source.signal()
            while relays[-1].fired == before or relays[0].fired == before:
                proactor.poll(1)

    yield work
    for relay in relays:
        relay.close()
    _settle(proactor)


def _sequence(proactor: Proactor, sequence: Sequence) -> Work:
    def work(units: int) -> None:
        for _ in range(units):
            proactor.submit(sequence)
            while sequence.state is not DONE:
                proactor.poll(1)

    return work


def _go_on(sequence: Sequence, completed: Operation, following: Operation | None) -> None:
    return


def sequence_link_nops(proactor: Proactor, size: int) -> Iterator[Work]:
    """Steps that the kernel links."""
    yield _sequence(proactor, Sequence([Nop() for _ in range(size)]))


def sequence_emulation_nops(proactor: Proactor, size: int) -> Iterator[Work]:
    """Steps one at a time, with a step function."""
    yield _sequence(proactor, Sequence([Nop() for _ in range(size)], _go_on))


def raw_linked(proactor: Proactor, size: int) -> Iterator[Work]:
    """The same steps as a LINKED batch of the caller's, of which each completion is seen."""
    seen: list[Operation] = []
    steps = [Nop(lambda operation, flags: seen.append(operation), flags=OperationFlags.LINKED) for _ in range(size)]
    steps[-1].flags = OperationFlags.NONE
    last = steps[-1]

    def work(units: int) -> None:
        for _ in range(units):
            seen.clear()
            proactor.submit(*steps)
            while last.state is not DONE:
                proactor.poll(1)

    yield work


def step_function_overhead(proactor: Proactor, size: int) -> Iterator[Work]:
    """The same steps submitted one by one from completion functions, which is what a step function replaces."""
    nop = Nop()

    def work(units: int) -> None:
        for _ in range(units):
            for _ in range(size):
                proactor.submit(nop)
                while nop.state is not DONE:
                    proactor.poll(1)

    yield work


DISPATCH = "core/dispatch_scalability"
register(Benchmark(f"{DISPATCH}/DispatchAmongIdleHandlers", dispatch_among_idle_handlers, IDLE_SIZES, Flat(1.5)))
register(Benchmark(f"{DISPATCH}/RelayDispatchScalability", relay_dispatch_scalability, IDLE_SIZES, Flat(1.5)))
register(Benchmark(f"{DISPATCH}/NotificationRelayFanOut", notification_relay_fan_out, (1, 16, 64, 256), Linear(1.5)))
RAW = "core/sequence/RawLinked"
register(Benchmark(RAW, raw_linked, STEPS, Linear(1.5)))
register(Benchmark("core/sequence/SequenceLinkNops", sequence_link_nops, STEPS, Linear(1.5)))
register(Benchmark("core/sequence/SequenceVsRawLinked", sequence_link_nops, STEPS[1:], compared_with=RAW, at_most=1.3))
ONE_BY_ONE = "core/sequence/OneByOne"
register(Benchmark(ONE_BY_ONE, step_function_overhead, STEPS, Linear(1.5)))
register(Benchmark("core/sequence/SequenceEmulationNops", sequence_emulation_nops, STEPS, Linear(1.5)))
register(
    Benchmark("core/sequence/StepFnOverhead", sequence_emulation_nops, STEPS[2:], compared_with=ONE_BY_ONE, at_most=2.0)
)
