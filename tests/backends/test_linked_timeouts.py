"""The books of deadlines that the kernel keeps, and of steps that it does not report."""

from __future__ import annotations

import errno
import time

from proactor_trio.backends.contract import Kind, OperationFields, OperationFlags
from proactor_trio.backends.io_uring.encode import LARGEST_TRANSFER
from proactor_trio.backends.io_uring.linked_timeouts import Handover, LinkedTimeouts
from proactor_trio.backends.io_uring.silent_chains import silent_steps

CANCELED = -errno.ECANCELED
SILENT = OperationFlags.LINKED | OperationFlags.SILENT


class Receive(OperationFields):
    """An operation in flight."""

    kind = Kind.RECV

    def __init__(self, length: int = 1) -> None:
        self.identifier = 1
        self.expires: float | None = time.monotonic() - 1
        self.flags = SILENT
        self.whole = False
        self.length = length
        self.view = Memory(length)


class Memory:
    """So much of it as nobody has."""

    def __init__(self, length: int) -> None:
        self.nbytes = length


def hand_over(timeouts: LinkedTimeouts, operation: OperationFields, *, is_made: bool = True) -> None:
    assert operation.expires is not None
    handover = Handover()
    timeouts.watch(operation, operation.expires, handover)
    handover.is_made = is_made


def test_what_the_timeout_of_an_earlier_start_said_decides_nothing() -> None:
    receive = Receive()
    timeouts = LinkedTimeouts({1: receive})
    hand_over(timeouts, receive)
    timeouts.timeout_said(1, receive, CANCELED)
    timeouts.timeout_done(1)
    hand_over(timeouts, receive)
    assert timeouts.completed(receive, CANCELED) is None
    assert timeouts.timeout_said(1, receive, -errno.ETIME) == -errno.ETIME


def test_a_handover_that_was_interrupted_has_no_timeout_to_wait_for() -> None:
    receive = Receive()
    timeouts = LinkedTimeouts({1: receive})
    hand_over(timeouts, receive, is_made=False)
    hand_over(timeouts, receive)
    assert timeouts.completed(receive, CANCELED) is None
    assert timeouts.timeout_said(1, receive, CANCELED) == CANCELED


def test_a_timeout_that_found_nothing_has_missed_only_when_its_time_has_come() -> None:
    receive = Receive()
    timeouts = LinkedTimeouts({1: receive})
    hand_over(timeouts, receive)
    missed = timeouts.has_missed(1, receive, -errno.ENOENT)
    receive.expires = time.monotonic() + 100
    assert (missed, timeouts.has_missed(1, receive, -errno.ENOENT)) == (True, False)


def test_a_transfer_of_more_than_the_kernel_moves_at_a_time_is_not_silent() -> None:
    steps = usual, _large, _last = Receive(LARGEST_TRANSFER), Receive(LARGEST_TRANSFER + 1), Receive()
    for step in steps:
        step.expires = None
    assert silent_steps(steps) == {usual}
