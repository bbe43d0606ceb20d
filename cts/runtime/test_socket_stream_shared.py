"""SocketStream and its socket: neither misses what the other has received, nor whoever is given the descriptor."""

from __future__ import annotations

import contextlib
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.runtime.connections import (
    arm,
    connection,
    connection_to,
    listening,
    receive_all,
    received_by,
    received_of,
    some_turns,
)
from cts.support import pattern
from proactor_trio import (
    BusyResourceError,
    ClosedResourceError,
    SocketStream,
    fail_after,
    move_on_after,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.testing import wait_all_tasks_blocked

# ---- by other ways than the stream ------------------------------------------------------------------------------


@pytest.mark.parametrize("receive", ["recv", "recvfrom", "recvmsg", "recv_into", "recvfrom_into", "recvmsg_into"])
async def test_the_socket_gives_first_what_the_stream_has_received(receive: str) -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"first")
        await some_turns()
        buffer = bytearray(10)
        argument: Any = {"recv_into": buffer, "recvfrom_into": buffer, "recvmsg_into": [buffer]}.get(receive, 10)
        got = await getattr(stream.socket, receive)(argument)
        first = got[0] if isinstance(got, tuple) else got
        assert first in (b"first", 5) and (first == b"first" or buffer[:5] == b"first")
        peer.send(b"second")
        assert await stream.socket.recv(10) == b"second"
        peer.send(b"third")
        assert await stream.receive_some() == b"third"


async def test_peeking_leaves_what_the_stream_has_received() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"seen")
        await some_turns()
        assert await stream.socket.recv(2, stdlib_socket.MSG_PEEK) == b"se"
        assert await stream.receive_some() == b"seen"


async def test_wrong_lengths_are_refused_also_where_bytes_lie_here() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"kept")
        await some_turns()
        for call in (lambda: stream.socket.recv(-1), lambda: stream.socket.recvfrom(-1)):
            with pytest.raises(ValueError, match="negative"):
                await call()
        assert await stream.socket.recv(0) == b""
        assert await stream.receive_some() == b"kept"


async def test_urgent_data_is_not_taken_for_the_stream() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"plain")
        await some_turns()
        peer.send(b"!", stdlib_socket.MSG_OOB)
        with fail_after(5):
            assert await stream.socket.recv(1, stdlib_socket.MSG_OOB) == b"!"
        assert await receive_all(stream, 5) == b"plain"


async def test_the_socket_cannot_receive_while_a_task_does() -> None:
    async with connection() as (stream, _):
        async with open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            with pytest.raises(BusyResourceError):
                await stream.socket.recv(1)
            with pytest.raises(BusyResourceError):
                stream.socket.detach()
            nursery.cancel_scope.cancel()


async def test_closing_under_a_receive_of_the_socket_is_told_to_it() -> None:
    async with connection() as (stream, _):
        await arm(stream)
        has_begun, errors = False, []

        async def receive() -> None:
            nonlocal has_begun
            has_begun = True
            try:
                await stream.socket.recv(1)
            except ClosedResourceError as error:
                errors.append(error)

        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            while not has_begun:
                await checkpoint()
            stream.socket.close()
        assert len(errors) == 1


async def test_is_readable_knows_what_the_kernel_has_received_ahead() -> None:
    """At once after it was sent, though no turn of the loop has told of it; on loopback it has arrived by then."""
    async with connection() as (stream, peer):
        for number in range(20):
            await arm(stream)
            assert not stream.socket.is_readable()
            await arm(stream)
            peer.send(b"%02d" % number)
            assert stream.socket.is_readable()
            assert await receive_all(stream, 2) == b"%02d" % number
        await arm(stream)
        peer.shutdown(stdlib_socket.SHUT_WR)
        assert stream.socket.is_readable()


async def test_a_detached_descriptor_misses_no_byte() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        descriptor = stream.socket.detach()
        with stdlib_socket.socket(fileno=descriptor) as plain:
            peer.send(b"for the plain socket")
            assert received_by(plain) == b"for the plain socket"
            with pytest.raises(ClosedResourceError):
                await stream.receive_some()


async def test_a_stream_with_bytes_is_not_detached(configuration: Any) -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        armed = received_of(stream).is_armed
        peer.send(b"lying here")
        await some_turns()
        if armed:
            with pytest.raises(RuntimeError, match="10 bytes"):
                stream.socket.detach()
        assert await stream.receive_some() == b"lying here"
        os.close(stream.socket.detach())


@pytest.mark.parametrize("gives_away", [lambda sock: sock.fileno(), lambda sock: sock.dup().close()])
async def test_nothing_is_received_ahead_once_the_descriptor_was_given_away(
    gives_away: Callable[[Any], object],
) -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        gives_away(stream.socket)
        await some_turns()
        assert not received_of(stream).is_armed
        for _ in range(5):
            peer.send(b"x")
            assert await stream.receive_some() == b"x"
            await arm(stream)
            assert not received_of(stream).is_armed
        peer.send(b"for others")
        await some_turns()
        assert os.read(stream.socket.fileno(), 100) == b"for others"


async def test_two_streams_do_not_mix() -> None:
    async with listening() as listener:
        pairs = [await connection_to(listener) for _ in range(2)]
    for number in range(50):
        for name, (_, peer) in enumerate(pairs):
            peer.send(b"<%d:%02d>" % (name, number))
    for name, (stream, peer) in enumerate(pairs):
        assert await receive_all(stream, 6 * 50) == b"".join(b"<%d:%02d>" % (name, number) for number in range(50))
        await stream.aclose()
        peer.close()


# ---- sending without copying ------------------------------------------------------------------------------------


@pytest.mark.ring_rule(13)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_large_sends_arrive_whole_whatever_the_socket_may_do_without(kind: Callable[[bytes], Any]) -> None:
    data = pattern(1 << 20)
    async with connection() as (stream, peer):
        with contextlib.suppress(OSError):
            stream.setsockopt(stdlib_socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
        other = SocketStream(proactor_trio.socket.from_stdlib_socket(peer.dup()))
        async with other, open_nursery() as nursery:
            nursery.start_soon(stream.send_all, kind(data))
            assert await receive_all(other, len(data)) == data


@pytest.mark.ring_rule(13)
async def test_memory_that_may_change_may_do_so_as_soon_as_it_was_sent() -> None:
    async with connection() as (stream, peer):
        with contextlib.suppress(OSError):
            stream.setsockopt(stdlib_socket.SOL_SOCKET, 60, 1)
        other = SocketStream(proactor_trio.socket.from_stdlib_socket(peer.dup()))
        async with other:
            for number in range(10):
                data = bytearray([number]) * 50_000
                with move_on_after(5):
                    await stream.send_all(data)
                data[:] = bytes(len(data))
                assert await receive_all(other, len(data)) == bytes([number]) * 50_000
