"""The deadlines of a run, of its cancel scopes and sleeping tasks: one heap, with entries that die in place.

A scope that leaves before its deadline leaves a dead entry. Most leave in the reverse order of their entering, with the
latest deadline at the heap's end, where it can simply be cut off; otherwise the heap is made anew when the dead are
more than twice the living (and a thousand), so that a program that enters and leaves scopes for ever stays small.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final, Protocol

from proactor_trio._kernel.waiting_place import WaitingPlace

if TYPE_CHECKING:
    from proactor_trio._kernel.task import Task

_MANY: Final = 1000
_MANY_DEAD: Final = 1000
_DEAD_PER_LIVING: Final = 2


class Expiring(Protocol):
    """What has a deadline: a cancel scope, a sleeping task, or an operation under a clock that no kernel knows."""

    def expire(self) -> None:
        """Its deadline has come."""
        ...

    def is_over(self) -> bool:
        """Whether it needs its deadline no longer and did not say so."""
        ...


class Entry(WaitingPlace):
    """A place in the heap; `expiring` is None when it is dead. A task that sleeps waits in the entry of its own."""

    __slots__ = ("expiring",)

    def __init__(self, expiring: Expiring) -> None:
        self.expiring: Expiring | None = expiring

    def withdraw(self, task: Task) -> None:
        task.run.deadlines.discard(self)


class Deadlines:
    """The heap. `heap` is read by the run loop to see in one step whether there is any deadline."""

    __slots__ = ("_dead", "_look_at", "_sequence", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Entry]] = []
        self._sequence = 0
        self._dead = 0
        self._look_at = _MANY  # the length at which to look for those that are over and did not say so

    def add(self, deadline: float, expiring: Expiring) -> Entry:
        """Register a finite deadline."""
        entry = Entry(expiring)
        self._sequence += 1
        heapq.heappush(self.heap, (deadline, self._sequence, entry))
        if len(self.heap) > self._look_at:
            self._rebuild()
            self._look_at = max(_MANY, 2 * len(self.heap))
        return entry

    def discard(self, entry: Entry) -> None:
        """This entry is needed no longer."""
        heap = self.heap
        if heap and heap[-1][2] is entry:
            heap.pop()
            return
        if entry.expiring is None:
            return
        entry.expiring = None
        self._dead += 1
        if self._dead > _MANY_DEAD and self._dead > _DEAD_PER_LIVING * (len(heap) - self._dead):
            self._rebuild()

    def _rebuild(self) -> None:
        self.heap[:] = [item for item in self.heap if item[2].expiring is not None and not item[2].expiring.is_over()]
        heapq.heapify(self.heap)
        self._dead = 0

    def next_deadline(self) -> float:
        """The earliest living deadline, infinite if there is none."""
        heap = self.heap
        while heap:
            expiring = heap[0][2].expiring
            if expiring is None:
                self._dead -= 1
            elif not expiring.is_over():
                break
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def take_expired(self, now: float) -> list[Expiring]:
        """Remove and return those whose deadline has come, earliest first."""
        expired: list[Expiring] = []
        heap = self.heap
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)[2]
            if entry.expiring is None:
                self._dead -= 1
            else:
                expired.append(entry.expiring)
                entry.expiring = None
        return expired
