"""What the posix backend knows about one descriptor, and how it notices that the number means something else by now.

A descriptor number says little: the file behind it may be closed by anyone, and the next socket or file gets the same
number. What is known about it:

* Who owns it. Operations on a socket name the object that owns the descriptor. As long as that is the same object it
  is the same file: this is asked for each operation, and costs next to nothing. The record refers to the owner weakly;
  the backend keeps no socket alive that its users dropped.
* Its inode, noted before anything waits. Where the owner is another one, or where there is none (HANDLE_POLL comes with
  a bare number), the inode tells whether the record is still about the same file. If not, then the file was closed
  behind our back, and the record is replaced; what waited on it ends with EBADF.

The calls are made through a bare socket object of the record's own. It does not matter then that the owner gives up the
descriptor as soon as a close is *submitted*: until the close comes to its turn (it may be the last step of a chain) the
number is ours, and what was started before goes on. The bare object never closes the number.

A record made by HANDLE_POLL has no owner and no such object. It lasts as long as such operations are pending.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final

from proactor_trio.backends.contract import OperationFields

_TCP_PROTOCOLS: Final = (0, socket.IPPROTO_TCP)


class Descriptor:
    """One descriptor: its registration, its readiness, and the operations that wait on it, first come first served."""

    __slots__ = (
        "calls",
        "descriptor",
        "inode",
        "interest",
        "owner",
        "patience",
        "polls",
        "readable",
        "reads",
        "short_read_empties",
        "waits_for_turn",
        "writable",
        "writes",
    )

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.owner: Callable[[], object] = _nobody
        self.calls: Any = None  # a bare socket object
        self.inode = 0  # of the file, once something waited for it
        self.interest = 0  # what the event set watches; 0: not registered
        self.readable = True  # an attempt may succeed; else there will be an edge (event_set.py)
        self.writable = True
        self.waits_for_turn = False  # it stands in the queue of those that wait for no report
        self.short_read_empties = False  # a short read proves that nothing is left
        self.patience = 0.0005  # how long it waited where only time can tell, in seconds
        self.reads: list[OperationFields] = []
        self.writes: list[OperationFields] = []
        self.polls: list[OperationFields] = []

    def belongs_to(self, owner: object) -> None:
        """Make it the record of a socket. Raises OSError if the descriptor is none."""
        if self.calls is None:
            # In one step: an object that got lost on the way would close the descriptor.
            (self.calls,) = map(socket.SocketType, (-1,), (-1,), (-1,), (self.descriptor,))
            if socket.getdefaulttimeout() is not None:
                self.calls.settimeout(0.0)
            self.short_read_empties = (
                self.calls.family in (socket.AF_INET, socket.AF_INET6)
                and self.calls.type == socket.SOCK_STREAM
                and self.calls.proto in _TCP_PROTOCOLS
            )
        self.owner = weakref.ref(owner)

    def release(self) -> None:
        """Let the number go: it is somebody else's to close."""
        if self.calls is not None:
            self.calls.detach()

    def __del__(self) -> None:
        if hasattr(self, "calls"):
            self.release()

    def note_inode(self) -> None:
        """Remember which file this is, before anything waits for it."""
        if not self.inode:
            self.inode = _inode(self.descriptor)

    def is_same_file(self) -> bool:
        """Whether the number still means the file that something waits for here."""
        return bool(self.inode) and self.inode == _inode(self.descriptor)

    def pending(self) -> list[OperationFields]:
        """All operations that wait here, in the order of their start."""
        return sorted((*self.reads, *self.writes, *self.polls), key=_identifier)

    def discard(self, operation: OperationFields) -> bool:
        """Take an operation out of its queue; False if it is in none."""
        for queue in (self.reads, self.writes, self.polls):
            if operation in queue:
                queue.remove(operation)
                return True
        return False

    def holds(self, operation: OperationFields) -> bool:
        return operation in self.reads or operation in self.writes or operation in self.polls


def _nobody() -> None:
    """The owner of a number without an owner."""


def _identifier(operation: OperationFields) -> int:
    return operation.identifier


def _inode(descriptor: int) -> int:
    """0 for a descriptor that is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0
