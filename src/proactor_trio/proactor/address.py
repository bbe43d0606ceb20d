"""Socket addresses in the form that the kernel reads and writes (struct sockaddr_in, sockaddr_in6, sockaddr_un).

Only numeric addresses: names are resolved above, in a thread. The other side is the stdlib's form: (host, port) for
IPv4, (host, port, flow, scope) for IPv6, a path or a bytes object that begins with NUL (an abstract name) for Unix, and
None for a sender that has no address. Text such as "[::1]:80" is the matter of address_text.py.

Source: ip(7), ipv6(7), unix(7).
"""

from __future__ import annotations

import os
import socket
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from proactor_trio.proactor.errors import NotFound

_IN: Final = Struct("=H2s4s8x")
_IN6: Final = Struct("=H2sI16sI")
_FAMILY: Final = Struct("=H")
#: sun_path has 108 bytes: a path and its NUL, or an abstract name with the NUL before it.
_UNIX_BYTES: Final = 108
_LARGEST_PORT: Final = 0xFFFF
_LARGEST_SCOPE: Final = 0xFFFFFFFF
#: The longest name of a network interface, in bytes (IF_NAMESIZE less its NUL).
_LONGEST_INTERFACE_NAME: Final = 15
#: Whose addresses can be said here.
ADDRESS_FAMILIES: Final = frozenset((socket.AF_INET, socket.AF_INET6, socket.AF_UNIX))
#: No socket address is longer (struct sockaddr_storage).
LONGEST_SOCKADDR_BYTES: Final = 128


def encode_address(family: int, address: Any) -> bytes:
    """The bytes of `address`, which has the form that the stdlib's sockets take for `family`.

    Raises ValueError for a host that is not numeric, a port out of range, or a path that is empty or too long;
    NotFound for the zone of an interface that does not exist; TypeError for another form.
    """
    if family == socket.AF_INET:
        host, port = _host_and_port(address, (2,))
        return _IN.pack(family, port, _packed_host(family, host))
    if family == socket.AF_INET6:
        return _encode_ipv6(address)
    if family == socket.AF_UNIX:
        return _FAMILY.pack(family) + _unix_name(address)
    raise ValueError(f"address: family {family} is not supported")


def decode_address(sockaddr: bytes) -> Any:
    """The stdlib's form of what the kernel wrote; None for no bytes at all (a sender without an address).

    Raises ValueError for bytes that are no address of a family that is supported here.
    """
    if not sockaddr:
        return None
    try:
        (family,) = _FAMILY.unpack_from(sockaddr)
        if family == socket.AF_INET:
            _, port, packed = _IN.unpack_from(sockaddr)
            return socket.inet_ntop(family, packed), int.from_bytes(port, "big")
        if family == socket.AF_INET6:
            _, port, flow, packed, scope = _IN6.unpack_from(sockaddr)
            return socket.inet_ntop(family, packed), int.from_bytes(port, "big"), socket.ntohl(flow), scope
    except struct_error:
        raise ValueError(f"sockaddr: {len(sockaddr)} bytes are too few") from None
    if family == socket.AF_UNIX:
        return _decode_unix(sockaddr[_FAMILY.size :])
    raise ValueError(f"sockaddr: family {family} is not supported")


def check_port(port: Any) -> None:
    """Raise TypeError or ValueError unless it is a port number."""
    if not isinstance(port, int):
        raise TypeError(f"port must be an integer, not {type(port).__name__}")
    if not 0 <= port <= _LARGEST_PORT:
        raise ValueError(f"port must be from 0 to {_LARGEST_PORT}, not {port}")


def split_zone(host: str) -> tuple[str, int]:
    """The address before the "%" of an IPv6 host, and the number of the zone behind it; 0 without one.

    The zone is a number or the name of an interface (RFC 4007). Raises ValueError for one that is empty or too long,
    NotFound for an interface that does not exist.
    """
    address, separator, zone = host.partition("%")
    if not separator:
        return address, 0
    if zone.isascii() and zone.isdigit():
        scope = int(zone)
        if scope > _LARGEST_SCOPE:
            raise ValueError(f"host: zone {zone} is out of range")
        return address, scope
    if not zone or "\0" in zone or len(os.fsencode(zone)) > _LONGEST_INTERFACE_NAME:
        raise ValueError(f"host: {zone!r} cannot be the name of a network interface")
    try:
        return address, socket.if_nametoindex(zone)
    except OSError:
        raise NotFound(f"host: there is no network interface {zone!r}") from None


def _encode_ipv6(address: Any) -> bytes:
    host, port = _host_and_port(address, (2, 3, 4))
    flow, scope = (*address[2:], 0, 0)[:2]
    if isinstance(host, str) and "%" in host:
        host, zone = split_zone(host)
        scope = scope or zone
    for number in (flow, scope):
        if not isinstance(number, int) or not 0 <= number <= _LARGEST_SCOPE:
            raise ValueError(f"address: flow and scope must be 32-bit integers, not {number!r}")
    return _IN6.pack(socket.AF_INET6, port, socket.htonl(flow), _packed_host(socket.AF_INET6, host), scope)


def _host_and_port(address: Any, lengths: tuple[int, ...]) -> tuple[str, bytes]:
    if not isinstance(address, tuple) or len(address) not in lengths:
        raise TypeError(f"address must be a tuple of host and port, not {address!r}")
    host, port = address[:2]
    if not isinstance(port, int) or not 0 <= port <= _LARGEST_PORT:
        raise ValueError(f"address: port must be an integer from 0 to 65535, not {port!r}")
    return host, port.to_bytes(2, "big")


def _packed_host(family: int, host: str) -> bytes:
    try:
        return socket.inet_pton(family, host)
    except TypeError:
        raise TypeError(f"address: host must be a string, not {type(host).__name__}") from None
    except (OSError, ValueError):
        raise ValueError(f"address: {host!r} is not a numeric address; names are resolved before") from None


def _unix_name(address: Any) -> bytes:
    """What stands in sun_path."""
    try:
        path = os.fsencode(address)
    except TypeError:
        raise TypeError(f"address must be a Unix path, not {address!r}") from None
    if not path:
        raise ValueError("address: a Unix path must not be empty")
    if not path.startswith(b"\0"):
        if b"\0" in path:
            raise ValueError("address: a Unix path must not contain NUL")
        path += b"\0"
    if len(path) > _UNIX_BYTES:
        raise ValueError(f"address: a Unix path has at most {_UNIX_BYTES - 1} bytes, not {len(path) - 1}")
    return path


def _decode_unix(path: bytes) -> str | bytes:
    if path.startswith(b"\0"):
        return path
    return os.fsdecode(path.partition(b"\0")[0])
