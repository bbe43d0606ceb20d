"""What a backend lacks, done once for all of them: timers and nops in user space; and all ends that are ours to say.

They complete inside `poll()` like everything else: the earliest timer shortens the backend's wait. Each entry carries
the operation's identifier of that submission: an entry whose identifier is no longer in flight was delivered already,
or was doubled by an interruption, and is dropped.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Mapping

from proactor_trio.backends.contract import Kind
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.operation import Operation

EMULATED_KINDS = frozenset((Kind.NOP, Kind.TIMER))

#: (deadline, order of submission, identifier, operation)
_Timer = tuple[float, int, int, Operation]
#: (order, identifier, operation, result): an exception is the failure of a SoftwareOperation.
_Due = tuple[int, int, Operation, int | BaseException]


class SoftwareOperations:
    """Nops, timers and ends of one proactor. Owner thread only. `due` and `timers` are empty when nothing is to do."""

    __slots__ = ("_order", "due", "timers")

    def __init__(self) -> None:
        self.due: deque[_Due] = deque()
        self.timers: list[_Timer] = []
        self._order = 0

    def start(self, operation: Operation) -> None:
        self._order += 1
        if operation.kind is Kind.TIMER:
            timer = (operation.deadline, self._order, operation.identifier, operation)
            operation.started = True
            heapq.heappush(self.timers, timer)
        else:
            due = (self._order, operation.identifier, operation, 0)
            operation.started = True
            self.due.append(due)

    def cancel(self, operation: Operation) -> None:
        """End a timer now; a nop ends in any case."""
        if operation.kind is Kind.TIMER:
            self.end(operation, operation.identifier, CANCELED)
            self.timers[:] = [timer for timer in self.timers if timer[3] is not operation]
            heapq.heapify(self.timers)

    def end(self, operation: Operation, identifier: int, result: int | BaseException) -> None:
        """Complete an operation with a result of ours."""
        self._order += 1
        due = (self._order, identifier, operation, result)
        operation.started = True
        self.due.append(due)

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        if self.due:
            return 0
        if not self.timers:
            return timeout
        until_timer = max(0.0, self.timers[0][0] - time.monotonic())
        return until_timer if timeout is None else min(timeout, until_timer)

    @property
    def last_order(self) -> int:
        """The order of the newest entry; what is newer than that waits for the next poll."""
        return self._order

    def collect_timers(self) -> None:
        """Move the timers whose time has come behind what is due."""
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _, order, identifier, operation = self.timers[0]
            self.due.append((order, identifier, operation, 0))
            heapq.heappop(self.timers)

    def first_due(
        self, in_flight: Mapping[int, Operation], newest: int
    ) -> tuple[Operation, int | BaseException] | None:
        """The next operation to complete and its result, if it is not newer than `newest`.

        It stays until its identifier is no longer in flight.
        """
        while self.due:
            order, identifier, operation, result = self.due[0]
            if in_flight.get(identifier) is operation:
                return (operation, result) if order <= newest else None
            self.due.popleft()
        return None
