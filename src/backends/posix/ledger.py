"""What calls have returned and the hook has not yet heard, kept so that an exception at any moment loses nothing.

A signal handler may raise between any two bytecodes of `poll()`, of `cancel()` and of the hook. Four habits make that
harmless:

1. A report stays at the head of `reports` while the hook runs and is removed afterwards. Before the hook is called, the
   operation is looked up in `in_flight`: the report of one that is no longer there was delivered already. So there may
   be two reports of one operation; the second is dropped. A report with MORE leaves its operation in flight, and the
   hook may go on with a MULTISHOT operation after any report; for these `_delivering` notes how many deliveries the
   hook had taken over before.
2. `attempting` names the operation that is just being moved. If `poll()` or `cancel()` finds it set, then the last one
   was interrupted, and that operation is put right: it has a report and waits nowhere, or it waits and its flags are
   set so that it is tried again, or it is begun anew. All steps may be done twice.
3. The result of a call is stored by the step that makes the call: `(ledger.outcome,) = map(call, arguments)`. CPython
   runs signal handlers after calls, at backward jumps and at function entry. Here the call is made inside the
   unpacking, which is none of these, and the store follows at once. So received bytes and accepted connections are
   always kept. (`list.extend(map(...))` does the same where the results of several calls are collected.)
4. Lists of events are handled in place and removed afterwards; to handle one twice does no harm.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from proactor_trio.backends.contract import CompletionFlags, CompletionHook, Kind, OperationFields, OperationFlags

MORE: Final = int(CompletionFlags.MORE)
#: There is no outcome.
NOTHING: Final = object()

_NO_FLAGS: Final = OperationFlags.NONE
_MULTISHOT: Final = int(OperationFlags.MULTISHOT)
_TRANSFERS: Final = (Kind.RECV, Kind.SEND)  # their `backend_state` counts what was moved

#: (operation, its identifier, what the call returned or -errno, completion flags)
Report = tuple[OperationFields, int, Any, int]


class Ledger:
    """The reports that wait for delivery, and the call that is just being made."""

    __slots__ = (
        "_complete",
        "_delivering",
        "_in_flight",
        "attempting",
        "attempts",
        "completions",
        "outcome",
        "reports",
    )

    def __init__(self, complete: CompletionHook, in_flight: Mapping[int, OperationFields]) -> None:
        self._complete = complete
        self._in_flight = in_flight
        self._delivering: tuple[Report, int] | None = None
        self.reports: deque[Report] = deque()
        self.attempting: OperationFields | None = None
        self.outcome: Any = NOTHING
        self.attempts = 0
        self.completions = 0

    def deliver(self) -> None:
        """Call the hook for each report. What it raises leaves at once; the rest waits for the next time."""
        reports = self.reports
        in_flight = self._in_flight
        complete = self._complete
        delivered = 0
        if self._delivering is not None:
            self._drop_if_taken_over()
        try:
            # What a callback adds (by a cancel) waits for the next poll: no callback can keep us here.
            for _ in range(len(reports)):
                if not reports:
                    break
                operation, identifier, result, flags = reports[0]
                if in_flight.get(identifier) is operation:
                    if type(result) is not int:
                        result = _as_number(operation, result)
                    if flags or operation.flags is not _NO_FLAGS:
                        self._delivering = (reports[0], operation.deliveries)
                    delivered += 1
                    complete(operation, result, flags)
                reports.popleft()
        finally:
            self.completions += delivered
        self._delivering = None

    def _drop_if_taken_over(self) -> None:
        """After an exception in the hook: the report with MORE that was being made may have been taken over."""
        assert self._delivering is not None
        report, deliveries = self._delivering
        if self.reports and self.reports[0] is report and report[0].deliveries != deliveries:
            self.reports.popleft()
        self._delivering = None

    def report_outcome(self, operation: OperationFields) -> None:
        """Make a final report of the call that was just made."""
        self.reports.append((operation, operation.identifier, self.outcome, 0))
        self.outcome = NOTHING

    def end(self, operation: OperationFields, result: int) -> None:
        """Report an operation whose calls, if any, gave no final result."""
        if result < 0:
            result = moved_bytes(operation) or result
        self.reports.append((operation, operation.identifier, result, 0))

    def failure(self, operation: OperationFields, error: Exception) -> int:
        """The result of a call that raised. Raises the error again where it did not come from the call."""
        if self.outcome is not NOTHING:
            raise error  # the call was made, and its outcome kept; this is a signal handler's
        if moved := moved_bytes(operation):
            return moved
        if not isinstance(error, OSError):
            return -errno.EINVAL
        if error.errno is None:
            raise error  # a signal handler's
        return -error.errno

    def save_outcome(self, operation: OperationFields) -> bool:
        """After an interruption: report what the last call returned. True when the operation has its final report."""
        outcome, identifier = self.outcome, operation.identifier
        if outcome is not NOTHING:
            if not any(report[0] is operation and report[2] is outcome for report in self.reports):
                self.reports.append((operation, identifier, outcome, MORE if goes_on(operation) else 0))
            self.outcome = NOTHING
        return any(report[0] is operation and report[1] == identifier and not report[3] for report in self.reports)

    def close(self) -> None:
        """Close the connections that nobody took."""
        for operation, _identifier, result, _flags in self.reports:
            if operation.kind is Kind.ACCEPT and type(result) is tuple:
                os.close(result[0])
        self.reports.clear()


def goes_on(operation: OperationFields) -> bool:
    """Whether it stays after a result."""
    return operation.kind is Kind.ACCEPT and bool(int(operation.flags) & _MULTISHOT)


def progress_of(operation: OperationFields) -> list[int]:
    """What the calls of this operation have returned so far; a list that may be appended to."""
    progress: list[int] | None = operation.backend_state
    if progress is None:
        progress = operation.backend_state = []
    return progress


def moved_bytes(operation: OperationFields) -> int:
    """How many bytes a transfer that is to be completed has moved so far."""
    if operation.kind in _TRANSFERS and operation.backend_state:
        moved: int = sum(operation.backend_state)
        return moved
    return 0


def _as_number(operation: OperationFields, result: Any) -> int:
    """What a call returned that is no number: received bytes, an accepted connection, a datagram, None of a close."""
    if type(result) is bytes:
        operation.data = result
        return len(result)
    if operation.kind is Kind.RECV_FROM:
        count, _ancillary, message_flags, sender = result
        operation.data = (sender, b"", message_flags)
        return int(count)
    if type(result) is tuple:
        descriptor: int = result[0]
        os.set_blocking(descriptor, False)
        return descriptor
    return 0
