"""Sockets themselves: types, options at creation, import, states, room to send."""

from __future__ import annotations

import errno
import fcntl
import os
import socket as stdlib_socket
import sys
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.net_support import udp
from cts.support import LOOPBACK, Sockets, fill, finish, perform, settle, start
from proactor_trio.proactor import (
    Accept,
    Address,
    ClosedResourceError,
    Connect,
    Proactor,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
    SocketOptions,
    SocketState,
    SocketType,
    StatusCode,
    Unimplemented,
    status_of,
)
from proactor_trio.proactor.socket_state import SOCKET_TRANSITIONS

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

# Types ----------------------------------------------------------------------------------------------------------------


CASE_OF_TYPE = {
    "TCP": "SocketTest.CreateSocket_TCP",
    "UDP": "SocketTest.CreateSocket_UDP",
    "UDP6": "SocketTest.IPv6_CreateUDP6",
    "UNIX_STREAM": "SocketTest.CreateSocket_Unix",
    "UNIX_DGRAM": "SocketPosixTest.CreateSocket_UnixDgram",
}


def parameter(type: SocketType) -> Any:
    """A type, with the case that it covers."""
    case = CASE_OF_TYPE.get(type.name)
    return pytest.param(type, id=type.name, marks=pytest.mark.reference(case) if case else ())


@pytest.mark.parametrize("type", [parameter(type) for type in SocketType])
def test_a_socket_of_each_type_can_be_made(sockets: Sockets, type: SocketType) -> None:
    try:
        created = sockets.keep(Socket.of_type(type))
    except OSError as error:
        assert error.errno == errno.EAFNOSUPPORT
        pytest.skip(f"no {type.name} here")
    assert ((created.family, created.type), created.state) == (type.value, SocketState.CREATED)


@pytest.mark.parametrize("type", [SocketType.TCP, SocketType.UDP, SocketType.UNIX_STREAM], ids=lambda type: type.name)
@pytest.mark.ring_rule(23)
def test_a_socket_is_non_blocking_and_not_inherited(sockets: Sockets, type: SocketType) -> None:
    created = sockets.keep(Socket.of_type(type))
    assert not os.get_blocking(created.fileno())
    assert fcntl.fcntl(created.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_a_type_is_a_socket_type() -> None:
    with pytest.raises(TypeError, match="type"):
        Socket.of_type("TCP")  # type: ignore[arg-type]


def test_ipv6_types_do_not_speak_ipv4(sockets: Sockets) -> None:
    try:
        created = sockets.keep(Socket.of_type(SocketType.TCP6))
    except OSError as error:
        pytest.skip(f"no IPv6: {error}")
    assert created.getsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY) == 1


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param("[::1]:8080", "::1", marks=pytest.mark.reference("SocketTest.IPv6_AddressParsing")),
        pytest.param(
            "[2001:DB8:0::7]:8080", "2001:db8::7", marks=pytest.mark.reference("SocketTest.IPv6_AddressParsing")
        ),
        pytest.param("[::]:8080", "::", marks=pytest.mark.reference("SocketTest.IPv6_AnyAddressParsing")),
    ],
)
def test_an_ipv6_address_is_read_and_shown_in_its_one_form(text: str, host: str) -> None:
    address = Address.from_string(text)
    assert (address.family, address.stdlib) == (stdlib_socket.AF_INET6, (host, 8080, 0, 0))
    assert str(address) == f"[{host}]:8080"


@pytest.mark.reference("SocketTest.IPv6_AnyAddressParsing")
def test_an_empty_ipv6_host_is_any() -> None:
    assert Address.from_ipv6("", 80) == Address.from_string("[::]:80")


@pytest.mark.reference("SocketTest.IPv6_CreateAndBind")
def test_an_ipv6_socket_can_be_bound(sockets: Sockets) -> None:
    try:
        created = sockets.keep(Socket.of_type(SocketType.TCP6))
        created.bind(Address.from_string("[::1]:0"))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    host, port = created.getsockname()[:2]
    assert host == "::1" and port > 0


