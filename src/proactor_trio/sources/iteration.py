"""Source: the base of the async iterators here. One task iterates at a time, and a `with` block says how long."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio.proactor.errors import ClosedResourceError

ItemT = TypeVar("ItemT")


class Source(AsyncIterator[ItemT], Generic[ItemT]):
    """Gives what comes while its block lasts. Each step is a checkpoint; cancelled, it has taken nothing."""

    __slots__ = ("__weakref__", "_is_in_use", "is_closed")

    def __init__(self) -> None:
        self._is_in_use = False
        self.is_closed = False

    def __aiter__(self) -> Self:
        return self

    @enable_ki_protection
    async def __anext__(self) -> ItemT:
        """Wait for the next item and take it.

        Raises BusyResourceError if another task waits for it already, ClosedResourceError after the block.
        """
        if self.is_closed:
            raise ClosedResourceError(f"the block of this {type(self).__name__} has ended")
        if self._is_in_use:
            raise BusyResourceError(f"another task waits for the next item of this {type(self).__name__} already")
        self._is_in_use = True
        try:
            return await self._next()
        finally:
            self._is_in_use = False

    @abstractmethod
    async def _next(self) -> ItemT:
        """Wait for an item and take it."""

    @abstractmethod
    def close(self) -> None:
        """Take no more; who waits gets ClosedResourceError. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
