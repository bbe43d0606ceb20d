"""Events, event pools and event sources."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cts.support import Completions, finish, pipe, poll_until, settle, start
from proactor_trio.proactor import (
    ClosedResourceError,
    DeadlineExceeded,
    Event,
    EventPool,
    EventSource,
    EventWait,
    FailedPrecondition,
    Nop,
    OperationCancelled,
    OperationFlags,
    OperationState,
    PollEvents,
    Proactor,
)

LINKED = OperationFlags.LINKED


@pytest.fixture
def event() -> Any:
    with Event() as made:
        yield made


# Waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.reference("EventTest.SameThreadSignal")
def test_a_wait_ends_when_the_event_is_set(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    start(proactor, wait)
    assert wait.state is OperationState.SUBMITTED
    event.set()
    settle(proactor, wait)
    assert (wait.result, wait.error) == (None, None)


@pytest.mark.reference("EventTest.CrossThreadSignal")
def test_an_event_that_is_set_from_another_thread_wakes_the_proactor(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    proactor.submit(wait)
    thread = threading.Thread(target=event.set)
    thread.start()
    settle(proactor, wait)
    thread.join()


@pytest.mark.reference("EventTest.PreSignaledEvent")
def test_a_signal_before_the_wait_counts(proactor: Proactor, event: Event) -> None:
    event.set()
    assert finish(proactor, EventWait(event)).error is None


@pytest.mark.reference("EventTest.ResetAndReWait")
def test_a_wait_takes_the_signal(proactor: Proactor, event: Event) -> None:
    event.set()
    finish(proactor, EventWait(event))
    again = EventWait(event)
    start(proactor, again)
    assert again.state is OperationState.SUBMITTED
    event.set()
    settle(proactor, again)


def test_signals_that_nobody_has_taken_are_one(proactor: Proactor, event: Event) -> None:
    event.set()
    event.set()
    finish(proactor, EventWait(event))
    again = EventWait(event)
    start(proactor, again)
    assert again.state is OperationState.SUBMITTED
    proactor.cancel(again)
    settle(proactor, again)


def test_one_signal_ends_one_of_two_waits(proactor: Proactor, event: Event) -> None:
    waits = [EventWait(event), EventWait(event)]
    start(proactor, *waits)
    event.set()
    poll_until(proactor, lambda: any(wait.state is OperationState.DONE for wait in waits))
    proactor.poll(0)
    assert sum(wait.state is OperationState.DONE for wait in waits) == 1
    event.set()
    settle(proactor, *waits)


@pytest.mark.reference("EventTest.MultipleEventsPartialSignal")
def test_of_several_events_those_that_are_set_end_their_waits(proactor: Proactor) -> None:
    events = [Event() for _ in range(4)]
    waits = [EventWait(event) for event in events]
    start(proactor, *waits)
    events[1].set()
    events[3].set()
    settle(proactor, waits[1], waits[3])
    assert [wait.state is OperationState.DONE for wait in waits] == [False, True, False, True]
    for event in events:
        event.set()
    settle(proactor, *waits)
    for event in events:
        event.close()


@pytest.mark.needs("signals")
def test_a_signal_handler_may_set_it(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    start(proactor, wait)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: event.set())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        settle(proactor, wait)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.reference("SequenceTest.LinkedEventWaitNop")
def test_a_chain_goes_on_behind_it(proactor: Proactor, event: Event, completions: Completions) -> None:
    steps = (EventWait(event, completions, 1, LINKED), Nop(completions, 2))
    start(proactor, *steps)
    assert not completions.records
    event.set()
    settle(proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_a_task_can_await_it(run: Callable[..., Any], event: Event) -> None:
    event.set()

    async def main() -> Any:
        return await EventWait(event)

    assert run(main) is None


# Cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("CancellationTest.CancelPendingEventWait", "CancellationTest.CancelEventWaitEventStillUsable")
def test_a_cancelled_wait_leaves_the_event_usable(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    start(proactor, wait)
    assert proactor.cancel(wait)
    settle(proactor, wait)
    assert isinstance(wait.error, OperationCancelled)
    event.set()
    assert finish(proactor, wait).error is None


@pytest.mark.reference("CancellationTest.CancelCompletedEventWait")
def test_a_completed_wait_cannot_be_cancelled(proactor: Proactor, event: Event, completions: Completions) -> None:
    event.set()
    wait = finish(proactor, EventWait(event, completions))
    assert not proactor.cancel(wait)
    proactor.poll(0)
    assert len(completions) == 1


@pytest.mark.reference("CancellationTest.DoubleCancelEventWait")
def test_cancelled_twice_it_ends_once(proactor: Proactor, event: Event, completions: Completions) -> None:
    wait = EventWait(event, completions)
    start(proactor, wait)
    proactor.cancel(wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert len(completions) == 1


@pytest.mark.reference("CancellationTest.CancelEventWaitRacesWithSignal")
def test_a_cancellation_that_races_with_the_signal_loses_no_signal(
    proactor: Proactor, event: Event, completions: Completions
) -> None:
    wait = EventWait(event, completions)
    start(proactor, wait)
    event.set()
    proactor.cancel(wait)
    settle(proactor, wait)
    if wait.error is not None:
        assert finish(proactor, EventWait(event)).error is None
    assert len(completions) == 1


@pytest.mark.reference("CancellationTest.CancelEventWaitFromBackgroundThread")
def test_a_wait_can_be_cancelled_from_another_thread(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    start(proactor, wait)
    thread = threading.Thread(target=proactor.cancel, args=(wait,))
    thread.start()
    settle(proactor, wait)
    thread.join()
    assert isinstance(wait.error, OperationCancelled)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventTest.RetainRelease")
def test_a_wait_keeps_its_event_open(proactor: Proactor) -> None:
    event = Event()
    peer = os.dup(event.fileno())
    wait = EventWait(event)
    start(proactor, wait)
    del event
    gc.collect()
    os.eventfd_write(peer, 1)
    settle(proactor, wait)
    os.close(peer)
    wait.event.close()
    assert wait.error is None


def test_a_wait_has_a_deadline(proactor: Proactor, event: Event) -> None:
    assert isinstance(finish(proactor, EventWait(event, timeout=0.005)).error, DeadlineExceeded)


# Closing ---------------------------------------------------------------------------------------------------------


def test_an_event_that_somebody_waits_for_is_not_closed(proactor: Proactor, event: Event) -> None:
    wait = EventWait(event)
    start(proactor, wait)
    with pytest.raises(FailedPrecondition, match="1 operations wait"):
        event.close()
    event.set()
    settle(proactor, wait)


def test_a_closed_event_is_refused(proactor: Proactor) -> None:
    event = Event()
    event.close()
    event.close()
    with pytest.raises(ClosedResourceError):
        event.set()
    with pytest.raises(ClosedResourceError):
        proactor.submit(EventWait(event))


def test_an_event_with_the_number_of_one_that_was_closed_is_another_one(proactor: Proactor) -> None:
    numbers = []
    for _ in range(2):
        with Event() as made:
            numbers.append(made.fileno())
            wait = EventWait(made)
            start(proactor, wait)
            made.set()
            settle(proactor, wait)
    assert numbers[0] == numbers[1]


def test_a_dropped_event_warns_and_leaks_nothing() -> None:
    event = Event()
    with pytest.warns(ResourceWarning, match="unclosed <Event"):
        del event


def test_a_wait_is_for_events() -> None:
    with pytest.raises(TypeError, match="event must be"):
        EventWait(threading.Event())  # type: ignore[arg-type]


# Pools -----------------------------------------------------------------------------------------------------------


def test_a_pool_gives_events_again() -> None:
    with EventPool(1) as pool:
        event = pool.acquire()
        pool.release(event)
        again = pool.acquire()
        pool.release(again)
        assert (event is again, pool.capacity) == (True, 1)


def test_a_pool_grows_when_none_is_free() -> None:
    with EventPool() as pool:
        events = [pool.acquire() for _ in range(5)]
        assert (len(set(events)), pool.capacity, pool.available) == (5, 5, 0)
        for event in events:
            pool.release(event)


def test_an_event_of_a_pool_serves_one_wait_for_each_acquire(proactor: Proactor) -> None:
    with EventPool(1) as pool:
        for _ in range(3):
            event = pool.acquire()
            event.set()
            finish(proactor, EventWait(event))
            pool.release(event)


def test_a_pool_is_not_closed_while_events_are_out() -> None:
    pool = EventPool(2)
    event = pool.acquire()
    with pytest.raises(FailedPrecondition, match="1 events"):
        pool.close()
    pool.release(event)
    pool.close()


def test_a_closed_pool_gives_none() -> None:
    pool = EventPool(1)
    pool.close()
    with pytest.raises(ClosedResourceError):
        pool.acquire()


def test_four_threads_never_get_the_same_event() -> None:
    with EventPool(2) as pool:
        held: set[int] = set()
        doubled: list[int] = []

        def churn() -> None:
            for _ in range(500):
                event = pool.acquire()
                number = event.fileno()
                if number in held:
                    doubled.append(number)
                held.add(number)
                held.discard(number)
                pool.release(event)

        with ThreadPoolExecutor(4) as executor:
            for future in [executor.submit(churn) for _ in range(4)]:
                future.result()
        assert not doubled
        assert pool.available == pool.capacity


def test_a_pool_has_a_size() -> None:
    with pytest.raises(ValueError, match="initial_capacity"):
        EventPool(-1)


# Sources ---------------------------------------------------------------------------------------------------------


class Reader:
    """An event source's callback that reads its pipe empty and records."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.seen: list[PollEvents] = []
        self.read = b""

    def __call__(self, source: EventSource, events: PollEvents) -> None:
        self.seen.append(events)
        if events & PollEvents.IN:
            self.read += os.read(self.descriptor, 100)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourceEventfdTest.CallbackFires")