@pytest.mark.reference("SocketTest.IPv6_LoopbackSendRecv")
def test_ipv6_loopback_works(proactor: Proactor, sockets: Sockets) -> None:
    try:
        listener = sockets.keep(Socket.of_type(SocketType.TCP6))
        listener.bind(Address.from_string("[::1]:0"))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    listener.listen()
    client = sockets.keep(Socket.of_type(SocketType.TCP6))
    perform(proactor, Connect(client, listener.getsockname()))
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    perform(proactor, Send(client, b"six"))
    assert perform(proactor, RecvBytes(accepted, 10)) == b"six"


# Options --------------------------------------------------------------------------------------------------------------


def option_of_the_reference(case: str, option: SocketOptions, level: str, name: str) -> Any:
    """A parameter that covers `case`."""
    marks = pytest.mark.reference(f"SocketPosixTest.VerifyOption_{case}")
    return pytest.param(option, level, name, id=name, marks=marks)


@pytest.mark.parametrize(
    ("option", "level", "name"),
    [
        option_of_the_reference("ReuseAddr", SocketOptions.REUSE_ADDR, "SOL_SOCKET", "SO_REUSEADDR"),
        option_of_the_reference("ReusePort", SocketOptions.REUSE_PORT, "SOL_SOCKET", "SO_REUSEPORT"),
        option_of_the_reference("NoDelay", SocketOptions.NO_DELAY, "IPPROTO_TCP", "TCP_NODELAY"),
        option_of_the_reference("KeepAlive", SocketOptions.KEEP_ALIVE, "SOL_SOCKET", "SO_KEEPALIVE"),
    ],
)
def test_an_option_is_set_at_creation(sockets: Sockets, option: SocketOptions, level: str, name: str) -> None:
    with_it, without = (sockets.keep(Socket.of_type(SocketType.TCP, chosen)) for chosen in (option, SocketOptions.NONE))
    place = getattr(stdlib_socket, level), getattr(stdlib_socket, name)
    assert (bool(with_it.getsockopt(*place)), bool(without.getsockopt(*place))) == (True, False)


@pytest.mark.reference("SocketPosixTest.VerifyOption_LingerZero")
def test_linger_zero_is_set_at_creation(sockets: Sockets) -> None:
    created = sockets.keep(Socket(options=SocketOptions.LINGER_ZERO))
    assert created.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, 8) == b"\1\0\0\0\0\0\0\0"


def test_several_options_are_set_together(sockets: Sockets) -> None:
    created = sockets.keep(Socket(options=SocketOptions.REUSE_ADDR | SocketOptions.KEEP_ALIVE))
    for name in ("SO_REUSEADDR", "SO_KEEPALIVE"):
        assert created.getsockopt(stdlib_socket.SOL_SOCKET, getattr(stdlib_socket, name))


@pytest.mark.parametrize("type", [SocketType.UDP, SocketType.UNIX_STREAM], ids=lambda type: type.name)
def test_no_delay_has_no_effect_on_what_is_not_tcp(sockets: Sockets, type: SocketType) -> None:
    assert sockets.keep(Socket.of_type(type, SocketOptions.NO_DELAY)).state is SocketState.CREATED


def test_an_option_that_the_system_refuses_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_socket, "SO_REUSEPORT", 0x7FFF)
    with pytest.raises(OSError):
        Socket(options=SocketOptions.REUSE_PORT)


def test_reuse_port_lets_two_sockets_have_one_address(sockets: Sockets) -> None:
    first, second = (sockets.keep(Socket.of_type(SocketType.UDP, SocketOptions.REUSE_PORT)) for _ in range(2))
    first.bind((LOOPBACK, 0))
    second.bind(first.getsockname())
    assert first.getsockname() == second.getsockname()


# Import ---------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SocketPosixTest.ImportSocket_FromRawFd")
def test_a_raw_descriptor_can_be_taken_over(proactor: Proactor, sockets: Sockets) -> None:
    near, far = stdlib_socket.socketpair()
    imported = sockets.keep(Socket.from_descriptor(near.detach()))
    sockets.keep(far).send(b"hello")
    assert perform(proactor, RecvBytes(imported, 10)) == b"hello"


