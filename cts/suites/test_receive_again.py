"""RecvBytes with MULTISHOT: the kernel goes on receiving into buffers that all receives of a proactor share.

Each test runs as the kernel of this machine does it, and as an older one does that cannot end such a receive by itself
(Linux 6.17 can). Where a backend has no such receives the first piece is final, and whoever wants more submits again.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from cts.suites.test_callbacks import Fire
from cts.support import (
    PAIR_KINDS,
    Completions,
    Sockets,
    alarm_handler,
    cause_of,
    close_with_reset,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.backends.io_uring import buffer_ring
from proactor_trio.proactor import (
    CancelCause,
    CompletionFlags,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvBytes,
    Socket,
    SocketClose,
)
from tests.proactor.interruptions import interrupt_at

MULTISHOT = OperationFlags.MULTISHOT
MORE, FINAL = CompletionFlags.MORE, CompletionFlags.NONE
#: More than any test receives.
ENOUGH = 1 << 20
FEW_BUFFERS = 4
SECONDS = 0.15
LONGEST_SECONDS = 10
both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)


def do_not_count(proactor: Proactor) -> None:
    """As on a kernel before Linux 6.17, once it has refused to."""
    backend: Any = proactor._backend
    if hasattr(backend, "_counts_receives"):
        backend._counts_receives = False
        backend._choose_encoders()


@pytest.fixture(params=["counted", "not counted"])
def proactor(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    made = make_proactor()
    if request.param == "not counted":
        do_not_count(made)
    return made


@pytest.fixture
def few_buffers(monkeypatch: pytest.MonkeyPatch, make_proactor: Callable[..., Proactor]) -> Proactor:
    """A proactor whose receives share FEW_BUFFERS buffers, where there are any."""
    monkeypatch.setattr(buffer_ring, "BUFFER_COUNT", FEW_BUFFERS)
    monkeypatch.setattr(buffer_ring, "_MASK", FEW_BUFFERS - 1)
    return make_proactor()


class Pieces:
    """A completion function that keeps what it is told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.flags: list[CompletionFlags] = []

    def __call__(self, operation: Operation, flags: CompletionFlags) -> None:
        self.flags.append(flags)
        if operation.error is None:
            self.pieces.append(operation.result)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def receive_again(socket: Socket, pieces: Pieces, max_bytes: int = ENOUGH) -> RecvBytes:
    return RecvBytes(socket, max_bytes, pieces, flags=MULTISHOT)


def keep_going(proactor: Proactor, receive: RecvBytes, condition: Callable[[], object]) -> None:
    """Poll until the condition holds, and submit the receive again whenever it has ended."""

    def reached() -> bool:
        if condition():
            return True
        if receive.state is OperationState.DONE:
            proactor.submit(receive)
        return False

    poll_until(proactor, reached)


def end(proactor: Proactor, receive: RecvBytes) -> None:
    proactor.cancel(receive)
    if receive.state is not OperationState.NEW:
        settle(proactor, receive)


def buffers_at_hand(proactor: Proactor, sockets: Sockets) -> int:
    """How many of FEW_BUFFERS receives find one at once."""
    receives = []
    for _ in range(FEW_BUFFERS):
        near, far = sockets.tcp_pair()
        far.stdlib.send(b"x")
        receives.append(RecvBytes(near, 1))
    proactor.poll(0)  # what was received before is given back by it
    proactor.submit(*receives)
    proactor.poll(0)
    at_hand = sum(receive.state is OperationState.DONE for receive in receives)
    settle(proactor, *receives)
    return at_hand


# ---- what is delivered ------------------------------------------------------------------------------------------