def test_a_source_calls_back_when_its_eventfd_is_set(proactor: Proactor) -> None:
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    callback = Reader(descriptor)
    source = EventSource(proactor, descriptor, callback)
    os.eventfd_write(descriptor, 3)
    poll_until(proactor, lambda: callback.read)
    source.close()
    proactor.poll(0)
    os.close(descriptor)
    assert (int.from_bytes(callback.read, "little"), callback.seen) == (3, [PollEvents.IN])


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourcePosixTest.PipeDataDeliversPollIn")
def test_a_source_calls_back_when_its_descriptor_is_readable(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        callback = Reader(reader)
        source = EventSource(proactor, reader, callback)
        os.write(writer, b"hello")
        poll_until(proactor, lambda: callback.read)
        source.close()
        proactor.poll(0)
    assert (callback.read, callback.seen) == (b"hello", [PollEvents.IN])


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourceEventfdTest.RegisterUnregister")
def test_a_source_is_active_until_it_is_closed(proactor: Proactor) -> None:
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    source = EventSource(proactor, descriptor, lambda source, events: None)
    was_active = source.is_active
    source.close()
    source.close()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    os.close(descriptor)
    assert (was_active, source.is_active) == (True, False)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourceEventfdTest.MultipleSignals")
def test_a_source_stays_armed(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        callback = Reader(reader)
        source = EventSource(proactor, reader, callback)
        for count in (1, 2, 3):
            os.write(writer, b"x")
            poll_until(proactor, lambda count=count: len(callback.read) == count)
        source.close()
        proactor.poll(0)


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourceEventfdTest.UnregisterStopsCallbacks")
def test_a_closed_source_does_not_call_back(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        callback = Reader(reader)
        source = EventSource(proactor, reader, callback)
        proactor.poll(0)
        source.close()
        source.close()
        os.write(writer, b"x")
        proactor.poll(0)
        proactor.poll(0)
    assert (callback.seen, source.is_active) == ([], False)


@pytest.mark.needs("descriptors")
def test_a_source_may_be_closed_by_its_own_callback(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        calls: list[PollEvents] = []

        def callback(source: EventSource, events: PollEvents) -> None:
            calls.append(events)
            source.close()

        EventSource(proactor, reader, callback)
        poll_until(proactor, lambda: calls)
        proactor.poll(0)
    assert len(calls) == 1


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourceEventfdTest.MultipleEventSources")
def test_sources_are_told_apart(proactor: Proactor) -> None:
    with pipe() as (first_reader, first_writer), pipe() as (second_reader, second_writer):
        callbacks = [Reader(first_reader), Reader(second_reader)]
        sources = [EventSource(proactor, callback.descriptor, callback) for callback in callbacks]
        os.write(second_writer, b"2")
        poll_until(proactor, lambda: callbacks[1].read)
        os.write(first_writer, b"1")
        poll_until(proactor, lambda: callbacks[0].read)
        for source in sources:
            source.close()
        proactor.poll(0)
    assert [callback.read for callback in callbacks] == [b"1", b"2"]


@pytest.mark.needs("descriptors")
@pytest.mark.reference("EventSourcePosixTest.PipeHangupDeliversPollHup")
def test_a_hang_up_is_reported_once_and_ends_the_source(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        callback = Reader(reader)
        source = EventSource(proactor, reader, callback)
        os.close(writer)
        poll_until(proactor, lambda: callback.seen)
        proactor.poll(0)
    assert callback.seen == [PollEvents.HUP]
    assert not source.is_active


@pytest.mark.needs("descriptors")
def test_a_callback_that_raises_is_raised_by_poll_and_the_source_goes_on(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        calls: list[bytes] = []

        def callback(source: EventSource, events: PollEvents) -> None:
            calls.append(os.read(reader, 10))
            if len(calls) == 1:
                raise LookupError("mine")

        source = EventSource(proactor, reader, callback)
        os.write(writer, b"a")
        with pytest.raises(LookupError):
            poll_until(proactor, lambda: False)
        os.write(writer, b"b")
        poll_until(proactor, lambda: len(calls) == 2)
        source.close()
        proactor.poll(0)


@pytest.mark.needs("descriptors")
def test_closing_the_proactor_ends_its_sources(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    with pipe() as (reader, _writer):
        source = EventSource(proactor, reader, Reader(reader))
        proactor.close()
    assert not source.is_active


@pytest.mark.needs("descriptors")
def test_a_source_needs_a_callback(proactor: Proactor) -> None:
    with pipe() as (reader, _writer), pytest.raises(TypeError, match="callback"):
        EventSource(proactor, reader, None)  # type: ignore[arg-type]


@pytest.mark.needs("descriptors")
def test_a_source_needs_a_descriptor(proactor: Proactor) -> None:
    with pytest.raises(ValueError, match="handle"):
        EventSource(proactor, -1, lambda source, events: None)
