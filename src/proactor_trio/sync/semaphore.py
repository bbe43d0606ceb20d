"""Semaphore: a number that is never below zero; who would make it so waits."""

from __future__ import annotations

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.errors import WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.parking_lot import ParkingLot, ParkingLotStatistics
from proactor_trio._kernel.traps import PARK, PASS, YIELD
from proactor_trio.sync.acquirable import Acquirable


class Semaphore(Acquirable):
    """A number that acquire() takes one from and release() adds one to. Everybody may do either.

    initial_value: an integer of at least 0. max_value: releasing beyond it is an error; None: there is no limit.

    A release while tasks wait goes to the one that has waited longest, and leaves the value at 0. To limit how many
    tasks do something at a time CapacityLimiter is the better fit, since it knows who holds what.
    """

    __slots__ = ("__weakref__", "_lot", "_max_value", "_value")

    def __init__(self, initial_value: int, *, max_value: int | None = None) -> None:
        if not isinstance(initial_value, int):
            raise TypeError(f"initial_value must be an int, not {type(initial_value).__name__}")
        if initial_value < 0:
            raise ValueError("initial_value must be >= 0")
        if max_value is not None:
            if not isinstance(max_value, int):
                raise TypeError(f"max_value must be an int or None, not {type(max_value).__name__}")
            if max_value < initial_value:
                raise ValueError("max_value must be >= initial_value")
        self._lot = ParkingLot()
        self._value = initial_value
        self._max_value = max_value

    def __init_subclass__(cls) -> None:
        raise TypeError("Semaphore does not support subclassing")

    def __repr__(self) -> str:
        limit = "" if self._max_value is None else f" of at most {self._max_value}"
        return f"<Semaphore at {id(self):#x}, {self._value}{limit} with {len(self._lot)} waiting>"

    @property
    def value(self) -> int:
        """The number now; 0 while tasks wait."""
        return self._value

    @property
    def max_value(self) -> int | None:
        """What the number cannot exceed; None if there is no limit."""
        return self._max_value

    @enable_ki_protection
    def acquire_nowait(self) -> None:
        """Take one at once. Raises WouldBlock if the value is 0."""
        if not self._value:
            raise WouldBlock
        self._value -= 1

    @enable_ki_protection
    async def acquire(self) -> None:
        """Take one; wait for it if need be. Cancelled: none was taken."""
        task = current_task()
        if task.cancel_pending:
            await YIELD
        if self._value:
            self._value -= 1
            await PASS
        else:
            self._lot.admit(task)
            await PARK

    @enable_ki_protection
    def release(self) -> None:
        """Add one, or let the task go on that has waited longest. Raises ValueError beyond max_value."""
        if self._lot:
            self._lot.unpark()
        elif self._value == self._max_value:
            raise ValueError(f"released too often: this semaphore is at its max_value of {self._value} already")
        else:
            self._value += 1

    def statistics(self) -> ParkingLotStatistics:
        """How many tasks wait."""
        return self._lot.statistics()
