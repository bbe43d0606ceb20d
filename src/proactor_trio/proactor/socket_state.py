"""The states of a socket, and which errors of a connection are for good.

The state is for looking at: nothing is refused because of it, the kernel has the last word. It follows what went
through this Socket; what somebody does to the descriptor elsewhere is not seen.
"""

from __future__ import annotations

import errno
import socket
from enum import Enum
from typing import Final


class SocketState(Enum):
    """Where a socket is in its life; see `SOCKET_TRANSITIONS`."""

    CREATED = "created"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LISTENING = "listening"
    CLOSING = "closing"
    CLOSED = "closed"


#: What is not in a row changes nothing: a datagram socket that connects anew stays connected.
SOCKET_TRANSITIONS: Final[dict[SocketState, dict[str, SocketState]]] = {
    SocketState.CREATED: {
        "listen": SocketState.LISTENING,
        "connect": SocketState.CONNECTING,
        "connected": SocketState.CONNECTED,  # a second Connect was refused while the first went on
        "close begins": SocketState.CLOSING,
        "closed": SocketState.CLOSED,
    },
    SocketState.CONNECTING: {
        "connected": SocketState.CONNECTED,
        "not connected": SocketState.CREATED,
        "close begins": SocketState.CLOSING,
        "closed": SocketState.CLOSED,
    },
    SocketState.CONNECTED: {"close begins": SocketState.CLOSING, "closed": SocketState.CLOSED},
    SocketState.LISTENING: {"close begins": SocketState.CLOSING, "closed": SocketState.CLOSED},
    SocketState.CLOSING: {"closed": SocketState.CLOSED},
    SocketState.CLOSED: {},
}

#: Reset, broken pipe, timed out, refused: the connection is gone and does not come back.
LASTING_ERRORS: Final = frozenset((errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.ECONNREFUSED))

CONNECTION_TYPES: Final = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


def state_of(imported: socket.socket) -> SocketState:
    """The state of a socket that comes from elsewhere, as far as the system tells."""
    try:
        if imported.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return SocketState.LISTENING
    except OSError:
        pass  # not every system answers this for every kind of socket
    try:
        imported.getpeername()
    except OSError:
        return SocketState.CREATED
    return SocketState.CONNECTED
