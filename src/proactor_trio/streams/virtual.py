"""Streams and listeners over sockets that are none of ours: those of a socket factory, which simulate a network.

They know nothing but the methods of SocketType, so that is what they are used by. SocketStream() and SocketListener()
make one of these when they are given such a socket.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
from collections.abc import Iterator
from contextlib import contextmanager

from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.socket import Socket
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.socket_listener import IGNORABLE_ACCEPT_ERRORS, SocketListener, check_listening
from proactor_trio.streams.socket_stream import (
    DEFAULT_RECEIVE_BYTES,
    SocketStream,
    refuse_max_bytes,
    set_stream_options,
)


@contextmanager
def _as_stream_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EBADF:
            raise ClosedResourceError("this stream was closed") from None
        raise BrokenResourceError(f"{what}: {error}") from error


class VirtualSocketStream(SocketStream):
    """A SocketStream that uses nothing of its socket but the methods of SocketType."""

    __slots__ = ("_receiving", "_virtual")

    def __init__(self, socket: SocketType | Socket) -> None:
        assert isinstance(socket, SocketType)
        if socket.type != stdlib_socket.SOCK_STREAM:
            raise ValueError("socket must be a stream socket (SOCK_STREAM)")
        socket.getpeername()  # raises OSError if it is not connected
        self._virtual = socket
        self._sending = False
        self._receiving = False
        try:
            set_stream_options(socket)
        except OSError:
            return  # not every simulated network has options

    def lent_resource(self) -> Socket:
        """For graphs: there is none."""
        raise TypeError("this stream's socket was made by a socket factory: no operation can use it")

    @property
    def socket(self) -> SocketType:
        """The socket."""
        return self._virtual

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As SocketStream.receive_some()."""
        if max_bytes is None:
            max_bytes = DEFAULT_RECEIVE_BYTES
        elif not isinstance(max_bytes, int) or max_bytes < 1:
            refuse_max_bytes(max_bytes)
        if self._receiving:
            raise BusyResourceError("another task is already receiving from this stream")
        self._receiving = True
        try:
            with _as_stream_errors("receiving failed"):
                return await self._virtual.recv(max_bytes)
        finally:
            self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As SocketStream.send_all()."""
        with self._sender(), _as_stream_errors("sending failed"):
            if self._virtual.did_shutdown_SHUT_WR:
                await checkpoint()
                raise ClosedResourceError("the sending side of this stream was closed")
            with memoryview(data) as view:
                if not view.nbytes:
                    if self._virtual.fileno() == -1:
                        raise ClosedResourceError("this stream was closed")
                    await checkpoint()
                    return
                sent = 0
                for _ in range(view.nbytes):
                    sent += await self._virtual.send(view[sent:])
                    if sent == view.nbytes:
                        return

    async def wait_send_all_might_not_block(self) -> None:
        """As SocketStream.wait_send_all_might_not_block()."""
        with self._sender(), _as_stream_errors("waiting failed"):
            if self._virtual.fileno() == -1:
                raise ClosedResourceError("this stream was closed")
            await self._virtual.wait_writable()

    async def send_eof(self) -> None:
        """As SocketStream.send_eof()."""
        with self._sender():
            await checkpoint()
            if self._virtual.did_shutdown_SHUT_WR:
                return
            with _as_stream_errors("ending the sending side failed"):
                self._virtual.shutdown(stdlib_socket.SHUT_WR)

    async def aclose(self) -> None:
        """As SocketStream.aclose()."""
        self._virtual.close()
        await checkpoint()

    @contextmanager
    def _sender(self) -> Iterator[None]:
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    def __del__(self) -> None:
        return  # nothing is armed

    def __repr__(self) -> str:
        return f"<SocketStream on {self._virtual!r}>"


class VirtualSocketListener(SocketListener):
    """A SocketListener that uses nothing of its socket but the methods of SocketType."""

    __slots__ = ()

    def __init__(self, socket: SocketType | Socket) -> None:
        assert isinstance(socket, SocketType)
        check_listening(socket)
        self.socket = socket

    async def accept(self) -> SocketStream:
        """As SocketListener.accept()."""
        while True:
            try:
                connection, _address = await self.socket.accept()
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise ClosedResourceError("this listener was closed") from None
                if error.errno not in IGNORABLE_ACCEPT_ERRORS:
                    raise
            else:
                return SocketStream(connection)

    async def aclose(self) -> None:
        """As SocketListener.aclose()."""
        self.socket.close()
        await checkpoint()

    def __repr__(self) -> str:
        return f"<SocketListener on {self.socket!r}>"
