"""open_tcp_stream(): connecting by happy eyeballs.

Happy eyeballs (RFC 8305): the addresses of a name are tried in an order that changes between families, each a little
after the one before or at once when that failed, and the first connection wins.
"""

from __future__ import annotations

import math
import socket as stdlib_socket
from collections.abc import Sequence
from typing import Final

from proactor_trio._kernel.nursery import Nursery, open_nursery
from proactor_trio.proactor.address import check_port
from proactor_trio.sockets.name_resolution import AddressInformation, getaddrinfo
from proactor_trio.sockets.opening import socket
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.socket_stream import SocketStream
from proactor_trio.sync.event import Event
from proactor_trio.timeouts import move_on_after

#: Seconds between two attempts; RFC 8305 section 5 recommends 250 ms.
DEFAULT_HAPPY_EYEBALLS_DELAY: Final = 0.250


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
    check_port(port)
    delay = math.inf if happy_eyeballs_delay is None else happy_eyeballs_delay
    if not delay >= 0:
        raise ValueError(f"happy_eyeballs_delay must be a number of seconds that is not negative, not {delay}")
    addresses = await getaddrinfo(host, port, type=stdlib_socket.SOCK_STREAM)
    if local_address is not None:
        local = await getaddrinfo(local_address, 0, type=stdlib_socket.SOCK_STREAM, flags=stdlib_socket.AI_PASSIVE)
        families = {item[0] for item in local}
        addresses = [item for item in addresses if item[0] in families]
        if not addresses:
            raise OSError(f"local_address={local_address!r} is incompatible with remote address {host!r}")
    race = _ConnectRace(interleave_families(addresses), delay, local_address)
    connected = await race.winner()
    if connected is not None:
        try:
            return SocketStream(connected)
        except OSError:
            connected.close()  # the peer has gone already
            raise
    text = f"all attempts to connect to {_format_host_port(host, port)} failed"
    raise OSError(text) from ExceptionGroup(text, race.errors)


class _ConnectRace:
    """The attempts of one open_tcp_stream(); whoever connects first cancels the others."""

    def __init__(self, addresses: Sequence[AddressInformation], delay: float, local_address: str | None) -> None:
        self._addresses = addresses
        self._delay = delay
        self._local_address = local_address
        self._won: SocketType | None = None
        self.errors: list[OSError] = []

    async def winner(self) -> SocketType | None:
        try:
            async with open_nursery(strict_exception_groups=True) as nursery:
                for address in self._addresses:
                    failed = Event()
                    nursery.start_soon(self._attempt, nursery, address, failed)
                    with move_on_after(self._delay):
                        await failed.wait()
        except BaseException:
            if self._won is not None:
                self._won.close()
            raise
        return self._won

    async def _attempt(self, nursery: Nursery, address: AddressInformation, failed: Event) -> None:
        family, type_, proto, _, target = address
        try:
            connecting = socket(family, type_, proto)
        except OSError as error:
            self._note(error, target, failed)
            return
        try:
            if self._local_address is not None:
                await self._bind(connecting)
            await connecting.connect(target)
        except OSError as error:
            connecting.close()
            self._note(error, target, failed)
        except BaseException:
            connecting.close()
            raise
        else:
            if self._won is None:
                self._won = connecting
                nursery.cancel_scope.cancel()
            else:
                connecting.close()

    async def _bind(self, connecting: SocketType) -> None:
        if hasattr(stdlib_socket, "IP_BIND_ADDRESS_NO_PORT") and connecting.family == stdlib_socket.AF_INET:
            connecting.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_BIND_ADDRESS_NO_PORT, 1)
        await connecting.bind((self._local_address, 0))

    def _note(self, error: OSError, target: object, failed: Event) -> None:
        error.add_note(f"while connecting to {target}")
        self.errors.append(error)
        failed.set()


def _format_host_port(host: str | bytes, port: int) -> str:
    text = host.decode("ascii") if isinstance(host, bytes) else host
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
