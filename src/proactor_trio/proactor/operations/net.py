"""Operations on sockets: Accept, Connect, Recv, RecvBytes, Send, SocketClose.

Each keeps its socket and its memory alive until its final completion. A closed socket is refused at submission with
ClosedResourceError; one that is closed later ends the operation as cancelled, cause RESOURCE_CLOSED.
"""

from __future__ import annotations

import sys
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.address import encode_address
from proactor_trio.proactor.arguments import check_integer, readable_view, writable_view
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation
from proactor_trio.proactor.socket import Socket

#: A RecvBytes returns at most so many bytes, whatever more it was allowed to.
LARGEST_RECEIVE_BYTES: Final = 1024 * 1024


class SocketOperation(Operation):
    """Base: an operation on a Socket."""

    __slots__ = ("socket",)

    socket: Socket

    def __init__(
        self,
        socket: Socket,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a proactor_trio.proactor.Socket, not {type(socket).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.socket = socket

    def _prepare(self) -> None:
        socket = self.socket
        if socket.closed:
            raise ClosedResourceError(f"{type(self).__name__}: socket was closed")
        self.descriptor = socket.descriptor

    def resource(self) -> Socket:
        return self.socket

    def _resource_is_closed(self) -> bool:
        return self.socket.closed


class Accept(SocketOperation):
    """Takes a connection from a listening socket. Result: the new Socket.

    With MULTISHOT it goes on until it fails or is cancelled; each connection is delivered with MORE. A connection that
    arrived before a cancellation took effect is delivered, not lost.
    """

    __slots__ = ()
    kind = Kind.ACCEPT
    can_be_multishot = True

    def _finish(self, result: int) -> Socket:
        if self.data is None:
            self.data = self.socket.unopened_connection()
        connection: Socket = self.data
        connection.descriptor = result
        connection.closed = False
        return connection


class Connect(SocketOperation):
    """Connects a socket. Result: None.

    address: in the stdlib's form for the socket's family, numeric. A cancelled attempt leaves the socket unusable for
    another one; close it.
    """

    __slots__ = ()
    kind = Kind.CONNECT

    def __init__(
        self,
        socket: Socket,
        address: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.address = address

    def _prepare(self) -> None:
        super()._prepare()
        self.address_bytes = encode_address(self.socket.family, self.address)

    def _finish(self, result: int) -> None:
        return None


class Recv(SocketOperation):
    """Receives into the caller's buffer. Result: the number of bytes, 0 at the end of the stream.

    buffer: writable memory; it is not to be touched until the final completion.
    whole: go on until the buffer is full; fewer bytes then mean the end, an error or a cancellation after them.
    In a chain it is always whole, and a short result ends the chain.
    """

    __slots__ = ("buffer",)
    kind = Kind.RECV

    def __init__(
        self,
        socket: Socket,
        buffer: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        whole: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.buffer = buffer
        self.whole = whole or bool(flags & OperationFlags.LINKED)

    def _prepare(self) -> None:
        super()._prepare()
        self.view = writable_view(self.buffer, "buffer")

    def _is_short(self, result: int) -> bool:
        return bool(result < self.view.nbytes)


class RecvBytes(SocketOperation):
    """Receives what is there into memory of the proactor. Result: bytes, b"" at the end of the stream.

    max_bytes: the most to return. Where the kernel can, no memory is held while nothing arrives.
    It cannot have a successor in a chain: its result has no length that would be short.
    """

    __slots__ = ()
    kind = Kind.RECV_BYTES
    can_be_linked = False

    def __init__(
        self,
        socket: Socket,
        max_bytes: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.length = max_bytes

    def _prepare(self) -> None:
        socket = self.socket
        if socket.closed:
            raise ClosedResourceError("RecvBytes: socket was closed")
        self.descriptor = socket.descriptor
        check_integer(self.length, "max_bytes", 1, sys.maxsize)
        self.length = min(self.length, LARGEST_RECEIVE_BYTES)

    def _finish(self, result: int) -> bytes:
        received: bytes = self.data
        return received


class Send(SocketOperation):
    """Sends from the caller's memory. Result: the number of bytes that the kernel took, at least 1 unless empty.

    data: a bytes-like object; it is not to be changed until the final completion.
    whole: go on until all of it is sent; fewer bytes then mean an error or a cancellation after them. In a chain it is
    always whole, and a short result ends the chain.
    """

    __slots__ = ("payload",)
    kind = Kind.SEND

    def __init__(
        self,
        socket: Socket,
        data: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        whole: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.payload = data
        self.whole = whole or bool(flags & OperationFlags.LINKED)

    def _prepare(self) -> None:
        super()._prepare()
        self.view = readable_view(self.payload, "data")

    def _is_short(self, result: int) -> bool:
        return bool(result < self.view.nbytes)


class SocketClose(SocketOperation):
    """Ends all that is pending on a socket, then closes it. Result: None.

    The socket counts as closed when this begins: at submission, or in a chain when the step before it succeeded. What
    was pending completes as cancelled, cause RESOURCE_CLOSED, or with the result that came first. A close that has
    begun cannot be cancelled. A chain in the kernel that is going to use the socket in a later step is cancelled.
    """

    __slots__ = ()
    kind = Kind.SOCKET_CLOSE
    is_close = True

    def _finish(self, result: int) -> None:
        return None
