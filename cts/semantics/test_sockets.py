"""Sockets: making them, options and names, binding, connecting, accepting."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import ssl
import struct
from typing import Any

import pytest

from cts.semantics.socket_scenes import Pair, listening, pair, tcp
from cts.semantics.support import LOOPBACK, blocked, cancelled_block

__all__ = ["listening", "pair", "tcp"]  # fixtures


# ---- making sockets ---------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_a_new_socket_is_for_tcp_over_ipv4(lib: Any) -> None:
    with lib.socket.socket() as sock:
        assert (sock.family, sock.type, sock.proto) == (stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM, 0)
        assert isinstance(sock, lib.socket.SocketType)
        assert not sock.get_inheritable()


@pytest.mark.semantics(31)
async def test_family_type_and_protocol_are_those_that_were_asked_for(lib: Any) -> None:
    with lib.socket.socket(stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM, stdlib_socket.IPPROTO_UDP) as sock:
        found = (sock.family, sock.type, sock.proto)
    assert found == (stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM, stdlib_socket.IPPROTO_UDP)


@pytest.mark.semantics(31)
async def test_a_descriptor_is_taken_over_as_what_it_is(lib: Any) -> None:
    stdlib = stdlib_socket.socket(stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM)
    descriptor = stdlib.detach()
    with lib.socket.socket(fileno=descriptor) as sock:
        assert sock.fileno() == descriptor
        assert (sock.family, sock.type) == (stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM)


@pytest.mark.semantics(31)
async def test_a_pair_is_connected(lib: Any) -> None:
    near, far = lib.socket.socketpair()
    with near, far:
        assert near.family == stdlib_socket.AF_UNIX
        await near.send(b"hello")
        assert await far.recv(10) == b"hello"


@pytest.mark.semantics(31)
async def test_a_stdlib_socket_is_taken_over_and_does_not_block(lib: Any) -> None:
    stdlib, other = stdlib_socket.socketpair()
    descriptor = stdlib.fileno()
    with other, lib.socket.from_stdlib_socket(stdlib) as sock:
        assert sock.fileno() == descriptor
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 1)


@pytest.mark.semantics(31)
async def test_only_plain_stdlib_sockets_are_taken_over(lib: Any) -> None:
    class Subclass(stdlib_socket.socket):
        pass

    context = ssl.create_default_context()
    with (
        Subclass() as subclass,
        context.wrap_socket(stdlib_socket.socket(), do_handshake_on_connect=False, server_hostname="x") as over_tls,
        lib.socket.socket() as ours,
    ):
        for wrong in (subclass, over_tls, ours, 3, None):
            with pytest.raises(TypeError):
                lib.socket.from_stdlib_socket(wrong)


@pytest.mark.semantics(31)
async def test_fromfd_duplicates_the_descriptor(lib: Any) -> None:
    stdlib, other = stdlib_socket.socketpair()
    with other:
        with stdlib:
            sock = lib.socket.fromfd(stdlib.fileno(), stdlib.family, stdlib.type)
            assert sock.fileno() != stdlib.fileno()
        with sock:
            assert (sock.family, sock.type) == (stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
            await sock.send(b"still open")
        assert other.recv(20) == b"still open"


@pytest.mark.semantics(31)
async def test_the_system_says_of_what_kind_a_descriptor_is(lib: Any) -> None:
    with stdlib_socket.socket(stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM) as stdlib:
        with lib.socket.fromfd(stdlib.fileno(), stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM) as sock:
            assert (sock.family, sock.type) == (stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM)


@pytest.mark.semantics(31)
async def test_socket_type_is_abstract(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.socket.SocketType()


@pytest.mark.semantics(31)
async def test_a_test_double_may_be_derived_from_socket_type(lib: Any) -> None:
    class Double(lib.socket.SocketType):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

    double = Double()
    assert isinstance(double, lib.socket.SocketType)
    with pytest.raises(NotImplementedError):
        await double.recv(1)
    with pytest.raises(NotImplementedError):
        double.fileno()


@pytest.mark.semantics(31)
def test_the_module_has_the_names_of_the_stdlib_that_mean_something_here(lib: Any) -> None:
    import trio

    public = {name for name in dir(trio.socket) if not name.startswith("_")} - {"annotations"}
    assert public <= set(dir(lib.socket))
    for name in public:
        if name.isupper():
            assert getattr(lib.socket, name) == getattr(trio.socket, name)


@pytest.mark.semantics(31)
def test_the_methods_are_those_of_trio(lib: Any) -> None:
    import trio

    expected = {name for name in dir(trio.socket.SocketType) if not name.startswith("_")}
    assert expected <= {name for name in dir(lib.socket.SocketType) if not name.startswith("_")}


@pytest.mark.semantics(31)
async def test_sockets_have_no_attributes_of_the_stdlib_that_would_block(lib: Any, pair: Pair) -> None:
    for name in ("makefile", "sendall", "settimeout", "setblocking", "sendfile"):
        assert not hasattr(pair[0], name)


# ---- options and names ------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_options_are_read_and_set_as_in_the_stdlib(lib: Any) -> None:
    level, option = stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR
    with lib.socket.socket() as sock:
        assert sock.getsockopt(level, option) == 0
        sock.setsockopt(level, option, 1)
        assert sock.getsockopt(level, option) == 1
        assert sock.getsockopt(level, option, 4) == struct.pack("i", 1)
        sock.setsockopt(level, option, struct.pack("i", 0))
        assert sock.getsockopt(level, option) == 0


@pytest.mark.semantics(31)
async def test_an_option_without_a_value_has_a_length(lib: Any) -> None:
    with lib.socket.socket() as sock:
        with pytest.raises(TypeError):
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_BINDTODEVICE, None)
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_BINDTODEVICE, None, 0)
        with pytest.raises(TypeError):
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_BINDTODEVICE, b"lo", 2)


@pytest.mark.semantics(31)
async def test_whether_children_inherit_it_can_be_said(lib: Any) -> None:
    with lib.socket.socket() as sock:
        sock.set_inheritable(True)
        assert sock.get_inheritable() and os.get_inheritable(sock.fileno())


@pytest.mark.semantics(31)
async def test_names_are_those_of_both_ends(lib: Any, tcp: Pair) -> None:
    near, far = tcp
    assert near.getpeername() == far.getsockname()
    assert far.getpeername() == near.getsockname()


@pytest.mark.semantics(31)
async def test_accepted_sockets_are_not_inherited(lib: Any, tcp: Pair) -> None:
    assert not tcp[1].get_inheritable()


# ---- bind -------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", b"127.0.0.1", b"localhost"])
async def test_bind_resolves_names(lib: Any, host: str | bytes) -> None:
    with lib.socket.socket() as sock:
        await sock.bind((host, 0))
        assert sock.getsockname()[0] == "127.0.0.1"


@pytest.mark.semantics(31)
async def test_no_name_is_every_address_for_bind_and_our_own_for_connect(lib: Any) -> None:
    with lib.socket.socket() as listening, lib.socket.socket() as sock:
        await listening.bind(("", 0))
        assert listening.getsockname()[0] == "0.0.0.0"
        listening.listen()
        await sock.connect(("", listening.getsockname()[1]))
        assert sock.getpeername()[0] == "127.0.0.1"


@pytest.mark.semantics(31)
@pytest.mark.parametrize(
    "address", [None, "127.0.0.1", ("127.0.0.1",), ("127.0.0.1", 80, 0), ["127.0.0.1", 80], ("127.0.0.1", 80, 0, 0), 5]
)
async def test_addresses_of_another_form_are_refused(lib: Any, address: Any) -> None:
    with lib.socket.socket() as sock:
        for call in (sock.bind, sock.connect):
            with pytest.raises(ValueError):
                await call(address)


@pytest.mark.semantics(31)
@pytest.mark.parametrize("address", [None, "::1", ("::1",), ("::1", 80, 0, 0, 0), ["::1", 80]])
async def test_addresses_of_another_form_are_refused_for_ipv6(lib: Any, address: Any) -> None:
    with lib.socket.socket(stdlib_socket.AF_INET6) as sock:
        for call in (sock.bind, sock.connect):
            with pytest.raises(ValueError):
                await call(address)


@pytest.mark.semantics(31)
@pytest.mark.parametrize("rest", [(), (0,), (0, 0)])
async def test_ipv6_addresses_may_have_flow_and_scope(lib: Any, rest: tuple[int, ...]) -> None:
    with lib.socket.socket(stdlib_socket.AF_INET6) as listening, lib.socket.socket(stdlib_socket.AF_INET6) as sock:
        await listening.bind(("::1", 0, *rest))
        listening.listen()
        await sock.connect(("::1", listening.getsockname()[1], *rest))
        assert sock.getpeername()[0] == "::1"


@pytest.mark.semantics(31)
async def test_an_ipv6_socket_speaks_ipv4_where_it_may(lib: Any) -> None:
    with lib.socket.socket() as listening, lib.socket.socket(stdlib_socket.AF_INET6) as sock:
        await listening.bind((LOOPBACK, 0))
        listening.listen()
        sock.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 0)
        await sock.connect((LOOPBACK, listening.getsockname()[1]))
        assert sock.getpeername()[0] == "::ffff:127.0.0.1"


@pytest.mark.semantics(31)
async def test_an_ipv6_socket_that_may_not_knows_no_ipv4_address(lib: Any) -> None:
    with lib.socket.socket(stdlib_socket.AF_INET6) as sock:
        sock.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
        with pytest.raises(stdlib_socket.gaierror):
            await sock.connect((LOOPBACK, 80))


@pytest.mark.semantics(31)
async def test_an_address_that_is_taken_is_an_error_of_the_system(lib: Any, listening: Any) -> None:
    with lib.socket.socket() as sock:
        with pytest.raises(OSError) as caught:
            await sock.bind(listening.getsockname())
    assert caught.value.errno == errno.EADDRINUSE


# ---- connect ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
async def test_connect_resolves_names(lib: Any, listening: Any) -> None:
    with lib.socket.socket() as sock:
        await sock.connect(("localhost", listening.getsockname()[1]))
        assert sock.getpeername() == listening.getsockname()


@pytest.mark.semantics(32)
async def test_a_refused_connection_says_so_and_keeps_the_socket_open(lib: Any) -> None:
    with lib.socket.socket() as bound, lib.socket.socket() as sock:
        await bound.bind((LOOPBACK, 0))
        with pytest.raises(ConnectionRefusedError):
            await sock.connect(bound.getsockname())
        assert sock.fileno() >= 0


@pytest.mark.semantics(32)
async def test_a_cancelled_connect_closes_the_socket(lib: Any, listening: Any) -> None:
    with lib.socket.socket() as sock:
        with cancelled_block(lib):
            await sock.connect(listening.getsockname())
        assert sock.fileno() == -1


@pytest.mark.semantics(32)
async def test_a_connect_that_is_cancelled_while_it_waits_closes_the_socket(lib: Any) -> None:
    """A listener whose queue is full does not answer."""
    with lib.socket.socket() as listening:
        await listening.bind((LOOPBACK, 0))
        listening.listen(0)
        socks = [lib.socket.socket() for _ in range(4)]
        async with lib.open_nursery() as nursery:
            for sock in socks:
                nursery.start_soon(sock.connect, listening.getsockname())
            await lib.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert any(sock.fileno() == -1 for sock in socks)
        for sock in socks:
            sock.close()


@pytest.mark.semantics(32)
@pytest.mark.parametrize("address", [("127.0.0.1", 80, 0), ("127.0.0.1", 70_000), ("name.invalid", 80)])
async def test_a_wrong_address_leaves_the_socket_open(lib: Any, address: Any) -> None:
    with lib.socket.socket() as sock:
        with pytest.raises((ValueError, OSError, OverflowError)):
            await sock.connect(address)
        assert sock.fileno() >= 0


# ---- accept -----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_accept_gives_a_socket_and_its_peer(lib: Any, listening: Any) -> None:
    with lib.socket.socket() as sock:
        await sock.connect(listening.getsockname())
        accepted, address = await listening.accept()
        with accepted:
            assert isinstance(accepted, lib.socket.SocketType)
            assert address == sock.getsockname()
            await sock.send(b"x")
            assert await accepted.recv(1) == b"x"


@pytest.mark.semantics(31)
async def test_a_cancelled_accept_takes_no_connection(lib: Any, listening: Any) -> None:
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, listening.accept)
        nursery.cancel_scope.cancel()
    with lib.socket.socket() as sock:
        await sock.connect(listening.getsockname())
        accepted, _ = await listening.accept()
        accepted.close()