@pytest.mark.needs("native_multishot")
def test_each_piece_is_delivered_with_more(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    receive = receive_again(near, pieces)
    start(proactor, receive)
    for number in range(5):
        far.stdlib.send(b"message %d" % number)
        poll_until(proactor, lambda number=number: len(pieces.pieces) == number + 1)
    end(proactor, receive)
    assert pieces.pieces == [b"message %d" % number for number in range(5)]
    assert pieces.flags == [MORE] * 5 + [FINAL]
    assert cause_of(receive) is CancelCause.REQUESTED


@pytest.mark.lacks("native_multishot")
def test_without_such_receives_the_first_piece_is_final(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    far.stdlib.send(b"all")
    finish(proactor, receive_again(near, pieces))
    assert (pieces.pieces, pieces.flags) == ([b"all"], [FINAL])


@pytest.mark.needs("native_multishot", "unix_sockets")
def test_on_a_unix_socket_the_first_piece_is_final(proactor: Proactor, sockets: Sockets) -> None:
    """The kernel's form loses the end of the stream there; see encode.py."""
    near, far = sockets.unix_pair()
    pieces = Pieces()
    far.stdlib.send(b"all")
    finish(proactor, receive_again(near, pieces))
    assert (pieces.pieces, pieces.flags) == ([b"all"], [FINAL])


@both_kinds
def test_the_end_of_the_stream_is_final_and_comes_behind_the_bytes(
    proactor: Proactor, sockets: Sockets, kind: str
) -> None:
    near, far = sockets.pair(kind)
    pieces = Pieces()
    receive = receive_again(near, pieces)
    start(proactor, receive)
    far.stdlib.send(b"last words")
    far.close()
    keep_going(proactor, receive, lambda: b"" in pieces.pieces)
    assert pieces.data == b"last words" and pieces.pieces[-1] == b""
    assert pieces.flags[-1] is FINAL and receive.state is OperationState.DONE


def test_a_reset_is_final_and_comes_behind_the_bytes(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    receive = receive_again(near, pieces)
    start(proactor, receive)
    far.stdlib.send(b"last words")
    keep_going(proactor, receive, lambda: pieces.pieces)
    close_with_reset(far)
    keep_going(proactor, receive, lambda: receive.error is not None)
    assert pieces.data == b"last words"
    assert isinstance(receive.error, ConnectionResetError)


@pytest.mark.parametrize("max_bytes", [1, 5, 1000])
@pytest.mark.ring_rule(8)
@pytest.mark.needs("native_multishot")
def test_it_ends_by_itself_when_it_has_taken_enough(
    make_proactor: Callable[..., Proactor], sockets: Sockets, max_bytes: int
) -> None:
    """Where the kernel of this machine can count; an older one is told to stop by whoever receives."""
    proactor = make_proactor()
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    receive = receive_again(near, pieces, max_bytes)
    start(proactor, receive)
    backend: Any = proactor._backend
    if not backend._counts_receives:
        end(proactor, receive)
        return
    sent = 0
    while receive.state is not OperationState.DONE:
        sent += far.stdlib.send(bytes(3))
        poll_until(proactor, lambda sent=sent: len(pieces.data) >= sent)
    assert max_bytes <= sent < max_bytes + 3
    assert pieces.flags == [MORE] * (len(pieces.flags) - 1) + [FINAL] and pieces.pieces[-1]


def test_it_can_be_submitted_again_and_misses_nothing(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    receive = receive_again(near, pieces, 100)
    proactor.submit(receive)
    data = pattern(50_000)
    sent = 0
    while sent < len(data):
        sent += far.stdlib.send(data[sent : sent + 777])
        keep_going(proactor, receive, lambda sent=sent: len(pieces.data) == sent)
    end(proactor, receive)
    assert pieces.data == data


def test_max_bytes_is_checked_as_without_the_flag(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="max_bytes"):
            proactor.submit(RecvBytes(near, wrong, flags=MULTISHOT))  # type: ignore[arg-type]


def test_a_datagram_socket_delivers_each_datagram(proactor: Proactor, sockets: Sockets) -> None:
    near = sockets.keep(Socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM))
    near.bind(("127.0.0.1", 0))
    far = sockets.keep(stdlib_socket.socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM))
    pieces = Pieces()
    receive = receive_again(near, pieces)
    start(proactor, receive)
    for number in range(3):
        far.sendto(b"datagram %d" % number, near.getsockname())
        keep_going(proactor, receive, lambda number=number: len(pieces.pieces) == number + 1)
    end(proactor, receive)
    assert pieces.pieces == [b"datagram %d" % number for number in range(3)]


# ---- how it ends ------------------------------------------------------------------------------------------------


@both_kinds
def test_cancelling_loses_nothing(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    """Bytes and the cancellation come in one turn, in both orders."""
    near, far = sockets.pair(kind)
    pieces = Pieces()
    receive = receive_again(near, pieces)
    sent = b""
    for number in range(100):
        proactor.submit(receive)
        if number % 3:
            proactor.poll(0)
        message = b"<%d>" % number
        if number % 2:
            proactor.cancel(receive)
            far.stdlib.send(message)
        else:
            far.stdlib.send(message)
            proactor.cancel(receive)
        sent += message
        settle(proactor, receive)
    keep_going(proactor, receive, lambda: len(pieces.data) >= len(sent))
    end(proactor, receive)
    assert pieces.data == sent


@pytest.mark.needs("native_multishot")
def test_it_can_be_cancelled_in_its_own_completion_function(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    flags_seen: list[CompletionFlags] = []

    def cancel(operation: Operation, flags: CompletionFlags) -> None:
        flags_seen.append(flags)
        proactor.cancel(operation)

    receive = RecvBytes(near, ENOUGH, cancel, flags=MULTISHOT)
    start(proactor, receive)
    far.stdlib.send(b"x")
    settle(proactor, receive)
    assert flags_seen == [MORE, FINAL]


def test_closing_its_socket_ends_it_and_the_peer_sees_that(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = Pieces()
    receive = receive_again(near, pieces)
    start(proactor, receive)
    perform(proactor, SocketClose(near))
    settle(proactor, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED and pieces.flags == [FINAL]
    assert perform(proactor, RecvBytes(far, 1)) == b""


def test_closing_the_proactor_ends_it(make_proactor: Callable[..., Proactor], sockets: Sockets) -> None:
    proactor = make_proactor()
    near, _ = sockets.tcp_pair()
    receive = receive_again(near, Pieces())
    start(proactor, receive)
    proactor.close()
    assert cause_of(receive) is CancelCause.PROACTOR_CLOSED


# ---- the shared buffers -----------------------------------------------------------------------------------------


@pytest.mark.needs("native_multishot")
@pytest.mark.ring_rule(8)
def test_it_ends_with_enobufs_when_there_is_no_buffer_and_loses_nothing(
    few_buffers: Proactor, sockets: Sockets
) -> None:
    """More pieces lie there than there are buffers for one turn."""
    received: list[tuple[RecvBytes, Pieces, bytes]] = []
    for number in range(3 * FEW_BUFFERS):
        near, far = sockets.tcp_pair()
        pieces = Pieces()
        receive = receive_again(near, pieces)
        data = pattern(200_000, number)
        far.stdlib.setblocking(False)
        data = data[: far.stdlib.send(data)]
        received.append((receive, pieces, data))
    few_buffers.submit(*(receive for receive, _, _ in received))
    out_of_buffers = 0

    def all_received() -> bool:
        nonlocal out_of_buffers
        for receive, _, _ in received:
            if receive.state is OperationState.DONE:
                if receive.error is not None:
                    assert isinstance(receive.error, OSError) and receive.error.errno == errno.ENOBUFS
                    out_of_buffers += 1
                few_buffers.submit(receive)
        return all(len(pieces.data) >= len(data) for _, pieces, data in received)

    poll_until(few_buffers, all_received)
    for receive, pieces, data in received:
        end(few_buffers, receive)
        assert pieces.data == data
    assert out_of_buffers
    assert buffers_at_hand(few_buffers, sockets) == FEW_BUFFERS


def _ends_by_cancelling(proactor: Proactor, receive: RecvBytes, far: Socket) -> None:
    proactor.cancel(receive)


def _ends_by_closing(proactor: Proactor, receive: RecvBytes, far: Socket) -> None:
    proactor.submit(SocketClose(receive.socket))


def _ends_by_the_end(proactor: Proactor, receive: RecvBytes, far: Socket) -> None:
    far.close()


def _ends_by_a_reset(proactor: Proactor, receive: RecvBytes, far: Socket) -> None:
    close_with_reset(far)


@pytest.mark.needs("native_multishot")
@pytest.mark.parametrize("ends", [_ends_by_cancelling, _ends_by_closing, _ends_by_the_end, _ends_by_a_reset])
def test_every_buffer_is_given_back_however_it_ends(
    few_buffers: Proactor, sockets: Sockets, ends: Callable[[Proactor, RecvBytes, Socket], None]
) -> None:
    for _ in range(2 * FEW_BUFFERS):
        near, far = sockets.tcp_pair()
        receive = receive_again(near, Pieces())
        start(few_buffers, receive)
        far.stdlib.send(b"x")
        ends(few_buffers, receive, far)
        settle(few_buffers, receive)
    assert buffers_at_hand(few_buffers, sockets) == FEW_BUFFERS


@pytest.mark.needs("native_multishot")
def test_a_completion_function_that_fails_keeps_no_buffer(few_buffers: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    def fails(operation: Operation, flags: CompletionFlags) -> None:
        if flags & MORE:
            raise LookupError

    receive = RecvBytes(near, ENOUGH, fails, flags=MULTISHOT)
    start(few_buffers, receive)
    for _ in range(2 * FEW_BUFFERS):
        far.stdlib.send(b"x")
        with pytest.raises(LookupError):
            few_buffers.poll(5)
    end(few_buffers, receive)
    assert buffers_at_hand(few_buffers, sockets) == FEW_BUFFERS


# ---- kernels that cannot count ----------------------------------------------------------------------------------


@pytest.mark.needs("native_multishot")
def test_a_kernel_that_cannot_count_is_asked_once_by_all_that_begin_in_one_turn(
    make_proactor: Callable[..., Proactor], sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a kernel refuses the field with EINVAL; here what it is asked for is made wrong in the same way."""
    proactor = make_proactor()
    backend: Any = proactor._backend
    encoders = backend._encoders

    def refused(entries: memoryview, offset: int, operation: Any, flags: int) -> None:
        encoders_counted(entries, offset, operation, flags)
        if operation.backend_state == "counted":
            entries[offset + 8] = 1  # addr2, which a receive does not have

    encoders_counted = encoders[RecvBytes.kind]
    encoders[RecvBytes.kind] = refused
    received = []
    for _ in range(3):
        near, far = sockets.tcp_pair()
        pieces = Pieces()
        received.append((receive_again(near, pieces), pieces))
        far.stdlib.send(b"all the same")
    proactor.submit(*(receive for receive, _ in received))
    poll_until(proactor, lambda: all(pieces.flags for _, pieces in received))
    assert not backend._counts_receives
    for receive, pieces in received:
        end(proactor, receive)
        assert pieces.data == b"all the same"


# ---- interruptions ----------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(17)
def test_an_interrupt_at_any_place_of_poll_loses_no_byte_and_repeats_none(proactor: Proactor, sockets: Sockets) -> None:
    point = 1
    while True:
        near, far = sockets.tcp_pair()
        pieces = Pieces()
        receive = receive_again(near, pieces)
        proactor.submit(receive)
        proactor.poll(0)
        far.stdlib.send(b"first, ")

        def poll_all(far: Socket = far) -> None:
            proactor.poll(0.01)
            far.stdlib.send(b"second")
            proactor.poll(0.01)

        came = interrupt_at(point, poll_all, spared=Pieces.__call__.__code__)
        far.close()
        keep_going(proactor, receive, lambda pieces=pieces: b"" in pieces.pieces)
        assert pieces.data in (b"first, second", b"first, ")[: 2 if came else 1]
        near.close()
        if not came:
            break
        point += 1
    assert point > 10


@pytest.mark.needs("native_multishot")
@pytest.mark.ring_rule(17)
def test_an_interrupt_at_any_place_of_poll_keeps_no_buffer(few_buffers: Proactor, sockets: Sockets) -> None:
    point = 1
    while True:
        near, far = sockets.tcp_pair()
        pieces = Pieces()
        receive = receive_again(near, pieces)
        few_buffers.submit(receive)
        few_buffers.poll(0)
        far.stdlib.send(b"bytes")
        came = interrupt_at(point, lambda: few_buffers.poll(0.01), spared=Pieces.__call__.__code__)
        poll_until(few_buffers, lambda pieces=pieces: pieces.pieces)
        end(few_buffers, receive)
        assert pieces.data == b"bytes"
        assert buffers_at_hand(few_buffers, sockets) == FEW_BUFFERS
        near.close()
        far.close()
        if not came:
            break
        point += 1


@pytest.mark.needs("signals")
@pytest.mark.ring_rule(17)
def test_interrupts_at_random_moments_lose_no_byte_and_repeat_none(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=47)
    near, far = sockets.tcp_pair()
    data = pattern(1 << 17)
    sent = 0
    receive = RecvBytes(near, 2000, completions, flags=MULTISHOT)
    got = bytearray()
    with alarm_handler(fire.handle):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            sent += far.stdlib.send(data[sent : sent + fire.choice.randrange(1, 300)])
            while len(got) < sent:
                if receive.state is not OperationState.SUBMITTED:
                    proactor.submit(receive)
                fire.poll(0.0005)
                got += b"".join(record.result for record in completions.records if record.error is None)
                completions.records.clear()
                assert time.monotonic() < until + LONGEST_SECONDS, f"{sent - len(got)} bytes are missing: {receive!r}"
    end(proactor, receive)
    assert fire.interruptions > 10
    assert bytes(got) == data[:sent]
