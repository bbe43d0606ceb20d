"""Streams in memory and in lockstep, stapled streams, forceful closing, connecting to one's own listener."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK, blocked


async def test_what_is_sent_lies_in_the_buffer_of_the_sending_end(lib: Any) -> None:
    stream = lib.testing.MemorySendStream()
    await stream.send_all(b"123")
    await stream.send_all(bytearray(b"456"))
    assert stream.get_data_nowait(1) == b"1"
    assert stream.get_data_nowait() == b"23456"
    with pytest.raises(lib.WouldBlock):
        stream.get_data_nowait()


async def test_get_data_waits_for_data(lib: Any) -> None:
    stream = lib.testing.MemorySendStream()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, stream.get_data)
        await stream.send_all(b"123")
    assert call.value == b"123"


async def test_after_a_close_the_data_runs_out(lib: Any) -> None:
    stream = lib.testing.MemorySendStream()
    await stream.send_all(b"123")
    stream.close()
    assert await stream.get_data() == b"123"
    assert await stream.get_data() == b""
    assert stream.get_data_nowait() == b""
    with pytest.raises(lib.ClosedResourceError):
        await stream.send_all(b"")
    with pytest.raises(lib.ClosedResourceError):
        await stream.wait_send_all_might_not_block()


@pytest.mark.parametrize("wrong", [0, -1])
async def test_a_wrong_number_of_bytes_is_refused(lib: Any, wrong: int) -> None:
    sending, receiving = lib.testing.memory_stream_one_way_pair()
    with pytest.raises(ValueError):
        sending.get_data_nowait(wrong)
    with pytest.raises(ValueError):
        await receiving.receive_some(wrong)
    with pytest.raises(TypeError):
        await receiving.receive_some(1.5)


async def test_the_hooks_of_a_sending_end_are_called_after_its_own_work(lib: Any) -> None:
    happened: list[object] = []

    async def send_all_hook() -> None:
        happened.append(bytes(stream.get_data_nowait()))

    async def wait_hook() -> None:
        happened.append("wait")

    stream = lib.testing.MemorySendStream(send_all_hook, wait_hook, lambda: happened.append("close"))
    await stream.send_all(b"abc")
    await stream.wait_send_all_might_not_block()
    stream.close()
    await stream.aclose()
    assert happened == [b"abc", "wait", "close", "close"]


async def test_the_hooks_of_a_receiving_end_are_called_before_it_looks_for_data(lib: Any) -> None:
    closed: list[str] = []

    async def receive_some_hook() -> None:
        stream.put_data(b"hook")

    stream = lib.testing.MemoryReceiveStream(receive_some_hook, lambda: closed.append("close"))
    stream.put_data(b"data")
    assert await stream.receive_some() == b"datahook"
    stream.receive_some_hook = None
    stream.put_data(b"data")
    assert await stream.receive_some(2) == b"da"
    await stream.aclose()
    assert closed == ["close"]


async def test_what_was_put_into_a_receiving_end_is_lost_when_it_is_closed(lib: Any) -> None:
    stream = lib.testing.MemoryReceiveStream()
    stream.put_data(b"lost")
    stream.close()
    with pytest.raises(lib.ClosedResourceError):
        await stream.receive_some()
    with pytest.raises(lib.ClosedResourceError):
        stream.put_data(b"late")


async def test_the_end_comes_behind_the_data(lib: Any) -> None:
    stream = lib.testing.MemoryReceiveStream()
    stream.put_data(b"data")
    stream.put_eof()
    stream.put_eof()
    assert [await stream.receive_some() for _ in range(3)] == [b"data", b"", b""]
    with pytest.raises(lib.ClosedResourceError):
        stream.put_data(b"late")


async def test_a_pump_moves_data_and_the_end(lib: Any) -> None:
    sending, receiving = lib.testing.MemorySendStream(), lib.testing.MemoryReceiveStream()
    pump = lib.testing.memory_stream_pump
    assert not pump(sending, receiving)
    await sending.send_all(b"456")
    assert pump(sending, receiving, max_bytes=1)
    assert await receiving.receive_some() == b"4"
    assert pump(sending, receiving)
    assert not pump(sending, receiving)
    assert await receiving.receive_some() == b"56"
    sending.close()
    pump(sending, receiving)
    assert await receiving.receive_some() == b""


async def test_a_pump_breaks_at_a_closed_receiving_end(lib: Any) -> None:
    sending, receiving = lib.testing.MemorySendStream(), lib.testing.MemoryReceiveStream()
    receiving.close()
    await sending.send_all(b"123")
    with pytest.raises(lib.BrokenResourceError):
        lib.testing.memory_stream_pump(sending, receiving)


async def test_a_pair_can_be_stalled_by_taking_its_hook_away(lib: Any) -> None:
    sending, receiving = lib.testing.memory_stream_one_way_pair()
    hook, sending.send_all_hook = sending.send_all_hook, None
    await sending.send_all(b"123")
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, receiving.receive_some)
        sending.send_all_hook = hook
        await sending.send_all(b"456")
    assert call.value == b"123456"


async def test_a_pair_goes_both_ways_and_ends_each_way_on_its_own(lib: Any) -> None:
    left, right = lib.testing.memory_stream_pair()
    await left.send_all(b"right")
    await right.send_all(b"left")
    assert (await right.receive_some(), await left.receive_some()) == (b"right", b"left")
    await left.send_eof()
    assert await right.receive_some() == b""
    await right.send_all(b"still")
    assert await left.receive_some() == b"still"
    assert isinstance(left, lib.StapledStream)


async def test_in_lockstep_a_send_ends_with_its_last_byte(lib: Any) -> None:
    sending, receiving = lib.testing.lockstep_stream_one_way_pair()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, sending.send_all, b"abc")
        assert await receiving.receive_some(2) == b"ab"
        await lib.testing.wait_all_tasks_blocked()
        assert not call.done
        assert await receiving.receive_some() == b"c"
    assert call.done


async def test_in_lockstep_there_is_room_while_a_task_receives(lib: Any) -> None:
    sending, receiving = lib.testing.lockstep_stream_one_way_pair()
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, sending.wait_send_all_might_not_block)
        await blocked(lib, nursery, receiving.receive_some)
        assert waiting.done
        nursery.cancel_scope.cancel()


async def test_a_lockstep_end_can_be_closed_without_a_checkpoint(lib: Any) -> None:
    sending, receiving = lib.testing.lockstep_stream_one_way_pair()
    with lib.testing.assert_no_checkpoints():
        sending.close()
    assert await receiving.receive_some() == b""
    receiving.close()
    with pytest.raises(lib.ClosedResourceError):
        await receiving.receive_some()


async def test_a_stapled_stream_sends_by_one_and_receives_by_the_other(lib: Any) -> None:
    sending, incoming = lib.testing.MemorySendStream(), lib.testing.MemoryReceiveStream()
    stream = lib.StapledStream(sending, incoming)
    assert (stream.send_stream, stream.receive_stream) == (sending, incoming)
    assert isinstance(stream, lib.abc.HalfCloseableStream)
    await stream.send_all(b"out")
    await stream.wait_send_all_might_not_block()
    assert sending.get_data_nowait() == b"out"
    incoming.put_data(b"in")
    assert await stream.receive_some() == b"in"


async def test_ending_a_stapled_stream_closes_a_sender_that_cannot_be_ended(lib: Any) -> None:
    sending = lib.testing.MemorySendStream()
    stream = lib.StapledStream(sending, lib.testing.MemoryReceiveStream())
    with lib.testing.assert_checkpoints():
        await stream.send_eof()
    with pytest.raises(lib.ClosedResourceError):
        await stream.send_all(b"late")


async def test_ending_a_stapled_stream_ends_a_sender_that_can_be(lib: Any) -> None:
    inner, other = lib.testing.memory_stream_pair()
    stream = lib.StapledStream(inner, lib.testing.MemoryReceiveStream())
    await stream.send_eof()
    assert await other.receive_some() == b""
    await other.send_all(b"the other way")
    assert await inner.receive_some() == b"the other way"


async def test_closing_a_stapled_stream_closes_both_also_when_the_first_fails(lib: Any) -> None:
    closed: list[str] = []

    class Failing(lib.abc.SendStream):  # type: ignore[misc, name-defined]
        async def send_all(self, data: bytes) -> None:
            raise AssertionError("not called")

        async def wait_send_all_might_not_block(self) -> None:
            raise AssertionError("not called")

        async def aclose(self) -> None:
            closed.append("sending")
            raise ValueError("cannot be closed")

    stream = lib.StapledStream(
        Failing(), lib.testing.MemoryReceiveStream(close_hook=lambda: closed.append("receiving"))
    )
    with pytest.raises(ValueError, match="cannot be closed"):
        await stream.aclose()
    assert closed == ["sending", "receiving"]


async def test_a_cancelled_close_of_a_stapled_stream_closes_both(lib: Any) -> None:
    left, _ = lib.testing.memory_stream_pair()
    await lib.aclose_forcefully(left)
    with pytest.raises(lib.ClosedResourceError):
        await left.send_all(b"late")
    with pytest.raises(lib.ClosedResourceError):
        await left.receive_some()


async def test_a_forceful_close_does_not_wait_for_a_graceful_one(lib: Any) -> None:
    closed: list[str] = []

    class Patient(lib.abc.AsyncResource):  # type: ignore[misc, name-defined]
        async def aclose(self) -> None:
            try:
                await lib.sleep_forever()
            finally:
                closed.append("closed")

    with lib.testing.assert_checkpoints():
        await lib.aclose_forcefully(Patient())
    assert closed == ["closed"]


async def test_a_forceful_close_says_so_to_what_it_cancels_only(lib: Any) -> None:
    class Failing(lib.abc.AsyncResource):  # type: ignore[misc, name-defined]
        async def aclose(self) -> None:
            raise ValueError("cannot be closed")

    with pytest.raises(ValueError, match="cannot be closed"):
        await lib.aclose_forcefully(Failing())


@pytest.mark.parametrize("host", [LOOPBACK, "0.0.0.0"])
async def test_a_listener_can_be_connected_to_wherever_it_listens(lib: Any, host: str) -> None:
    (listener,) = await lib.open_tcp_listeners(0, host=host)
    async with listener:
        client = await lib.testing.open_stream_to_socket_listener(listener)
        server = await listener.accept()
        await client.send_all(b"x")
        assert await server.receive_some() == b"x"
        await client.aclose()
        await server.aclose()


@pytest.mark.parametrize("name", ["MemorySendStream", "MemoryReceiveStream", "Sequencer", "MockClock"])
def test_what_helps_testing_is_final(lib: Any, name: str) -> None:
    with pytest.raises(TypeError):
        type("Own", (getattr(lib.testing, name),), {})


async def test_a_listener_on_a_path_can_be_connected_to(lib: Any, tmp_path: Path) -> None:
    listening = lib.socket.socket(lib.socket.AF_UNIX)
    await listening.bind(str(tmp_path / "listener"))
    listening.listen()
    async with lib.SocketListener(listening) as listener:
        client = await lib.testing.open_stream_to_socket_listener(listener)
        server = await listener.accept()
        await server.send_all(b"x")
        assert await client.receive_some() == b"x"
        await client.aclose()
        await server.aclose()
