"""Recv and RecvBytes on connected sockets."""

from __future__ import annotations

import socket as stdlib_socket

import pytest

from cts.support import (
    PAIR_KINDS,
    Sockets,
    pattern,
    perform,
    settle,
    start,
)
from proactor_trio.proactor import (
    Proactor,
    Recv,
    RecvBytes,
    Send,
)

both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)

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


@pytest.mark.ring_rule(7)
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
