"""UnboundedQueue: what is put in comes out in batches. Deprecated, as in Trio: use open_memory_channel(math.inf).

A batch belongs to one getter. So while a task was woken for the queue's contents and has not run yet, the queue counts
as promised: it fills up further, and nobody else can take from it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from proactor_trio._kernel.errors import TrioDeprecationWarning, WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import PASS, checkpoint_if_cancelled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UnboundedQueueStatistics:
    """qsize: how many objects are in the queue; tasks_waiting: how many tasks wait in get_batch()."""

    qsize: int
    tasks_waiting: int


class UnboundedQueue(Generic[T]):
    """A queue that always takes an object, and gives all that it holds at a time. Iterating over it gives batches."""

    __slots__ = ("__weakref__", "_data", "_is_promised", "_lot")

    def __init__(self) -> None:
        warnings.warn(
            "UnboundedQueue is deprecated; use open_memory_channel(math.inf) instead",
            TrioDeprecationWarning,
            stacklevel=2,
        )
        self._lot = ParkingLot()
        self._data: list[T] = []
        self._is_promised = False

    def __init_subclass__(cls) -> None:
        raise TypeError("UnboundedQueue does not support subclassing")

    def __repr__(self) -> str:
        return f"<UnboundedQueue at {id(self):#x}, {len(self._data)} in it, {len(self._lot)} waiting>"

    def qsize(self) -> int:
        """How many objects are in the queue."""
        return len(self._data)

    def empty(self) -> bool:
        """Whether there is nothing in the queue. If there is something, it may be promised to a task already."""
        return not self._data

    @enable_ki_protection
    def put_nowait(self, obj: T) -> None:
        """Put an object in; there is always room."""
        if not self._data and self._lot:
            self._is_promised = True
            self._lot.unpark()
        self._data.append(obj)

    @enable_ki_protection
    def get_batch_nowait(self) -> list[T]:
        """Take everything at once, one object at least. Raises WouldBlock if there is nothing that is not promised."""
        if not self._data or self._is_promised:
            raise WouldBlock
        return self._take()

    @enable_ki_protection
    async def get_batch(self) -> list[T]:
        """Take everything, one object at least; wait for it if need be. Cancelled: nothing was taken."""
        await checkpoint_if_cancelled()
        if self._data and not self._is_promised:
            batch = self._take()
            await PASS
            return batch
        await self._lot.park()
        return self._take()

    def _take(self) -> list[T]:
        batch, self._data = self._data, []
        self._is_promised = False
        return batch

    def statistics(self) -> UnboundedQueueStatistics:
        """How many objects are in the queue, and how many tasks wait."""
        return UnboundedQueueStatistics(qsize=len(self._data), tasks_waiting=len(self._lot))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        return await self.get_batch()
