"""Recv with MULTISHOT: into the same buffer again and again, until the end, a failure or a cancellation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cts.net_support import connected_udp
from cts.support import PAIR_KINDS, Completions, Sockets, cause_of, close_with_reset, poll_until, settle, start
from proactor_trio.proactor import (
    CancelCause,
    Capability,
    CompletionFlags,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
)

pytestmark = pytest.mark.needs("multishot")

MULTISHOT = OperationFlags.MULTISHOT
MORE, FINAL = CompletionFlags.MORE, CompletionFlags.NONE
both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)


class Collected:
    """A completion function that takes the bytes out of the buffer, as one has to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.flags: list[CompletionFlags] = []

    def __call__(self, operation: Operation, flags: CompletionFlags) -> None:
        assert isinstance(operation, Recv)
        self.flags.append(flags)
        if operation.error is None:
            self.pieces.append(bytes(operation.buffer[: operation.result]))


@both_kinds
@pytest.mark.reference("MultishotTest.MultishotRecv_MultipleMessages")
@pytest.mark.regression("multishot-receive-into-a-buffer")
def test_it_delivers_each_message_with_more(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    collected = Collected()
    receive = Recv(near, bytearray(100), collected, flags=MULTISHOT)
    start(proactor, receive)
    for number in range(5):
        far.stdlib.send(b"message %d" % number)
        poll_until(proactor, lambda number=number: len(collected.pieces) == number + 1)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert collected.pieces == [b"message %d" % number for number in range(5)]
    assert collected.flags == [MORE] * 5 + [FINAL]


@both_kinds
@pytest.mark.reference(
    "MultishotTest.MultishotRecv_ConnectionClose", "ErrorPropagationTest.MultishotRecvPeerCloseDeliversFinalCallback"
)
def test_the_end_of_the_stream_is_final(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    collected = Collected()
    receive = Recv(near, bytearray(100), collected, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"last")
    poll_until(proactor, lambda: collected.pieces)
    far.close()
    settle(proactor, receive)
    assert (collected.pieces, collected.flags) == ([b"last", b""], [MORE, FINAL])
    assert (receive.result, receive.error) == (0, None)


def test_a_small_buffer_is_filled_as_often_as_it_takes(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    collected = Collected()
    receive = Recv(near, bytearray(3), collected, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"abcdefgh")
    far.close()
    settle(proactor, receive)
    assert b"".join(collected.pieces) == b"abcdefgh"


def test_several_buffers_are_filled_each_time(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffers = [bytearray(2), bytearray(3)]
    seen: list[bytes] = []
    receive = Recv(near, buffers, lambda operation, flags: seen.append(b"".join(buffers)), flags=MULTISHOT, whole=True)
    start(proactor, receive)
    far.stdlib.send(b"abcdefghij")
    poll_until(proactor, lambda: len(seen) == 2)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert seen[:2] == [b"abcde", b"fghij"]


def test_a_failure_is_final(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = sockets.tcp_pair()
    receive = Recv(near, bytearray(10), completions, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"x")
    poll_until(proactor, lambda: len(completions) == 1)
    close_with_reset(far)
    settle(proactor, receive)
    assert completions.outcomes == [(None, "ok"), (None, "ConnectionResetError")]
    assert [record.is_final for record in completions.records] == [False, True]


def test_it_can_be_cancelled_in_its_own_completion_function(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    flags_seen: list[CompletionFlags] = []

    def cancel(operation: Operation, flags: CompletionFlags) -> None:
        flags_seen.append(flags)
        proactor.cancel(operation)

    receive = Recv(near, bytearray(10), cancel, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"x")
    settle(proactor, receive)
    assert flags_seen == [MORE, FINAL] and cause_of(receive) is CancelCause.REQUESTED


def test_closing_its_socket_in_its_completion_function_ends_it_first(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    close = SocketClose(near, completions, "close")

    def close_it(operation: Operation, flags: CompletionFlags) -> None:
        completions(operation, flags)
        if flags is MORE:
            proactor.submit(close)

    receive = Recv(near, bytearray(10), close_it, "receive", MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"x")
    settle(proactor, receive, close)
    assert completions.outcomes == [("receive", "ok"), ("receive", "cancelled"), ("close", "ok")]
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED


def test_closing_ends_it(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, _far = sockets.tcp_pair()
    receive, close = Recv(near, bytearray(10), completions, "receive", MULTISHOT), SocketClose(near)
    start(proactor, receive)
    proactor.submit(close)
    settle(proactor, receive, close)
    assert completions.outcomes == [("receive", "cancelled")]


def test_what_arrives_after_a_cancellation_stays_for_others(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    collected = Collected()
    receive = Recv(near, bytearray(10), collected, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"mine")
    poll_until(proactor, lambda: collected.pieces)
    proactor.cancel(receive)
    settle(proactor, receive)
    far.stdlib.send(b"yours")
    other = RecvBytes(near, 10)
    proactor.submit(other)
    settle(proactor, other)
    assert other.result == b"yours"


def test_an_exception_of_its_completion_function_does_not_end_it(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    seen: list[CompletionFlags] = []

    def fail(operation: Operation, flags: CompletionFlags) -> None:
        seen.append(flags)
        if flags is MORE:
            raise ValueError("of a completion function")

    receive = Recv(near, bytearray(10), fail, flags=MULTISHOT)
    start(proactor, receive)
    for count in (1, 2):
        far.stdlib.send(b"x")
        with pytest.raises(ValueError, match="completion function"):
            poll_until(proactor, lambda count=count: len(seen) == count)
    assert receive.state is OperationState.SUBMITTED
    proactor.cancel(receive)
    settle(proactor, receive)
    assert seen == [MORE, MORE, FINAL]


def test_each_datagram_is_delivered_for_itself(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    collected = Collected()
    receive = Recv(near, bytearray(100), collected, flags=MULTISHOT)
    start(proactor, receive)
    for message in (b"one", b"three"):
        far.stdlib.send(message)
    poll_until(proactor, lambda: len(collected.pieces) == 2)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert collected.pieces == [b"one", b"three"]


def test_an_echo_out_of_the_completion_function(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    def echo(operation: Operation, flags: CompletionFlags) -> None:
        assert isinstance(operation, Recv)
        if operation.result:
            proactor.submit(Send(near, bytes(operation.buffer[: operation.result]), whole=True))

    receive = Recv(near, bytearray(10), echo, flags=MULTISHOT)
    start(proactor, receive)
    received = bytearray()
    for number in range(20):
        far.stdlib.send(b"%02d" % number)
        poll_until(proactor, lambda: _receive_available(far.stdlib, received))
    proactor.cancel(receive)
    settle(proactor, receive)
    assert received == b"".join(b"%02d" % number for number in range(20))


def _receive_available(socket: object, into: bytearray) -> bool:
    try:
        into += socket.recv(100)  # type: ignore[attr-defined]
    except BlockingIOError:
        return False
    return True


def test_it_works_alike_with_the_capability_switched_off(
    make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.MULTISHOT)
    near, far = sockets.tcp_pair()
    collected = Collected()
    receive = Recv(near, bytearray(3), collected, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"abcdef")
    far.close()
    settle(proactor, receive)
    assert (b"".join(collected.pieces), collected.flags[-1]) == (b"abcdef", FINAL)
