"""Socket: a non-blocking stdlib socket whose blocking calls are operations.

A Socket is closed once: by the operation SocketClose, which first ends what is pending on it, or by `close()` while
nothing is. From then on its descriptor is -1 and every use of it raises ClosedResourceError. Dropping one that is open
closes it with a ResourceWarning, by the stdlib's own rule.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from proactor_trio.proactor.errors import ClosedResourceError


class Socket:
    """A socket for operations.

    Owned by whoever holds it; used by the operations of one proactor at a time. Not thread-safe: its operations are.
    `stdlib` is the wrapped socket.socket, for options, names and addresses; not for blocking calls.
    """

    __slots__ = ("__weakref__", "closed", "descriptor", "family", "stdlib", "type")

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

    @classmethod
    def _from_accepted(cls, stdlib: socket.socket) -> Socket:
        """Take over a socket that the kernel made non-blocking when it accepted it."""
        instance = cls.__new__(cls)
        instance.stdlib = stdlib
        instance.descriptor = stdlib.fileno()
        instance.family = stdlib.family
        instance.type = stdlib.type
        instance.closed = False
        return instance

    def _adopt(self, stdlib: socket.socket) -> None:
        stdlib.setblocking(False)
        self.stdlib = stdlib
        self.descriptor = stdlib.fileno()
        self.family = stdlib.family
        self.type = stdlib.type
        self.closed = self.descriptor < 0
        if self.closed:
            raise ClosedResourceError("stdlib: this socket is closed")

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
        self.closed = True
        self.descriptor = -1
        return self.stdlib.detach()

    def _open_stdlib(self) -> socket.socket:
        if self.closed:
            raise ClosedResourceError("this socket was closed")
        return self.stdlib

    def __repr__(self) -> str:
        return f"<Socket {'closed' if self.closed else self.stdlib!r}>"
