"""ParkingLot: a fair queue of tasks that wait; locks, semaphores and events are made of it.

A lot can be broken by tasks that were named its breakers (the owner of a lock): when such a task ends, everybody who
waits gets BrokenResourceError, now and later.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK
from proactor_trio._kernel.waiting_place import WaitingPlace


@dataclass(frozen=True, slots=True)
class ParkingLotStatistics:
    """tasks_waiting: how many tasks are parked."""

    tasks_waiting: int


class ParkingLot(WaitingPlace):
    """Tasks park here in order, and are unparked in the same order. `broken_by`: the tasks that broke it."""

    __slots__ = ("__weakref__", "broken_by", "parked")

    def __init__(self) -> None:
        self.parked: OrderedDict[Task, None] = OrderedDict()
        self.broken_by: list[Task] = []

    def __init_subclass__(cls) -> None:
        raise TypeError("ParkingLot does not support subclassing")

    def __len__(self) -> int:
        return len(self.parked)

    def __bool__(self) -> bool:
        return bool(self.parked)

    @enable_ki_protection
    async def park(self) -> None:
        """Wait until unparked. Raises BrokenResourceError in a broken lot."""
        self.admit(current_task())
        await PARK

    def admit(self, task: Task) -> None:
        """For what is made of parking lots: put the calling task into the queue; awaiting PARK is what remains."""
        if self.broken_by:
            raise BrokenResourceError(f"Attempted to park in parking lot broken by {self.broken_by}")
        self.parked[task] = None
        task.waiting = self

    def withdraw(self, task: Task) -> None:
        """A task that is parked here was cancelled."""
        del self.parked[task]

    def _take(self, count: float) -> Iterator[Task]:
        if math.isinf(count) or count >= len(self.parked):
            count = len(self.parked)
        for _ in range(int(count)):
            yield self.parked.popitem(last=False)[0]

    @enable_ki_protection
    def unpark(self, *, count: float = 1) -> list[Task]:
        """Let the first `count` tasks (math.inf: all) go on; return them."""
        _check_count(count)
        tasks = list(self._take(count))
        for task in tasks:
            task.resume()
        return tasks

    def unpark_all(self) -> list[Task]:
        """Let all tasks go on; return them."""
        return self.unpark(count=math.inf)

    @enable_ki_protection
    def repark(self, new_lot: ParkingLot, *, count: float = 1) -> None:
        """Move the first `count` tasks to the end of another lot, still parked."""
        if not isinstance(new_lot, ParkingLot):
            raise TypeError("new_lot must be a ParkingLot")
        _check_count(count)
        for task in list(self._take(count)):
            new_lot.parked[task] = None
            task.waiting = new_lot

    def repark_all(self, new_lot: ParkingLot) -> None:
        """Move all tasks to the end of another lot."""
        self.repark(new_lot, count=math.inf)

    def break_lot(self, task: Task | None = None) -> None:
        """Break it: everybody who waits, and whoever parks later, gets BrokenResourceError naming `task`."""
        if task is None:
            task = current_task()
        if self.broken_by:
            self.broken_by.append(task)
            return
        self.broken_by.append(task)
        for parked in list(self._take(math.inf)):
            parked.interrupt(BrokenResourceError(f"Parking lot broken by {task}"))

    def statistics(self) -> ParkingLotStatistics:
        """How many tasks are parked."""
        return ParkingLotStatistics(tasks_waiting=len(self.parked))


def _check_count(count: float) -> None:
    if math.isinf(count) and count > 0:
        return
    if not isinstance(count, int):
        raise ValueError("Cannot pop a non-integer number of tasks.")
    if count < 0:
        raise ValueError("count must not be negative")


def add_parking_lot_breaker(task: Task, lot: ParkingLot) -> None:
    """Break `lot` when `task` ends, unless it was removed before."""
    if task.coro.cr_frame is None:  # type: ignore[attr-defined]
        raise BrokenResourceError("Attempted to add already exited task as lot breaker.")
    if task.breaks is None:
        task.breaks = [lot]
    else:
        task.breaks.append(lot)


def remove_parking_lot_breaker(task: Task, lot: ParkingLot) -> None:
    """Undo one add_parking_lot_breaker(). Raises RuntimeError if there was none."""
    breaks = task.breaks
    if breaks:
        if breaks[-1] is lot:
            breaks.pop()
            return
        if lot in breaks:
            breaks.remove(lot)
            return
    raise RuntimeError("Attempted to remove task as breaker for a lot it is not registered for")


def break_lots_of(task: Task) -> None:
    """A task has ended: break what it was to break."""
    breaks, task.breaks = task.breaks, None
    for lot in breaks or ():
        lot.break_lot(task)
