"""ConflictDetector: for what only one task may do at a time."""

from __future__ import annotations

from types import TracebackType

from proactor_trio._kernel.errors import BusyResourceError


class ConflictDetector:
    """A `with` block that one task may be in at a time: the second one gets BusyResourceError.

    message: what the error says.
    """

    __slots__ = ("_is_held", "_message")

    def __init__(self, message: str) -> None:
        self._message = message
        self._is_held = False

    def __enter__(self) -> None:
        if self._is_held:
            raise BusyResourceError(self._message)
        self._is_held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_held = False
