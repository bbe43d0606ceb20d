"""Memory channels: objects in order, buffers of a size, tasks that wait in order, nothing lost by a cancellation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_cancel_point, is_schedule_point


@pytest.mark.semantics(27)
@pytest.mark.parametrize("size", [0, 1, 3, math.inf])
async def test_objects_come_out_in_the_order_in_which_they_went_in(lib: Any, size: float) -> None:
    send_channel, receive_channel = lib.open_memory_channel(size)

    async def send() -> None:
        async with send_channel:
            for number in range(10):
                await send_channel.send(number)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(send)
        assert [number async for number in receive_channel] == list(range(10))


@pytest.mark.semantics(27)
async def test_without_a_buffer_a_send_waits_for_a_receiver(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, send_channel.send, "object")
        assert await receive_channel.receive() == "object"
    assert sending.done


@pytest.mark.semantics(27)
async def test_a_send_waits_only_while_the_buffer_is_full(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(2)
    await send_channel.send(0)
    await send_channel.send(1)
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, send_channel.send, 2)
        assert await receive_channel.receive() == 0
        await lib.testing.wait_all_tasks_blocked()
        assert sending.done
    assert send_channel.statistics().current_buffer_used == 2


@pytest.mark.semantics(27)
def test_a_buffer_without_limit_takes_everything_at_once(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(math.inf)
    for number in range(1000):
        send_channel.send_nowait(number)
    assert [receive_channel.receive_nowait() for _ in range(1000)] == list(range(1000))


@pytest.mark.semantics(27)
@pytest.mark.parametrize("size", [0, 2])
def test_send_nowait_would_block_when_the_buffer_is_full(lib: Any, size: int) -> None:
    send_channel, _ = lib.open_memory_channel(size)
    for number in range(size):
        send_channel.send_nowait(number)
    with pytest.raises(lib.WouldBlock):
        send_channel.send_nowait("one too many")
    assert send_channel.statistics().current_buffer_used == size


@pytest.mark.semantics(27)
def test_receive_nowait_would_block_when_there_is_nothing(lib: Any) -> None:
    _send_channel, receive_channel = lib.open_memory_channel(5)
    with pytest.raises(lib.WouldBlock):
        receive_channel.receive_nowait()


@pytest.mark.semantics(27)
async def test_send_nowait_goes_through_when_a_task_receives(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, receive_channel.receive)
        send_channel.send_nowait("object")
        with pytest.raises(lib.WouldBlock):
            send_channel.send_nowait("another")
    assert receiving.value == "object"


@pytest.mark.semantics(27)
@pytest.mark.parametrize("size", [0, 1])
async def test_receive_nowait_lets_the_longest_waiting_sender_go_on(lib: Any, size: int) -> None:
    send_channel, receive_channel = lib.open_memory_channel(size)
    for number in range(size):
        send_channel.send_nowait(number)
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, send_channel.send, size)
        later = await blocked(lib, nursery, send_channel.send, size + 1)
        assert receive_channel.receive_nowait() == 0
        await lib.testing.wait_all_tasks_blocked()
        assert sending.done and not later.done
        assert [receive_channel.receive_nowait() for _ in range(size + 1)] == list(range(1, size + 2))


@pytest.mark.semantics(27)
async def test_receivers_get_objects_in_the_order_of_asking(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        receiving = [await blocked(lib, nursery, receive_channel.receive) for _ in range(4)]
        for number in range(4):
            send_channel.send_nowait(number)
    assert [call.value for call in receiving] == [0, 1, 2, 3]


@pytest.mark.semantics(27)
async def test_senders_are_served_in_the_order_of_asking_over_all_clones(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    clone = send_channel.clone()
    async with lib.open_nursery() as nursery:
        for number in range(6):
            await blocked(lib, nursery, (clone if number % 2 else send_channel).send, number)
        assert [await receive_channel.receive() for _ in range(6)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.semantics(27)
async def test_each_object_goes_to_one_receiver(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    received: list[int] = []

    async def receive_all(channel: Any) -> None:
        async with channel:
            async for number in channel:
                received.append(number)

    async with lib.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(receive_all, receive_channel.clone())
        async with send_channel:
            for number in range(30):
                await send_channel.send(number)
    assert sorted(received) == list(range(30))


@pytest.mark.semantics(27)
@pytest.mark.parametrize("value", [None, False, lambda: None, ValueError("an object")])
async def test_any_object_can_be_sent(lib: Any, value: object) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    await send_channel.send(value)
    assert await receive_channel.receive() is value
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, receive_channel.receive)
        await send_channel.send(value)
    assert receiving.value is value
    async with lib.open_nursery() as nursery:
        send_channel.send_nowait("in the buffer")
        await blocked(lib, nursery, send_channel.send, value)
        receive_channel.receive_nowait()
        assert receive_channel.receive_nowait() is value


@pytest.mark.semantics(27)
async def test_a_cancelled_send_sends_nothing(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, send_channel.send, "object")
        nursery.cancel_scope.cancel()
    with pytest.raises(lib.WouldBlock):
        receive_channel.receive_nowait()
    assert send_channel.statistics().tasks_waiting_send == 0


@pytest.mark.semantics(27)
async def test_a_cancelled_receive_takes_nothing(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, receive_channel.receive)
        nursery.cancel_scope.cancel()
    assert receive_channel.statistics().tasks_waiting_receive == 0
    send_channel.send_nowait("object")
    assert receive_channel.receive_nowait() == "object"


@pytest.mark.semantics(1, 27)
async def test_in_a_cancelled_scope_nothing_is_sent_or_received(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(2)
    send_channel.send_nowait("object")
    with cancelled_block(lib):
        await send_channel.send("another")
    with cancelled_block(lib):
        await receive_channel.receive()
    assert send_channel.statistics().current_buffer_used == 1


@pytest.mark.semantics(27)
async def test_an_object_handed_to_a_task_is_not_lost_by_its_cancellation(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    received: list[str] = []

    async def receive() -> None:
        received.append(await receive_channel.receive())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(receive)
        await lib.testing.wait_all_tasks_blocked()
        send_channel.send_nowait("object")
        nursery.cancel_scope.cancel()
    assert received == ["object"]


@pytest.mark.semantics(27)
async def test_a_send_whose_object_was_taken_is_not_cancelled_any_more(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    sent: list[bool] = []

    async def send() -> None:
        await send_channel.send("object")
        sent.append(True)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(send)
        await lib.testing.wait_all_tasks_blocked()
        assert receive_channel.receive_nowait() == "object"
        nursery.cancel_scope.cancel()
    assert sent == [True]


@pytest.mark.semantics(27)
async def test_a_cancelled_task_leaves_the_order_of_the_others(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    scopes: list[Any] = []

    async def send(number: int) -> None:
        with lib.CancelScope() as scope:
            scopes.append(scope)
            await send_channel.send(number)

    async with lib.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(send, number)
            await lib.testing.wait_all_tasks_blocked()
        scopes[1].cancel()
        assert [await receive_channel.receive() for _ in range(3)] == [0, 2, 3]


@pytest.mark.semantics(1, 27)
@pytest.mark.parametrize("point", [is_cancel_point, is_schedule_point])
@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_what_does_not_have_to_wait_is_a_checkpoint(lib: Any, point: Callable[..., Any], direction: str) -> None:
    send_channel, receive_channel = lib.open_memory_channel(2)
    send_channel.send_nowait("object")
    call = (send_channel.send, "another") if direction == "send" else (receive_channel.receive,)
    assert await point(lib, *call)


@pytest.mark.semantics(1, 27)
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("point", [is_cancel_point, is_schedule_point])
async def test_aclose_is_a_checkpoint_and_closes_in_any_case(lib: Any, point: Callable[..., Any], end: int) -> None:
    ends = lib.open_memory_channel(0)
    assert await point(lib, ends[end].aclose)
    assert await point(lib, ends[end].aclose)
    with pytest.raises(lib.ClosedResourceError):
        ends[end].clone()


@pytest.mark.semantics(1, 27)
async def test_close_and_the_nowait_calls_are_no_checkpoints(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    with lib.testing.assert_no_checkpoints():
        send_channel.send_nowait("object")
        receive_channel.receive_nowait()
        send_channel.clone().close()
        receive_channel.clone().close()
        with send_channel, receive_channel:
            pass


@pytest.mark.semantics(2, 27)
async def test_each_step_of_iterating_is_a_checkpoint(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(2)
    for number in range(2):
        send_channel.send_nowait(number)
    for number in range(2):
        with lib.testing.assert_checkpoints():
            assert await receive_channel.__anext__() == number


@pytest.mark.semantics(27)
@pytest.mark.parametrize(("size", "error"), [(1.0, TypeError), ("1", TypeError), (None, TypeError), (-1, ValueError)])
def test_a_wrong_size_of_a_buffer_is_refused(lib: Any, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        lib.open_memory_channel(size)


@pytest.mark.semantics(27)
def test_the_type_of_what_goes_through_can_be_said(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel[int](1)
    assert isinstance(send_channel, lib.MemorySendChannel) and isinstance(receive_channel, lib.MemoryReceiveChannel)
    assert lib.MemorySendChannel[int] and lib.MemoryReceiveChannel[int]


@pytest.mark.semantics(27)
def test_the_ends_have_the_interfaces_of_channels(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    assert isinstance(send_channel, lib.abc.SendChannel) and isinstance(send_channel, lib.abc.AsyncResource)
    assert isinstance(receive_channel, lib.abc.ReceiveChannel) and isinstance(receive_channel, lib.abc.AsyncResource)
    assert issubclass(lib.abc.Channel, lib.abc.SendChannel) and issubclass(lib.abc.Channel, lib.abc.ReceiveChannel)


@pytest.mark.semantics(27)
@pytest.mark.parametrize("name", ["MemorySendChannel", "MemoryReceiveChannel"])
def test_the_ends_have_no_public_constructor_and_no_subclasses(lib: Any, name: str) -> None:
    kind = getattr(lib, name)
    with pytest.raises(TypeError):
        kind(object())
    with pytest.raises(TypeError):
        type("Own", (kind,), {})


@pytest.mark.semantics(27)
async def test_statistics_say_how_full_the_channel_is_and_who_waits(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(2)

    def figures(statistics: Any) -> tuple[int, ...]:
        assert isinstance(statistics, lib.MemoryChannelStatistics)
        return (
            statistics.current_buffer_used,
            statistics.open_send_channels,
            statistics.open_receive_channels,
            statistics.tasks_waiting_send,
            statistics.tasks_waiting_receive,
        )

    assert send_channel.statistics().max_buffer_size == 2
    assert figures(send_channel.statistics()) == figures(receive_channel.statistics()) == (0, 1, 1, 0, 0)
    with send_channel.clone(), receive_channel.clone(), receive_channel.clone():
        assert figures(send_channel.statistics()) == (0, 2, 3, 0, 0)
    async with lib.open_nursery() as nursery:
        for number in range(2):
            send_channel.send_nowait(number)
        await blocked(lib, nursery, send_channel.send, 2)
        await blocked(lib, nursery, send_channel.clone().send, 3)
        assert figures(receive_channel.statistics()) == (2, 2, 1, 2, 0)
        nursery.cancel_scope.cancel()
    async with lib.open_nursery() as nursery:
        for _ in range(2):
            receive_channel.receive_nowait()
        await blocked(lib, nursery, receive_channel.receive)
        assert figures(send_channel.statistics()) == (0, 2, 1, 0, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(27)
async def test_the_peak_is_the_most_that_the_buffer_ever_held(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(5)
    assert send_channel.statistics().peak_buffer_used == 0
    for number in range(3):
        send_channel.send_nowait(number)
    assert send_channel.statistics().peak_buffer_used == 3
    for _ in range(3):
        receive_channel.receive_nowait()
    send_channel.send_nowait("less than before")
    assert receive_channel.statistics().peak_buffer_used == 3


@pytest.mark.semantics(27)
async def test_what_is_handed_over_directly_is_never_in_the_buffer(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(5)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, receive_channel.receive)
        await send_channel.send("object")
    assert send_channel.statistics().peak_buffer_used == 0


@pytest.mark.semantics(27)
def test_the_ends_say_what_they_are(lib: Any) -> None:
    assert all("at 0x" in repr(end) for end in lib.open_memory_channel(0))


@pytest.mark.semantics(27)
async def test_a_call_outside_of_a_task_is_refused_if_it_has_to_wait(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    results: list[type[BaseException]] = []

    def call_outside() -> None:
        for coroutine in (send_channel.send(1), receive_channel.receive()):
            with pytest.raises(RuntimeError) as caught:
                coroutine.send(None)
            results.append(caught.type)

    await lib.to_thread.run_sync(call_outside)
    assert results == [RuntimeError, RuntimeError]
    assert send_channel.statistics().tasks_waiting_send == send_channel.statistics().tasks_waiting_receive == 0
