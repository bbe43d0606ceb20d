"""Socket addresses in the form that the kernel reads (struct sockaddr_in, sockaddr_in6, sockaddr_un).

Only numeric addresses: names are resolved above, in a thread. Source: ip(7), ipv6(7), unix(7).
"""

from __future__ import annotations

import os
import socket
from struct import Struct
from typing import Any, Final

_IN: Final = Struct("=H2s4s8x")
_IN6: Final = Struct("=H2sI16sI")
_FAMILY: Final = Struct("=H")
_LONGEST_UNIX_PATH: Final = 107
_LARGEST_PORT: Final = 0xFFFF


def encode_address(family: int, address: Any) -> bytes:
    """The bytes of `address`, which has the form that the stdlib's sockets take for `family`.

    Raises ValueError for a host that is not numeric, a port out of range or a path that is too long; TypeError for
    another form.
    """
    if family == socket.AF_INET:
        host, port = _host_and_port(address, (2,))
        return _IN.pack(family, port, _numeric(family, host))
    if family == socket.AF_INET6:
        host, port = _host_and_port(address, (2, 3, 4))
        flow, scope = (*address[2:], 0, 0)[:2]
        return _IN6.pack(family, port, socket.htonl(flow), _numeric(family, host), scope)
    if family == socket.AF_UNIX:
        return _encode_unix(family, address)
    raise ValueError(f"address: family {family} is not supported")


def _host_and_port(address: Any, lengths: tuple[int, ...]) -> tuple[str, bytes]:
    if not isinstance(address, tuple) or len(address) not in lengths:
        raise TypeError(f"address must be a tuple of host and port, not {address!r}")
    host, port = address[:2]
    if not isinstance(port, int) or not 0 <= port <= _LARGEST_PORT:
        raise ValueError(f"address: port must be an integer from 0 to 65535, not {port!r}")
    return host, port.to_bytes(2, "big")


def _numeric(family: int, host: str) -> bytes:
    try:
        return socket.inet_pton(family, host)
    except OSError:
        raise ValueError(f"address: {host!r} is not a numeric address; names are resolved before") from None


def _encode_unix(family: int, address: Any) -> bytes:
    path = os.fsencode(address)
    if len(path) > _LONGEST_UNIX_PATH:
        raise ValueError(f"address: a Unix path has at most {_LONGEST_UNIX_PATH} bytes, not {len(path)}")
    abstract = path.startswith(b"\0")
    return _FAMILY.pack(family) + path + (b"" if abstract else b"\0")
