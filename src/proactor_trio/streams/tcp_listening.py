"""open_tcp_listeners() and serve_tcp(): listening on a TCP port."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus
from proactor_trio.proactor.address import check_port
from proactor_trio.sockets.name_resolution import getaddrinfo
from proactor_trio.sockets.opening import socket
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.serving import serve_listeners
from proactor_trio.streams.socket_listener import SocketListener
from proactor_trio.streams.socket_stream import SocketStream

#: Longer than any system allows; listen(2) cuts it to net.core.somaxconn.
DEFAULT_BACKLOG: Final = 65535


async def open_tcp_listeners(
    port: int, *, host: str | bytes | None = None, backlog: int | None = None, reuse_port: bool = False
) -> list[SocketListener]:
    """Listen on a TCP port; one listener for each address of `host`.

    port: 0 lets the system choose one for each listener. host: None listens on all addresses, of IPv4 and IPv6.
    backlog: connections that may wait to be accepted; None: as many as the system allows.
    reuse_port: others that say so too may listen on the same port (SO_REUSEPORT); the kernel shares connections out.

    Raises OSError, and has nothing open then, when an address cannot be used; families that this machine does not have
    are passed over as long as there is another. ValueError for reuse_port where the system does not have it.
    """
    check_port(port)
    if backlog is not None and not isinstance(backlog, int):
        raise TypeError(f"backlog must be an int or None, not {backlog!r}")
    if reuse_port and not hasattr(stdlib_socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port: this system has no SO_REUSEPORT")
    length = DEFAULT_BACKLOG if backlog is None else min(backlog, DEFAULT_BACKLOG)
    addresses = await getaddrinfo(host, port, type=stdlib_socket.SOCK_STREAM, flags=stdlib_socket.AI_PASSIVE)
    listeners: list[SocketListener] = []
    unsupported: list[OSError] = []
    try:
        for family, type_, proto, _, address in addresses:
            try:
                listening = socket(family, type_, proto)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                unsupported.append(error)
                continue
            listeners.append(await _listen(listening, address, length, reuse_port))
    except BaseException:
        for listener in listeners:
            await aclose_forcefully(listener)
        raise
    if unsupported and not listeners:
        text = "This system doesn't support any of the kinds of socket that that address could use"
        raise OSError(errno.EAFNOSUPPORT, text) from ExceptionGroup(text, unsupported)
    return listeners


async def _listen(listening: SocketType, address: Any, backlog: int, reuse_port: bool) -> SocketListener:
    try:
        if sys.platform != "win32":
            listening.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT, 1)
        if listening.family == stdlib_socket.AF_INET6:
            listening.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
        await listening.bind(address)
        listening.listen(backlog)
        return SocketListener(listening)
    except BaseException:
        listening.close()
        raise


async def serve_tcp(
    handler: Callable[[SocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    handler_nursery: Nursery | None = None,
    task_status: TaskStatus[list[SocketListener]] = TASK_STATUS_IGNORED,
) -> None:
    """Listen on a TCP port and run `handler(stream)` in a task for each connection. Never returns.

    For start(): gives the listeners when they are open. See open_tcp_listeners() and serve_listeners().
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog, reuse_port=reuse_port)
    await serve_listeners(handler, listeners, handler_nursery=handler_nursery, task_status=task_status)