@pytest.mark.regression("imported-sockets-are-changed")
def test_an_imported_descriptor_becomes_non_blocking(sockets: Sockets) -> None:
    imported = sockets.keep(Socket.from_descriptor(stdlib_socket.socket().detach()))
    assert not os.get_blocking(imported.fileno())


@pytest.mark.parametrize(
    ("family", "kind"), [("AF_INET", "SOCK_STREAM"), ("AF_INET", "SOCK_DGRAM"), ("AF_UNIX", "SOCK_DGRAM")]
)
def test_an_imported_descriptor_is_what_the_system_says(sockets: Sockets, family: str, kind: str) -> None:
    numbers = getattr(stdlib_socket, family), getattr(stdlib_socket, kind)
    imported = sockets.keep(Socket.from_descriptor(stdlib_socket.socket(*numbers).detach()))
    assert (imported.family, imported.type) == numbers


@pytest.mark.parametrize(("descriptor", "error"), [(-1, ValueError), (1 << 31, ValueError), (None, TypeError)])
@pytest.mark.reference("SocketPosixTest.ImportSocket_InvalidFd")
def test_what_cannot_be_a_descriptor_is_refused(descriptor: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="descriptor") as refused:
        Socket.from_descriptor(descriptor)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("SocketPosixTest.ImportSocket_ClosedFd")
def test_a_closed_descriptor_is_ebadf() -> None:
    with stdlib_socket.socket() as closed:
        descriptor = closed.fileno()
    with pytest.raises(OSError) as failure:
        Socket.from_descriptor(descriptor)
    assert (failure.value.errno, status_of(failure.value)) == (errno.EBADF, StatusCode.FAILED_PRECONDITION)


def test_a_descriptor_that_is_no_socket_stays_its_owners() -> None:
    reader, writer = os.pipe()
    with pytest.raises(OSError) as failure:
        Socket.from_descriptor(reader)
    assert failure.value.errno == errno.ENOTSOCK
    for descriptor in (reader, writer):
        os.close(descriptor)  # would raise if it had been closed


def test_a_closed_stdlib_socket_is_refused() -> None:
    with stdlib_socket.socket() as closed:
        pass
    with pytest.raises(ClosedResourceError, match="stdlib"):
        Socket.from_stdlib(closed)


# States ---------------------------------------------------------------------------------------------------------------


def test_the_states_are_a_table_that_ends_in_closed() -> None:
    assert set(SOCKET_TRANSITIONS) == set(SocketState)
    assert SOCKET_TRANSITIONS[SocketState.CLOSED] == {}
    assert {state for row in SOCKET_TRANSITIONS.values() for state in row.values()} == set(SocketState)


@pytest.mark.reference("SocketTest.ListenWithBacklog")
def test_a_listener_is_listening(sockets: Sockets) -> None:
    assert sockets.listener().state is SocketState.LISTENING


