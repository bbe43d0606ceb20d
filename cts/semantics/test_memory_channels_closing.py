"""Memory channels: what closing an end means for the other side, for its own tasks, and for clones."""

from __future__ import annotations

from typing import Any

import pytest

from cts.semantics.support import blocked


@pytest.mark.semantics(27)
async def test_a_closed_sender_lets_the_buffer_run_empty_and_is_the_end_then(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(3)
    for number in range(3):
        send_channel.send_nowait(number)
    send_channel.close()
    assert [number async for number in receive_channel] == [0, 1, 2]
    with pytest.raises(lib.EndOfChannel):
        await receive_channel.receive()
    with pytest.raises(lib.EndOfChannel):
        receive_channel.receive_nowait()


@pytest.mark.semantics(27)
async def test_the_end_comes_to_those_who_wait_for_an_object(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, receive_channel.receive)
        second = await blocked(lib, nursery, receive_channel.clone().receive)
        await send_channel.aclose()
    assert isinstance(first.error, lib.EndOfChannel) and isinstance(second.error, lib.EndOfChannel)


@pytest.mark.semantics(27)
async def test_a_channel_ends_with_the_last_of_its_senders(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    clone = send_channel.clone()
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, receive_channel.receive)
        send_channel.close()
        await lib.testing.wait_all_tasks_blocked()
        assert not receiving.done
        clone.close()
    assert isinstance(receiving.error, lib.EndOfChannel)


@pytest.mark.semantics(27)
async def test_a_closed_receiver_breaks_the_channel(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(3)
    receive_channel.close()
    with pytest.raises(lib.BrokenResourceError):
        await send_channel.send("object")
    with pytest.raises(lib.BrokenResourceError):
        send_channel.send_nowait("object")


@pytest.mark.semantics(27)
async def test_a_broken_channel_breaks_those_who_send(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, send_channel.send, 1)
        second = await blocked(lib, nursery, send_channel.clone().send, 2)
        await receive_channel.aclose()
    assert isinstance(first.error, lib.BrokenResourceError) and isinstance(second.error, lib.BrokenResourceError)
    assert send_channel.statistics().tasks_waiting_send == 0


@pytest.mark.semantics(27)
async def test_a_channel_breaks_with_the_last_of_its_receivers(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    clone = receive_channel.clone()
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, send_channel.send, 1)
        receive_channel.close()
        await lib.testing.wait_all_tasks_blocked()
        assert not sending.done
        assert clone.receive_nowait() == 1


@pytest.mark.semantics(27)
def test_a_broken_channel_drops_what_is_in_its_buffer(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(3)
    send_channel.send_nowait("object")
    receive_channel.close()
    assert send_channel.statistics().current_buffer_used == 0


@pytest.mark.semantics(27)
@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_closing_an_end_wakes_the_tasks_that_wait_in_it(lib: Any, direction: str) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    end = send_channel if direction == "send" else receive_channel
    call = (send_channel.send, "object") if direction == "send" else (receive_channel.receive,)
    async with lib.open_nursery() as nursery:
        calls = [await blocked(lib, nursery, *call) for _ in range(2)]
        end.close()
    assert [type(call.error) for call in calls] == [lib.ClosedResourceError] * 2
    statistics = send_channel.statistics()
    assert statistics.tasks_waiting_send == statistics.tasks_waiting_receive == 0


@pytest.mark.semantics(27)
@pytest.mark.parametrize("direction", ["send", "receive"])
async def test_closing_an_end_leaves_tasks_in_its_clones_alone(lib: Any, direction: str) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    end = send_channel if direction == "send" else receive_channel
    clone = end.clone()
    async with lib.open_nursery() as nursery:
        if direction == "send":
            own, other = [await blocked(lib, nursery, each.send, "object") for each in (end, clone)]
        else:
            own, other = [await blocked(lib, nursery, each.receive) for each in (end, clone)]
        end.close()
        await lib.testing.wait_all_tasks_blocked()
        assert isinstance(own.error, lib.ClosedResourceError) and not other.done
        if direction == "send":
            assert receive_channel.receive_nowait() == "object"
        else:
            send_channel.send_nowait("object")
    assert other.error is None


@pytest.mark.semantics(27)
async def test_all_calls_of_a_closed_end_are_refused(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    send_channel.close()
    receive_channel.close()
    for call in (lambda: send_channel.send("object"), receive_channel.receive):
        with pytest.raises(lib.ClosedResourceError):
            await call()
    for call in (lambda: send_channel.send_nowait("object"), receive_channel.receive_nowait):
        with pytest.raises(lib.ClosedResourceError):
            call()
    for call in (send_channel.clone, receive_channel.clone):
        with pytest.raises(lib.ClosedResourceError):
            call()


@pytest.mark.semantics(27)
async def test_closing_is_idempotent_and_counted_once(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    clone = send_channel.clone()
    for _ in range(3):
        send_channel.close()
        await send_channel.aclose()
    assert receive_channel.statistics().open_send_channels == 1
    clone.close()
    assert receive_channel.statistics().open_send_channels == 0


@pytest.mark.semantics(27)
async def test_a_clone_of_a_clone_is_as_good(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(1)
    second = send_channel.clone().clone()
    await second.send("object")
    assert await receive_channel.clone().clone().receive() == "object"
    assert send_channel.statistics().open_send_channels == 3
    assert send_channel.statistics().open_receive_channels == 3


@pytest.mark.semantics(27)
@pytest.mark.parametrize("end", [0, 1])
async def test_a_block_closes_its_end_with_and_without_async(lib: Any, end: int) -> None:
    ends = lib.open_memory_channel(0)
    with ends[end].clone() as clone:
        clone.statistics()
    with pytest.raises(lib.ClosedResourceError):
        clone.clone()
    async with ends[end]:
        pass
    with pytest.raises(lib.ClosedResourceError):
        ends[end].clone()


@pytest.mark.semantics(27)
async def test_an_end_that_is_closed_by_a_receiver_that_is_woken_stays_consistent(lib: Any) -> None:
    """The object is on its way to a task; closing the end meanwhile does not take it away."""
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, receive_channel.receive)
        send_channel.send_nowait("object")
        receive_channel.close()
        send_channel.close()
    assert receiving.value == "object"


@pytest.mark.semantics(27)
async def test_a_sender_whose_object_was_taken_has_sent_it_whatever_is_closed_then(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, send_channel.send, "object")
        receive_channel.receive_nowait()
        send_channel.close()
        receive_channel.close()
    assert sending.done and sending.error is None


@pytest.mark.semantics(27)
async def test_an_end_that_is_forgotten_closes_nothing_and_warns_nobody(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)
    del send_channel
    with pytest.raises(lib.WouldBlock):
        receive_channel.receive_nowait()


@pytest.mark.semantics(27)
async def test_the_sender_of_a_producer_in_a_cancelled_block_is_closed(lib: Any) -> None:
    send_channel, receive_channel = lib.open_memory_channel(0)

    async def produce() -> None:
        async with send_channel:
            await lib.sleep_forever()

    with lib.CancelScope() as scope:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(produce)
            await lib.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert receive_channel.statistics().open_send_channels == 0
