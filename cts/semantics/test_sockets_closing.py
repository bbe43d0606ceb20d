"""Sockets: ending one direction, closing, under whoever waits there too, giving the descriptor away."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import struct
from typing import Any

import pytest

from cts.semantics.socket_scenes import Pair, listening, pair, tcp
from cts.semantics.support import MORE_THAN_FITS, blocked

__all__ = ["listening", "pair", "tcp"]  # fixtures

#: SO_LINGER with no time: closing resets the connection.
RESET = struct.pack("ii", 1, 0)


# ---- shutdown ---------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_after_shutdown_the_peer_sees_the_end(lib: Any, pair: Pair) -> None:
    near, far = pair
    assert not near.did_shutdown_SHUT_WR
    near.shutdown(stdlib_socket.SHUT_RD)
    assert not near.did_shutdown_SHUT_WR
    near.shutdown(stdlib_socket.SHUT_WR)
    assert near.did_shutdown_SHUT_WR
    assert await far.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        await near.send(b"x")


@pytest.mark.semantics(31)
async def test_shutdown_of_both_directions_is_one_of_sending(lib: Any, pair: Pair) -> None:
    near, _ = pair
    near.shutdown(stdlib_socket.SHUT_RDWR)
    assert near.did_shutdown_SHUT_WR and await near.recv(1) == b""


@pytest.mark.semantics(31)
async def test_shutdown_ends_a_receive_that_waits(lib: Any, pair: Pair) -> None:
    near, _ = pair
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, near.recv, 1)
        near.shutdown(stdlib_socket.SHUT_RDWR)
    assert receiving.value == b""


@pytest.mark.semantics(31)
async def test_a_stream_and_its_socket_agree_on_whether_sending_was_ended(lib: Any, pair: Pair) -> None:
    near, far = (lib.SocketStream(sock) for sock in pair)
    await near.send_eof()
    assert near.socket.did_shutdown_SHUT_WR
    far.socket.shutdown(stdlib_socket.SHUT_WR)
    with pytest.raises(lib.ClosedResourceError):
        await far.send_all(b"too late")
    await far.send_eof()


# ---- closing ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_closing_twice_is_harmless_and_the_descriptor_is_gone(lib: Any, pair: Pair) -> None:
    near, _ = pair
    near.close()
    near.close()
    assert near.fileno() == -1


@pytest.mark.semantics(31)
async def test_a_with_block_closes(lib: Any) -> None:
    with lib.socket.socket() as sock:
        pass
    assert sock.fileno() == -1


@pytest.mark.semantics(31)
@pytest.mark.parametrize(
    "call",
    [
        lambda sock: sock.recv(1),
        lambda sock: sock.recv_into(bytearray(1)),
        lambda sock: sock.recvfrom(1),
        lambda sock: sock.recvfrom_into(bytearray(1)),
        lambda sock: sock.recvmsg(1),
        lambda sock: sock.recvmsg_into([bytearray(1)]),
        lambda sock: sock.accept(),
    ],
)
async def test_closing_ends_what_waits_there(lib: Any, tcp: Pair, listening: Any, call: Any) -> None:
    sock = listening if "accept" in call.__code__.co_names else tcp[0]
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, call, sock)
        sock.close()
        assert sock.fileno() == -1
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
@pytest.mark.parametrize(
    "send", [lambda sock: sock.send(b"x"), lambda sock: sock.sendmsg([b"x"]), lambda sock: sock.wait_writable()]
)
async def test_closing_ends_a_send_that_waits(lib: Any, send: Any) -> None:
    near, far = lib.socket.socketpair()
    with near, far:
        await near.send(bytes(MORE_THAN_FITS))
        async with lib.open_nursery() as nursery:
            waiting = await blocked(lib, nursery, send, near)
            near.close()
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_the_peer_sees_the_end_when_a_socket_is_closed_under_a_receive(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, near.recv, 1)
        near.close()
        assert await far.recv(1) == b""


@pytest.mark.semantics(31)
async def test_every_use_after_closing_is_an_error_of_the_system(lib: Any, pair: Pair) -> None:
    near, _ = pair
    near.close()
    for call in (
        lambda: near.recv(1),
        lambda: near.recv_into(bytearray(1)),
        lambda: near.recvfrom(1),
        lambda: near.recvfrom_into(bytearray(1)),
        lambda: near.recvmsg(1),
        lambda: near.recvmsg_into([bytearray(1)]),
        lambda: near.send(b"x"),
        lambda: near.sendmsg([b"x"]),
        near.accept,
        lambda: near.connect("/nowhere"),
    ):
        with pytest.raises(OSError) as caught:
            await call()
        assert caught.value.errno == errno.EBADF
    for plain in (near.getsockname, near.getpeername, near.listen, near.dup, lambda: near.shutdown(1)):
        with pytest.raises(OSError) as caught:
            plain()
        assert caught.value.errno == errno.EBADF


@pytest.mark.semantics(31)
async def test_closing_ends_waits_for_the_descriptor(lib: Any, pair: Pair) -> None:
    near, _ = pair
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, lib.lowlevel.wait_readable, near)
        near.close()
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_closing_a_stream_ends_waits_for_its_descriptor(lib: Any, tcp: Pair) -> None:
    stream = lib.SocketStream(tcp[0])
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, lib.lowlevel.wait_readable, stream.socket)
        await stream.aclose()
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_closing_a_listener_ends_waits_for_its_descriptor(lib: Any, listening: Any) -> None:
    listener = lib.SocketListener(listening)
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, lib.lowlevel.wait_readable, listener.socket)
        await listener.aclose()
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_a_detached_descriptor_stays_open(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send(b"for whoever has it")
    descriptor = near.detach()
    assert near.fileno() == -1
    with stdlib_socket.socket(fileno=descriptor) as plain:
        assert plain.recv(100) == b"for whoever has it"


@pytest.mark.semantics(31)
async def test_a_duplicate_is_a_socket_of_its_own(lib: Any, pair: Pair) -> None:
    near, far = pair
    with near.dup() as twin:
        assert isinstance(twin, lib.socket.SocketType)
        assert twin.fileno() != near.fileno() and not twin.get_inheritable()
        near.close()
        await twin.send(b"still here")
        assert await far.recv(20) == b"still here"


@pytest.mark.semantics(31)
async def test_a_reset_is_an_error_of_the_system(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    far.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, RESET)
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, near.recv, 1)
        far.close()
    assert isinstance(receiving.error, ConnectionResetError)