@pytest.mark.reference("SocketTest.ConnectSuccess")
def test_a_connect_goes_through_connecting_to_connected(proactor: Proactor, sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    connect = Connect(client, listener.getsockname())
    states = [client.state]
    proactor.submit(connect)
    states.append(client.state)
    settle(proactor, connect)
    states.append(client.state)
    assert states == [SocketState.CREATED, SocketState.CONNECTING, SocketState.CONNECTED]


@pytest.mark.reference("SocketTest.ConnectRefused")
def test_a_refused_connect_leaves_the_socket_created(proactor: Proactor, sockets: Sockets) -> None:
    client = sockets.tcp()
    connect = finish(proactor, Connect(client, sockets.refusing_address()))
    assert (status_of(connect.error), client.state) == (StatusCode.UNAVAILABLE, SocketState.CREATED)


def test_a_connect_that_was_not_submitted_changes_nothing(proactor: Proactor, sockets: Sockets) -> None:
    client = sockets.tcp()
    with pytest.raises(ValueError, match="address"):
        proactor.submit(Connect(client, (LOOPBACK, 1)), Connect(sockets.tcp(), (LOOPBACK, -1)))
    assert client.state is SocketState.CREATED


@pytest.mark.reference("SocketTest.AcceptSuccess")
def test_an_accepted_socket_is_connected(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    assert sockets.keep(perform(proactor, Accept(listener))).state is SocketState.CONNECTED


def test_an_imported_socket_has_the_state_that_the_system_says(sockets: Sockets) -> None:
    listener = stdlib_socket.create_server((LOOPBACK, 0))
    client = stdlib_socket.create_connection(listener.getsockname())
    made = [sockets.keep(Socket.from_stdlib(made)) for made in (listener, client, stdlib_socket.socket())]
    assert [socket.state for socket in made] == [SocketState.LISTENING, SocketState.CONNECTED, SocketState.CREATED]


def test_a_close_goes_through_closing_to_closed(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    close = SocketClose(near)
    proactor.submit(close)
    states = [near.state]
    settle(proactor, close)
    states.append(near.state)
    assert states == [SocketState.CLOSING, SocketState.CLOSED]


def test_a_socket_that_is_closed_at_once_is_closed(sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    assert near.state is SocketState.CLOSED


@pytest.mark.needs("abstract_names")
@pytest.mark.reference("CancellationTest.CancelPendingConnect")
def test_a_connect_that_is_cancelled_leaves_the_socket_created(proactor: Proactor, sockets: Sockets) -> None:
    listener, first, second = sockets.unix(), sockets.unix(), sockets.unix()
    listener.bind(f"\0proactor_trio cts {os.getpid()}")
    listener.listen(1)
    full = [Connect(sockets.unix(), listener.getsockname()) for _ in range(2)]
    for connect in full:
        perform(proactor, connect)
    waiting = Connect(second, listener.getsockname())
    start(proactor, waiting)
    proactor.cancel(waiting)
    settle(proactor, waiting)
    assert waiting.error is None or second.state is SocketState.CREATED
    assert first.state is SocketState.CREATED


# Binding and room -----------------------------------------------------------------------------------------------------


@pytest.mark.reference("SocketTest.BindLoopback", "SocketTest.BindEphemeralPort")
def test_bind_takes_an_address_object(sockets: Sockets) -> None:
    bound = sockets.tcp()
    bound.bind(Address.from_string("127.0.0.1:0"))
    host, port = bound.getsockname()
    assert host == "127.0.0.1" and port > 0


@pytest.mark.needs("abstract_names")
@on_linux
@pytest.mark.reference("SocketPosixTest.UnixSocket_AbstractNamespace", "SocketPosixTest.UnixSocket_AbstractConnect")
def test_a_unix_socket_can_have_an_abstract_name(proactor: Proactor, sockets: Sockets) -> None:
    name = Address.from_unix(f"@proactor_trio cts {os.getpid()}")
    listener, client = sockets.unix(), sockets.unix()
    listener.bind(name)
    listener.listen()
    perform(proactor, Connect(client, name))
    sockets.keep(perform(proactor, Accept(listener)))
    assert Address(client.family, client.getpeername()) == name


@pytest.mark.needs("abstract_names")
@pytest.mark.lacks("abstract_names")
@pytest.mark.reference("SocketPosixTest.UnixSocket_AbstractNamespace_Unavailable")
def test_where_there_are_no_abstract_names_they_are_refused_by_name(configuration: Configuration) -> None:
    """UNAVAILABLE there: another call will not find one either, so it is not implemented."""
    with pytest.raises(Unimplemented, match="abstract names"):
        Address.from_unix("@nobody")


@on_linux
def test_the_room_to_send_gets_less_and_is_none_when_it_is_full(sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    empty = near.send_space()
    fill(near)
    full = near.send_space()
    assert empty is not None and full is not None and empty > 0 and full < empty


@on_linux
def test_a_full_socket_has_no_room(sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    fill(near)
    assert near.send_space() == 0


@on_linux
def test_a_datagram_socket_has_room(sockets: Sockets) -> None:
    assert udp(sockets).send_space()


def test_where_the_system_cannot_tell_the_room_is_none(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sockets.tcp().send_space() is None


def test_a_closed_socket_has_no_room_to_tell_of(sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    with pytest.raises(ClosedResourceError):
        near.send_space()
