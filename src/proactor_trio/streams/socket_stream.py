"""SocketStream: a connected socket as a byte stream.

The walk of a receive: `receive_some()` → `perform` without a generator in between → the backend, and back through the
completion hook. After the first messages the kernel goes on receiving by itself (sockets/received.py), and the walk
begins with what has come already.

A send first asks the kernel to take what it can at once, which for a socket is nearly always everything; only what is
left becomes an operation, on the memory of the caller, who waits. A large send of bytes that cannot change, on a socket
that was given SO_ZEROCOPY, is an operation from the start: the network card may read the memory then, and the task goes
on while it does. Both ways are checkpoints. A send that is cancelled half-way leaves the stream in an unknown state, as
with any byte stream.

A socket that is none of ours (made by a socket factory, for tests) is used by its own methods (virtual.py).
"""

from __future__ import annotations

import os
import socket as stdlib_socket
from typing import Any, Final, NoReturn

from proactor_trio._kernel.context import CONTEXT, current_run
from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.perform import exception_for, perform_uncancellable
from proactor_trio._kernel.readiness import notify_closing
from proactor_trio._kernel.traps import PARK, PASS, YIELD, checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import HalfCloseableStream
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.arguments import readable_view
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.file import File
from proactor_trio.proactor.lending import Lender, Loan, UseLoan
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.net import LARGEST_RECEIVE_BYTES, Recv, RecvBytes, Send, SocketClose
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.operations.splice import SendFile
from proactor_trio.proactor.socket import Socket
from proactor_trio.sockets.loans import ReceiveLoan
from proactor_trio.sockets.native_socket import NativeSocket
from proactor_trio.sockets.received import StreamReceive
from proactor_trio.sockets.socket_type import SocketType

DEFAULT_RECEIVE_BYTES: Final = 64 * 1024

#: With more than this unsent in the kernel a socket does not count as writable.
UNSENT_BYTES: Final = 16 * 1024

#: From here on not copying is worth the second completion that says that the memory is free.
ZERO_COPY_BYTES: Final = 16 * 1024


def _broken(error: OSError, what: str) -> BrokenResourceError:
    return BrokenResourceError(f"{what}: {error}")


def _stream_error(error: BaseException, what: str) -> BaseException:
    """What a stream raises for what became of its operation: the system's errors as the cause of its own."""
    if not isinstance(error, OSError):
        return error
    broken = _broken(error, what)
    broken.__cause__ = error
    return broken


