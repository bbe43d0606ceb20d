"""Lock and StrictFIFOLock: one owner at a time, in the order of asking.

A lock is a parking lot and its owner. Releasing hands it over: the task that has waited longest owns it before it runs
again, so nobody comes in between, and a task that was given the lock cannot be cancelled out of it any more. An owner
that ends without releasing breaks the lot, and with it the lock, for good: everybody who waits or comes later gets
BrokenResourceError.
"""

from __future__ import annotations

from dataclasses import dataclass

from proactor_trio._kernel.context import CONTEXT, current_task
from proactor_trio._kernel.errors import BrokenResourceError, WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot, remove_parking_lot_breaker
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK, PASS, YIELD
from proactor_trio.sync.acquirable import Acquirable


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """locked: whether somebody owns it; owner: the task that does; tasks_waiting: how many tasks wait for it."""

    locked: bool
    owner: Task | None
    tasks_waiting: int


class LockWithOwner(Acquirable):
    """What the two kinds of lock are. `lot` and `owner` are for conditions, which are made of a lock."""

    __slots__ = ("__weakref__", "lot", "owner")

    def __init__(self) -> None:
        self.lot = ParkingLot()
        self.owner: Task | None = None

    def __repr__(self) -> str:
        state = "unlocked" if self.owner is None else f"locked, {len(self.lot)} waiting"
        return f"<{type(self).__name__} at {id(self):#x}, {state}>"

    def locked(self) -> bool:
        """Whether somebody owns it."""
        return self.owner is not None

    @enable_ki_protection
    def acquire_nowait(self) -> None:
        """Take it at once. Raises WouldBlock if another task owns it, RuntimeError if the calling task does."""
        task = current_task()
        if self.owner is None:
            self._hand_to(task)
        elif self.owner is task:
            raise RuntimeError("this task owns the lock already, which cannot be acquired twice")
        else:
            raise WouldBlock

    @enable_ki_protection
    async def acquire(self) -> None:
        """Take it; wait for it if need be. Cancelled: it was not taken.

        Raises RuntimeError if the calling task owns it already, BrokenResourceError if its owner ended, or ends,
        without releasing it.
        """
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if task.cancel_pending:
            await YIELD
        if self.owner is None:
            self._hand_to(task)
            await PASS
            return
        if self.owner is task:
            raise RuntimeError("this task owns the lock already, which cannot be acquired twice")
        try:
            self.lot.admit(task)
            await PARK
        except BrokenResourceError:
            raise BrokenResourceError(f"the owner of this lock ended without releasing it: {self.owner!r}") from None

    def _hand_to(self, task: Task) -> None:
        self.owner = task
        if task.breaks is None:
            task.breaks = [self.lot]
        else:
            task.breaks.append(self.lot)

    @enable_ki_protection
    def release(self) -> None:
        """Give it back; who has waited longest owns it from now on.

        Raises RuntimeError if the calling task does not own it.
        """
        task = current_task()
        if self.owner is not task:
            raise RuntimeError("only the task that owns a lock can release it")
        remove_parking_lot_breaker(task, self.lot)
        parked = self.lot.parked
        if parked:
            following, _ = parked.popitem(last=False)
            self._hand_to(following)
            following.resume()
        else:
            self.owner = None

    def statistics(self) -> LockStatistics:
        """Who owns it and how many tasks wait."""
        return LockStatistics(locked=self.owner is not None, owner=self.owner, tasks_waiting=len(self.lot))


class Lock(LockWithOwner):
    """A mutex that belongs to the task that acquired it: only that task can release it, and not acquire it again."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        raise TypeError("Lock does not support subclassing")


class StrictFIFOLock(LockWithOwner):
    """A Lock that promises to be handed out in the order of asking, for code that depends on it and says so."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        raise TypeError("StrictFIFOLock does not support subclassing")
