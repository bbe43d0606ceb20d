"""TCP: connecting by happy eyeballs, listening, serving.

Happy eyeballs (RFC 8305): the addresses of a name are tried in an order that changes between families, each a little
after the one before or at once when that failed, and the first connection wins. Names are resolved in a thread, which
is left alone when the caller is cancelled; numeric addresses need no thread.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket as stdlib_socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import idna

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import Listener
from proactor_trio.proactor.operations.net import Connect
from proactor_trio.proactor.socket import Socket
from proactor_trio.streams.socket_stream import SocketListener, SocketStream, close_socket
from proactor_trio.sync.event import Event
from proactor_trio.threads import run_sync as run_in_thread
from proactor_trio.timeouts import move_on_after, sleep

#: Seconds between two attempts; RFC 8305 section 5 recommends 250 ms.
DEFAULT_HAPPY_EYEBALLS_DELAY: Final = 0.250

#: Longer than any system allows; listen(2) cuts it to net.core.somaxconn.
DEFAULT_BACKLOG: Final = 65535

LARGEST_PORT: Final = 65535

#: How long a listener that ran out of descriptors or memory waits before it tries again.
ACCEPT_RETRY_SECONDS: Final = 0.100
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

_LOGGER: Final = logging.getLogger("proactor_trio.serve_listeners")

AddressInformation = tuple[int, int, int, str, Any]


async def resolve(
    host: str | bytes | None, port: int | str | bytes, *, flags: int = 0, family: int = 0
) -> list[AddressInformation]:
    """The stream addresses of a name. A numeric host is answered at once, all others in a thread.

    A name that is not ASCII is encoded by IDNA 2008. Raises socket.gaierror, UnicodeError.
    Cancelled: the thread goes on and its answer is dropped.
    """
    numeric = flags | stdlib_socket.AI_NUMERICHOST | stdlib_socket.AI_NUMERICSERV
    try:
        found = stdlib_socket.getaddrinfo(host, port, family, stdlib_socket.SOCK_STREAM, 0, numeric)
    except stdlib_socket.gaierror as error:
        if error.errno != stdlib_socket.EAI_NONAME:
            raise
    else:
        await checkpoint()
        return found  # type: ignore[return-value]
    encoded = idna.encode(host, uts46=True) if isinstance(host, str) and not host.isascii() else host
    look_up = partial(stdlib_socket.getaddrinfo, encoded, port, family, stdlib_socket.SOCK_STREAM, 0, flags)
    return await run_in_thread(look_up, abandon_on_cancel=True)  # type: ignore[arg-type]


def interleave_families(addresses: Sequence[AddressInformation]) -> list[AddressInformation]:
    """The second address is moved to be of another family than the first, where there is one (RFC 8305 section 4)."""
    ordered = list(addresses)
    for index in range(1, len(ordered)):
        if ordered[index][0] != ordered[0][0]:
            if index != 1:
                ordered.insert(1, ordered.pop(index))
            break
    return ordered


async def open_tcp_stream(
    host: str | bytes,
    port: int,
    *,
    happy_eyeballs_delay: float | None = DEFAULT_HAPPY_EYEBALLS_DELAY,
    local_address: str | None = None,
) -> SocketStream:
    """Connect to a TCP server and return the stream.

    host: a name or a numeric address. port: an integer.
    happy_eyeballs_delay: seconds between attempts at different addresses; None or math.inf: only after a failure.
    local_address: the address to connect from.

    Raises OSError when no attempt succeeded, with a group of the attempts' errors as the cause. Cancelled: all attempts
    are ended and their sockets closed.
    """
    if host is None:
        raise ValueError("host cannot be None")
    if not isinstance(port, int):
        raise TypeError(f"port must be int, not {port!r}")
    check_port(port)
    delay = math.inf if happy_eyeballs_delay is None else happy_eyeballs_delay
    if not delay >= 0:
        raise ValueError(f"happy_eyeballs_delay must be a number of seconds that is not negative, not {delay}")
    addresses = [item for item in await resolve(host, port) if item[0] != stdlib_socket.AF_UNIX]
    if local_address is not None:
        families = {item[0] for item in await resolve(local_address, 0, flags=stdlib_socket.AI_PASSIVE)}
        addresses = [item for item in addresses if item[0] in families]
        if not addresses:
            raise OSError(f"local_address={local_address!r} is incompatible with remote address {host!r}")
    race = _ConnectRace(interleave_families(addresses), delay, local_address)
    socket = await race.winner()
    if socket is not None:
        try:
            return SocketStream(socket)
        except OSError:
            socket.close()  # the peer has gone already
            raise
    text = f"all attempts to connect to {_format_host_port(host, port)} failed"
    raise OSError(text) from ExceptionGroup(text, race.errors)


def check_port(port: int) -> None:
    """Refuse what the resolver would cut down to another port."""
    if not 0 <= port <= LARGEST_PORT:
        raise ValueError(f"port must be from 0 to {LARGEST_PORT}, not {port}")


class _ConnectRace:
    """The attempts of one open_tcp_stream(); whoever connects first cancels the others."""

    def __init__(self, addresses: Sequence[AddressInformation], delay: float, local_address: str | None) -> None:
        self._addresses = addresses
        self._delay = delay
        self._local_address = local_address
        self._won: Socket | None = None
        self.errors: list[OSError] = []

    async def winner(self) -> Socket | None:
        try:
            async with open_nursery(strict_exception_groups=True) as nursery:
                for address in self._addresses:
                    failed = Event()
                    nursery.start_soon(self._attempt, nursery, address, failed)
                    with move_on_after(self._delay):
                        await failed.wait()
        except BaseException:
            if self._won is not None:
                await close_socket(self._won)
            raise
        return self._won

    async def _attempt(self, nursery: Nursery, address: AddressInformation, failed: Event) -> None:
        family, type_, proto, _, target = address
        try:
            socket = Socket(family, type_, proto)
        except OSError as error:
            self._note(error, target, failed)
            return
        try:
            if self._local_address is not None:
                self._bind(socket)
            await Connect(socket, target)
        except OSError as error:
            socket.close()
            self._note(error, target, failed)
        except BaseException:
            socket.close()
            raise
        else:
            if self._won is None:
                self._won = socket
                nursery.cancel_scope.cancel()
            else:
                socket.close()

    def _bind(self, socket: Socket) -> None:
        if hasattr(stdlib_socket, "IP_BIND_ADDRESS_NO_PORT") and socket.family == stdlib_socket.AF_INET:
            socket.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_BIND_ADDRESS_NO_PORT, 1)
        socket.bind((self._local_address, 0))

    def _note(self, error: OSError, target: object, failed: Event) -> None:
        error.add_note(f"while connecting to {target}")
        self.errors.append(error)
        failed.set()


def _format_host_port(host: str | bytes, port: int) -> str:
    text = host.decode("ascii") if isinstance(host, bytes) else host
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


async def open_tcp_listeners(
    port: int, *, host: str | bytes | None = None, backlog: int | None = None
) -> list[SocketListener]:
    """Listen on a TCP port; one listener for each address of `host`.

    port: 0 lets the system choose one for each listener. host: None listens on all addresses, of IPv4 and IPv6.
    backlog: connections that may wait to be accepted; None: as many as the system allows.

    Raises OSError, and has nothing open then, when an address cannot be used; families that this machine does not have
    are passed over as long as there is another.
    """
    if not isinstance(port, int):
        raise TypeError(f"port must be an int not {port!r}")
    check_port(port)
    if backlog is not None and not isinstance(backlog, int):
        raise TypeError(f"backlog must be an int or None, not {backlog!r}")
    addresses = await resolve(host, port, flags=stdlib_socket.AI_PASSIVE)
    listeners: list[SocketListener] = []
    unsupported: list[OSError] = []
    try:
        for family, type_, proto, _, address in addresses:
            try:
                socket = Socket(family, type_, proto)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                unsupported.append(error)
                continue
            listeners.append(_listen(socket, address, DEFAULT_BACKLOG if backlog is None else min(backlog, 65535)))
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    if unsupported and not listeners:
        text = "This system doesn't support any of the kinds of socket that that address could use"
        raise OSError(errno.EAFNOSUPPORT, text) from ExceptionGroup(text, unsupported)
    return listeners


def _listen(socket: Socket, address: Any, backlog: int) -> SocketListener:
    try:
        if sys.platform != "win32":
            socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        if socket.family == stdlib_socket.AF_INET6:
            socket.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)
        socket.bind(address)
        socket.listen(backlog)
        return SocketListener(socket)
    except BaseException:
        socket.close()
        raise


async def serve_tcp(
    handler: Callable[[SocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handler_nursery: Nursery | None = None,
    task_status: TaskStatus[list[SocketListener]] = TASK_STATUS_IGNORED,
) -> None:
    """Listen on a TCP port and run `handler(stream)` in a task for each connection. Never returns.

    For start(): gives the listeners when they are open. See open_tcp_listeners() and serve_listeners().
    """
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog)
    await serve_listeners(handler, listeners, handler_nursery=handler_nursery, task_status=task_status)


async def serve_listeners(
    handler: Callable[[Any], Awaitable[object]],
    listeners: Sequence[Listener[Any]],
    *,
    handler_nursery: Nursery | None = None,
    task_status: TaskStatus[Any] = TASK_STATUS_IGNORED,
) -> None:
    """Run `handler(stream)` in a task for each connection of the listeners. Never returns; closes them at the end.

    handler_nursery: where the handlers run; by default in one of its own, so that they are cancelled with it. The
        stream is closed when its handler ends; what that raises cancels the nursery.
    A listener that runs out of descriptors or memory logs it, waits a little and goes on.
    """
    async with open_nursery() as nursery:
        if handler_nursery is None:
            handler_nursery = nursery
        for listener in listeners:
            nursery.start_soon(_serve_one, listener, handler_nursery, handler)
        task_status.started(listeners)


async def _serve_one(
    listener: Listener[Any], handler_nursery: Nursery, handler: Callable[[Any], Awaitable[object]]
) -> None:
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                _LOGGER.error(
                    "accept failed: %s (%s); trying again in %s milliseconds",
                    os.strerror(error.errno),
                    errno.errorcode[error.errno],
                    int(ACCEPT_RETRY_SECONDS * 1000),
                    exc_info=True,
                )
                await sleep(ACCEPT_RETRY_SECONDS)
            else:
                handler_nursery.start_soon(_handle, stream, handler)


async def _handle(stream: Any, handler: Callable[[Any], Awaitable[object]]) -> None:
    try:
        await handler(stream)
    finally:
        await stream.aclose()
