"""Connecting to a listener of one's own."""

from __future__ import annotations

import socket as stdlib_socket
from typing import Any, Final

from proactor_trio.sockets.opening import socket
from proactor_trio.streams.socket_listener import SocketListener
from proactor_trio.streams.socket_stream import SocketStream

#: Addresses that mean "all of this machine's" where one listens, and where one can be reached then.
_REACHABLE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


async def open_stream_to_socket_listener(socket_listener: SocketListener) -> SocketStream:
    """Connect to a listener, whatever kind of address it has; one that listens everywhere is reached by loopback.

    Raises OSError. Cancelled: there is no connection, or it was closed.
    """
    listening = socket_listener.socket
    address: Any = listening.getsockname()
    if listening.family in (stdlib_socket.AF_INET, stdlib_socket.AF_INET6):
        address = (_REACHABLE.get(address[0], address[0]), *address[1:])
    connecting = socket(listening.family, stdlib_socket.SOCK_STREAM)
    try:
        await connecting.connect(address)
        return SocketStream(connecting)
    except BaseException:
        connecting.close()
        raise
