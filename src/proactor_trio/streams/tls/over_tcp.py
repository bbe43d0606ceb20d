"""TLS over TCP: connecting, listening, serving."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import NoReturn

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.serving import serve_listeners
from proactor_trio.streams.socket_stream import SocketStream
from proactor_trio.streams.tcp_connecting import DEFAULT_HAPPY_EYEBALLS_DELAY, open_tcp_stream
from proactor_trio.streams.tcp_listening import open_tcp_listeners
from proactor_trio.streams.tls.listener import SSLListener
from proactor_trio.streams.tls.stream import SSLStream


async def open_ssl_over_tcp_stream(
    host: str | bytes,
    port: int,
    *,
    https_compatible: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    happy_eyeballs_delay: float | None = DEFAULT_HAPPY_EYEBALLS_DELAY,
) -> SSLStream[SocketStream]:
    """Connect to a host by TCP and put TLS over it. The handshake is made by the first use, or by do_handshake().

    host: the name to connect to, which the server must prove to have. port: a number.
    https_compatible: see SSLStream. ssl_context: None means that of ssl.create_default_context().
    happy_eyeballs_delay: see open_tcp_stream(), also for what is raised.
    """
    transport = await open_tcp_stream(host, port, happy_eyeballs_delay=happy_eyeballs_delay)
    try:
        if ssl_context is None:
            ssl_context = _context_for_clients()
        return SSLStream(transport, ssl_context, server_hostname=host, https_compatible=https_compatible)
    except BaseException:
        await aclose_forcefully(transport)
        raise


def _context_for_clients() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # What an end without a goodbye means is ours to say (https_compatible).
    if hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF"):
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


async def open_ssl_over_tcp_listeners(
    port: int,
    ssl_context: ssl.SSLContext,
    *,
    host: str | bytes | None = None,
    https_compatible: bool = False,
    backlog: int | None = None,
    reuse_port: bool = False,
) -> list[SSLListener[SocketStream]]:
    """Listen for TLS on a TCP port; one listener for each address of `host`.

    ssl_context: for a server, with a certificate. https_compatible: see SSLStream.
    port, host, backlog, reuse_port: see open_tcp_listeners(), also for what is raised.
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog, reuse_port=reuse_port)
    return [SSLListener(listener, ssl_context, https_compatible=https_compatible) for listener in listeners]


async def serve_ssl_over_tcp(
    handler: Callable[[SSLStream[SocketStream]], Awaitable[object]],
    port: int,
    ssl_context: ssl.SSLContext,
    *,
    host: str | bytes | None = None,
    https_compatible: bool = False,
    backlog: int | None = None,
    reuse_port: bool = False,
    handler_nursery: Nursery | None = None,
    task_status: TaskStatus[list[SSLListener[SocketStream]]] = TASK_STATUS_IGNORED,
) -> NoReturn:
    """Listen for TLS on a TCP port and run `handler(stream)` in a task for each connection. Never returns.

    For start(): gives the listeners when they are open. See open_ssl_over_tcp_listeners() and serve_listeners(). What a
    failed handshake raises in a handler that does not catch it ends the serving.
    """
    listeners = await open_ssl_over_tcp_listeners(
        port, ssl_context, host=host, https_compatible=https_compatible, backlog=backlog, reuse_port=reuse_port
    )
    await serve_listeners(handler, listeners, handler_nursery=handler_nursery, task_status=task_status)
