"""The deadlines of operations that no kernel keeps: of software operations, and on backends without native deadlines.

An entry names the operation and its identifier of that submission; one whose operation has completed by then is dropped
when its time comes, or when there are many of them. What expires is cancelled with the cause DEADLINE_PASSED, and its
final completion says what became of it: DeadlineExceeded, or the result that came first.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from typing import Final

from proactor_trio.proactor.operation import Operation

_MANY: Final = 1000

#: (expires, order of submission, identifier, operation)
_Expiry = tuple[float, int, int, Operation]


class Expiries:
    """A heap of deadlines: `heap`. Owner thread only; everything may be interrupted and done again."""

    __slots__ = ("_in_flight", "_order", "_rebuild_at", "heap")

    def __init__(self, in_flight: Mapping[int, Operation]) -> None:
        self._in_flight = in_flight
        self._order = 0
        self._rebuild_at = _MANY
        self.heap: list[_Expiry] = []

    def add(self, operation: Operation, expires: float) -> None:
        """Watch over an operation that begins now."""
        self._order += 1
        heapq.heappush(self.heap, (expires, self._order, operation.identifier, operation))
        if len(self.heap) > self._rebuild_at:
            self._drop_completed()

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        heap = self.heap
        while heap and self._in_flight.get(heap[0][2]) is not heap[0][3]:
            heapq.heappop(heap)
        if not heap:
            return timeout
        until = max(0.0, heap[0][0] - time.monotonic())
        return until if timeout is None else min(timeout, until)

    def expired(self) -> Iterator[Operation]:
        """The operations in flight whose time is over; each is forgotten when the caller asks for the next."""
        heap = self.heap
        now = time.monotonic()
        while heap and heap[0][0] <= now:
            entry = heap[0]
            if self._in_flight.get(entry[2]) is entry[3]:
                yield entry[3]
            if heap and heap[0] is entry:
                heapq.heappop(heap)

    def _drop_completed(self) -> None:
        living = [entry for entry in self.heap if self._in_flight.get(entry[2]) is entry[3]]
        heapq.heapify(living)
        self.heap[:] = living
        self._rebuild_at = max(_MANY, 2 * len(living))
