"""Address: a numeric socket address as a value, and its text.

    "127.0.0.1:80"   ":80" (any)   "[::1]:80"   "[fe80::1%2]:80"   "unix:/run/socket"   "unix:@name" (abstract)

Parsing is strict: four decimal numbers without leading zeros, no blanks, no names. `str()` gives the canonical text
(RFC 5952), and parsing that gives an equal Address again, whatever it was made from. A zone may be given by the name of
its interface; the text has its number, which does not depend on who reads it. Equal addresses are equal values, so an
Address can be a key.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Final

from proactor_trio.proactor.address import check_port, decode_address, encode_address, split_zone
from proactor_trio.proactor.errors import Unimplemented

_UNIX_PREFIX: Final = "unix:"
_ABSTRACT_PREFIX: Final = "@"
_LONGEST_PORT: Final = 5
_GROUPS: Final = 8
_MAPPED_IPV4_PREFIX: Final = b"\0" * 10 + b"\xff\xff"


class Address:
    """An address of IPv4, IPv6 or Unix sockets. Immutable, hashable; any thread.

    family: the stdlib's number of the address family.
    stdlib: the address in the form that the stdlib's sockets take and give. The flow of an IPv6 address is 0: it says
        something about packets, not about where they go.

    Accepted wherever an address is (Connect, SendTo, Socket.bind).
    """

    __slots__ = ("family", "stdlib")

    family: int
    stdlib: Any

    def __init__(self, family: int, stdlib: Any) -> None:
        """From the form that the stdlib uses. Raises as `encode_address()` for what is none of `family`."""
        object.__setattr__(self, "family", int(family))
        normal = decode_address(encode_address(family, stdlib))
        if family == socket.AF_INET6:
            host, port, _flow, scope = normal
            normal = (host, port, 0, scope)
        object.__setattr__(self, "stdlib", normal)

    @classmethod
    def from_ipv4(cls, host: str, port: int) -> Address:
        """host: four decimal numbers, or "" for any. port: 0 to 65535, 0 for one that the system chooses.

        Raises ValueError or TypeError naming the argument.
        """
        check_port(port)
        return cls(socket.AF_INET, (_numeric_host(socket.AF_INET, host) if host != "" else "0.0.0.0", port))

    @classmethod
    def from_ipv6(cls, host: str, port: int) -> Address:
        """host: in one of the forms of RFC 4291, with a zone ("fe80::1%eth0", "fe80::1%2") if it needs one; "": any.

        Raises ValueError or TypeError naming the argument, NotFound for an interface that does not exist.
        """
        check_port(port)
        _check_text(host, "host")
        numeric, scope = split_zone(host)
        return cls(socket.AF_INET6, (_numeric_host(socket.AF_INET6, numeric) if host else "::", port, 0, scope))

    @classmethod
    def from_unix(cls, path: str) -> Address:
        """path: of the file system, or `@name` for a name in the abstract namespace, which only Linux has.

        Raises ValueError for one that is empty or too long, Unimplemented for an abstract name elsewhere.
        """
        _check_text(path, "path")
        if not path.startswith(_ABSTRACT_PREFIX):
            if path.startswith("\0"):
                raise ValueError("path must not begin with NUL; an abstract name is written @name")
            return cls(socket.AF_UNIX, path)
        if sys.platform != "linux":
            raise Unimplemented("path: abstract names of Unix sockets exist on Linux only")
        return cls(socket.AF_UNIX, b"\0" + os.fsencode(path[1:]))

    @classmethod
    def from_string(cls, text: str) -> Address:
        """Parse any of the forms above. A port is decimal, without leading zeros, and must be there.

        Raises ValueError for anything else, NotFound and Unimplemented as above.
        """
        _check_text(text, "text")
        if text.startswith(_UNIX_PREFIX):
            return cls.from_unix(text.removeprefix(_UNIX_PREFIX))
        host, separator, port_text = text.rpartition(":")
        if not separator:
            raise ValueError(f"text: {text!r} has no port")
        if host.startswith("["):
            if not host.endswith("]"):
                raise ValueError(f"text: the bracket of {text!r} is not closed before the port")
            return cls.from_ipv6(host[1:-1], _port_of(port_text))
        if ":" in host:
            raise ValueError(f"text: an IPv6 address stands in brackets: [host]:port, not {text!r}")
        return cls.from_ipv4(host, _port_of(port_text))

    def __str__(self) -> str:
        """The canonical text; `Address.from_string()` reads it."""
        if self.family == socket.AF_UNIX:
            return _UNIX_PREFIX + _unix_text(self.stdlib)
        host, port = self.stdlib[:2]
        if self.family == socket.AF_INET:
            return f"{host}:{port}"
        scope = self.stdlib[3]
        zone = f"%{scope}" if scope else ""
        return f"[{_ipv6_text(socket.inet_pton(socket.AF_INET6, host))}{zone}]:{port}"

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return bool(self.family == other.family and self.stdlib == other.stdlib)

    def __hash__(self) -> int:
        return hash((self.family, self.stdlib))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Address cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an Address cannot be changed")

    def __reduce__(self) -> tuple[type[Address], tuple[int, Any]]:
        return Address, (self.family, self.stdlib)


def in_stdlib_form(family: int, address: Any) -> Any:
    """An Address, a Unix path as os.PathLike, or what is in the stdlib's form already, for a socket of `family`.

    Raises ValueError for an Address of another family; checks nothing else.
    """
    if type(address) is not Address:
        return os.fspath(address) if isinstance(address, os.PathLike) else address
    if address.family != family:
        raise ValueError(f"address: {address} is not of the socket's family {family}")
    return address.stdlib


def _check_text(value: Any, argument: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a string, not {type(value).__name__}")


def _numeric_host(family: int, host: Any) -> str:
    _check_text(host, "host")
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        kind = "IPv4" if family == socket.AF_INET else "IPv6"
        raise ValueError(f"host: {host!r} is not a numeric {kind} address") from None
    return str(host)


def _port_of(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_PORT) or (len(text) > 1 and text[0] == "0"):
        raise ValueError(f"text: {text!r} is not a port: a decimal number from 0 to 65535 without leading zeros")
    port = int(text)
    check_port(port)
    return port


def _unix_text(address: str | bytes) -> str:
    if isinstance(address, bytes):
        return _ABSTRACT_PREFIX + os.fsdecode(address[1:])
    # A path that begins with the sign of an abstract name is the same file with "./" before it.
    return f"./{address}" if address.startswith(_ABSTRACT_PREFIX) else address


def _ipv6_text(packed: bytes) -> str:
    """RFC 5952: lower case, no leading zeros, "::" for the longest run of two or more zero groups, the first of equals.

    IPv4-mapped addresses end in the dotted form (section 5); no other prefix is known to contain IPv4.
    """
    if packed.startswith(_MAPPED_IPV4_PREFIX):
        return "::ffff:" + ".".join(map(str, packed[12:]))
    groups = [int.from_bytes(packed[index : index + 2], "big") for index in range(0, 2 * _GROUPS, 2)]
    start, length = _longest_zero_run(groups)
    if length < 2:
        return _hexadecimal(groups)
    return f"{_hexadecimal(groups[:start])}::{_hexadecimal(groups[start + length :])}"


def _longest_zero_run(groups: list[int]) -> tuple[int, int]:
    longest, length = 0, 0
    run = 0
    for index, group in enumerate(groups):
        run = 0 if group else run + 1
        if run > length:
            longest, length = index + 1 - run, run
    return longest, length


def _hexadecimal(groups: list[int]) -> str:
    return ":".join(f"{group:x}" for group in groups)
