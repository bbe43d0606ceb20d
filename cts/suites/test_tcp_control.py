"""Binding, listening, shutting down and resetting TCP connections: the system's errors, by their status codes."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Callable

import pytest

from cts.support import LOOPBACK, Sockets, drain, finish, perform, poll_until, settle, start
from proactor_trio.proactor import (
    Accept,
    Connect,
    HandlePoll,
    Proactor,
    RecvBytes,
    Send,
    Socket,
    SocketOptions,
    StatusCode,
    status_of,
)

# Shutting down --------------------------------------------------------------------------------------------------------


@pytest.mark.reference("ShutdownTest.Shutdown_Write")
def test_shutting_down_our_sending_is_the_end_for_the_peer(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.shutdown(stdlib_socket.SHUT_WR)
    assert perform(proactor, RecvBytes(far, 10)) == b""


@pytest.mark.reference("ShutdownTest.Shutdown_WriteStillReceives")
def test_after_shutting_down_our_sending_we_still_receive(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.shutdown(stdlib_socket.SHUT_WR)
    perform(proactor, Send(far, b"still"))
    assert perform(proactor, RecvBytes(near, 10)) == b"still"


@pytest.mark.reference("ShutdownTest.Shutdown_Both")
def test_shutting_down_both_is_the_end_for_both(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.shutdown(stdlib_socket.SHUT_RDWR)
    assert perform(proactor, RecvBytes(near, 10)) == b"" and perform(proactor, RecvBytes(far, 10)) == b""


def status_of_call(call: Callable[[], object]) -> StatusCode:
    """The status code of the OSError that a call raises."""
    with pytest.raises(OSError) as failure:
        call()
    return status_of(failure.value)


@pytest.mark.reference("ShutdownTest.Shutdown_Unconnected")
def test_shutting_down_without_a_connection_is_a_failed_precondition(sockets: Sockets) -> None:
    socket = sockets.tcp()
    assert status_of_call(lambda: socket.shutdown(stdlib_socket.SHUT_WR)) is StatusCode.FAILED_PRECONDITION


@pytest.mark.reference("ShutdownTest.Shutdown_InvalidMode")
def test_shutting_down_in_a_way_that_does_not_exist_is_an_invalid_argument(sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    assert status_of_call(lambda: near.shutdown(77)) is StatusCode.INVALID_ARGUMENT


# Binding and listening ------------------------------------------------------------------------------------------------


@pytest.mark.reference("BindListenErrorTest.Bind_PortConflict")
@pytest.mark.regression("bind-conflict-code")
def test_an_address_in_use_is_a_failed_precondition(sockets: Sockets) -> None:
    listener, other = sockets.listener(), sockets.tcp()
    assert status_of_call(lambda: other.bind(listener.getsockname())) is StatusCode.FAILED_PRECONDITION


@pytest.mark.reference("SocketTest.BindTwice_Fails")
def test_binding_twice_is_an_invalid_argument(sockets: Sockets) -> None:
    bound = sockets.tcp()
    bound.bind((LOOPBACK, 0))
    assert status_of_call(lambda: bound.bind((LOOPBACK, 0))) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("BindListenErrorTest.Listen_ImplicitBind")
def test_listening_without_binding_gets_a_port(sockets: Sockets) -> None:
    listener = sockets.tcp()
    listener.listen()
    assert listener.getsockname()[1] > 0


@pytest.mark.reference("BindListenErrorTest.Listen_Twice")
def test_listening_twice_is_no_error(sockets: Sockets) -> None:
    listener = sockets.listener()
    listener.listen(5)
    assert listener.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("backlog", [0, 1, 1 << 40])
def test_any_backlog_that_is_not_negative_is_taken(proactor: Proactor, sockets: Sockets, backlog: int) -> None:
    listener = sockets.listener(backlog)
    sockets.client_of(listener)
    sockets.keep(perform(proactor, Accept(listener)))


@pytest.mark.parametrize(("backlog", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_wrong_backlog_is_refused(sockets: Sockets, backlog: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="backlog"):
        sockets.tcp().listen(backlog)


@pytest.mark.reference("BindListenErrorTest.Accept_NonListening")
def test_accepting_on_a_socket_that_does_not_listen_is_an_invalid_argument(
    proactor: Proactor, sockets: Sockets
) -> None:
    assert status_of(finish(proactor, Accept(sockets.tcp())).error) is StatusCode.INVALID_ARGUMENT


# Resetting ------------------------------------------------------------------------------------------------------------


def connection(proactor: Proactor, sockets: Sockets, options: SocketOptions) -> tuple[Socket, Socket]:
    """A client with these options, and its accepted side."""
    listener = sockets.listener()
    client = sockets.keep(Socket(options=options))
    perform(proactor, Connect(client, listener.getsockname()))
    return client, sockets.keep(perform(proactor, Accept(listener)))


@pytest.mark.reference("ResetTest.Reset_LingerZero")
def test_closing_with_linger_zero_resets_the_connection(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connection(proactor, sockets, SocketOptions.LINGER_ZERO)
    near.close()
    assert status_of(finish(proactor, RecvBytes(far, 10)).error) is StatusCode.UNAVAILABLE


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("options", [SocketOptions.NONE, SocketOptions.LINGER_ZERO], ids=["no option", "LINGER_ZERO"])
@pytest.mark.reference("ResetTest.Reset_CloseWithUnreadData")
def test_closing_with_unread_bytes_resets_the_connection(
    proactor: Proactor, sockets: Sockets, options: SocketOptions
) -> None:
    near, far = connection(proactor, sockets, options)
    perform(proactor, Send(far, b"unread"))
    perform(proactor, HandlePoll(near))
    near.close()
    assert status_of(finish(proactor, RecvBytes(far, 10)).error) is StatusCode.UNAVAILABLE


@pytest.mark.reference("ResetTest.Reset_RecvAfterPeerClose")
def test_a_receive_after_the_peer_closed_is_the_end(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connection(proactor, sockets, SocketOptions.NONE)
    near.close()
    assert perform(proactor, RecvBytes(far, 10)) == b""


@pytest.mark.parametrize("leave", [lambda socket: socket.shutdown(stdlib_socket.SHUT_RDWR), Socket.close])
@pytest.mark.reference("ResetTest.Reset_SendAfterPeerShutdown")
def test_sends_after_the_peer_has_gone_fail_in_the_end(
    proactor: Proactor, sockets: Sockets, leave: Callable[[Socket], None]
) -> None:
    near, far = connection(proactor, sockets, SocketOptions.NONE)
    leave(near)
    send = Send(far, b"x")
    poll_until(proactor, lambda: finish(proactor, send).error is not None)
    assert isinstance(send.error, ConnectionResetError | BrokenPipeError)


def test_bytes_before_the_reset_may_be_lost_but_never_changed(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connection(proactor, sockets, SocketOptions.LINGER_ZERO)
    receive = RecvBytes(far, 10)
    start(proactor, receive)
    perform(proactor, Send(near, b"before"))
    settle(proactor, receive)
    near.close()
    assert receive.result == b"before"


def test_an_orderly_end_loses_nothing(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connection(proactor, sockets, SocketOptions.NONE)
    perform(proactor, Send(near, bytes(50_000), whole=True))
    near.close()
    assert drain(proactor, far, 50_000) == bytes(50_000)
    assert perform(proactor, RecvBytes(far, 10)) == b""
