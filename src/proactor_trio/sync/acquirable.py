"""What locks, semaphores and limiters have in common: `async with`, which acquires and then releases."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import DONE


class Acquirable:
    """`async with` waits at its beginning, as acquire() does, and is no checkpoint at its end.

    The two methods are plain functions that return something to await, so that a block costs no frames of its own.
    """

    __slots__ = ()

    async def acquire(self) -> None:
        """Acquire it; wait if need be."""
        raise NotImplementedError

    def release(self) -> None:
        """Give it back."""
        raise NotImplementedError

    @enable_ki_protection
    def __aenter__(self) -> Awaitable[None]:
        return self.acquire()

    @enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Awaitable[None]:
        self.release()
        return DONE
