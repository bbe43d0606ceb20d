"""Sockets: sending and receiving, with flags and descriptors, and what a cancelled call leaves."""

from __future__ import annotations

import array
import os
import socket as stdlib_socket
import struct
from typing import Any

import pytest

from cts.semantics.socket_scenes import Pair, listening, pair, tcp
from cts.semantics.support import LOOPBACK, MORE_THAN_FITS, blocked, cancelled_block, is_cancel_point, is_schedule_point

__all__ = ["listening", "pair", "tcp"]  # fixtures


# ---- sending and receiving --------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_receives_give_at_most_so_much(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send(b"0123456789")
    assert await near.recv(3) == b"012"
    buffer = bytearray(4)
    assert await near.recv_into(buffer, 2) == 2
    assert buffer == b"34\0\0"
    assert await near.recv_into(buffer) == 4
    assert buffer == b"5678"
    assert (await near.recvfrom(10))[0] == b"9"


@pytest.mark.semantics(31)
async def test_the_end_of_the_stream_is_no_bytes(lib: Any, pair: Pair) -> None:
    near, far = pair
    far.close()
    assert await near.recv(10) == b""
    assert await near.recv_into(bytearray(10)) == 0
    assert (await near.recvmsg(10))[0] == b""


@pytest.mark.semantics(31)
async def test_peeking_leaves_the_bytes(lib: Any, pair: Pair) -> None:
    near, far = pair
    async with lib.open_nursery() as nursery:
        peeking = await blocked(lib, nursery, near.recv, 10, stdlib_socket.MSG_PEEK)
        await far.send(b"seen")
    assert peeking.value == b"seen"
    assert await near.recv(10) == b"seen"


@pytest.mark.semantics(31)
async def test_a_receive_that_shall_not_wait_waits_all_the_same(lib: Any, pair: Pair) -> None:
    near, far = pair
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, near.recv, 10, stdlib_socket.MSG_DONTWAIT)
        await far.send(b"x")
    assert waiting.value == b"x"


@pytest.mark.semantics(31)
async def test_urgent_data_is_received_beside_the_stream(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    await far.send(b"urgent!", stdlib_socket.MSG_OOB)
    assert await near.recv(6) == b"urgent"
    assert await near.recv(1, stdlib_socket.MSG_OOB) == b"!"


@pytest.mark.semantics(31)
async def test_nothing_can_be_received_into_no_bytes(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send(b"kept")
    assert await near.recv(0) == b""
    assert await near.recv(4) == b"kept"


@pytest.mark.semantics(31)
async def test_wrong_lengths_are_refused(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send(b"there is something")
    for call in (
        lambda: near.recv(-1),
        lambda: near.recvfrom(-1),
        lambda: near.recvmsg(-1),
        lambda: near.recv_into(bytearray(2), 3),
        lambda: near.recv_into(bytearray(2), -1),
        lambda: near.recvfrom_into(bytearray(2), 3),
    ):
        with pytest.raises(ValueError):
            await call()
    for call in (
        lambda: near.recv("1"),
        lambda: near.recv(None),
        lambda: near.recv_into(b"12"),
        lambda: near.send("text"),
        lambda: near.send(None),
    ):
        with pytest.raises((TypeError, BufferError)):
            await call()


@pytest.mark.semantics(31)
async def test_a_send_takes_what_there_is_room_for(lib: Any, pair: Pair) -> None:
    near, far = pair
    data = bytes(MORE_THAN_FITS)
    sent = await near.send(data)
    assert 0 < sent < len(data)
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, near.send, data)
        received = 0
        while received < sent:
            received += len(await far.recv(1_000_000))
    assert sending.value > 0


@pytest.mark.semantics(31)
async def test_a_send_with_flags_waits_too(lib: Any, pair: Pair) -> None:
    near, far = pair
    sent = await near.send(bytes(MORE_THAN_FITS))
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, near.send, b"more", stdlib_socket.MSG_DONTWAIT)
        received = 0
        while received < sent:
            received += len(await far.recv(1_000_000))
    assert sending.value == 4


@pytest.mark.semantics(31)
async def test_a_send_without_a_peer_fails(lib: Any, pair: Pair) -> None:
    near, far = pair
    far.close()
    with pytest.raises(BrokenPipeError):
        await near.send(b"x")


@pytest.mark.semantics(31)
async def test_any_bytes_can_be_sent(lib: Any, pair: Pair) -> None:
    near, far = pair
    for data in (b"bytes", bytearray(b"bytes"), memoryview(b"bytes"), array.array("B", b"bytes")):
        assert await near.send(data) == 5
        assert await far.recv(10) == b"bytes"


@pytest.mark.semantics(31)
async def test_several_buffers_are_sent_and_filled(lib: Any, pair: Pair) -> None:
    near, far = pair
    assert await near.sendmsg([b"abc", bytearray(b"def"), b"", memoryview(b"gh")]) == 8
    first, second = bytearray(3), bytearray(10)
    count, ancillary, _, _ = await far.recvmsg_into([first, second])
    assert (count, ancillary, bytes(first), bytes(second[:5])) == (8, [], b"abc", b"defgh")


@pytest.mark.semantics(31)
async def test_sendmsg_that_waits_sends_all_buffers(lib: Any, pair: Pair) -> None:
    near, far = pair
    sent = await near.send(bytes(MORE_THAN_FITS))
    received = b""
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, near.sendmsg, [b"the ", b"last"])
        while len(received) < sent + 8:
            received += await far.recv(1_000_000)
    assert sending.value == 8
    assert received[sent:] == b"the last"