class SocketStream(HalfCloseableStream, Lender):
    """A connected stream socket. One task may send and one may receive at a time.

    socket: a connected socket of proactor_trio.socket, or one of the proactor; the stream owns it from now on, and
        whoever goes on using the latter goes past the stream. TCP sockets get TCP_NODELAY, and
        TCP_NOTSENT_LOWAT where the system has it, so that "might not block" means that there is room.
    """

    __slots__ = ("__weakref__", "_is_shared", "_received", "_sending", "_sent_eof", "_socket", "_socket_object")

    def __new__(cls, socket: SocketType | Socket) -> SocketStream:
        if isinstance(socket, SocketType) and not isinstance(socket, NativeSocket):
            from proactor_trio.streams.virtual import VirtualSocketStream  # which derives from this class

            return object.__new__(VirtualSocketStream)
        return object.__new__(cls)

    def __init__(self, socket: SocketType | Socket) -> None:
        if isinstance(socket, NativeSocket):
            owned, received = socket.for_stream()
        elif isinstance(socket, Socket):
            owned, received = socket, StreamReceive(socket)
            received.share()  # whoever made it may still use it, past us
        else:
            raise TypeError(f"socket must be a proactor_trio.socket.SocketType, not {type(socket).__name__}")
        if owned.type != stdlib_socket.SOCK_STREAM:
            raise ValueError("socket must be a stream socket (SOCK_STREAM)")
        owned.getpeername()  # raises OSError if it is not connected
        set_stream_options(owned)
        owned.keeps_failure = False  # a stream reports what the kernel says each time
        self._own(owned, received, socket if isinstance(socket, NativeSocket) else None)
        self._is_shared = isinstance(socket, Socket)

    @classmethod
    def from_accepted(cls, socket: Socket) -> SocketStream:
        """For a connected socket that has its options already, and that nobody else knows."""
        stream = object.__new__(cls)
        stream._own(socket, StreamReceive(socket), None)
        return stream

    def _own(self, socket: Socket, received: StreamReceive, socket_object: NativeSocket | None) -> None:
        self._socket = socket
        self._socket_object = socket_object
        self._is_shared = False
        self._received = received
        self._sending = False
        self._sent_eof = False

    @property
    def socket(self) -> SocketType:
        """The socket. What the stream has received and nobody has taken, its receives give first."""
        if self._socket_object is None:
            self._socket_object = NativeSocket(self._socket, self._received, did_shutdown_write=self._sent_eof)
            self._socket_object.is_shared = self._is_shared
        return self._socket_object

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them (None: a good size); b"" at the end of the stream.

        Raises BusyResourceError if another task receives, ClosedResourceError if it was or is being closed,
        BrokenResourceError if the connection failed. Cancelled: no byte was lost.
        """
        received = self._received
        if received.is_busy:
            raise BusyResourceError("another task is already receiving from this stream")
        if max_bytes is None:
            max_bytes = DEFAULT_RECEIVE_BYTES
        elif not isinstance(max_bytes, int) or max_bytes < 1:
            refuse_max_bytes(max_bytes)
        elif max_bytes > LARGEST_RECEIVE_BYTES:
            max_bytes = LARGEST_RECEIVE_BYTES
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if task.cancel_pending:
            await checkpoint_if_cancelled()
        if self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        received.is_busy = True
        try:
            if received.head or received.end is not None:
                await YIELD
                if self._socket.closed:
                    raise ClosedResourceError("another task closed this stream")
            while True:
                if received.head:
                    return received.take(max_bytes)
                end = received.end
                if end is not None:
                    received.end = None
                    if end == b"":
                        return b""
                    raise _stream_error(exception_for(task, end), "receiving failed")  # type: ignore[arg-type]
                if task.cancel_pending:
                    raise task.pending_exception()
                # perform(), without a generator in between.
                if not received.identifier:
                    received.arm(run.proactor, max_bytes)
                received.task = task
                task.waiting = received.withdraw if received.flags else received
                await PARK
        finally:
            received.is_busy = False
            del task, run, received

    @enable_ki_protection
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Returns when the kernel has taken it.

        Raises BusyResourceError if another task sends, ClosedResourceError if it was or is being closed or
        `send_eof()` was called, BrokenResourceError if the connection failed. If it is cancelled half-way, an unknown
        part of the data was sent.
        """
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if self._sent_eof or self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed, or its sending side was")
        if task.cancel_pending:
            await checkpoint_if_cancelled()
        self._sending = True
        try:
            if self._socket.zero_copy and memoryview(data).nbytes >= ZERO_COPY_BYTES:
                sent = 0
            else:
                try:
                    sent = os.write(self._socket.descriptor, data)
                except BlockingIOError:
                    sent = 0
            if sent != (len(data) if type(data) is bytes else memoryview(data).nbytes):
                await self._send_rest(data, sent)
            else:
                await PASS
        except OSError as error:
            if self._socket_object is not None and self._socket_object.did_shutdown_SHUT_WR:
                raise ClosedResourceError("the sending side of this stream was closed") from None
            raise _broken(error, "sending failed") from error
        finally:
            self._sending = False

    async def _send_rest(self, data: Any, sent: int) -> None:
        view = readable_view(data, "data")
        while sent < view.nbytes:
            sent += await Send(self._socket, view[sent:], whole=True)

    @enable_ki_protection
    async def send_part_of_file(self, file: File, offset: int, count: int) -> int:
        """For sendfile(): send bytes of a file inside the kernel; fewer than `count` if it ends there."""
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        if self._sent_eof or self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed, or its sending side was")
        self._sending = True
        try:
            sent: int = await SendFile(self._socket, file, offset, count)
            return sent
        except (BrokenPipeError, ConnectionError) as error:
            raise _broken(error, "sending failed") from error
        finally:
            self._sending = False

    @enable_ki_protection
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel has room for more data to send."""
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        if self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        self._sending = True
        try:
            await HandlePoll(self._socket, PollEvents.OUT)
        finally:
            self._sending = False

    @enable_ki_protection
    async def send_eof(self) -> None:
        """Tell the peer that no more data will come; receiving goes on."""
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        self._sending = True
        try:
            await checkpoint()
        finally:
            self._sending = False
        if self._socket.closed:
            raise ClosedResourceError("this stream was closed")
        if self._sent_eof:
            return
        self._sent_eof = True
        try:
            self.socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError as error:
            raise _broken(error, "ending the sending side failed") from error

    @enable_ki_protection
    async def aclose(self) -> None:
        """Close the socket. Tasks that use it get ClosedResourceError. Closed also when cancelled."""
        if self._is_shared or self._sending or self._socket.closed or not self._is_quiet():
            if self._socket_object is not None and self._socket_object.is_shared and not self._socket.closed:
                notify_closing(self._socket)
            await close_socket(self._socket)
            return
        # Nobody but this stream has ever used the socket, and nothing is pending: there is nothing to be cancelled.
        current_run().proactor.loop_access.close_unused(self._socket)
        await checkpoint()

    def _is_quiet(self) -> bool:
        if self._received.is_armed or self._received.is_busy:
            return False
        return self._socket_object is None or self._socket_object.is_unused()

    def lent_resource(self) -> Socket:
        """For graphs: the proactor's Socket."""
        return self._socket

    def lend(self, operation: Operation) -> Loan:
        """For graphs: one direction, for a Recv, RecvBytes or Send; see Lender."""
        if self._socket.closed:
            raise ClosedResourceError("this stream was closed")
        if isinstance(operation, Recv | RecvBytes):
            return ReceiveLoan(self._received)
        if not isinstance(operation, Send):
            name = type(operation).__name__
            raise TypeError(f"a SocketStream lends itself to Recv, RecvBytes and Send, not to {name}")
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        if self._sent_eof:
            raise ClosedResourceError("the sending side of this stream was closed")
        self._sending = True
        return _SendLoan(self._sending_is_over)

    def _sending_is_over(self) -> None:
        self._sending = False

    def setsockopt(self, level: int, option: int, value: int | bytes | None, length: int | None = None) -> None:
        """Set an option of the socket, as socket.socket.setsockopt."""
        self.socket.setsockopt(level, option, value, length)

    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """An option of the socket, as socket.socket.getsockopt."""
        result: int | bytes = (
            self._socket.getsockopt(level, option, buffersize) if buffersize else self._socket.getsockopt(level, option)
        )
        return result

    def __del__(self) -> None:
        # A receive that is armed would keep the socket open for ever.
        received = getattr(self, "_received", None)
        if received is not None and received.identifier:
            received.disarm()

    def __repr__(self) -> str:
        return f"<SocketStream on {self._socket!r}>"


class _SendLoan(UseLoan):
    """The sending side of a stream."""

    __slots__ = ()
    can_be_shared = True


def set_stream_options(socket: Socket | SocketType) -> None:
    """Small sends go out at once, and few bytes wait unsent in the kernel; no effect on sockets that are not TCP."""
    if socket.family != stdlib_socket.AF_UNIX:
        socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        if hasattr(stdlib_socket, "TCP_NOTSENT_LOWAT"):
            socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def refuse_max_bytes(max_bytes: object) -> NoReturn:
    """Raise for what is no number of bytes."""
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer, not {type(max_bytes).__name__}")
    raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")


async def close_socket(socket: Socket) -> None:
    """Close a socket and end what is pending on it, whatever happens to the calling task; a checkpoint.

    It is closed when this returns or raises. Errors of close(2) say nothing about a socket and are passed over.
    """
    if socket.closed:
        await checkpoint()
        return
    try:
        await perform_uncancellable(SocketClose(socket))
    except OSError:
        return
