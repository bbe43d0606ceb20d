"""Connect, and whole conversations over connections that it made."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
from pathlib import Path

import pytest

from cts.support import (
    LOOPBACK,
    Sockets,
    perform,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    Connect,
    OperationState,
    Proactor,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
)

# Connect -------------------------------------------------------------------------------------------------------------


def test_connect_connects(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.tcp()
    assert perform(proactor, Connect(client, listener.getsockname())) is None
    assert client.getpeername() == listener.getsockname()


def test_connect_over_ipv6(proactor: Proactor, sockets: Sockets) -> None:
    try:
        listener = sockets.keep(Socket(stdlib_socket.AF_INET6))
        listener.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    listener.listen()
    client = sockets.keep(Socket(stdlib_socket.AF_INET6))
    perform(proactor, Connect(client, listener.getsockname()))
    assert client.getpeername()[:2] == listener.getsockname()[:2]


@pytest.mark.needs("abstract_names")
def test_connect_to_an_abstract_unix_name(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.unix()
    listener.bind(f"\0proactor_trio cts {os.getpid()}")
    listener.listen()
    client = sockets.unix()
    perform(proactor, Connect(client, listener.getsockname()))
    sockets.keep(perform(proactor, Accept(listener)))


def test_connect_to_nobody_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    with pytest.raises(ConnectionRefusedError):
        perform(proactor, Connect(sockets.tcp(), sockets.refusing_address()))


@pytest.mark.needs("unix_sockets")
def test_connect_to_a_unix_path_that_does_not_exist_is_enoent(
    proactor: Proactor, sockets: Sockets, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        perform(proactor, Connect(sockets.unix(), str(tmp_path / "nobody")))


def test_connect_of_a_connected_socket_is_eisconn(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.tcp()
    perform(proactor, Connect(client, listener.getsockname()))
    with pytest.raises(OSError, match="Connect") as failure:
        perform(proactor, Connect(client, listener.getsockname()))
    assert failure.value.errno == errno.EISCONN


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("localhost", 80), ValueError),
        ((LOOPBACK, 65536), ValueError),
        ((LOOPBACK, -1), ValueError),
        ((LOOPBACK, "80"), ValueError),
        ((LOOPBACK,), TypeError),
        (LOOPBACK, TypeError),
    ],
)
def test_connect_refuses_an_address_that_is_not_numeric_before_anything_runs(
    proactor: Proactor, sockets: Sockets, address: object, error: type[Exception]
) -> None:
    connect = Connect(sockets.tcp(), address)
    with pytest.raises(error, match="address"):
        proactor.submit(connect)
    assert connect.state is OperationState.NEW


@pytest.mark.needs("unix_sockets")
def test_connect_refuses_a_unix_path_that_is_too_long(proactor: Proactor, sockets: Sockets) -> None:
    with pytest.raises(ValueError, match="at most 107 bytes"):
        proactor.submit(Connect(sockets.unix(), "/tmp/" + "x" * 200))


@pytest.mark.needs("unix_sockets")
def test_a_unix_connect_with_a_full_backlog_waits_until_there_is_room(
    proactor: Proactor, sockets: Sockets, tmp_path: Path
) -> None:
    listener = sockets.unix()
    listener.bind(str(tmp_path / "socket"))
    listener.listen(0)
    clients = [sockets.unix() for _ in range(3)]
    connects = [Connect(client, str(tmp_path / "socket")) for client in clients]
    start(proactor, *connects)
    accepts = [Accept(listener) for _ in clients]
    proactor.submit(*accepts)
    settle(proactor, *accepts, *connects)
    for accept in accepts:
        sockets.keep(accept.result)
    assert [connect.error for connect in connects] == [None, None, None]


# A conversation ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SocketTest.MultipleExchanges")
def test_one_connection_carries_many_exchanges(proactor: Proactor, sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    accept, connect = Accept(listener), Connect(client, listener.getsockname())
    proactor.submit(accept, connect)
    settle(proactor, accept, connect)
    server = sockets.keep(accept.result)
    for number in range(10):
        perform(proactor, Send(client, b"question %d" % number))
        assert perform(proactor, RecvBytes(server, 100)) == b"question %d" % number
        perform(proactor, Send(server, b"answer %d" % number))
        assert perform(proactor, RecvBytes(client, 100)) == b"answer %d" % number


@pytest.mark.reference("SocketTest.LoopbackSendRecv")
def test_accept_connect_echo_close_fifty_times(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    for number in range(50):
        client = Socket()
        accept, connect = Accept(listener), Connect(client, listener.getsockname())
        proactor.submit(accept, connect)
        settle(proactor, accept, connect)
        message = b"message %d" % number
        perform(proactor, Send(client, message))
        echoed = perform(proactor, RecvBytes(accept.result, 100))
        perform(proactor, Send(accept.result, echoed))
        assert perform(proactor, RecvBytes(client, 100)) == message
        perform(proactor, SocketClose(client))
        perform(proactor, SocketClose(accept.result))
