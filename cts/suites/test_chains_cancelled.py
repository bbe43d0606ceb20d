"""LINKED chains whose steps are cancelled, or whose sockets and files are closed."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from cts.support import Completions, Files, Sockets, cause_of, fill, perform, settle, start
from proactor_trio.proactor import (
    CancelCause,
    FileClose,
    FileOpen,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
    Timer,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED
NONE = OperationFlags.NONE
FAR_FUTURE = 3600.0


def later(seconds: float = FAR_FUTURE) -> float:
    return time.monotonic() + seconds


# Cancelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SequenceTest.ChainWithCancellation")
def test_cancelling_the_first_step_cancels_all(proactor: Proactor, completions: Completions) -> None:
    chain = [Timer(later(), completions, 0, LINKED), Nop(completions, 1, LINKED), Nop(completions, 2)]
    start(proactor, *chain)
    proactor.cancel(chain[0])
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "cancelled"), (1, "cancelled"), (2, "cancelled")]
    assert [cause_of(step) for step in chain] == [
        CancelCause.REQUESTED,
        CancelCause.EARLIER_STEP_FAILED,
        CancelCause.EARLIER_STEP_FAILED,
    ]


@pytest.mark.reference("SequenceTest.LinkedTimerChainMidCancellation")
def test_cancelling_a_middle_step_that_waits_lets_the_first_finish(
    proactor: Proactor, completions: Completions
) -> None:
    chain = [Timer(later(0.03), completions, 0, LINKED), Timer(later(), completions, 1, LINKED), Nop(completions, 2)]
    start(proactor, *chain)
    assert proactor.cancel(chain[1])
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "cancelled"), (2, "cancelled")]
    assert [cause_of(step) for step in chain[1:]] == [CancelCause.REQUESTED, CancelCause.EARLIER_STEP_FAILED]


def test_cancelling_the_last_step_that_waits_lets_the_others_finish(
    proactor: Proactor, completions: Completions
) -> None:
    chain = [Timer(later(0.03), completions, 0, LINKED), Nop(completions, 1, LINKED), Timer(later(), completions, 2)]
    start(proactor, *chain)
    proactor.cancel(chain[2])
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "ok"), (2, "cancelled")]


def test_a_middle_step_that_runs_can_be_cancelled(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, _ = sockets.tcp_pair()
    chain = [
        Nop(completions, 0, LINKED),
        Recv(near, bytearray(10), completions, 1, LINKED),
        Nop(completions, 2),
    ]
    start(proactor, *chain)
    proactor.poll(0)
    proactor.cancel(chain[1])
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "cancelled"), (2, "cancelled")]


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.ring_rule(2)
def test_cancelling_all_steps_at_once_ends_each_once(proactor: Proactor, completions: Completions, order: str) -> None:
    chain = [Timer(later(), completions, number, LINKED if number < 4 else NONE) for number in range(5)]
    start(proactor, *chain)
    for step in chain if order == "forwards" else reversed(chain):
        proactor.cancel(step)
    settle(proactor, *chain)
    proactor.poll(0)
    assert completions.outcomes == [(number, "cancelled") for number in range(5)]


@pytest.mark.ring_rule(2)
def test_a_chain_whose_head_finishes_in_the_same_moment_ends_when_all_of_it_is_cancelled(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    """The head completes and everything is cancelled in one turn: the chain must not run on for an hour."""
    near, far = sockets.tcp_pair()
    chain: list[Operation] = [
        Recv(near, bytearray(1), completions, 0, LINKED),
        Timer(later(), completions, 1, LINKED),
        Timer(later(), completions, 2),
    ]
    start(proactor, *chain)
    far.stdlib.send(b"x")
    for step in chain:
        proactor.cancel(step)
    settle(proactor, *chain)
    assert completions.labels == [0, 1, 2]
    assert completions.outcomes[1:] == [(1, "cancelled"), (2, "cancelled")]


def test_cancelling_before_the_first_poll_ends_the_chain_without_effect(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [Recv(far, bytearray(1), completions, 0, LINKED), Send(far, b"x", completions, 1)]
    proactor.submit(*chain)
    for step in chain:
        proactor.cancel(step)
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "cancelled"), (1, "cancelled")]
    with pytest.raises(BlockingIOError):
        near.stdlib.recv(1)


def test_a_chain_of_the_completion_function_of_its_own_step_goes_on(
    proactor: Proactor, completions: Completions
) -> None:
    """The completion function of a step cancels the next one before it starts, or finds it done."""

    def cancel_next(operation: Operation, flags: object) -> None:
        completions(operation, flags)  # type: ignore[arg-type]
        proactor.cancel(chain[1])

    chain: list[Operation] = [Nop(cancel_next, 0, LINKED), Timer(later(), completions, 1, LINKED), Nop(completions, 2)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "cancelled"), (2, "cancelled")]


# Closing what a chain is going to use --------------------------------------------------------------------------------


def test_closing_the_socket_of_the_running_step_ends_the_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, _ = sockets.tcp_pair()
    chain = [Recv(near, bytearray(1), completions, 0, LINKED), Nop(completions, 1)]
    start(proactor, *chain)
    closing = SocketClose(near)
    proactor.submit(closing)
    settle(proactor, *chain, closing)
    assert completions.outcomes == [(0, "cancelled"), (1, "cancelled")]
    assert cause_of(chain[0]) is CancelCause.RESOURCE_CLOSED


def test_a_step_whose_socket_was_closed_before_it_started_never_touches_the_one_that_got_its_number(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.unix_pair()
    number = near.fileno()
    chain = [Timer(later(0.03), flags=LINKED), Send(near, b"misdirected")]
    start(proactor, *chain)
    perform(proactor, SocketClose(near))
    far.close()
    other_near, other_far = sockets.unix_pair()
    assert number in (other_near.fileno(), other_far.fileno())
    settle(proactor, *chain)
    for innocent in (other_near, other_far):
        with pytest.raises(BlockingIOError):
            innocent.stdlib.recv(100)
    assert cause_of(chain[1]) is CancelCause.RESOURCE_CLOSED


@pytest.mark.needs("files")
def test_a_step_whose_file_was_closed_before_it_started_never_touches_the_one_that_got_its_number(
    proactor: Proactor, files: Files, tmp_path: Path
) -> None:
    file = files.holding(b"first")
    number = file.fileno()
    chain = [Timer(later(0.03), flags=LINKED), FileWrite(file, b"misdirected", 0)]
    start(proactor, *chain)
    perform(proactor, FileClose(file))
    assert files.holding(b"innocent", "other").fileno() == number
    settle(proactor, *chain)
    assert (tmp_path / "other").read_bytes() == b"innocent"
    assert cause_of(chain[1]) is CancelCause.RESOURCE_CLOSED


def test_a_chain_in_flight_keeps_its_memory_until_its_last_step(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    payload = bytearray(b"hello")
    chain = [Timer(later(0.02), flags=LINKED), Send(near, payload)]
    start(proactor, *chain)
    with pytest.raises(BufferError):
        payload.clear()
    settle(proactor, *chain)
    payload.clear()
    assert perform(proactor, RecvBytes(far, 10)) == b"hello"


def test_a_chain_waits_for_room_in_a_full_socket(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    filled = fill(near)
    chain = [Send(near, b"more", flags=LINKED), Nop()]
    start(proactor, *chain)
    received = bytearray()
    while len(received) < filled + 4:
        received += perform(proactor, RecvBytes(far, 65536))
    settle(proactor, *chain)
    assert received.endswith(b"more") and chain[1].error is None


@pytest.mark.needs("descriptors")
def test_a_poll_as_the_head_of_a_chain(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = sockets.tcp_pair()
    chain = [
        HandlePoll(near, completion_fn=completions, user_data=0, flags=LINKED),
        RecvBytes(near, 10, completions, 1),
    ]
    start(proactor, *chain)
    assert len(completions) == 0
    far.stdlib.send(b"x")
    settle(proactor, *chain)
    assert completions.labels == [0, 1] and chain[1].result == b"x"


@pytest.mark.needs("files")
def test_errors_of_the_failing_step_are_its_own(proactor: Proactor, files: Files) -> None:
    full = files.keep(perform(proactor, FileOpen("/dev/full", os.O_WRONLY)))
    chain = [FileWrite(full, b"x", 0, flags=LINKED), Nop()]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert isinstance(chain[0].error, OSError) and chain[0].error.errno == errno.ENOSPC
