"""What `with` does for everything that is closed and may refuse to be.

At the end of the block it is closed, and a refusal is raised. If the block is left by an exception, that exception goes
on and is not hidden behind a refusal, which is likely then (an interrupted program still has its slices and operations
in flight): the object stays open, and warns when it is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from proactor_trio.proactor.errors import FailedPrecondition


class ClosedByBlock(ABC):
    """Base of what is a context manager in this way."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """End it. Raises FailedPrecondition or BufferError if that is not possible yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (FailedPrecondition, BufferError):
            if error is None:
                raise
