"""What could not be started for want of a place in the submission queue or of a receive buffer, in its order.

It is started again before the next turn, and right after it, before anything that is started later. An operation that
is ended meanwhile was never the kernel's: it is reported as cancelled without asking it.

Starting again may be interrupted anywhere (contract.py, rules 6 and 9): the first in the queue stays there until it was
started, and `started` tells whether it was.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from proactor_trio.backends.contract import CompletionHook, OperationFields


class Postponed:
    """The postponed operations of one ring. Owner thread only; the containers stay the same objects."""

    __slots__ = ("_complete", "_in_flight", "_restarting", "aborted", "chains", "operations")

    def __init__(self, complete: CompletionHook, in_flight: Mapping[int, OperationFields]) -> None:
        self._complete = complete
        self._in_flight = in_flight
        self.operations: deque[OperationFields] = deque()
        self.chains: deque[Sequence[OperationFields]] = deque()
        #: What is to be reported as cancelled.
        self.aborted: deque[OperationFields] = deque()
        #: The operation that is just being started again.
        self._restarting: OperationFields | None = None

    def add_once(self, operation: OperationFields) -> None:
        """Postpone an operation whose report may be made again."""
        if operation not in self.operations:
            self.operations.append(operation)

    def abort(self, operation: OperationFields) -> None:
        """End an operation that is postponed."""
        self.aborted.append(operation)
        self.operations.remove(operation)

    def abort_all(self, descriptor: int) -> None:
        """End all that is postponed on a descriptor."""
        for operation in [waiting for waiting in self.operations if waiting.descriptor == descriptor]:
            self.abort(operation)

    def report_aborted(self) -> None:
        """Report what was aborted."""
        while self.aborted:
            operation = self.aborted[0]
            if operation.identifier in self._in_flight:
                self._complete(operation, -errno.ECANCELED, 0)
            self.aborted.popleft()

    def start_again(
        self, start: Callable[[OperationFields], None], start_chain: Callable[[Sequence[OperationFields]], None]
    ) -> None:
        """Start what waits here; what still has no room comes back to the end of its queue, in its order."""
        chains = self.chains
        for _ in range(len(chains)):
            steps = chains[0]
            if self._must_be_started(steps[0]):
                start_chain(steps)
            del chains[0]
            self._restarting = None
        operations = self.operations
        for _ in range(len(operations)):
            operation = operations[0]
            if self._must_be_started(operation):
                if operation.expires is None:
                    start(operation)
                else:
                    start_chain((operation,))
            del operations[0]
            self._restarting = None

    def _must_be_started(self, operation: OperationFields) -> bool:
        if self._restarting is not operation:
            operation.started = False
            self._restarting = operation
        return not operation.started
