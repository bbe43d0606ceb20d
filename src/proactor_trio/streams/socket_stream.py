"""SocketStream and SocketListener: a connected and a listening socket.

The walk of a receive: `receive_some()` → `perform()` → `Proactor.submit_one()` → the backend, and back through the
completion hook. The stream keeps one receive operation and submits it again for each call, so that a receive
allocates nothing but its result.

A send first asks the kernel to take what it can at once, which for a socket is nearly always everything; only what is
left becomes an operation. Both ways are checkpoints, and a send that was cancelled has sent nothing if it was cancelled
before; one that is cancelled half-way leaves the stream in an unknown state, as with any byte stream.
"""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
from typing import Any, Final

from proactor_trio._kernel.context import CONTEXT, current_run
from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.perform import exception_for, perform_uncancellable
from proactor_trio._kernel.traps import PARK, checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import HalfCloseableStream, Listener
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.arguments import readable_view
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.operation import OperationState
from proactor_trio.proactor.operations.net import LARGEST_RECEIVE_BYTES, Accept, RecvBytes, Send, SocketClose
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.socket import Socket

DEFAULT_RECEIVE_BYTES: Final = 64 * 1024

#: With more than this unsent in the kernel a socket does not count as writable.
UNSENT_BYTES: Final = 16 * 1024

# What accept(2) may report about one connection, or about the moment, without the listener being broken.
_IGNORABLE_ACCEPT_ERRORS: Final = frozenset(
    getattr(errno, name)
    for name in (
        "EPERM", "ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "EOPNOTSUPP", "ENETUNREACH",
    )
    if hasattr(errno, name)
)  # fmt: skip


def _broken(error: OSError, what: str) -> BrokenResourceError:
    return BrokenResourceError(f"{what}: {error}")


def _stream_error(error: BaseException, what: str) -> BaseException:
    """What a stream raises for what became of its operation: the system's errors as the cause of its own."""
    if not isinstance(error, OSError):
        return error
    broken = _broken(error, what)
    broken.__cause__ = error
    return broken


