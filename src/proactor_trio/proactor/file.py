"""File: a descriptor whose reads and writes are operations at positions.

A File is closed once, by the operation FileClose or by `close()` while nothing is pending on it. Dropping one that is
open closes it with a ResourceWarning.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from proactor_trio.proactor.direct_access import DirectAlignment, alignment_of, is_direct

if TYPE_CHECKING:
    from proactor_trio.proactor.file_registration import FileRegistration


class File:
    """An open file for operations. Owned by whoever holds it; not thread-safe: its operations are."""

    __slots__ = ("__weakref__", "_alignment", "closed", "closed_by", "descriptor", "direct", "registration", "users")

    def __init__(self, descriptor: int) -> None:
        """Take over an open descriptor."""
        if not isinstance(descriptor, int) or descriptor < 0:
            raise ValueError(f"descriptor must be an open descriptor, not {descriptor!r}")
        #: Whether it was opened with O_DIRECT: transfers have to be aligned.
        self.direct = is_direct(descriptor)
        self._alignment: DirectAlignment | None = None
        self.descriptor = descriptor
        self.closed = False
        #: The identifier of the operation that closes or has closed it; the operation itself would be a cycle.
        self.closed_by = 0
        #: Its place in the kernel's table of files; see `register_file()`.
        self.registration: FileRegistration | None = None
        #: The operations on it that are in flight.
        self.users: set[Any] = set()

    @classmethod
    def unopened(cls) -> File:
        """A File that has no descriptor yet; to be filled in by two assignments, which nothing can interrupt."""
        file = cls.__new__(cls)
        file.closed = True
        file.descriptor = -1
        file.closed_by = 0
        file.direct = False
        file._alignment = None
        file.registration = None
        file.users = set()
        return file

    @property
    def direct_alignment(self) -> DirectAlignment:
        """How the memory and the positions of transfers have to be aligned if it is `direct`."""
        if self._alignment is None:
            self._alignment = alignment_of(self.descriptor)
        return self._alignment

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self.descriptor

    def close(self) -> None:
        """Close at once. Only while nothing is pending on it."""
        if not self.closed:
            if self.registration is not None:
                self.registration.end()
            try:
                os.close(self.descriptor)
            finally:
                # By plain assignments only: the descriptor is closed once, whatever a signal handler raises.
                self.closed = True
                self.descriptor = -1

    def _detach(self) -> int:
        """Mark it closed and give up the descriptor, which the caller closes."""
        descriptor = self.descriptor
        self.closed = True
        self.descriptor = -1
        return descriptor

    def __del__(self, _warn: Any = warnings.warn, _close: Any = os.close) -> None:
        if not getattr(self, "closed", True):
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                if self.registration is not None:
                    self.registration.end()
                _close(self._detach())

    def __repr__(self) -> str:
        return f"<File {'closed' if self.closed else self.descriptor}>"
