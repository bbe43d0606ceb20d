"""LINKED chains: each step waits for the success of the one before it; the first that fails ends the chain."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cts.support import Completions, Files, Sockets, cause_of, pattern, perform, settle, start
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Connect,
    FileClose,
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
    StatusCode,
    Timer,
    status_of,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED
NONE = OperationFlags.NONE
FAR_FUTURE = 3600.0


def later(seconds: float = FAR_FUTURE) -> float:
    return time.monotonic() + seconds


def linked_nops(completions: Completions, count: int) -> list[Operation]:
    """A chain of nops, labelled with their numbers."""
    return [Nop(completions, number, LINKED if number < count - 1 else NONE) for number in range(count)]


# Order ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2, marks=pytest.mark.reference("SequenceTest.TwoLinkedNops")),
        pytest.param(5, marks=pytest.mark.reference("SequenceTest.LinkedNopChain")),
    ],
)
def test_the_steps_of_a_chain_complete_in_order(proactor: Proactor, completions: Completions, count: int) -> None:
    chain = linked_nops(completions, count)
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(number, "ok") for number in range(count)]


@pytest.mark.reference("SequenceTest.LinkedTimerAsyncSubmit")
def test_the_list_of_a_batch_is_the_callers_again_after_submission(
    proactor: Proactor, completions: Completions
) -> None:
    chain = [Timer(later(0.01), completions, 0, LINKED), Timer(0.0, completions, 1, LINKED), Nop(completions, 2)]
    batch: list[Operation] = [*chain]
    proactor.submit_batch(batch)
    batch.clear()
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "ok"), (2, "ok")]


@pytest.mark.reference("SequenceTest.LinkedTimerOrder")
@pytest.mark.ring_rule(5)
def test_a_step_waits_for_the_one_before_it(proactor: Proactor, completions: Completions) -> None:
    first = Timer(later(0.03), completions, "first", LINKED)
    second = Timer(0.0, completions, "second")
    proactor.submit(first, second)
    settle(proactor, second)
    assert completions.labels == ["first", "second"]


@pytest.mark.regression("batch-split")
def test_operations_that_are_not_linked_do_not_wait_for_a_chain(proactor: Proactor, completions: Completions) -> None:
    chain = [Timer(later(0.03), completions, "timer", LINKED), Nop(completions, "after the timer")]
    single = Nop(completions, "single")
    proactor.submit(*chain, single)
    settle(proactor, *chain, single)
    assert completions.labels == ["single", "timer", "after the timer"]


@pytest.mark.reference("SequenceTest.MixedLinkedUnlinked")
def test_two_chains_and_single_operations_in_one_batch(proactor: Proactor, completions: Completions) -> None:
    batch = [
        Nop(completions, "a1", LINKED),
        Nop(completions, "a2"),
        Nop(completions, "single"),
        Nop(completions, "b1", LINKED),
        Nop(completions, "b2", LINKED),
        Nop(completions, "b3"),
    ]
    proactor.submit(*batch)
    settle(proactor, *batch)
    assert sorted(map(str, completions.labels)) == ["a1", "a2", "b1", "b2", "b3", "single"]
    assert completions.labels.index("a1") < completions.labels.index("a2")
    assert [label for label in completions.labels if str(label).startswith("b")] == ["b1", "b2", "b3"]


@pytest.mark.regression("batch-split")
def test_a_chain_in_the_batch_of_one_that_waits_is_begun(proactor: Proactor, completions: Completions) -> None:
    waiting = [Timer(later(), completions, "a1", LINKED), Nop(completions, "a2")]
    other = [Nop(completions, "b1", LINKED), Nop(completions, "b2")]
    proactor.submit(*waiting, *other)
    settle(proactor, *other)
    assert completions.outcomes == [("b1", "ok"), ("b2", "ok")]
    proactor.cancel(waiting[0])
    settle(proactor, *waiting)


def test_a_failing_chain_leaves_the_other_chains_of_its_batch_alone(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    broken, gone = sockets.unix_pair()
    gone.close()
    batch = [
        Send(broken, b"x", completions, "a1", LINKED),
        Nop(completions, "a2"),
        Nop(completions, "b1", LINKED),
        Nop(completions, "b2"),
    ]
    proactor.submit(*batch)
    settle(proactor, *batch)
    assert sorted(completions.outcomes, key=str) == [
        ("a1", "BrokenPipeError"),
        ("a2", "cancelled"),
        ("b1", "ok"),
        ("b2", "ok"),
    ]


def test_a_chain_can_be_submitted_again(proactor: Proactor, completions: Completions) -> None:
    chain = linked_nops(completions, 3)
    for _ in range(5):
        proactor.submit(*chain)
        settle(proactor, *chain)
    assert completions.labels == [0, 1, 2] * 5


@pytest.mark.parametrize("length", [7, 8, 9, 17, 40])
def test_a_chain_longer_than_the_submission_queue(
    make_proactor: Callable[..., Proactor], completions: Completions, length: int
) -> None:
    proactor = make_proactor(max_concurrent_operations=8)
    chain = linked_nops(completions, length)
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(number, "ok") for number in range(length)]


def test_a_failure_in_a_chain_longer_than_the_submission_queue_ends_the_whole_rest(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor(max_concurrent_operations=8)
    broken, gone = sockets.unix_pair()
    gone.close()
    chain = linked_nops(completions, 30)
    chain[3] = Send(broken, b"x", completions, 3, LINKED)
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [
        (number, "ok" if number < 3 else "BrokenPipeError" if number == 3 else "cancelled") for number in range(30)
    ]


# Failure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(5))
def test_a_failure_cancels_the_later_steps_once_each_and_in_order(
    proactor: Proactor, sockets: Sockets, completions: Completions, place: int
) -> None:
    broken, gone = sockets.unix_pair()
    gone.close()
    chain = linked_nops(completions, 5)
    chain[place] = Send(broken, b"x", completions, place, LINKED if place < 4 else NONE)
    proactor.submit(*chain)
    settle(proactor, *chain)
    proactor.poll(0)
    expected = ["ok"] * place + ["BrokenPipeError"] + ["cancelled"] * (4 - place)
    assert completions.outcomes == list(enumerate(expected))


def test_the_later_steps_name_the_failure_as_their_cause(proactor: Proactor, sockets: Sockets) -> None:
    chain = [Connect(sockets.tcp(), sockets.refusing_address(), flags=LINKED), Nop(flags=LINKED), Timer(later())]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert [cause_of(step) for step in chain[1:]] == [CancelCause.EARLIER_STEP_FAILED] * 2


@pytest.mark.needs("files")
def test_the_steps_behind_a_failure_have_no_effect(
    proactor: Proactor, sockets: Sockets, files: Files, tmp_path: Path
) -> None:
    near, far = sockets.tcp_pair()
    file = files.holding(b"untouched")
    chain = [
        FileOpen(tmp_path / "missing", flags=LINKED),
        Send(near, b"x", flags=LINKED),
        FileWrite(file, b"y", 0, flags=LINKED),
        FileOpen(tmp_path / "new", os.O_CREAT | os.O_WRONLY),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(10)
    assert (tmp_path / "file").read_bytes() == b"untouched"
    assert not (tmp_path / "new").exists()


@pytest.mark.reference("SequenceTest.LinkedConnectFailurePropagates")
def test_a_refused_connect_cancels_the_send_behind_it(proactor: Proactor, sockets: Sockets) -> None:
    client = sockets.tcp()
    connect = Connect(client, sockets.refusing_address(), flags=LINKED)
    send = Send(client, b"x")
    proactor.submit(connect, send)
    settle(proactor, connect, send)
    assert status_of(connect.error) is StatusCode.UNAVAILABLE
    assert status_of(send.error) is StatusCode.CANCELLED


@pytest.mark.reference("SequenceTest.LinkedConnectSend")
def test_connect_then_send_reaches_the_peer(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.tcp()
    connect, send = Connect(client, listener.getsockname(), flags=LINKED), Send(client, b"hello")
    accept = Accept(listener)
    proactor.submit(accept)
    proactor.submit(connect, send)
    settle(proactor, accept, connect, send)
    assert perform(proactor, RecvBytes(sockets.keep(accept.result), 100)) == b"hello"


def test_a_close_behind_a_failure_still_closes_or_leaves_the_socket_open(proactor: Proactor, sockets: Sockets) -> None:
    """A cancelled close has no effect, or the close happens: what must not be is a descriptor that nobody owns."""
    broken, gone = sockets.unix_pair()
    gone.close()
    near, far = sockets.tcp_pair()
    chain = [Send(broken, b"x", flags=LINKED), SocketClose(near)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    if near.closed:
        assert perform(proactor, RecvBytes(far, 10)) == b""
    else:
        perform(proactor, Send(near, b"still usable"))


@pytest.mark.needs("files")
def test_a_file_close_behind_a_failure_still_closes_or_leaves_the_file_open(
    proactor: Proactor, sockets: Sockets, files: Files
) -> None:
    broken, gone = sockets.unix_pair()
    gone.close()
    file = files.holding(b"x")
    descriptor = file.fileno()
    chain = [Send(broken, b"x", flags=LINKED), FileClose(file)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    if file.closed:
        with pytest.raises(OSError):
            os.fstat(descriptor)
    else:
        assert perform(proactor, FileRead(file, bytearray(1), 0)) == 1


def test_send_then_close_delivers_the_bytes_and_the_end(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    chain = [Send(near, b"last words", flags=LINKED), SocketClose(near)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert [step.error for step in chain] == [None, None]
    assert [perform(proactor, RecvBytes(far, 100)) for _ in range(2)] == [b"last words", b""]


@pytest.mark.needs("files")
def test_write_sync_close_in_one_chain(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = files.holding()
    chain = [FileWrite(file, b"abc", 0, flags=LINKED), FileSync(file, flags=LINKED), FileClose(file)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert [step.error for step in chain] == [None, None, None]
    assert (tmp_path / "file").read_bytes() == b"abc"


# Short transfers -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("files")
@pytest.mark.parametrize("length", [100, 400_000])
@pytest.mark.ring_rule(5)
def test_a_read_over_the_end_of_the_file_breaks_the_chain(
    proactor: Proactor, files: Files, completions: Completions, length: int
) -> None:
    file = files.holding(b"short")
    buffer = bytearray(length)
    chain = [FileRead(file, buffer, 0, completions, "read", LINKED), Nop(completions, "behind")]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("read", "ok"), ("behind", "cancelled")]
    assert (chain[0].result, bytes(buffer[:5])) == (5, b"short")
    assert cause_of(chain[1]) is CancelCause.EARLIER_STEP_FAILED


@pytest.mark.needs("files")
def test_a_read_that_fills_its_buffer_goes_on(proactor: Proactor, files: Files) -> None:
    chain = [FileRead(files.holding(b"exact"), bytearray(5), 0, flags=LINKED), Nop()]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert [step.error for step in chain] == [None, None]


@pytest.mark.ring_rule(5)
def test_a_receive_that_meets_the_end_breaks_the_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [Recv(near, bytearray(10), completions, "receive", LINKED), Nop(completions, "behind")]
    start(proactor, *chain)
    far.stdlib.send(b"abc")
    far.close()
    settle(proactor, *chain)
    assert completions.outcomes == [("receive", "ok"), ("behind", "cancelled")]
    assert chain[0].result == 3


@pytest.mark.ring_rule(5)
def test_a_receive_in_a_chain_waits_for_the_whole_buffer(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(6)
    chain = [Recv(near, buffer, completions, "receive", LINKED), Nop(completions, "behind")]
    start(proactor, *chain)
    far.stdlib.send(b"abc")
    proactor.poll(0.02)
    assert len(completions) == 0
    far.stdlib.send(b"def")
    settle(proactor, *chain)
    assert completions.outcomes == [("receive", "ok"), ("behind", "ok")]
    assert buffer == b"abcdef"


def test_a_send_in_a_chain_is_whole(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = sockets.unix_pair()
    contents = pattern(2_000_000)
    chain = [Send(near, contents, completions, "send", LINKED), Nop(completions, "behind")]
    start(proactor, *chain)
    received = bytearray()
    while len(received) < len(contents):
        received += perform(proactor, RecvBytes(far, 100_000))
    settle(proactor, *chain)
    assert completions.outcomes == [("send", "ok"), ("behind", "ok")]
    assert received == contents


def test_receive_then_send_echoes_without_a_callback(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(5)
    chain = [Recv(far, buffer, flags=LINKED), Send(far, buffer)]
    start(proactor, *chain)
    near.stdlib.send(b"hello")
    settle(proactor, *chain)
    assert perform(proactor, RecvBytes(near, 100)) == b"hello"
