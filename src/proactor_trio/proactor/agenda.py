"""What waits on one timeline, in the order in which it becomes due: by value, and for one value by arrival.

The holder (a semaphore, an axis of a tracker) guards its agenda with its own lock. Adding and taking out are each done
by statements without a call between them, so that no signal handler that raises comes in their middle: an entry is
never lost, and adding or taking out again after an interruption does no harm.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What stands on an agenda."""

    value: int
    #: Its number on its agenda; 0 until it was added.
    arrival: int


class Pending(Protocol):
    """What can be made due."""

    def fire(self, error: BaseException | None) -> None:
        """Reached (None) or failed. Called without a lock; may be called again after an interruption."""
        ...


class PendingValue(Waiting, Pending, Protocol):
    """What waits for a value of a semaphore."""

    def keep(self) -> None:
        """It waits from now on, until it is fired or withdrawn."""
        ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


class Agenda(Generic[WaitingT]):
    """The entries of one timeline: (value, arrival, what waits), sorted. The holder's lock guards all of it."""

    __slots__ = ("_arrivals", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, WaitingT]] = []
        self._arrivals = 0

    def add(self, waiting: WaitingT) -> None:
        """Let it wait. What was added once is not added again."""
        if waiting.arrival:
            return
        self._arrivals += 1
        entry = (waiting.value, self._arrivals, waiting)
        waiting.arrival = self._arrivals
        insort(self.entries, entry)

    def remove(self, waiting: WaitingT) -> bool:
        """Whether it still waited; it does no longer."""
        entries = self.entries
        index = bisect_left(entries, (waiting.value, waiting.arrival))
        if index == len(entries) or entries[index][2] is not waiting:
            return False
        del entries[index]
        return True

    def is_due(self, value: int) -> bool:
        """Whether anything waits for at most `value`."""
        entries = self.entries
        return bool(entries) and entries[0][0] <= value

    def waiting_for(self, value: int) -> list[WaitingT]:
        """What waits for at most `value`, in order; it goes on waiting."""
        count = bisect_left(self.entries, (value + 1,))
        return [entry[2] for entry in self.entries[:count]]
