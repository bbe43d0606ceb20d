"""Messages, events and relays of the run's proactor, as tasks take them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proactor_trio import (
    BusyResourceError,
    ClosedResourceError,
    current_time,
    move_on_after,
    open_event_receiver,
    open_message_receiver,
    open_nursery,
    open_relay,
    sleep_forever,
)
from proactor_trio.lowlevel import current_proactor
from proactor_trio.proactor import (
    Event,
    PollEvents,
    ProactorOptions,
    RelayFlags,
    RelayState,
    ResourceExhausted,
    SignalHandle,
)
from proactor_trio.testing import wait_all_tasks_blocked


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


# Messages ---------------------------------------------------------------------------------------------------------


async def test_messages_come_in_order() -> None:
    with open_message_receiver() as messages:
        for number in range(3):
            current_proactor().send_message(number)
        assert [await anext(messages) for _ in range(3)] == [0, 1, 2]


async def test_a_message_of_another_thread_wakes_the_task() -> None:
    with open_message_receiver() as messages:
        helper = threading.Thread(target=current_proactor().send_message, args=(7,))
        helper.start()
        assert await anext(messages) == 7
        helper.join()


async def test_a_cancelled_wait_for_a_message_takes_none() -> None:
    with open_message_receiver() as messages:
        with move_on_after(0) as scope:
            current_proactor().send_message(1)
            await anext(messages)
        assert scope.cancelled_caught
        assert await anext(messages) == 1


async def test_one_task_takes_messages_at_a_time() -> None:
    with open_message_receiver() as messages:
        async with open_nursery() as nursery:
            nursery.start_soon(messages.__anext__)
            await wait_all_tasks_blocked()
            with pytest.raises(BusyResourceError):
                await anext(messages)
            nursery.cancel_scope.cancel()


async def test_there_is_one_receiver_of_messages() -> None:
    with open_message_receiver(), pytest.raises(BusyResourceError):
        open_message_receiver()


async def test_messages_that_were_not_taken_count_as_waiting() -> None:
    capacity = ProactorOptions().message_pool_capacity
    proactor = current_proactor()
    with open_message_receiver() as messages:
        for number in range(capacity):
            proactor.send_message(number)
        await wait_all_tasks_blocked()
        with pytest.raises(ResourceExhausted):
            proactor.send_message(0)
        await anext(messages)
        proactor.send_message(capacity)


async def test_the_end_of_the_block_ends_a_wait_for_messages() -> None:
    with open_message_receiver() as messages:
        async with open_nursery() as nursery:
            nursery.start_soon(expect_closed, messages)
            await wait_all_tasks_blocked()
            messages.close()


async def expect_closed(source: object) -> None:
    with pytest.raises(ClosedResourceError):
        await anext(source)  # type: ignore[call-overload]


# Events -----------------------------------------------------------------------------------------------------------


async def test_a_descriptor_is_told_each_time_that_it_is_readable() -> None:
    with pipe() as (reader, writer), open_event_receiver(reader) as events:
        for _ in range(3):
            os.write(writer, b"x")
            assert await anext(events) & PollEvents.IN
            os.read(reader, 1)


async def test_what_was_left_unread_is_told_again() -> None:
    with pipe() as (reader, writer), open_event_receiver(reader) as events:
        os.write(writer, b"x")
        assert [bool(await anext(events) & PollEvents.IN) for _ in range(2)] == [True, True]


async def test_iteration_ends_when_nothing_readable_can_come() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.close(writer)
    with open_event_receiver(reader) as events:
        assert [event async for event in events] == []
    os.close(reader)


async def test_each_step_takes_the_signal_of_an_event() -> None:
    with Event() as event, open_event_receiver(event) as events:
        event.set()
        await anext(events)
        with move_on_after(0.001) as scope:
            await anext(events)
        assert scope.cancelled_caught


async def test_the_end_of_the_block_ends_a_wait_for_an_event() -> None:
    with pipe() as (reader, _), open_event_receiver(reader) as events:
        async with open_nursery() as nursery:
            nursery.start_soon(expect_closed, events)
            await wait_all_tasks_blocked()
            events.close()


async def test_what_is_no_descriptor_is_refused() -> None:
    with open_event_receiver("pipe") as events, pytest.raises(TypeError):
        await anext(events)


# Relays -----------------------------------------------------------------------------------------------------------


async def test_a_relay_tells_its_sink_while_its_block_lasts() -> None:
    with Event() as source, Event() as sink, open_event_receiver(sink) as told:
        async with open_relay(source, SignalHandle(sink), RelayFlags.PERSISTENT) as relay:
            for _ in range(2):
                source.set()
                await anext(told)
        assert (relay.fired, relay.state) == (2, RelayState.CLOSED)


async def test_a_relay_that_has_fired_does_not_end_its_block() -> None:
    with Event() as source, Event() as sink, open_event_receiver(sink) as told:
        async with open_relay(source, SignalHandle(sink)) as relay:
            source.set()
            await anext(told)
            await wait_all_tasks_blocked()
            assert relay.state is RelayState.FIRED


async def test_a_fault_of_a_relay_cancels_its_block_and_is_raised_by_it() -> None:
    begun = current_time()
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with Event() as sink:
        with pytest.RaisesGroup(BrokenPipeError):
            async with open_relay(reader, SignalHandle(sink), RelayFlags.PERSISTENT):
                os.close(writer)
                with move_on_after(15):
                    await sleep_forever()
    os.close(reader)
    assert current_time() - begun < 15
