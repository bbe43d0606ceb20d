"""What a Socket is created with: its type by one word, and options that are set before anybody can use it.

REUSE_ADDR: bind to an address whose last connections are still in TIME_WAIT.
REUSE_PORT: several sockets may bind to one address; the kernel shares connections and datagrams out among them.
NO_DELAY: small sends leave at once (TCP; no effect on others).
KEEP_ALIVE: the kernel finds out when the peer has vanished.
ZERO_COPY: sends may let the network card read the caller's memory; a hint, which never fails. See Send.
LINGER_ZERO: closing resets the connection: the peer gets ECONNRESET and what was not sent is dropped.

Source: socket(7), tcp(7), ipv6(7).
"""

from __future__ import annotations

import socket
import sys
from enum import Enum, IntFlag
from struct import Struct
from typing import Any, Final

from proactor_trio.proactor.errors import Unimplemented

_LINGER: Final = Struct("ii")
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)
_TCP_PROTOCOLS: Final = (0, socket.IPPROTO_TCP)
_UDP_PROTOCOLS: Final = (0, socket.IPPROTO_UDP)


class SocketOptions(IntFlag):
    """Options of a socket at its creation; see the module."""

    NONE = 0
    REUSE_ADDR = 1
    REUSE_PORT = 2
    NO_DELAY = 4
    KEEP_ALIVE = 8
    ZERO_COPY = 16
    LINGER_ZERO = 32


class SocketType(Enum):
    """The usual combinations of family and type. Those of IPv6 do not speak IPv4."""

    TCP = (socket.AF_INET, socket.SOCK_STREAM)
    UDP = (socket.AF_INET, socket.SOCK_DGRAM)
    TCP6 = (socket.AF_INET6, socket.SOCK_STREAM)
    UDP6 = (socket.AF_INET6, socket.SOCK_DGRAM)
    if sys.platform != "win32":
        UNIX_STREAM = (socket.AF_UNIX, socket.SOCK_STREAM)
        UNIX_DGRAM = (socket.AF_UNIX, socket.SOCK_DGRAM)


def apply_options(created: socket.socket, options: SocketOptions) -> None:
    """Set the options of a new socket. Raises Unimplemented or OSError for what this system lacks."""
    if options & SocketOptions.REUSE_ADDR:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if options & SocketOptions.REUSE_PORT:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise Unimplemented("options: this system has no SO_REUSEPORT")
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if options & SocketOptions.NO_DELAY and is_tcp(created):
        created.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options & SocketOptions.KEEP_ALIVE:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if options & SocketOptions.LINGER_ZERO:
        created.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))


def is_tcp(of: Any) -> bool:
    """Whether a socket (anything with family, type and proto) speaks TCP."""
    return of.family in _INTERNET and of.type == socket.SOCK_STREAM and of.proto in _TCP_PROTOCOLS


def can_send_without_copying(of: Any) -> bool:
    """Whether the kernel has zero-copy sends for the protocol of a socket: TCP and UDP (msg_zerocopy.rst of Linux)."""
    return is_tcp(of) or (of.family in _INTERNET and of.type == socket.SOCK_DGRAM and of.proto in _UDP_PROTOCOLS)
