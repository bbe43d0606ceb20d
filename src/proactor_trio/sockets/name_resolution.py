"""Names and addresses: getaddrinfo(), getnameinfo(), and what a socket makes of the address that it is given.

Who asks the system asks it in a thread, which is left alone when the caller is cancelled. What is numeric needs neither
thread nor system and is answered at once, also where a program has put a resolver of its own in the system's place.
Names that are not ASCII are encoded by IDNA 2008.
"""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Any, Final

import idna

from proactor_trio._kernel.run_vars import RunVar
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import HostnameResolver
from proactor_trio.to_thread import run_sync as run_in_thread

AddressInformation = tuple[Any, Any, int, str, Any]

_INET: Final = stdlib_socket.AF_INET
_INET6: Final = stdlib_socket.AF_INET6
_UNIX: Final = getattr(stdlib_socket, "AF_UNIX", None)
_NUMERIC_NAME: Final = stdlib_socket.NI_NUMERICHOST | stdlib_socket.NI_NUMERICSERV

_resolver: Final[RunVar[HostnameResolver | None]] = RunVar("hostname resolver", None)


def set_custom_hostname_resolver(hostname_resolver: HostnameResolver | None) -> HostnameResolver | None:
    """Have all names of this run resolved by an object of yours; None: by the system again.

    Returns the one before. Numeric addresses never come to it. Raises RuntimeError outside of a run.
    """
    previous = _resolver.get()
    _resolver.set(hostname_resolver)
    return previous


def encode_hostname(hostname: str) -> bytes:
    """The form in which a name is looked up: IDNA 2008 after the mappings of UTS 46, if it is not ASCII already.

    Raises UnicodeError for what cannot be a name.
    """
    return hostname.encode("ascii") if hostname.isascii() else idna.encode(hostname, uts46=True)


def _numeric(
    host: bytes | str | None, port: bytes | str | int | None, family: int, type: int, proto: int, flags: int
) -> list[AddressInformation] | None:
    """The answer where no name has to be looked up. Raises socket.gaierror for what is wrong in any case."""
    numeric_flags = flags | stdlib_socket.AI_NUMERICHOST | stdlib_socket.AI_NUMERICSERV
    try:
        return stdlib_socket.getaddrinfo(host, port, family, type, proto, numeric_flags)
    except stdlib_socket.gaierror as error:
        if error.errno != stdlib_socket.EAI_NONAME or flags & stdlib_socket.AI_NUMERICHOST:
            raise
        return None


async def getaddrinfo(
    host: bytes | str | None,
    port: bytes | str | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInformation]:
    """The addresses of a name, as socket.getaddrinfo(). Raises socket.gaierror, UnicodeError.

    Cancelled: the thread that asks the system goes on, and its answer is dropped.
    """
    answer = _numeric(host, port, family, type, proto, flags)
    if answer is not None:
        await checkpoint()
        return answer
    if isinstance(host, str):
        host = encode_hostname(host)  # also what is ASCII, so that what a resolver is given is the same in each case
    resolver = _resolver.get()
    if resolver is not None:
        return await resolver.getaddrinfo(host, port, family, type, proto, flags)
    return await run_in_thread(
        stdlib_socket.getaddrinfo, host, port, family, type, proto, flags, abandon_on_cancel=True
    )


async def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """The name of a numeric address, as socket.getnameinfo(). Raises socket.gaierror. Cancelled: as getaddrinfo()."""
    resolver = _resolver.get()
    if resolver is not None:
        return await resolver.getnameinfo(sockaddr, flags)
    if flags & _NUMERIC_NAME == _NUMERIC_NAME:
        await checkpoint()
        return stdlib_socket.getnameinfo(sockaddr, flags)
    return await run_in_thread(stdlib_socket.getnameinfo, sockaddr, flags, abandon_on_cancel=True)


async def getprotobyname(name: str) -> int:
    """The number of a protocol, as socket.getprotobyname(). Cancelled: as getaddrinfo()."""
    return await run_in_thread(stdlib_socket.getprotobyname, name, abandon_on_cancel=True)


def is_resolved(family: int, address: Any) -> bool:
    """Whether an address of a family needs no looking up: the usual case, and for a datagram the one that counts."""
    if family != _INET and family != _INET6:
        return family != _UNIX or isinstance(address, (str, bytes))
    if type(address) is not tuple or not 2 <= len(address) <= (2 if family == _INET else 4):
        return False
    host, port = address[:2]
    if type(port) is not int or type(host) is not str:
        return False
    try:
        stdlib_socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


async def resolve_for_socket(socket: Any, address: Any, *, local: bool) -> Any:
    """The numeric form of an address that a socket is given; local: for bind(). Not always a checkpoint.

    "" is any address of ours, or ourselves as a peer; "<broadcast>" everybody. Raises ValueError for a form that the
    socket's family does not have, TypeError, socket.gaierror.
    """
    family = socket.family
    if family == _UNIX:
        return os.fspath(address)
    if family != _INET and family != _INET6:
        return address
    _check_form(family, address)
    if is_resolved(family, address):
        return address
    host, port, *rest = address
    if host == "":
        host = None
    elif host == "<broadcast>":
        host = "255.255.255.255"
    flags = stdlib_socket.AI_PASSIVE if local else 0
    if family == _INET6 and not socket.getsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY):
        flags |= stdlib_socket.AI_V4MAPPED
    found = await getaddrinfo(host, port, family, socket.type, socket.proto, flags)
    resolved = found[0][4]
    return resolved if family == _INET else (*resolved[:2], *rest, *resolved[2 + len(rest) :])


def _check_form(family: int, address: Any) -> None:
    if family == _INET:
        if not isinstance(address, tuple) or len(address) != 2:
            raise ValueError(f"address must be a tuple (host, port), not {address!r}")
    elif not isinstance(address, tuple) or not 2 <= len(address) <= 4:
        raise ValueError(f"address must be a tuple (host, port, [flow, [scope]]), not {address!r}")
