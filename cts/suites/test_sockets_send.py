"""Send on connected sockets."""

from __future__ import annotations

import pytest

from cts.support import (
    PAIR_KINDS,
    Sockets,
    drain,
    fill,
    pattern,
    perform,
    settle,
    start,
)
from proactor_trio.proactor import (
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
)

both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)


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
