"""Accept, Connect, Recv, RecvBytes and Send on connected sockets."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket as stdlib_socket
from pathlib import Path

import pytest

from cts.support import (
    LOOPBACK,
    PAIR_KINDS,
    Completions,
    Sockets,
    close_with_reset,
    drain,
    fill,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    CompletionFlags,
    Connect,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
)

MULTISHOT = OperationFlags.MULTISHOT
both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)

# Accept --------------------------------------------------------------------------------------------------------------


def test_accept_takes_a_connection_that_waits(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    assert accepted.getpeername() == client.getsockname()


def test_accept_takes_a_connection_that_comes_later(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(listener)
    start(proactor, accept)
    client = sockets.client_of(listener)
    settle(proactor, accept)
    assert sockets.keep(accept.result).getpeername() == client.getsockname()


def test_an_accepted_socket_is_non_blocking_and_not_inherited(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    assert not os.get_blocking(accepted.fileno())
    assert fcntl.fcntl(accepted.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_several_accepts_share_the_connections(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accepts = [Accept(listener) for _ in range(3)]
    start(proactor, *accepts)
    clients = [sockets.client_of(listener) for _ in range(3)]
    settle(proactor, *accepts)
    peers = {sockets.keep(accept.result).getpeername() for accept in accepts}
    assert peers == {client.getsockname() for client in clients}


def test_an_accept_of_a_unix_listener_works(proactor: Proactor, sockets: Sockets, tmp_path: Path) -> None:
    listener = sockets.unix()
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    client = sockets.unix()
    proactor.submit(connecting := Connect(client, str(tmp_path / "socket")))
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    settle(proactor, connecting)
    accepted.stdlib.send(b"hello")
    assert perform(proactor, RecvBytes(client, 100)) == b"hello"


def test_accept_on_a_socket_that_does_not_listen_is_einval(proactor: Proactor, sockets: Sockets) -> None:
    with pytest.raises(OSError, match="Accept") as failure:
        perform(proactor, Accept(sockets.tcp()))
    assert failure.value.errno == errno.EINVAL


def test_multishot_accept_delivers_each_connection_with_more(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    clients = [sockets.client_of(listener) for _ in range(5)]
    poll_until(proactor, lambda: len(completions) == 5)
    assert {record.flags for record in completions.records} == {CompletionFlags.MORE}
    peers = [sockets.keep(result).getpeername() for result in completions.results]
    assert peers == [client.getsockname() for client in clients]
    proactor.cancel(accept)
    settle(proactor, accept)


def test_multishot_accept_takes_what_waited_before(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    for _ in range(40):
        sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    proactor.submit(accept)
    poll_until(proactor, lambda: len(completions) == 40)
    for result in completions.results:
        result.close()
    proactor.cancel(accept)
    settle(proactor, accept)


def test_multishot_accept_ends_with_one_completion_without_more(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    proactor.cancel(accept)
    settle(proactor, accept)
    assert [type(error) for error in completions.errors] == [OperationCancelled]
    assert completions.records[0].is_final


def test_a_listener_stays_usable_after_its_accept_was_cancelled(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(listener)
    start(proactor, accept)
    proactor.cancel(accept)
    settle(proactor, accept)
    sockets.client_of(listener)
    assert isinstance(sockets.keep(perform(proactor, Accept(listener))), Socket)


def test_sockets_accepted_by_a_multishot_are_non_blocking_and_not_inherited(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    sockets.client_of(listener)
    poll_until(proactor, lambda: completions.records)
    accepted = sockets.keep(completions.results[0])
    assert not os.get_blocking(accepted.fileno())
    assert fcntl.fcntl(accepted.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    proactor.cancel(accept)
    settle(proactor, accept)


def test_accept_without_descriptors_fails_with_emfile_and_the_listener_survives(
    proactor: Proactor, sockets: Sockets
) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
    holes = []
    try:
        while True:
            try:
                holes.append(os.dup(client.fileno()))
            except OSError:
                break
        accept = finish(proactor, Accept(listener))
    finally:
        for hole in holes:
            os.close(hole)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(accept.error, OSError) and accept.error.errno == errno.EMFILE
    sockets.keep(perform(proactor, Accept(listener)))


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


def test_connect_refuses_a_unix_path_that_is_too_long(proactor: Proactor, sockets: Sockets) -> None:
    with pytest.raises(ValueError, match="at most 107 bytes"):
        proactor.submit(Connect(sockets.unix(), "/tmp/" + "x" * 200))


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


# Recv ----------------------------------------------------------------------------------------------------------------


@both_kinds
def test_recv_fills_the_buffer_with_what_is_there(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    far.stdlib.send(b"hello")
    buffer = bytearray(10)
    assert perform(proactor, Recv(near, buffer)) == 5
    assert buffer == b"hello" + bytes(5)


@both_kinds
def test_recv_waits_for_bytes(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    buffer = bytearray(10)
    receive = Recv(near, buffer)
    start(proactor, receive)
    far.stdlib.send(b"later")
    settle(proactor, receive)
    assert (receive.result, bytes(buffer[:5])) == (5, b"later")


@both_kinds
def test_recv_at_the_end_of_the_stream_is_zero_every_time(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    far.close()
    assert [perform(proactor, Recv(near, bytearray(10))) for _ in range(3)] == [0, 0, 0]


def test_bytes_before_the_end_come_first(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"last words")
    far.close()
    assert perform(proactor, RecvBytes(near, 100)) == b"last words"
    assert perform(proactor, RecvBytes(near, 100)) == b""


def test_an_end_that_comes_while_receiving_completes_it_with_zero(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = Recv(near, bytearray(10))
    start(proactor, receive)
    far.close()
    settle(proactor, receive)
    assert receive.result == 0


def test_a_shut_down_writer_is_the_end_for_the_peer_only(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.shutdown(stdlib_socket.SHUT_WR)
    assert perform(proactor, RecvBytes(near, 10)) == b""
    perform(proactor, Send(near, b"still open"))
    assert perform(proactor, RecvBytes(far, 100)) == b"still open"


def test_shutting_down_our_own_reading_ends_a_pending_receive(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    near.shutdown(stdlib_socket.SHUT_RD)
    settle(proactor, receive)
    assert receive.result == b""


def test_recv_into_a_part_of_a_buffer_touches_that_part_only(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abcdef")
    buffer = bytearray(b".") * 10
    perform(proactor, Recv(near, memoryview(buffer)[2:6]))
    assert buffer == b"..abcd...."
    assert perform(proactor, RecvBytes(near, 10)) == b"ef"


@both_kinds
def test_a_whole_recv_goes_on_until_the_buffer_is_full(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    contents = pattern(300_000)
    buffer = bytearray(len(contents))
    receive = Recv(near, buffer, whole=True)
    start(proactor, receive)
    send = Send(far, contents, whole=True)
    proactor.submit(send)
    settle(proactor, receive, send)
    assert (receive.result, send.result) == (len(contents), len(contents))
    assert buffer == contents


@both_kinds
def test_a_whole_recv_that_meets_the_end_has_what_came_before(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    buffer = bytearray(10)
    receive = Recv(near, buffer, whole=True)
    start(proactor, receive)
    far.stdlib.send(b"abc")
    proactor.poll(0)
    far.close()
    settle(proactor, receive)
    assert (receive.result, bytes(buffer[:3])) == (3, b"abc")


def test_a_whole_recv_whose_part_has_come_ends_with_the_part_when_it_is_cancelled(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(8)
    receive = Recv(near, buffer, whole=True)
    start(proactor, receive)
    far.stdlib.send(b"abc")
    proactor.poll(0.05)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert (receive.error, receive.result, bytes(buffer[:3])) == (None, 3, b"abc")


def test_a_recv_into_an_empty_buffer_completes_with_zero_at_once(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    assert perform(proactor, Recv(near, bytearray())) == 0


def test_receives_on_one_socket_share_its_bytes_without_losing_any(proactor: Proactor, sockets: Sockets) -> None:
    """In which order they are served is not promised; whoever needs one waits for the last before the next."""
    near, far = sockets.tcp_pair()
    buffers = [bytearray(1) for _ in range(4)]
    receives = [Recv(near, buffer) for buffer in buffers]
    start(proactor, *receives)
    far.stdlib.send(b"abcd")
    settle(proactor, *receives)
    assert sorted(b"".join(buffers)) == sorted(b"abcd")


# RecvBytes -----------------------------------------------------------------------------------------------------------


@both_kinds
def test_recv_bytes_returns_bytes(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    far.stdlib.send(b"hello")
    received = perform(proactor, RecvBytes(near, 100))
    assert received == b"hello" and type(received) is bytes


def test_recv_bytes_never_returns_more_than_asked(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abcdef")
    assert [perform(proactor, RecvBytes(near, 4)) for _ in range(2)] == [b"abcd", b"ef"]


def test_recv_bytes_at_the_end_of_the_stream_is_empty(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.close()
    assert perform(proactor, RecvBytes(near, 100)) == b""


def test_recv_bytes_of_more_than_any_one_buffer_holds_loses_nothing(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    contents = pattern(1_000_000)
    send = Send(far, contents, whole=True)
    proactor.submit(send)
    received = bytearray()
    while len(received) < len(contents):
        piece = perform(proactor, RecvBytes(near, 400_000))
        assert 0 < len(piece) <= 400_000
        received += piece
    settle(proactor, send)
    assert received == contents


def test_more_receives_than_there_are_provided_buffers_all_complete(proactor: Proactor, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(300)]
    receives = [RecvBytes(near, 100) for near, _ in pairs]
    start(proactor, *receives)
    for number, (_, far) in enumerate(pairs):
        far.stdlib.send(b"%d" % number)
    settle(proactor, *receives)
    assert [receive.result for receive in receives] == [b"%d" % number for number in range(300)]


# Send ----------------------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_send_takes_any_bytes_like_object(proactor: Proactor, sockets: Sockets, kind: str, make: type) -> None:
    near, far = sockets.pair(kind)
    assert perform(proactor, Send(near, make(b"hello"))) == 5
    assert far.stdlib.recv(100) == b"hello"


def test_send_of_nothing_completes_with_zero(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    assert perform(proactor, Send(near, b"")) == 0


def test_send_of_other_items_than_bytes_sends_their_bytes(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    assert perform(proactor, Send(near, memoryview(b"12345678").cast("I"))) == 8
    assert far.stdlib.recv(100) == b"12345678"


@both_kinds
def test_send_to_a_full_socket_waits_for_the_reader(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    filled = fill(near)
    send = Send(near, b"more")
    start(proactor, send)
    assert send.state is OperationState.SUBMITTED
    assert drain(proactor, far, filled + 4).endswith(b"more")
    settle(proactor, send)
    assert send.result == 4


@both_kinds
def test_a_whole_send_goes_on_until_all_is_sent_to_a_slow_reader(
    proactor: Proactor, sockets: Sockets, kind: str
) -> None:
    near, far = sockets.pair(kind)
    contents = pattern(4_000_000)
    send = Send(near, contents, whole=True)
    start(proactor, send)
    received = bytearray()
    while len(received) < len(contents):
        received += perform(proactor, RecvBytes(far, 50_000))
    settle(proactor, send)
    assert send.result == len(contents)
    assert received == contents


def test_a_send_without_whole_takes_at_least_one_byte(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    contents = pattern(4_000_000)
    sent = perform(proactor, Send(near, contents))
    assert 1 <= sent <= len(contents)
    assert drain(proactor, far, sent) == contents[:sent]


def test_linked_sends_on_one_socket_keep_their_order(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    pieces = [pattern(100_000, seed) for seed in range(5)]
    sends = [Send(near, piece, flags=OperationFlags.LINKED) for piece in pieces[:-1]]
    sends.append(Send(near, pieces[-1], whole=True))
    proactor.submit(*sends)
    received = drain(proactor, far, 500_000)
    settle(proactor, *sends)
    assert received == b"".join(pieces)


def test_both_directions_at_a_time_do_not_disturb_each_other(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    forth, back = pattern(2_000_000, 1), pattern(2_000_000, 2)
    received_forth, received_back = bytearray(len(forth)), bytearray(len(back))
    operations = [
        Send(near, forth, whole=True),
        Send(far, back, whole=True),
        Recv(far, received_forth, whole=True),
        Recv(near, received_back, whole=True),
    ]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert received_forth == forth and received_back == back


def test_fifty_connections_keep_their_bytes_apart(proactor: Proactor, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(50)]
    contents = [pattern(10_000, seed) for seed in range(50)]
    buffers = [bytearray(10_000) for _ in pairs]
    receives = [Recv(far, buffer, whole=True) for (_, far), buffer in zip(pairs, buffers, strict=True)]
    sends = [Send(near, piece, whole=True) for (near, _), piece in zip(pairs, contents, strict=True)]
    proactor.submit(*receives, *sends)
    settle(proactor, *receives, *sends)
    assert buffers == contents


# Failures of the connection ------------------------------------------------------------------------------------------


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


# A conversation ------------------------------------------------------------------------------------------------------


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


def test_datagrams_keep_their_boundaries(proactor: Proactor, sockets: Sockets) -> None:
    near, far = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
    sender, receiver = sockets.keep(Socket.from_stdlib(near)), sockets.keep(Socket.from_stdlib(far))
    for message in (b"one", b"three"):
        perform(proactor, Send(sender, message))
    assert [perform(proactor, RecvBytes(receiver, 100)) for _ in range(2)] == [b"one", b"three"]
