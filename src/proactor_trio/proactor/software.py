"""What a backend lacks, done once for all of them: timers and nops in user space.

They complete inside `poll()` like everything else: the earliest timer shortens the backend's wait.
"""

from __future__ import annotations

import heapq
import time
from collections import deque

from proactor_trio.backends.contract import Kind
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.operation import Operation

EMULATED_KINDS = frozenset((Kind.NOP, Kind.TIMER))


class SoftwareOperations:
    """Nops and timers of one proactor. Owner thread only."""

    __slots__ = ("_ready", "_sequence", "_timers")

    def __init__(self) -> None:
        self._ready: deque[tuple[Operation, int]] = deque()
        self._timers: list[tuple[float, int, Operation]] = []
        self._sequence = 0

    def __bool__(self) -> bool:
        return bool(self._ready or self._timers)

    def start(self, operation: Operation) -> None:
        if operation.kind is Kind.TIMER:
            self._sequence += 1
            heapq.heappush(self._timers, (operation.deadline, self._sequence, operation))
        else:
            self._ready.append((operation, 0))

    def cancel(self, operation: Operation) -> None:
        for index, (_, _, waiting) in enumerate(self._timers):
            if waiting is operation:
                self._timers[index] = self._timers[-1]
                self._timers.pop()
                heapq.heapify(self._timers)
                self._ready.append((operation, CANCELED))
                return

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        if self._ready:
            return 0
        if not self._timers:
            return timeout
        until_timer = max(0.0, self._timers[0][0] - time.monotonic())
        return until_timer if timeout is None else min(timeout, until_timer)

    def first_due(self) -> tuple[Operation, int] | None:
        """The next operation that is due and its result; it stays until `remove_first_due()`."""
        if not self._ready and self._timers and self._timers[0][0] <= time.monotonic():
            self._ready.append((self._timers[0][2], 0))
            heapq.heappop(self._timers)
        return self._ready[0] if self._ready else None

    def remove_first_due(self) -> None:
        self._ready.popleft()
