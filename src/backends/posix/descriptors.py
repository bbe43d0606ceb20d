"""What the posix backend knows about one descriptor, and how it notices that the number means something else by now.

A descriptor number says little: the file behind it may be closed by anyone, and the next socket or file gets the same
number. A record therefore remembers the socket *object* it was made for, by a weak reference (the backend keeps no
socket alive that its users dropped). An operation that comes with another object for the same number finds out
whether the old object still owns the number. If so, both mean the same file and share the record; if not, then the
old file was closed behind our back, and the record is replaced.

HANDLE_POLL comes with a bare number. Without a live socket record it gets a record of its own, which lasts as long as
such operations are pending and whose registration is renewed by each new one.
"""

from __future__ import annotations

import socket
import weakref
from typing import Final

from proactor_trio.backends.contract import OperationFields

_TCP_PROTOCOLS: Final = (0, socket.IPPROTO_TCP)


class Descriptor:
    """One descriptor: its registration, its readiness, and the operations that wait on it, first come first served."""

    __slots__ = (
        "descriptor",
        "interest",
        "patience",
        "polls",
        "readable",
        "reads",
        "short_read_empties",
        "socket",
        "waits_for_turn",
        "writable",
        "writes",
    )

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.socket: weakref.ref[socket.socket] | None = None
        self.interest = 0  # what the event set watches; 0: not registered
        self.readable = True  # an attempt may succeed; else there will be an edge (event_set.py)
        self.writable = True
        self.waits_for_turn = False  # it stands in the queue of those that wait for no report
        self.short_read_empties = False  # a short read proves that nothing is left
        self.patience = 0.0005  # how long it waited where only time can tell, in seconds
        self.reads: list[OperationFields] = []
        self.writes: list[OperationFields] = []
        self.polls: list[OperationFields] = []

    def belongs_to(self, stdlib_socket: socket.socket) -> None:
        """Make it the record of this socket."""
        self.socket = weakref.ref(stdlib_socket)
        self.short_read_empties = (
            stdlib_socket.family in (socket.AF_INET, socket.AF_INET6)
            and stdlib_socket.type is socket.SOCK_STREAM
            and stdlib_socket.proto in _TCP_PROTOCOLS
        )

    def is_stale(self) -> bool:
        """Whether the socket that this record was made for no longer owns the number."""
        if self.socket is None:
            return False
        owner = self.socket()
        return owner is None or owner.fileno() != self.descriptor

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


def _identifier(operation: OperationFields) -> int:
    return operation.identifier
