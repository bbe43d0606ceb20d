"""Sockets for tasks: the module `socket` of the standard library, with async methods where those block.

Constants are those of the standard library. Out of date or blocking by nature and therefore not here:
create_connection() (open_tcp_stream), create_server() (open_tcp_listeners), gethostbyname() and its like (getaddrinfo),
getfqdn(), default timeouts.
"""

from __future__ import annotations

import socket as _stdlib
import sys as _sys
from socket import (
    gaierror,
    gethostname,
    herror,
    htonl,
    htons,
    if_indextoname,
    if_nameindex,
    if_nametoindex,
    inet_aton,
    inet_ntoa,
    inet_ntop,
    inet_pton,
    ntohl,
    ntohs,
)

from proactor_trio.sockets.name_resolution import (
    getaddrinfo,
    getnameinfo,
    getprotobyname,
    set_custom_hostname_resolver,
)
from proactor_trio.sockets.opening import from_stdlib_socket, fromfd, set_custom_socket_factory, socket, socketpair
from proactor_trio.sockets.socket_type import SocketType

if _sys.platform != "win32":
    sethostname = _stdlib.sethostname

#: Constants of the standard library's module that are none of sockets.
_NOT_OURS = frozenset(("EAGAIN", "EBADF", "EINTR", "EWOULDBLOCK"))

_constants = {
    name: value
    for name, value in vars(_stdlib).items()
    if name.isupper() and not name.startswith("_") and name not in _NOT_OURS
}
globals().update(_constants)

__all__ = [  # noqa: PLE0604  (constants are strings as well)
    "SocketType",
    "from_stdlib_socket",
    "fromfd",
    "gaierror",
    "getaddrinfo",
    "gethostname",
    "getnameinfo",
    "getprotobyname",
    "herror",
    "htonl",
    "htons",
    "if_indextoname",
    "if_nameindex",
    "if_nametoindex",
    "inet_aton",
    "inet_ntoa",
    "inet_ntop",
    "inet_pton",
    "ntohl",
    "ntohs",
    "set_custom_hostname_resolver",
    "set_custom_socket_factory",
    "socket",
    "socketpair",
    *(("sethostname",) if _sys.platform != "win32" else ()),
    *_constants,
]
