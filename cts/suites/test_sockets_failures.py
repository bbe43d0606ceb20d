"""What an operation says when its connection has failed."""

from __future__ import annotations

import errno
import socket as stdlib_socket

import pytest

from cts.support import (
    Sockets,
    close_with_reset,
    fill,
    finish,
    perform,
    settle,
    start,
)
from proactor_trio.proactor import (
    Connect,
    Proactor,
    Recv,
    RecvBytes,
    Send,
)


def test_a_reset_fails_a_pending_receive_with_econnreset(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    close_with_reset(far)
    settle(proactor, receive)
    assert isinstance(receive.error, ConnectionResetError)


def test_a_reset_after_bytes_ends_a_whole_receive_with_the_bytes_or_the_reset(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    receive = Recv(near, bytearray(100), whole=True)
    start(proactor, receive)
    far.stdlib.send(b"abc")
    proactor.poll(0.05)
    close_with_reset(far)
    settle(proactor, receive)
    assert receive.result == 3 or isinstance(receive.error, ConnectionResetError)


def test_a_reset_fails_a_pending_send(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    fill(near)
    send = Send(near, b"more")
    start(proactor, send)
    close_with_reset(far)
    settle(proactor, send)
    assert isinstance(send.error, ConnectionResetError | BrokenPipeError)


def test_send_to_a_closed_peer_is_epipe_and_no_signal(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.close()
    with pytest.raises(BrokenPipeError):
        perform(proactor, Send(near, b"x"))


def test_a_send_after_our_own_shutdown_is_epipe(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.shutdown(stdlib_socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        perform(proactor, Send(near, b"x"))


@pytest.mark.parametrize("make", [lambda s: Recv(s, bytearray(1)), lambda s: RecvBytes(s, 1), lambda s: Send(s, b"x")])
def test_a_transfer_on_a_socket_that_is_not_connected_fails(proactor: Proactor, sockets: Sockets, make: type) -> None:
    with pytest.raises(OSError) as failure:
        perform(proactor, make(sockets.tcp()))
    assert failure.value.errno in (errno.ENOTCONN, errno.EPIPE)


def test_other_sockets_go_on_after_one_failed(proactor: Proactor, sockets: Sockets) -> None:
    broken, gone = sockets.unix_pair()
    gone.close()
    near, far = sockets.unix_pair()
    failing, working = Send(broken, b"x"), Send(near, b"y")
    proactor.submit(failing, working)
    settle(proactor, failing, working)
    assert isinstance(failing.error, BrokenPipeError)
    assert far.stdlib.recv(10) == b"y"


def test_errors_of_the_system_name_the_operation_and_carry_the_errno(proactor: Proactor, sockets: Sockets) -> None:
    connect = finish(proactor, Connect(sockets.tcp(), sockets.refusing_address()))
    assert isinstance(connect.error, OSError)
    assert connect.error.errno == errno.ECONNREFUSED and "Connect" in str(connect.error)
