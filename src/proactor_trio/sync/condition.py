"""Condition: waiting for something that changes under a lock.

A task that waits is parked in the condition's lot, and a notification moves it, still parked, to the end of the lock's.
So a wait that was notified is woken once, with the lock in its hands. A wait that ends in any other way (cancelled, or
by a KeyboardInterrupt) takes the lock first, shielded, because the block around it is going to release it.
"""

from __future__ import annotations

from dataclasses import dataclass

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK
from proactor_trio.sync.acquirable import Acquirable
from proactor_trio.sync.lock import Lock, LockStatistics


@dataclass(frozen=True, slots=True)
class ConditionStatistics:
    """tasks_waiting: how many tasks wait for a notification; lock_statistics: those of the lock."""

    tasks_waiting: int
    lock_statistics: LockStatistics


class Condition(Acquirable):
    """A lock, and a queue of tasks that let go of it until they are notified.

    lock: a Lock that is shared with others; by default one of its own.
    """

    __slots__ = ("__weakref__", "_lock", "_lot")

    def __init__(self, lock: Lock | None = None) -> None:
        if lock is None:
            lock = Lock()
        elif type(lock) is not Lock:
            raise TypeError(f"lock must be a Lock, not {type(lock).__name__}")
        self._lock = lock
        self._lot = ParkingLot()

    def __init_subclass__(cls) -> None:
        raise TypeError("Condition does not support subclassing")

    def __repr__(self) -> str:
        return f"<Condition at {id(self):#x}, {len(self._lot)} waiting, on {self._lock!r}>"

    def locked(self) -> bool:
        """Whether somebody owns the lock."""
        return self._lock.locked()

    def acquire_nowait(self) -> None:
        """Take the lock at once; see Lock.acquire_nowait()."""
        self._lock.acquire_nowait()

    async def acquire(self) -> None:
        """Take the lock; see Lock.acquire()."""
        await self._lock.acquire()

    def release(self) -> None:
        """Give the lock back; see Lock.release()."""
        self._lock.release()

    @enable_ki_protection
    async def wait(self) -> None:
        """Let go of the lock, wait for a notification, and take the lock again.

        The lock is taken again in any case, also when this is cancelled, and the wait for it is shielded then. Raises
        RuntimeError if the calling task does not own the lock, BrokenResourceError if it cannot be taken again because
        its owner ended.
        """
        task = self._owner("wait for a notification")
        self._lock.release()
        try:
            self._lot.admit(task)
            await PARK
        except BaseException:
            with CancelScope(shield=True):
                await self._lock.acquire()
            raise

    def notify(self, n: int = 1) -> None:
        """Let the `n` tasks that have waited longest go on, as soon as they get the lock.

        Raises RuntimeError if the calling task does not own the lock.
        """
        self._owner("notify others")
        self._lot.repark(self._lock.lot, count=n)

    def notify_all(self) -> None:
        """Let all tasks that wait go on, one after the other, as they get the lock.

        Raises RuntimeError if the calling task does not own the lock.
        """
        self._owner("notify others")
        self._lot.repark_all(self._lock.lot)

    def _owner(self, purpose: str) -> Task:
        task = current_task()
        if self._lock.owner is not task:
            raise RuntimeError(f"a task must own the lock of a condition to {purpose}")
        return task

    def statistics(self) -> ConditionStatistics:
        """How many tasks wait, and the statistics of the lock."""
        return ConditionStatistics(tasks_waiting=len(self._lot), lock_statistics=self._lock.statistics())
