"""SocketListener: a listening socket that hands out streams.

Errors that accept(2) reports about one connection, or about the moment, do not break a listener and are passed over;
that the process or the system has no more descriptors is the caller's to deal with (serving.py waits a little).
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
from typing import Final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.readiness import notify_closing
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import Listener
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.operation import OperationState
from proactor_trio.proactor.operations.net import Accept
from proactor_trio.proactor.socket import Socket
from proactor_trio.sockets.native_socket import NativeSocket
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.socket_stream import SocketStream, close_socket, set_stream_options

# What accept(2) may report about one connection, or about the moment, without the listener being broken.
IGNORABLE_ACCEPT_ERRORS: Final = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM", "ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "EOPNOTSUPP", "ENETUNREACH",
    )
    if hasattr(errno, name)
)  # fmt: skip


class SocketListener(Listener[SocketStream]):
    """A listening stream socket.

    socket: of proactor_trio.socket, or one of the proactor, on which `listen()` was called; owned from now on.
    """

    __slots__ = ("__weakref__", "_accept", "_options_are_inherited", "_socket", "socket")

    socket: SocketType

    def __new__(cls, socket: SocketType | Socket) -> SocketListener:
        if isinstance(socket, SocketType) and not isinstance(socket, NativeSocket):
            from proactor_trio.streams.virtual import VirtualSocketListener  # which derives from this class

            return object.__new__(VirtualSocketListener)
        return object.__new__(cls)

    def __init__(self, socket: SocketType | Socket) -> None:
        check_listening(socket)
        native = socket if isinstance(socket, NativeSocket) else NativeSocket(socket)  # type: ignore[arg-type]
        self.socket = native
        self._socket = listening = native.proactor_socket
        set_stream_options(listening)
        listening.keeps_failure = False  # its connections inherit that
        self._accept = Accept(listening)
        self._options_are_inherited: bool | None = None

    @enable_ki_protection
    async def accept(self) -> SocketStream:
        """Wait for a connection. Errors of single connections are passed over.

        Raises ClosedResourceError when it was or is being closed, OSError when the process or the system has no more
        descriptors or memory; it can be called again then. Several tasks may wait at a time.
        """
        if self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this listener was closed")
        idle = self._accept.state is OperationState.NEW or self._accept.state is OperationState.DONE
        accept = self._accept if idle else Accept(self._socket)
        while True:
            try:
                accepted: Socket = await accept
            except OSError as error:
                if error.errno not in IGNORABLE_ACCEPT_ERRORS:
                    raise
            else:
                accept.result = None
                return self._stream_of(accepted)

    def _stream_of(self, connection: Socket) -> SocketStream:
        """Linux hands a listener's options on to its connections; the first one shows whether this system does."""
        if self._options_are_inherited is None and connection.family != stdlib_socket.AF_UNIX:
            inherited = connection.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
            self._options_are_inherited = bool(inherited)
        if self._options_are_inherited is False:
            set_stream_options(connection)
        return SocketStream.from_accepted(connection)

    @enable_ki_protection
    async def aclose(self) -> None:
        """Stop listening. A task that waits in accept() gets ClosedResourceError."""
        if not self._socket.closed:
            notify_closing(self._socket)
        await close_socket(self._socket)

    def __repr__(self) -> str:
        return f"<SocketListener on {self.socket!r}>"


def check_listening(socket: object) -> None:
    """Refuse what cannot be the socket of a listener, with TypeError or ValueError."""
    if not isinstance(socket, (SocketType, Socket)):
        raise TypeError(f"socket must be a proactor_trio.socket.SocketType, not {type(socket).__name__}")
    if socket.type != stdlib_socket.SOCK_STREAM:
        raise ValueError("socket must be a stream socket (SOCK_STREAM)")
    try:
        listens = socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN)
    except OSError:
        return  # not every system tells
    if not listens:
        raise ValueError("socket must be listening")
