"""Timepoint: a callback that waits for a value of a semaphore.

It is called once, without any lock: by the thread that signals the value, that fails or closes the semaphore, or at
once by the thread that acquires it. Until then it keeps its semaphore alive, whoever drops both: somebody may still
find the semaphore by a way that is no reference (a name, a number in a device's memory) and signal it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proactor_trio.proactor.semaphore_source import SemaphoreSource

TimepointCallback = Callable[[BaseException | None], object]

#: What is pending, and by it the semaphores. Adding and discarding are each one step of the interpreter.
_kept: Final[set[Timepoint]] = set()


class Timepoint:
    """One callback that waits, made by `SemaphoreSource.acquire_timepoint()`. All threads."""

    __slots__ = ("_callback", "arrival", "semaphore", "value")

    def __init__(self, semaphore: SemaphoreSource, value: int, callback: TimepointCallback | None) -> None:
        self.semaphore = semaphore
        self.value = value
        self.arrival = 0
        self._callback = callback

    def cancel(self) -> bool:
        """True: it was pending and will never be called. False: it was called, or is being called just now."""
        if not self.semaphore._withdraw(self):
            return False
        self._callback = None
        _kept.discard(self)
        return True

    def keep(self) -> None:
        """It waits from now on; see PendingValue."""
        _kept.add(self)

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending."""
        _kept.discard(self)
        callback = self._callback
        if callback is not None:
            self._callback = None
            callback(error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value} of {self.semaphore!r}>"
