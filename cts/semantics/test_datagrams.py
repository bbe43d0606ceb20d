"""Datagram sockets: sendto() in its forms, senders, connected ones, and what a long datagram is cut to."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK, blocked, cancelled_block, is_cancel_point, is_schedule_point

Pair = tuple[Any, Any]

KINDS = {"ipv4": (stdlib_socket.AF_INET, LOOPBACK), "ipv6": (stdlib_socket.AF_INET6, "::1")}


@pytest.fixture(params=KINDS)
async def udp(lib: Any, request: pytest.FixtureRequest) -> AsyncGenerator[Pair, None]:
    """Two bound UDP sockets, of IPv4 or IPv6."""
    family, host = KINDS[request.param]
    near = lib.socket.socket(family, stdlib_socket.SOCK_DGRAM)
    far = lib.socket.socket(family, stdlib_socket.SOCK_DGRAM)
    with near, far:
        await near.bind((host, 0))
        await far.bind((host, 0))
        yield near, far


@pytest.mark.semantics(31)
async def test_a_datagram_comes_with_its_sender(lib: Any, udp: Pair) -> None:
    near, far = udp
    assert await near.sendto(b"hello", far.getsockname()) == 5
    assert await far.recvfrom(100) == (b"hello", near.getsockname())


@pytest.mark.semantics(31)
async def test_it_comes_with_its_sender_into_memory_too(lib: Any, udp: Pair) -> None:
    near, far = udp
    await near.sendto(b"hello", far.getsockname())
    buffer = bytearray(10)
    assert await far.recvfrom_into(buffer) == (5, near.getsockname())
    assert buffer[:5] == b"hello"


@pytest.mark.semantics(31)
@pytest.mark.parametrize("receive", ["recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "recv", "recv_into"])
async def test_receives_wait_for_a_datagram(lib: Any, udp: Pair, receive: str) -> None:
    near, far = udp
    buffer = bytearray(10)
    argument: Any = {"recv_into": buffer, "recvfrom_into": buffer, "recvmsg_into": [buffer]}.get(receive, 10)
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, getattr(far, receive), argument)
        await near.sendto(b"hello", far.getsockname())
    value = waiting.value
    if "from" in receive:
        assert value[1] == near.getsockname()
    if "msg" in receive:
        assert value[3] == near.getsockname()
    first = value[0] if isinstance(value, tuple) else value
    assert first in (b"hello", 5) and (first == b"hello" or buffer[:5] == b"hello")


@pytest.mark.semantics(31)
async def test_sendto_takes_flags_in_the_middle(lib: Any, udp: Pair) -> None:
    near, far = udp
    assert await near.sendto(b"hello", stdlib_socket.MSG_DONTWAIT, far.getsockname()) == 5
    assert (await far.recvfrom(10))[0] == b"hello"


@pytest.mark.semantics(31)
async def test_sendto_refuses_other_numbers_of_arguments(lib: Any, udp: Pair) -> None:
    near, far = udp
    for arguments in ((), (b"x",), (b"x", 0, far.getsockname(), 1)):
        with pytest.raises((TypeError, ValueError, IndexError)):
            await near.sendto(*arguments)
    with pytest.raises(TypeError):
        await near.sendto(b"x", address=far.getsockname())


@pytest.mark.semantics(31)
async def test_sendto_resolves_names(lib: Any) -> None:
    near = lib.socket.socket(type=stdlib_socket.SOCK_DGRAM)
    far = lib.socket.socket(type=stdlib_socket.SOCK_DGRAM)
    with near, far:
        await far.bind((LOOPBACK, 0))
        port = far.getsockname()[1]
        for host in ("localhost", b"localhost", "", b"127.0.0.1"):
            await near.sendto(b"x", (host, port))
            assert (await far.recvfrom(10))[0] == b"x"


@pytest.mark.semantics(31)
async def test_broadcast_is_an_address_that_has_to_be_allowed(lib: Any) -> None:
    with lib.socket.socket(type=stdlib_socket.SOCK_DGRAM) as sock:
        with pytest.raises(PermissionError):
            await sock.sendto(b"x", ("<broadcast>", 9))


@pytest.mark.semantics(31)
@pytest.mark.parametrize("address", [None, "127.0.0.1", ("127.0.0.1",), ("127.0.0.1", 1, 2), ["127.0.0.1", 1]])
async def test_addresses_of_another_form_are_refused(lib: Any, address: Any) -> None:
    with lib.socket.socket(type=stdlib_socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError):
            await sock.sendto(b"x", address)


@pytest.mark.semantics(31)
async def test_several_buffers_are_one_datagram(lib: Any, udp: Pair) -> None:
    near, far = udp
    assert await near.sendmsg([b"one ", b"datagram"], [], 0, far.getsockname()) == 12
    data, ancillary, flags, sender = await far.recvmsg(100)
    assert (data, ancillary, sender) == (b"one datagram", [], near.getsockname())
    assert not flags & stdlib_socket.MSG_TRUNC


@pytest.mark.semantics(31)
async def test_a_long_datagram_is_cut(lib: Any, udp: Pair) -> None:
    near, far = udp
    for _ in range(3):
        await near.sendto(b"0123456789", far.getsockname())
    assert (await far.recvfrom(4))[0] == b"0123"
    assert await far.recv(4) == b"0123"
    data, _, flags, _ = await far.recvmsg(4)
    assert data == b"0123" and flags & stdlib_socket.MSG_TRUNC


@pytest.mark.semantics(31)
async def test_an_empty_datagram_is_one(lib: Any, udp: Pair) -> None:
    near, far = udp
    for receive in (far.recvfrom, lambda size: far.recvfrom_into(bytearray(size))):
        assert await near.sendto(b"", far.getsockname()) == 0
        count, sender = await receive(10)
        assert count in (b"", 0) and sender == near.getsockname()


@pytest.mark.semantics(31)
async def test_a_large_datagram_arrives_whole(lib: Any, udp: Pair) -> None:
    near, far = udp
    data = bytes(range(250)) * 260
    await near.sendto(data, far.getsockname())
    assert (await far.recvfrom(70_000))[0] == data
    await near.sendto(data, far.getsockname())
    assert await far.recv(70_000) == data


@pytest.mark.semantics(31)
async def test_a_connected_socket_sends_to_its_peer(lib: Any, udp: Pair) -> None:
    near, far = udp
    await near.connect(far.getsockname())
    assert near.getpeername() == far.getsockname()
    await near.send(b"hello")
    assert await far.recvfrom(10) == (b"hello", near.getsockname())


@pytest.mark.semantics(31)
async def test_a_peer_that_is_not_there_is_an_error_of_the_next_call(lib: Any) -> None:
    with lib.socket.socket(type=stdlib_socket.SOCK_DGRAM) as bound:
        await bound.bind((LOOPBACK, 0))
        address = bound.getsockname()
    with lib.socket.socket(type=stdlib_socket.SOCK_DGRAM) as sock:
        await sock.connect(address)
        await sock.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            await sock.recv(1)


@pytest.mark.semantics(31)
async def test_a_cancelled_receive_loses_no_datagram(lib: Any, udp: Pair) -> None:
    near, far = udp
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, far.recvfrom, 10)
        nursery.cancel_scope.cancel()
    await near.sendto(b"kept", far.getsockname())
    with cancelled_block(lib):
        await far.recvfrom(10)
    assert (await far.recvfrom(10))[0] == b"kept"


@pytest.mark.semantics(31)
async def test_datagrams_and_cancellations_in_one_tick_lose_nothing(lib: Any, udp: Pair) -> None:
    near, far = udp
    received = []
    for number in range(50):
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as nursery:

                async def receive() -> None:
                    received.append((await far.recvfrom(100))[0])

                nursery.start_soon(receive)
                await lib.testing.wait_all_tasks_blocked()
                await near.sendto(b"%d" % number, far.getsockname())
                scope.cancel()
        if len(received) <= number:
            received.append((await far.recvfrom(100))[0])
    assert received == [b"%d" % number for number in range(50)]


@pytest.mark.semantics(31)
async def test_closing_ends_a_receive_that_waits(lib: Any, udp: Pair) -> None:
    _, far = udp
    async with lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, far.recvfrom, 10)
        far.close()
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(1, 31)
@pytest.mark.parametrize("name", ["sendto", "recvfrom", "recvfrom_into"])
async def test_what_succeeds_at_once_is_a_checkpoint(lib: Any, udp: Pair, name: str) -> None:
    near, far = udp
    for _ in range(3):
        await near.sendto(b"x", far.getsockname())
    arguments: dict[str, tuple[Any, ...]] = {
        "sendto": (b"x", near.getsockname()),
        "recvfrom": (10,),
        "recvfrom_into": (bytearray(10),),
    }
    call = getattr(far, name)
    assert await is_schedule_point(lib, call, *arguments[name])
    assert await is_cancel_point(lib, call, *arguments[name])