class SocketStream(HalfCloseableStream):
    """A connected stream socket. One task may send and one may receive at a time.

    socket: a proactor Socket, connected; the stream owns it from now on. TCP sockets get TCP_NODELAY, and
        TCP_NOTSENT_LOWAT where the system has it, so that "might not block" means that there is room.
    """

    __slots__ = ("__weakref__", "_is_shared", "_receive", "_sending", "_sent_eof", "_socket")

    def __init__(self, socket: Socket) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a proactor_trio.proactor.Socket, not {type(socket).__name__}")
        if socket.type != stdlib_socket.SOCK_STREAM:
            raise ValueError("socket must be a stream socket (SOCK_STREAM)")
        socket.getpeername()  # raises OSError if it is not connected
        set_stream_options(socket)
        socket.keeps_failure = False  # a stream reports what the kernel says each time
        self._own(socket)
        self._is_shared = True  # whoever made it may still use it

    @classmethod
    def _from_accepted(cls, socket: Socket) -> SocketStream:
        """For a connected socket that has its options already."""
        stream = cls.__new__(cls)
        stream._own(socket)
        return stream

    def _own(self, socket: Socket) -> None:
        self._socket = socket
        self._is_shared = False
        self._receive = RecvBytes(socket, DEFAULT_RECEIVE_BYTES)
        self._receive.descriptor = socket.descriptor
        self._sending = False
        self._sent_eof = False

    @property
    def socket(self) -> Socket:
        """The socket. Operations on it go past the stream."""
        self._is_shared = True
        return self._socket

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them (None: a good size); b"" at the end of the stream.

        Raises BusyResourceError if another task receives, ClosedResourceError if it was or is being closed,
        BrokenResourceError if the connection failed. Cancelled: no byte was lost.
        """
        receive = self._receive
        state = receive.state
        if state is not OperationState.DONE and state is not OperationState.NEW:
            raise BusyResourceError("another task is already receiving from this stream")
        if max_bytes is None:
            receive.length = DEFAULT_RECEIVE_BYTES
        elif isinstance(max_bytes, int) and max_bytes >= 1:
            receive.length = max_bytes if max_bytes < LARGEST_RECEIVE_BYTES else LARGEST_RECEIVE_BYTES
        else:
            _refuse_max_bytes(max_bytes)
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if task.cancel_pending:
            await checkpoint_if_cancelled()
        if self._socket.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        # perform(), without a generator in between.
        run.proactor.submit_prepared(receive)
        receive.waiter = task
        task.waiting = receive
        await PARK
        if receive.error is None:
            return receive.result  # type: ignore[no-any-return]
        try:
            raise _stream_error(exception_for(task, receive.error), "receiving failed")
        finally:
            del task, run, receive

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
            try:
                sent = os.write(self._socket.descriptor, data)
            except BlockingIOError:
                sent = 0
            if sent != (len(data) if type(data) is bytes else memoryview(data).nbytes):
                await self._send_rest(data, sent)
            else:
                run.make_runnable(task)
                await PARK
        except OSError as error:
            raise _broken(error, "sending failed") from error
        finally:
            self._sending = False

    async def _send_rest(self, data: Any, sent: int) -> None:
        view = readable_view(data, "data")
        while sent < view.nbytes:
            sent += await Send(self._socket, view[sent:], whole=True)

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
            self._socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError as error:
            raise _broken(error, "ending the sending side failed") from error

    @enable_ki_protection
    async def aclose(self) -> None:
        """Close the socket. Tasks that use it get ClosedResourceError. Closed also when cancelled."""
        state = self._receive.state
        if (
            self._is_shared
            or self._sending
            or self._socket.closed
            or (state is not OperationState.DONE and state is not OperationState.NEW)
        ):
            await close_socket(self._socket)
            return
        # Nobody but this stream has ever used the socket, and nothing is pending: there is nothing to be cancelled.
        current_run().proactor.close_unused(self._socket)
        await checkpoint()

    def setsockopt(self, level: int, option: int, value: int | bytes | None = None, length: int | None = None) -> None:
        """Set an option of the socket, as socket.socket.setsockopt."""
        if length is None:
            if value is None:
                raise TypeError("invalid value for argument 'value', must not be None when specifying length")
            self._socket.setsockopt(level, option, value)
        elif value is not None:
            raise TypeError(f"invalid value for argument 'value': {value!r}, must be None when specifying optlen")
        else:
            self._socket.setsockopt(level, option, value, length)

    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """An option of the socket, as socket.socket.getsockopt."""
        result: int | bytes = (
            self._socket.getsockopt(level, option, buffersize) if buffersize else self._socket.getsockopt(level, option)
        )
        return result

    def __repr__(self) -> str:
        return f"<SocketStream on {self._socket!r}>"


def set_stream_options(socket: Socket) -> None:
    """Small sends go out at once, and few bytes wait unsent in the kernel; no effect on sockets that are not TCP."""
    if socket.family != stdlib_socket.AF_UNIX:
        socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        if hasattr(stdlib_socket, "TCP_NOTSENT_LOWAT"):
            socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _refuse_max_bytes(max_bytes: object) -> None:
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


class SocketListener(Listener[SocketStream]):
    """A listening stream socket. socket: a proactor Socket on which `listen()` was called; owned from now on."""

    __slots__ = ("__weakref__", "_accept", "_options_are_inherited", "socket")

    def __init__(self, socket: Socket) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a proactor_trio.proactor.Socket, not {type(socket).__name__}")
        if socket.type != stdlib_socket.SOCK_STREAM:
            raise ValueError("socket must be a stream socket (SOCK_STREAM)")
        if not socket.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            raise ValueError("socket must be listening")
        set_stream_options(socket)
        socket.keeps_failure = False  # its connections inherit that
        self.socket = socket
        self._accept = Accept(socket)
        self._options_are_inherited: bool | None = None

    @enable_ki_protection
    async def accept(self) -> SocketStream:
        """Wait for a connection. Errors of single connections are passed over.

        Raises ClosedResourceError when it was or is being closed, OSError when the process or the system has no more
        descriptors or memory; it can be called again then. Several tasks may wait at a time.
        """
        if self.socket.closed:
            await checkpoint()
            raise ClosedResourceError("this listener was closed")
        idle = self._accept.state is OperationState.NEW or self._accept.state is OperationState.DONE
        accept = self._accept if idle else Accept(self.socket)
        while True:
            try:
                accepted: Socket = await accept
            except OSError as error:
                if error.errno not in _IGNORABLE_ACCEPT_ERRORS:
                    raise
            else:
                accept.result = None
                return self._stream_of(accepted)

    def _stream_of(self, connection: Socket) -> SocketStream:
        """Linux hands a listener's options on to its connections; the first one shows whether this system does."""
        if self._options_are_inherited is None and connection.family != stdlib_socket.AF_UNIX:
            inherited = connection.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)
            self._options_are_inherited = bool(inherited)
        if self._options_are_inherited is False:
            set_stream_options(connection)
        return SocketStream._from_accepted(connection)

    @enable_ki_protection
    async def aclose(self) -> None:
        """Stop listening. A task that waits in accept() gets ClosedResourceError."""
        await close_socket(self.socket)

    def __repr__(self) -> str:
        return f"<SocketListener on {self.socket!r}>"
