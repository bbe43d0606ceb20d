"""Socket: a non-blocking stdlib socket whose blocking calls are operations.

A Socket is closed once: by the operation SocketClose, which first ends what is pending on it, or by `close()` while
nothing is. From then on its descriptor is -1 and every use of it raises ClosedResourceError. Dropping one that is open
closes it with a ResourceWarning.

The stdlib object of an accepted connection is made only when somebody asks for it: it costs more than the accept.
"""

from __future__ import annotations

import os
import socket
import warnings
from typing import Any

from proactor_trio.proactor.errors import ClosedResourceError


class Socket:
    """A socket for operations.

    Owned by whoever holds it; used by the operations of one proactor at a time. Not thread-safe: its operations are.
    """

    __slots__ = ("__weakref__", "_stdlib", "closed", "closed_by", "descriptor", "family", "proto", "type")

    def __init__(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> None:
        """Create a new socket: non-blocking, not inherited by child processes."""
        self._adopt(socket.socket(family, type, proto))

    @classmethod
    def from_stdlib(cls, stdlib: socket.socket) -> Socket:
        """Take over a stdlib socket, which becomes non-blocking. Raises TypeError for anything else."""
        if not isinstance(stdlib, socket.socket):
            raise TypeError(f"stdlib must be a socket.socket, not {type(stdlib).__name__}")
        instance = cls.__new__(cls)
        instance._adopt(stdlib)
        return instance

    def unopened_connection(self) -> Socket:
        """A Socket for a connection of this listener, to be filled in by two assignments that nothing interrupts."""
        connection = Socket.__new__(Socket)
        connection.closed = True
        connection.descriptor = -1
        connection._stdlib = None
        connection.family = self.family
        connection.type = self.type
        connection.proto = self.proto
        connection.closed_by = 0
        return connection

    def _adopt(self, stdlib: socket.socket) -> None:
        self.closed = True
        #: The identifier of the operation that closes or has closed it; the operation itself would be a cycle.
        self.closed_by = 0
        if stdlib.fileno() < 0:
            raise ClosedResourceError("stdlib: this socket is closed")
        stdlib.setblocking(False)
        self._stdlib: socket.socket | None = stdlib
        self.descriptor = stdlib.fileno()
        self.family: int = stdlib.family
        self.type: int = stdlib.type
        self.proto = stdlib.proto
        self.closed = False

    @property
    def stdlib(self) -> socket.socket:
        """The socket.socket for options, names and addresses; not for blocking calls, and not to be closed."""
        if self._stdlib is None:
            if self.closed:
                raise ClosedResourceError("this socket was closed")
            self._stdlib = socket.socket(self.family, self.type, self.proto, fileno=self.descriptor)
        return self._stdlib

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self.descriptor

    def bind(self, address: Any) -> None:
        """Bind to a numeric address or a Unix path."""
        self._open_stdlib().bind(address)

    def listen(self, backlog: int = 128) -> None:
        """Accept connections from now on; at most `backlog` wait for an Accept."""
        self._open_stdlib().listen(backlog)

    def shutdown(self, how: int) -> None:
        """End one direction (socket.SHUT_RD, SHUT_WR) or both; a pending receive then completes with 0."""
        self._open_stdlib().shutdown(how)

    def getsockname(self) -> Any:
        """Our own address."""
        return self._open_stdlib().getsockname()

    def getpeername(self) -> Any:
        """The peer's address."""
        return self._open_stdlib().getpeername()

    def getsockopt(self, *arguments: Any) -> Any:
        """As socket.socket.getsockopt."""
        return self._open_stdlib().getsockopt(*arguments)

    def setsockopt(self, *arguments: Any) -> None:
        """As socket.socket.setsockopt."""
        self._open_stdlib().setsockopt(*arguments)

    def close(self) -> None:
        """Close at once. Only while nothing is pending on it: a pending operation keeps the connection open."""
        if not self.closed:
            os.close(self._detach())

    def _detach(self) -> int:
        """Mark it closed and give up the descriptor, which the caller closes."""
        descriptor = self.descriptor
        self.closed = True
        self.descriptor = -1
        if self._stdlib is not None:
            self._stdlib.detach()
        return descriptor

    def _open_stdlib(self) -> socket.socket:
        if self.closed:
            raise ClosedResourceError("this socket was closed")
        return self.stdlib

    def __repr__(self) -> str:
        return f"<Socket {'closed' if self.closed else self.stdlib!r}>"

    def __del__(self, _warn: Any = warnings.warn, _close: Any = os.close) -> None:
        if not getattr(self, "closed", True):
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            _close(self._detach())
