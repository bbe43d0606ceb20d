"""JointWait: one wait for several things, all of them or any; what these are for semaphores; and WaitMode.

It ends once: when the mode is satisfied, or with the first failure, whichever mode it is. A failure that is there at
the beginning goes before everything that was reached, in whatever order the parts are named. What was reached while it
waits stays reached: a semaphore that fails later has done its part. What ends it also withdraws the rest of its parts,
so nothing of a wait stays behind on a semaphore that never moves again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.failures import copy_of_failure
from proactor_trio.proactor.semaphore_source import LARGEST_VALUE, SemaphoreSource, check_semaphore
from proactor_trio.proactor.timepoint import Timepoint


class WaitMode(Enum):
    """For which of several semaphores to wait. ALL: until each has its value; ANY: until one of them has."""

    ALL = 0
    ANY = 1


#: Told how the wait ended: the index of the part that ended it, or a failure. May be called more than once, by several
#: threads; the first call counts.
Ended = Callable[[int | BaseException], object]


class Part(Protocol):
    """What waits for one of the things; it belongs to one wait. When it is reached or fails it calls `reached()`."""

    def join(self, wait: JointWait, index: int) -> None:
        """It is this part of that wait."""
        ...

    def failure(self) -> BaseException | None:
        """With what it would fail at once; None: it can wait."""
        ...

    def acquire(self) -> None:
        """Wait, or call `reached()` at once. May be called again after an interruption."""
        ...

    def cancel(self) -> object:
        """Wait no longer."""
        ...


class JointWait:
    """A wait that `begin()` begins. All threads."""

    __slots__ = ("_ended", "_missing", "_mode", "_parts", "is_over")

    def __init__(self, parts: Sequence[Part], mode: WaitMode, ended: Ended) -> None:
        self._mode = mode
        self._ended: Ended | None = ended
        self._missing = set(range(len(parts)))
        self._parts = parts
        for index, part in enumerate(parts):
            part.join(self, index)
        #: Whether `ended` was called.
        self.is_over = False

    def begin(self) -> None:
        """Look for failures, then for what is reached, and wait for the rest. May be called again when interrupted."""
        parts = self._parts
        for part in parts:
            failure = part.failure()
            if failure is not None:
                self._end(copy_of_failure(failure))
                return
        if not parts:
            self._end(0)
        for part in parts:
            if self.is_over:
                break
            part.acquire()
        if self.is_over:
            _cancel(parts)  # another thread may have ended it while the last one was acquired

    def withdraw(self) -> None:
        """Wait no longer. `ended` is not called any more, unless that has begun."""
        _cancel(self._parts)
        self._parts = ()
        self._ended = None

    def reached(self, index: int, error: BaseException | None) -> None:
        """A part has what it waits for, or failed. May be called again."""
        if error is not None:
            self._end(copy_of_failure(error))
            return
        self._missing.discard(index)
        if self._mode is WaitMode.ANY or not self._missing:
            self._end(index)

    def _end(self, result: int | BaseException) -> None:
        ended = self._ended
        if ended is not None:
            ended(result)
            self.is_over = True
            self.withdraw()


class SemaphorePart(Timepoint):
    """What waits for a value of a semaphore as a part of a joint wait; see Part."""

    __slots__ = ("_index", "_wait")

    def join(self, wait: JointWait, index: int) -> None:
        self._wait = wait
        self._index = index

    def failure(self) -> BaseException | None:
        return self.semaphore.error

    def acquire(self) -> None:
        self.semaphore._acquire(self)

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending. Doing it again changes nothing."""
        super().fire(error)
        self._wait.reached(self._index, error)


def semaphore_parts(semaphores: Sequence[SemaphoreSource], values: Sequence[int]) -> list[SemaphorePart]:
    """The parts of a wait for these values."""
    return [SemaphorePart(semaphore, value, None) for semaphore, value in zip(semaphores, values, strict=True)]


def _cancel(parts: Sequence[Part]) -> None:
    for part in parts:
        part.cancel()


def check_mode(mode: object) -> None:
    """Raise TypeError unless it is a WaitMode: a completion function in its place would never be called."""
    if not isinstance(mode, WaitMode):
        raise TypeError(f"mode must be a WaitMode, not {mode!r}")


def check_semaphores(semaphores: Sequence[SemaphoreSource], values: Sequence[int]) -> None:
    """Raise TypeError or ValueError naming the argument unless these belong together."""
    if len(semaphores) != len(values):
        raise ValueError(f"values must be as many as semaphores, {len(semaphores)}, not {len(values)}")
    for semaphore in semaphores:
        check_semaphore(semaphore, "semaphores")
    for value in values:
        check_integer(value, "values", 0, LARGEST_VALUE)


def in_sequences(
    semaphores: SemaphoreSource | Sequence[SemaphoreSource], values: int | Sequence[int]
) -> tuple[Sequence[SemaphoreSource], Sequence[int]]:
    """A single semaphore with its value becomes a sequence of one; what it is, is checked at submission."""
    if isinstance(semaphores, Sequence):
        return semaphores, values  # type: ignore[return-value]
    return (semaphores,), (values,)  # type: ignore[return-value]