@pytest.mark.semantics(31)
async def test_descriptors_are_passed(lib: Any, pair: Pair) -> None:
    near, far = pair
    reader, writer = os.pipe()
    rights = array.array("i", [writer])
    await near.sendmsg([b"x"], [(stdlib_socket.SOL_SOCKET, stdlib_socket.SCM_RIGHTS, rights)])
    data, ancillary, flags, _ = await far.recvmsg(10, stdlib_socket.CMSG_LEN(rights.itemsize))
    os.close(writer)
    assert data == b"x" and not flags & stdlib_socket.MSG_CTRUNC
    ((level, kind, payload),) = ancillary
    assert (level, kind) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SCM_RIGHTS)
    (passed,) = struct.unpack("i", payload)
    os.write(passed, b"through the pipe")
    os.close(passed)
    assert os.read(reader, 100) == b"through the pipe"
    os.close(reader)


@pytest.mark.semantics(31)
async def test_recvmsg_waits(lib: Any, pair: Pair) -> None:
    near, far = pair
    async with lib.open_nursery() as nursery:
        one = await blocked(lib, nursery, near.recvmsg, 10)
        await far.send(b"one")
    buffer = bytearray(10)
    async with lib.open_nursery() as nursery:
        two = await blocked(lib, nursery, near.recvmsg_into, [buffer])
        await far.send(b"two")
    assert one.value[0] == b"one" and two.value[0] == 3 and buffer[:3] == b"two"


@pytest.mark.semantics(31)
async def test_a_long_message_is_received_whole(lib: Any) -> None:
    near, far = lib.socket.socketpair(type=stdlib_socket.SOCK_SEQPACKET)
    message = bytes(range(256)) * 500
    with near, far:
        await near.send(message)
        assert await far.recv(200_000) == message


@pytest.mark.semantics(31)
async def test_is_readable_tells_whether_a_receive_would_wait(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    assert not near.is_readable()
    await far.send(b"x")
    with lib.fail_after(5):
        while not near.is_readable():
            await lib.lowlevel.checkpoint()
    assert await near.recv(1) == b"x"
    assert not near.is_readable()


@pytest.mark.semantics(31)
async def test_the_end_is_readable(lib: Any, pair: Pair) -> None:
    near, far = pair
    far.close()
    assert near.is_readable()


@pytest.mark.semantics(31)
async def test_wait_writable_waits_for_room(lib: Any, pair: Pair) -> None:
    near, far = pair
    await near.wait_writable()
    sent = await near.send(bytes(MORE_THAN_FITS))
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, near.wait_writable)
        received = 0
        while received < sent:
            received += len(await far.recv(1_000_000))
    assert waiting.done and waiting.error is None


# ---- cancelling -------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@pytest.mark.parametrize("receive", ["recv", "recvfrom", "recvmsg", "recv_into", "recvfrom_into", "recvmsg_into"])
async def test_a_cancelled_receive_loses_nothing(lib: Any, tcp: Pair, receive: str) -> None:
    """Cancelled before, and while it waits; then what comes is there."""
    near, far = tcp
    buffer = bytearray(10)
    argument: Any = {"recv_into": buffer, "recvfrom_into": buffer, "recvmsg_into": [buffer]}.get(receive, 10)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, getattr(near, receive), argument)
        nursery.cancel_scope.cancel()
    await far.send(b"kept")
    with cancelled_block(lib):
        await getattr(near, receive)(argument)
    assert await near.recv(10) == b"kept"


@pytest.mark.semantics(31)
async def test_bytes_and_cancellation_in_one_tick_lose_nothing(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    received = b""
    sent = b""
    for number in range(50):
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as nursery:

                async def receive() -> None:
                    nonlocal received
                    received += await near.recv(100)

                nursery.start_soon(receive)
                await lib.testing.wait_all_tasks_blocked()
                message = b"<%d>" % number
                sent += message
                await far.send(message)
                scope.cancel()
    far.close()
    while data := await near.recv(100):
        received += data
    assert received == sent


CALLS = {
    "send": lambda near, far: near.send(b"x"),
    "sendmsg": lambda near, far: near.sendmsg([b"x"]),
    "wait_writable": lambda near, far: near.wait_writable(),
    "recv": lambda near, far: far.recv(1),
    "recv_into": lambda near, far: far.recv_into(bytearray(1)),
    "recvfrom": lambda near, far: far.recvfrom(1),
    "recvfrom_into": lambda near, far: far.recvfrom_into(bytearray(1)),
    "recvmsg": lambda near, far: far.recvmsg(1),
    "recvmsg_into": lambda near, far: far.recvmsg_into([bytearray(1)]),
    "peek": lambda near, far: far.recv(1, stdlib_socket.MSG_PEEK),
}


@pytest.mark.semantics(1, 31)
@pytest.mark.parametrize("name", CALLS)
async def test_every_async_method_that_succeeds_at_once_is_a_checkpoint(lib: Any, tcp: Pair, name: str) -> None:
    near, far = tcp
    await near.send(bytes(100))
    assert await is_schedule_point(lib, CALLS[name], near, far)
    assert await is_cancel_point(lib, CALLS[name], near, far)


@pytest.mark.semantics(1, 31)
async def test_accept_connect_and_bind_are_checkpoints(lib: Any, listening: Any) -> None:
    address = listening.getsockname()

    async def accept() -> None:
        accepted, _ = await listening.accept()
        accepted.close()

    with lib.socket.socket() as sock, lib.socket.socket() as other:
        assert await is_schedule_point(lib, sock.connect, address)
        assert await is_cancel_point(lib, listening.accept)
        assert await is_schedule_point(lib, accept)
        assert await is_cancel_point(lib, other.bind, (LOOPBACK, 0))
        assert await is_schedule_point(lib, other.bind, (LOOPBACK, 0))
