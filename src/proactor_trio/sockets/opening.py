"""Making sockets: socket(), socketpair(), from_stdlib_socket(), fromfd(), and having them made by somebody else."""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Any, Final

from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.run_vars import RunVar
from proactor_trio.abc import SocketFactory
from proactor_trio.proactor.socket import Socket
from proactor_trio.sockets.native_socket import NativeSocket
from proactor_trio.sockets.socket_type import SocketType

_factory: Final[RunVar[SocketFactory | None]] = RunVar("socket factory", None)


def set_custom_socket_factory(socket_factory: SocketFactory | None) -> SocketFactory | None:
    """Have all sockets of this run that socket() makes made by an object of yours; None: by us again.

    Returns the one before. Raises RuntimeError outside of a run.
    """
    previous = _factory.get()
    _factory.set(socket_factory)
    return previous


def socket(family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> SocketType:
    """Make a socket, as socket.socket(): by default one for TCP over IPv4. Works without a run.

    fileno: take over this descriptor; the system says what kind of socket it is.
    """
    if fileno is not None:
        return NativeSocket(Socket.from_descriptor(fileno))
    family = stdlib_socket.AF_INET if family == -1 else family
    type = stdlib_socket.SOCK_STREAM if type == -1 else type
    proto = 0 if proto == -1 else proto
    if CONTEXT.run is not None:
        factory = _factory.get()
        if factory is not None:
            return factory.socket(family, type, proto)
    return NativeSocket(Socket(family, type, proto))


def socketpair(
    family: int | None = None, type: int = stdlib_socket.SOCK_STREAM, proto: int = 0
) -> tuple[SocketType, SocketType]:
    """Two connected sockets, as socket.socketpair()."""
    left, right = stdlib_socket.socketpair(family, type, proto)
    return from_stdlib_socket(left), from_stdlib_socket(right)


def from_stdlib_socket(sock: stdlib_socket.socket) -> SocketType:
    """Take over a socket of the stdlib, which becomes non-blocking and is not to be used any more.

    Raises TypeError for anything else, also for a subclass such as ssl.SSLSocket.
    """
    # A subclass means calls that we would go past.
    if sock.__class__ is not stdlib_socket.socket:
        raise TypeError(f"expected a socket.socket, not {sock.__class__.__name__}")
    return NativeSocket(Socket.from_stdlib(sock))


def fromfd(fd: int | Any, family: int, type: int, proto: int = 0) -> SocketType:
    """A socket for a duplicate of a descriptor, as socket.fromfd(). The system says what kind it is."""
    number = fd if isinstance(fd, int) else fd.fileno()
    return NativeSocket(Socket.from_descriptor(os.dup(number)))
