"""Socket: a non-blocking stdlib socket whose blocking calls are operations.

A Socket is closed once: by the operation SocketClose, which first ends what is pending on it, or by `close()` while
nothing is. From then on its descriptor is -1 and every use of it raises ClosedResourceError. Dropping one that is open
closes it with a ResourceWarning.

The first error that ends a connection (reset, broken pipe, timed out, refused) is kept: later sends and connects
complete with it in the next poll, without asking the kernel. A receive still asks it, and gets what had arrived, then
the end of the stream or the error. Only sockets of connections keep an error, and only these: what one operation was
refused for (cancelled, too long, no room), what an accept reports about others, and what ICMP says to a datagram
socket change nothing. `keeps_failure = False` switches it off; streams do, which report what the kernel says each time.

The stdlib object of an accepted connection is made only when somebody asks for it: it costs more than the accept.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from proactor_trio.proactor.address_text import in_stdlib_form
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.socket_options import SocketOptions, SocketType, apply_options, can_send_without_copying
from proactor_trio.proactor.socket_state import (
    CONNECTION_TYPES,
    LASTING_ERRORS,
    SOCKET_TRANSITIONS,
    SocketState,
    state_of,
)

if TYPE_CHECKING:
    from proactor_trio.proactor.file_registration import FileRegistration

if sys.platform == "linux":
    import fcntl

_CLOSED: Final = SocketState.CLOSED
_LARGEST_INTEGER: Final = (1 << 31) - 1
_INTEGER: Final = Struct("i")
#: The number of unsent bytes of a socket (sockios.h of Linux).
_SIOCOUTQ: Final = 0x5411


class Socket:
    """A socket for operations.

    family, type, proto: as for socket.socket(). options: see SocketOptions; they are set at creation.

    Owned by whoever holds it; used by the operations of one proactor at a time. Not thread-safe: its operations are.

    keeps_failure: whether the first error of the connection is kept; see the module.
    failed_errno: that error, 0 while there is none. `failure` has it as an exception.
    zero_copy: whether sends may do without copying; False where the protocol cannot. It may be set to False, and not to
        True: the kernel refuses such sends where the protocol cannot. Accepted sockets inherit it, and keeps_failure,
        from their listener.
    """

    __slots__ = (
        "__weakref__",
        "_state",
        "_stdlib",
        "closed",
        "closed_by",
        "descriptor",
        "failed_errno",
        "family",
        "keeps_failure",
        "proto",
        "registration",
        "type",
        "zero_copy",
    )

    def __init__(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        options: SocketOptions = SocketOptions.NONE,
    ) -> None:
        """Create a new socket: non-blocking, not inherited by child processes. Raises OSError, and leaves nothing."""
        self.closed = True
        created = socket.socket(family, type, proto)
        try:
            apply_options(created, options)
            self._adopt(created, SocketState.CREATED)
        except BaseException:
            created.close()
            self.closed = True
            raise
        self.zero_copy = bool(options & SocketOptions.ZERO_COPY) and can_send_without_copying(self)

    @classmethod
    def of_type(cls, type: SocketType, options: SocketOptions = SocketOptions.NONE) -> Socket:
        """Create a socket of one of the usual types. One of IPv6 does not speak IPv4."""
        if not isinstance(type, SocketType):
            raise TypeError(f"type must be a SocketType, not {type!r}")
        family, kind = type.value
        created = cls(family, kind, 0, options)
        if family == socket.AF_INET6:
            try:
                created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            except BaseException:
                created.close()
                raise
        return created

    @classmethod
    def from_stdlib(cls, stdlib: socket.socket, *, zero_copy: bool = False) -> Socket:
        """Take over a stdlib socket, which becomes non-blocking. Raises TypeError for anything else.

        zero_copy: as the option ZERO_COPY.
        """
        if not isinstance(stdlib, socket.socket):
            raise TypeError(f"stdlib must be a socket.socket, not {type(stdlib).__name__}")
        if stdlib.fileno() < 0:
            raise ClosedResourceError("stdlib: this socket is closed")
        instance = cls.__new__(cls)
        instance.closed = True
        instance._adopt(stdlib, state_of(stdlib))
        instance.zero_copy = zero_copy and can_send_without_copying(instance)
        return instance

    @classmethod
    def from_descriptor(cls, descriptor: int, *, zero_copy: bool = False) -> Socket:
        """Take over a raw descriptor of a socket, which becomes non-blocking; the system says of which kind it is.

        Raises TypeError or ValueError for what cannot be a descriptor, OSError for one that is closed or no socket;
        the descriptor stays the caller's then.
        """
        check_integer(descriptor, "descriptor", 0, _LARGEST_INTEGER)
        stdlib = socket.socket(fileno=descriptor)
        try:
            return cls.from_stdlib(stdlib, zero_copy=zero_copy)
        except BaseException:
            stdlib.detach()
            raise

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
        connection._state = SocketState.CONNECTED
        connection.keeps_failure = self.keeps_failure
        connection.failed_errno = 0
        connection.zero_copy = self.zero_copy
        connection.registration = None
        return connection

    def _adopt(self, stdlib: socket.socket, state: SocketState) -> None:
        #: The identifier of the operation that closes or has closed it; the operation itself would be a cycle.
        self.closed_by = 0
        self.zero_copy = False
        self.keeps_failure = True
        self.failed_errno = 0
        #: Its place in the kernel's table of files; see `register_file()`.
        self.registration: FileRegistration | None = None
        self._state = state
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

    @property
    def state(self) -> SocketState:
        """Where it is in its life; for looking at."""
        return SOCKET_TRANSITIONS[self._state].get("close begins", self._state) if self.closed else self._state

    @property
    def failure(self) -> OSError | None:
        """The error that ended the connection, if one was kept."""
        return OSError(self.failed_errno, os.strerror(self.failed_errno)) if self.failed_errno else None

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self.descriptor

    def bind(self, address: Any) -> None:
        """Bind to an Address, a numeric address or a Unix path. Raises OSError as bind(2)."""
        self._open_stdlib().bind(in_stdlib_form(self.family, address))

    def listen(self, backlog: int = 128) -> None:
        """Accept connections from now on; at most `backlog` wait for an Accept, 0: as many as the system allows."""
        check_integer(backlog, "backlog", 0, sys.maxsize)
        self._open_stdlib().listen(min(backlog, _LARGEST_INTEGER) or socket.SOMAXCONN)
        self.happened("listen")

    def shutdown(self, how: int) -> None:
        """End one direction (socket.SHUT_RD, SHUT_WR) or both; a pending receive then completes with 0.

        Raises OSError as shutdown(2): ENOTCONN without a connection, EINVAL for another number.
        """
        self._open_stdlib().shutdown(how)

    def send_space(self) -> int | None:
        """About how many bytes a send would take at once, 0 when it would wait; None where the system cannot tell.

        Half of SO_SNDBUF, since the kernel counts its own bookkeeping in it, less what was not acknowledged yet. A
        guess: a send may take less or more. Linux only.
        """
        if sys.platform != "linux":
            return None
        size: int = self._open_stdlib().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        (unsent,) = _INTEGER.unpack(fcntl.ioctl(self.descriptor, _SIOCOUTQ, _INTEGER.pack(0)))
        return max(0, size // 2 - int(unsent))

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
            if self.registration is not None:
                self.registration.end()
            if self._stdlib is not None:
                self._stdlib.detach()
            try:
                os.close(self.descriptor)
            finally:
                # By plain assignments only: the descriptor is closed once, whatever a signal handler raises.
                self.closed = True
                self.descriptor = -1
                self._state = _CLOSED

    def detach(self) -> int:
        """Give up the descriptor and return it. Only while nothing is pending on it; it counts as closed then."""
        if self.closed:
            return -1
        if self.registration is not None:
            self.registration.end()
        descriptor = self._detach()
        self._state = _CLOSED
        return descriptor

    # For operations ----------------------------------------------------------------------------------------------

    def happened(self, event: str) -> None:
        """Take the step of `SOCKET_TRANSITIONS` for an event."""
        self._state = SOCKET_TRANSITIONS[self._state].get(event, self._state)

    def note_failure(self, code: int) -> None:
        """An operation on the connection failed with this errno; keep it if it is one for good, and the first."""
        if (
            code in LASTING_ERRORS
            and self.keeps_failure
            and not self.failed_errno
            and self.type in CONNECTION_TYPES
            and (self._state is SocketState.CONNECTED or self._state is SocketState.CONNECTING)
        ):
            self.failed_errno = code

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
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                if self.registration is not None:
                    self.registration.end()
                _close(self._detach())
