"""Streams over Unix sockets."""

from __future__ import annotations

import os
import socket as stdlib_socket

from proactor_trio.sockets.opening import socket
from proactor_trio.streams.socket_stream import SocketStream


async def open_unix_socket(filename: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> SocketStream:
    """Connect to a Unix socket and return the stream.

    filename: of the socket; a first byte of 0 means a name in the abstract namespace of Linux (unix(7)).

    Raises OSError as connect(2), RuntimeError where there are no such sockets. Cancelled: the attempt is ended and its
    socket closed.
    """
    if not hasattr(stdlib_socket, "AF_UNIX"):
        raise RuntimeError("this system has no Unix sockets")
    connecting = socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        await connecting.connect(os.fspath(filename))
        return SocketStream(connecting)
    except BaseException:
        connecting.close()
        raise
