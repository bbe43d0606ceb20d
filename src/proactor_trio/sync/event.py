"""Event: something that happens once."""

from __future__ import annotations

from dataclasses import dataclass

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK, YIELD
from proactor_trio._kernel.waiting_place import WaitingPlace


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """tasks_waiting: how many tasks wait for the event."""

    tasks_waiting: int


class Event(WaitingPlace):
    """Something that happens once; tasks can wait for it. There is no way back to "has not happened"."""

    __slots__ = ("__weakref__", "_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: dict[Task, None] = {}

    def __init_subclass__(cls) -> None:
        raise TypeError("Event does not support subclassing")

    def __repr__(self) -> str:
        state = "set" if self._is_set else f"{len(self._waiting)} waiting"
        return f"<Event at {id(self):#x}, {state}>"

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    @enable_ki_protection
    def set(self) -> None:
        """It happens now: all who wait go on. Has no effect when it has happened already."""
        self._is_set = True
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for task in waiting:
                task.resume()

    @enable_ki_protection
    async def wait(self) -> None:
        """Wait until it has happened; a checkpoint if it has."""
        if self._is_set:
            await YIELD
            return
        task = current_task()
        self._waiting[task] = None
        task.waiting = self
        await PARK

    def withdraw(self, task: Task) -> None:
        """A task that waits was cancelled."""
        del self._waiting[task]

    def statistics(self) -> EventStatistics:
        """How many tasks wait."""
        return EventStatistics(tasks_waiting=len(self._waiting))

    def __bool__(self) -> bool:
        raise NotImplementedError("an Event has no truth value: did you mean event.is_set()?")
