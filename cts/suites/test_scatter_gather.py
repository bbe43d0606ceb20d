"""Recv into several buffers and Send from several: in order, as one transfer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cts.support import PAIR_KINDS, Completions, Sockets, drain, fill, pattern, perform, settle, start
from proactor_trio.proactor import (
    DeadlineExceeded,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    Send,
    Socket,
)
from proactor_trio.proactor.operations.buffers import MOST_BUFFERS

both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)


@both_kinds
@pytest.mark.reference("ScatterGatherTest.SendScatter_MultipleBuffers")
def test_a_send_of_several_buffers_arrives_in_order(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    assert perform(proactor, Send(near, [b"one ", bytearray(b"two "), memoryview(b"three")])) == 13
    assert far.stdlib.recv(100) == b"one two three"


@both_kinds
@pytest.mark.reference("ScatterGatherTest.RecvScatter_MultipleBuffers")
def test_a_receive_fills_its_buffers_in_order(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    near.stdlib.send(b"abcdefgh")
    buffers = [bytearray(3), bytearray(3), bytearray(5)]
    assert perform(proactor, Recv(far, buffers)) == 8
    assert buffers == [b"abc", b"def", b"gh" + bytes(3)]


@pytest.mark.parametrize("container", [list, tuple])
def test_lists_and_tuples_are_taken(proactor: Proactor, sockets: Sockets, container: type) -> None:
    near, far = sockets.tcp_pair()
    perform(proactor, Send(near, container([b"a", b"b"])))
    buffers = [bytearray(1), bytearray(1)]
    perform(proactor, Recv(far, container(buffers), whole=True))
    assert buffers == [b"a", b"b"]


@pytest.mark.reference("ScatterGatherTest.ScatterGather_SingleBuffer")
def test_one_buffer_in_a_list_is_one_buffer(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(5)
    assert perform(proactor, Send(near, [b"hello"])) == 5
    assert perform(proactor, Recv(far, [buffer])) == 5
    assert buffer == b"hello"


@both_kinds
@pytest.mark.reference("ScatterGatherTest.ScatterGather_ZeroLengthBuffer")
def test_buffers_may_be_empty(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    assert perform(proactor, Send(near, [b"", b"ab", b"", b"cd", b""])) == 4
    buffers = [bytearray(), bytearray(3), bytearray(), bytearray(1)]
    assert perform(proactor, Recv(far, buffers, whole=True)) == 4
    assert buffers == [b"", b"abc", b"", b"d"]


@pytest.mark.parametrize("nothing", [[], [b"", b""]], ids=["no buffers", "empty buffers"])
def test_a_send_of_nothing_in_pieces_completes_with_zero(
    proactor: Proactor, sockets: Sockets, nothing: list[bytes]
) -> None:
    near, _far = sockets.tcp_pair()
    assert perform(proactor, Send(near, nothing)) == 0


@pytest.mark.parametrize("nothing", [[], [bytearray(), bytearray()]], ids=["no buffers", "empty buffers"])
def test_a_receive_into_nothing_in_pieces_completes_with_zero(
    proactor: Proactor, sockets: Sockets, nothing: list[bytearray]
) -> None:
    near, _far = sockets.tcp_pair()
    assert perform(proactor, Recv(near, nothing)) == 0


@both_kinds
@pytest.mark.reference("ScatterGatherTest.ScatterGather_ManyBuffers")
def test_eight_buffers_are_taken(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    pieces = [pattern(1000, number) for number in range(MOST_BUFFERS)]
    buffers = [bytearray(1000) for _ in range(MOST_BUFFERS)]
    operations = [Send(near, pieces, whole=True), Recv(far, buffers, whole=True)]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert buffers == pieces


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda socket: Recv(socket, [bytearray(1)] * 9), "buffer"),
        (lambda socket: Send(socket, [b"x"] * 9), "data"),
    ],
)
@pytest.mark.regression("too-many-buffers")
def test_nine_buffers_are_refused(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket], Operation], name: str
) -> None:
    operation = make(sockets.tcp_pair()[0])
    with pytest.raises(ValueError, match=name):
        proactor.submit(operation)
    assert operation.state is OperationState.NEW


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda socket: Recv(socket, [bytearray(1), b"read-only"]), "buffer"),
        (lambda socket: Recv(socket, [bytearray(1), 7]), "buffer"),
        (lambda socket: Send(socket, [b"x", "text"]), "data"),
        (lambda socket: Send(socket, [b"x", [b"nested"]]), "data"),
    ],
)
def test_one_wrong_buffer_refuses_the_operation(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket], Operation], name: str
) -> None:
    with pytest.raises(TypeError, match=name):
        proactor.submit(make(sockets.tcp_pair()[0]))


def test_all_buffers_are_held_while_in_flight_and_let_go_afterwards(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffers = [bytearray(2), bytearray(2)]
    receive = Recv(near, buffers)
    start(proactor, receive)
    for buffer in buffers:
        with pytest.raises(BufferError):
            buffer.append(0)
    far.stdlib.send(b"abcd")
    settle(proactor, receive)
    for buffer in buffers:
        buffer.append(0)
    assert buffers == [b"ab\0", b"cd\0"]


@both_kinds
def test_whole_transfers_in_pieces_go_on_until_all_is_moved(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    pieces = [pattern(700_001, number) for number in range(4)]
    buffers = [bytearray(933_335) for _ in range(3)]
    send, receive = Send(near, pieces, whole=True), Recv(far, [*buffers[:2], memoryview(buffers[2])[:-1]], whole=True)
    proactor.submit(send, receive)
    settle(proactor, send, receive)
    assert (send.result, receive.result) == (2_800_004, 2_800_004)
    assert b"".join(buffers)[:-1] == b"".join(pieces)


@pytest.mark.reference("ScatterGatherTest.ScatterGather_Bidirectional")
def test_both_directions_in_pieces_do_not_disturb_each_other(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    forth, back = [pattern(50_000, 1), pattern(50_000, 2)], [pattern(50_000, 3), pattern(50_000, 4)]
    received_forth, received_back = ([bytearray(60_000), bytearray(40_000)] for _ in range(2))
    operations = [
        Send(near, forth, whole=True),
        Send(far, back, whole=True),
        Recv(far, received_forth, whole=True),
        Recv(near, received_back, whole=True),
    ]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert (b"".join(received_forth), b"".join(received_back)) == (b"".join(forth), b"".join(back))


def test_a_whole_receive_in_pieces_that_meets_the_end_has_what_came_before(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abcde")
    far.close()
    buffers = [bytearray(3), bytearray(10)]
    assert perform(proactor, Recv(near, buffers, whole=True)) == 5
    assert buffers == [b"abc", b"de" + bytes(8)]


def test_a_send_in_pieces_waits_for_the_reader(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    filled = fill(near)
    send = Send(near, [b"mo", b"re"])
    start(proactor, send)
    assert send.state is OperationState.SUBMITTED
    assert drain(proactor, far, filled + 4).endswith(b"more")
    settle(proactor, send)
    assert send.result == 4


def test_a_short_receive_in_pieces_ends_its_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abc")
    far.close()
    chain = [
        Recv(near, [bytearray(2), bytearray(2)], completions, "receive", OperationFlags.LINKED),
        Nop(completions, "after"),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert chain[0].result == 3 and completions.outcomes == [("receive", "ok"), ("after", "cancelled")]


def test_full_transfers_in_pieces_keep_their_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    buffers = [bytearray(2), bytearray(3)]
    chain = [
        Send(near, [b"ab", b"cde"], completions, "send", OperationFlags.LINKED),
        Recv(far, buffers, completions, "receive", OperationFlags.LINKED),
        Nop(completions, "after"),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("send", "ok"), ("receive", "ok"), ("after", "ok")]
    assert buffers == [b"ab", b"cde"]


def test_a_deadline_ends_a_whole_receive_in_pieces_and_says_how_much_had_come(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abc")
    with pytest.raises(DeadlineExceeded) as ended:
        perform(proactor, Recv(near, [bytearray(2), bytearray(2)], whole=True, timeout=0.05))
    assert ended.value.partial_bytes == 3
