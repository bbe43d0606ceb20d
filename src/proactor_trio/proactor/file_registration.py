"""Registered files: sockets and files that stand in the kernel's table, so that operations need not look them up.

Each operation on a descriptor looks its file up and holds it while it runs. On io_uring a file can be put into a table
of the ring's instead, and an operation names its place: that saves some work on sockets and files that are used very
often. Everything else stays as it is.

A registration ends with its socket or file, or with the proactor; it cannot be ended before: steps of a chain that the
kernel has not begun look the place up later. While it lasts the table holds the file, so closing empties the place
first. A refusal of the kernel is no error: `reason` says it in words, and the descriptor is used as before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from proactor_trio.backends.contract import TablePlace
from proactor_trio.proactor.errors import AlreadyExists, ClosedResourceError
from proactor_trio.proactor.file import File
from proactor_trio.proactor.memory.kernel_side import backend_of, has_kernel_side
from proactor_trio.proactor.socket import Socket

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class FileRegistration:
    """What a proactor's kernel knows of one socket or file; `register_file()` makes it."""

    __slots__ = ("_place", "proactor")

    def __init__(self, proactor: Proactor) -> None:
        self.proactor = proactor
        self._place = TablePlace()

    @property
    def is_used(self) -> bool:
        """Whether operations name a place in the kernel's table."""
        return self._place.number >= 0

    @property
    def reason(self) -> str:
        """Whether it stands in the table, and why not, in words."""
        return self._place.reason

    def begin(self, descriptor: int) -> None:
        """For `register_file()`. Owner thread."""
        backend = backend_of(self.proactor, "register_file()")
        try:
            backend.register_file(self._place, descriptor)
        except BaseException:
            backend.unregister_file(self._place)
            raise

    def place_for(self, proactor: Proactor | None) -> TablePlace | None:
        """The place in the table of this proactor's kernel; None for another proactor."""
        return self._place if proactor is self.proactor else None

    def end(self) -> None:
        """The descriptor is about to be closed: empty the place; another thread has the owner do it. Idempotent."""
        proactor = self.proactor
        if not self.is_used or not has_kernel_side(proactor):
            return
        if proactor._owner == threading.get_ident():
            proactor._backend.unregister_file(self._place)
        else:
            proactor.post(lambda: proactor._backend.unregister_file(self._place))


def register_file(proactor: Proactor, resource: Socket | File) -> FileRegistration:
    """Put a socket or file into the kernel's table of files, where the backend has one.

    From then on the proactor's operations on it name its place there. It lasts until the resource or the proactor is
    closed. The connections of a registered listener are not registered. Where there is no table, or it is full,
    `is_used` is False, `reason` says why, and everything works by the descriptor.
    Raises AlreadyExists for one that is registered, ClosedResourceError for one that is closed, TypeError for anything
    else, FailedPrecondition on another thread than the proactor's owner.
    """
    if not isinstance(resource, (Socket, File)):
        raise TypeError(f"resource must be a Socket or a File, not {type(resource).__name__}")
    if resource.closed:
        raise ClosedResourceError("resource: it was closed")
    if resource.registration is not None and has_kernel_side(resource.registration.proactor):
        raise AlreadyExists("resource: it is registered already")
    registration = FileRegistration(proactor)
    try:
        registration.begin(resource.descriptor)
        resource.registration = registration
    except BaseException:
        if resource.registration is not registration:
            registration.end()
        raise
    return registration
