"""Deadlines that the kernel keeps: each timed entry is linked to an IORING_OP_LINK_TIMEOUT of its own.

Facts (io_uring_enter(2), and measured): both entries post a completion, in either order. The timeout says -ECANCELED or
-ENOENT if it did not fire; if it did, -ETIME as a rule, -EALREADY for what a kernel worker runs, 1 for a futex. The
operation that it ended says -ECANCELED, as one that somebody cancelled does. A transfer with MSG_WAITALL that is ended
half-way says how much it had moved, and that is consumed.

So: a completion of a timed operation that a deadline can have caused (-ECANCELED, or fewer bytes than were to be
moved) waits for the word of its timeout; any other is delivered at once, and what its timeout says later is ignored.
If the timeout spoke first, the operation's own completion does not wait. Everything here may be done twice.

An operation may have to be started again (no buffer was left for it), with a timeout of its own each time. What an
earlier one said counts only if it fired.

A timeout that fires while its operation is between two states says -ENOENT too, and the operation goes on without a
deadline. That can be told only by the clock, and is then ours to end (`has_missed()`).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.io_uring.encode import timespec_of

#: User data of a timeout: the identifier of its operation with this bit.
TIMEOUT_BIT: Final = 1 << 61

_MANY: Final = 256
_TRANSFERS: Final = frozenset((Kind.RECV, Kind.SEND))
#: What a timeout says that did not fire, or found nothing to end.
_DID_NOT_FIRE: Final = frozenset((-errno.ECANCELED, -errno.ENOENT))


class Handover:
    """Entries that are put into the ring together. `is_made`: they are there; else putting them was interrupted."""

    __slots__ = ("is_made",)

    def __init__(self) -> None:
        self.is_made = False


class _Timed:
    """What is known of one timed operation in flight."""

    __slots__ = ("handovers", "result", "spoken", "timespec", "verdict")

    def __init__(self, timespec: bytearray) -> None:
        self.timespec = timespec
        #: More than one when the operation had to be started again, each with a timeout.
        self.handovers: list[Handover] = []
        #: How many of these timeouts have spoken.
        self.spoken = 0
        #: What the operation itself said, while that waits for the timeout.
        self.result: int | None = None
        #: What the last timeout said, if it spoke first.
        self.verdict: int | None = None

    @property
    def silent_timeouts(self) -> int:
        """How many timeouts have not spoken."""
        return sum(handover.is_made for handover in self.handovers) - self.spoken


class LinkedTimeouts:
    """The timed operations of one ring, by identifier, until all their timeouts have spoken and they are done."""

    __slots__ = ("_entries", "_in_flight", "_sweep_at")

    def __init__(self, in_flight: Mapping[int, OperationFields]) -> None:
        self._in_flight = in_flight
        self._entries: dict[int, _Timed] = {}
        self._sweep_at = _MANY

    def watch(self, operation: OperationFields, expires: float, handover: Handover) -> bytearray:
        """Begin to keep the books of an operation; returns the timespec of its timeout, which lives as long."""
        if len(self._entries) > self._sweep_at:
            self._sweep()
        timed = self._entries.get(operation.identifier)
        if timed is None:
            timed = self._entries[operation.identifier] = _Timed(timespec_of(expires))
        timed.handovers = [*filter(_is_made, timed.handovers), handover]
        timed.verdict = None
        return timed.timespec

    def completed(self, operation: OperationFields, result: int) -> int | None:
        """The operation's own completion is in. Returns what to report, None: it has to wait for its timeout."""
        timed = self._entries.get(operation.identifier)
        if timed is None or not _can_be_expiry(operation, result):
            return result
        if timed.verdict is None:
            timed.result = result
            return None
        return self._final(operation, result, timed.verdict)

    def timeout_said(self, identifier: int, operation: OperationFields | None, verdict: int) -> int | None:
        """A timeout has spoken. Returns what to report of its operation, None: nothing, or nothing yet.

        operation: None if it is done.
        """
        timed = self._entries.get(identifier)
        if timed is None or operation is None:
            return None
        if verdict not in _DID_NOT_FIRE or timed.silent_timeouts == 1:
            timed.verdict = verdict
        if timed.result is None or timed.verdict is None:
            return None
        return self._final(operation, timed.result, timed.verdict)

    def timeout_done(self, identifier: int) -> None:
        """The caller has dealt with the completion of a timeout."""
        timed = self._entries.get(identifier)
        if timed is not None:
            timed.spoken += 1

    def has_missed(self, identifier: int, operation: OperationFields, verdict: int) -> bool:
        """Whether a timeout has fired at a moment when its operation, which is in flight, could not be ended."""
        timed = self._entries.get(identifier)
        return (
            verdict == -errno.ENOENT
            and timed is not None
            and timed.result is None
            and operation.expires is not None
            and operation.expires <= time.monotonic()
        )

    def _sweep(self) -> None:
        """Drop what nobody asks for any more; now and then, so that a completion may be dealt with twice."""
        self._entries = {
            identifier: timed
            for identifier, timed in self._entries.items()
            if timed.silent_timeouts > 0 or identifier in self._in_flight
        }
        self._sweep_at = max(_MANY, 2 * len(self._entries))

    @staticmethod
    def _final(operation: OperationFields, result: int, verdict: int) -> int:
        if verdict in _DID_NOT_FIRE:
            return result
        operation.partial_bytes = max(0, result)
        return -errno.ETIME


def _is_made(handover: Handover) -> bool:
    return handover.is_made


def _can_be_expiry(operation: OperationFields, result: int) -> bool:
    if result < 0:
        return result in (-errno.ECANCELED, -errno.EINTR)
    return operation.kind in _TRANSFERS and operation.whole and result < operation.length
