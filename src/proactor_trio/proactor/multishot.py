"""Operations that begin again by our own doing: MULTISHOT where a backend has it not, and what has to pause.

A backend without the MULTISHOT form of a kind gives each result as if it were the last: it is delivered with MORE, and
the operation is begun again before the next poll. The same is done when a kernel ends a MULTISHOT operation with a
success. A failure that is about the moment and not about the operation (no descriptor left for an accepted connection,
no room at the receiver of a Unix datagram) is not delivered: the operation is begun again a little later, or when there
is something of what it lacks (a Supply). It keeps its identifier and its place among the operations in flight.

Whether a supply has something is asked before each poll, and not taken from messages, which an interruption could lose.
Those that wait for it begin before the others, in the order of its queue, each time all of them: not everyone has use
for what is there. Who got nothing keeps his place in the queue.

An entry says after how many deliveries the operation is to go on. It is made before the delivery is committed; if that
was interrupted, the count never comes, the entry is void, and the report is made again. So nothing is begun twice.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from proactor_trio.proactor.operation import Operation, Supply


class _Entry(NamedTuple):
    due: float
    order: int
    operation: Operation
    identifier: int
    deliveries: int

    @property
    def is_valid(self) -> bool:
        operation = self.operation
        return (
            operation.identifier == self.identifier
            and operation.deliveries == self.deliveries
            and not operation.started
        )


class EmulatedMultishot:
    """The operations of one proactor that are to begin again: `waiting` at once, `paused` later. Owner thread only."""

    __slots__ = ("_order", "_supplies", "paused", "waiting")

    def __init__(self) -> None:
        self._order = 0
        self.waiting: deque[_Entry] = deque()
        self.paused: list[_Entry] = []
        #: What paused operations wait for.
        self._supplies: dict[Supply, None] = {}

    def add(self, operation: Operation) -> None:
        """It is about to be delivered with MORE, and goes on then."""
        operation.started = False
        self.waiting.append(self._entry(operation, 0.0, operation.deliveries + 1))

    def pause(self, operation: Operation, seconds: float) -> None:
        """It is going to be counted as delivered, without being, and goes on so much later, or at its deadline.

        Infinite: when there is something of its supply.
        """
        operation.started = False
        if seconds == math.inf:
            self._wait_for_supply(operation, operation.deliveries + 1)
        else:
            self._push(operation, time.monotonic() + seconds, operation.deliveries + 1)

    def wait_in_line(self, operation: Operation) -> None:
        """It is to begin, but others wait for its supply already. May be called again."""
        self._wait_for_supply(operation, operation.deliveries)

    def _wait_for_supply(self, operation: Operation, deliveries: int) -> None:
        supply = operation._supply()
        assert supply is not None
        supply.queue.setdefault(operation)
        self._supplies[supply] = None
        self._push(operation, math.inf, deliveries)

    def _push(self, operation: Operation, due: float, deliveries: int) -> None:
        if operation.expires is not None:
            due = min(due, operation.expires)
        heapq.heappush(self.paused, self._entry(operation, due, deliveries))

    def _entry(self, operation: Operation, due: float, deliveries: int) -> _Entry:
        self._order += 1
        return _Entry(due, self._order, operation, operation.identifier, deliveries)

    def first_due(self) -> Operation | None:
        """The next operation to begin again. It is the first until it was begun, or ended."""
        if self._supplies:
            self._let_supplied_go_on()
        while self.waiting:
            entry = self.waiting[0]
            if entry.is_valid:
                return entry.operation
            self.waiting.popleft()
        while self.paused:
            entry = self.paused[0]
            if entry.is_valid:
                return entry.operation if entry.due <= time.monotonic() else None
            heapq.heappop(self.paused)
        return None

    def _let_supplied_go_on(self) -> None:
        for supply in list(self._supplies):
            if supply.is_there():
                places = {operation: place for place, operation in enumerate(supply.queue)}
                supplied = [entry for entry in self.paused if entry.operation._supply() is supply]
                supplied.sort(key=lambda entry: places.get(entry.operation, -1), reverse=True)
                self.waiting.extendleft(supplied)
                self._set_paused(entry for entry in self.paused if entry.operation._supply() is not supply)
                self._supplies.pop(supply, None)

    def _set_paused(self, entries: Iterable[_Entry]) -> None:
        paused = list(entries)
        heapq.heapify(paused)
        self.paused[:] = paused

    def forget(self, operation: Operation) -> None:
        """It has been ended while it was held."""
        self._set_paused(entry for entry in self.paused if entry.operation is not operation)
        self._supplies = {
            supply: None
            for supply in self._supplies
            if any(entry.operation._supply() is supply for entry in self.paused)
        }

    def held(self, resource: object) -> list[Operation]:
        """What is to begin again on a resource."""
        return [
            entry.operation
            for entry in (*self.waiting, *self.paused)
            if entry.is_valid and entry.operation.resource() is resource
        ]

    def holds(self, operation: Operation) -> bool:
        """Whether nobody performs the operation at the moment, and it is to begin again."""
        return any(entry.operation is operation and entry.is_valid for entry in (*self.waiting, *self.paused))

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        if self.paused[0].due == math.inf:
            return timeout
        until = max(0.0, self.paused[0].due - time.monotonic())
        return until if timeout is None else min(timeout, until)
