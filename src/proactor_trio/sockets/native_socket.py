"""NativeSocket: a socket whose blocking methods are operations of the proactor.

Receives are operations. What an operation has no place for (flags, ancillary data) is called directly without waiting,
and waits for readiness where that did not work. Sends are tried at once, since there is nearly always room, and what
did not fit becomes an operation.

close() is no async function, and what is pending on a socket has to be ended before its descriptor may go: then the
socket counts as closed at once, and an operation that nobody waits for closes it in the next turn of the loop.
"""

from __future__ import annotations

import errno
import os
import select
import socket as stdlib_socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio._kernel.context import CONTEXT, current_task
from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.readiness import notify_closing
from proactor_trio._kernel.traps import PASS, YIELD, checkpoint
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.lending import Lender, Loan, UseLoan
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.datagram import RecvFrom, SendTo
from proactor_trio.proactor.operations.net import Accept, Connect, Recv, RecvBytes, Send, SocketClose
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.socket import Socket
from proactor_trio.sockets.loans import ReceiveLoan
from proactor_trio.sockets.name_resolution import is_resolved, resolve_for_socket
from proactor_trio.sockets.received import StreamReceive
from proactor_trio.sockets.socket_type import Address, AncillaryData, SocketType
from proactor_trio.to_thread import run_sync as run_in_thread

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

T = TypeVar("T")

_STREAM: Final = stdlib_socket.SOCK_STREAM
_DATAGRAM: Final = stdlib_socket.SOCK_DGRAM
_UNIX: Final = getattr(stdlib_socket, "AF_UNIX", None)
_ADDRESS_FAMILIES: Final = frozenset((stdlib_socket.AF_INET, stdlib_socket.AF_INET6, _UNIX))
_MSG_PEEK: Final = int(stdlib_socket.MSG_PEEK)
#: With these a receive is about something else than the bytes of the stream.
_PAST_THE_STREAM: Final = int(stdlib_socket.MSG_OOB) | int(getattr(stdlib_socket, "MSG_ERRQUEUE", 0))
#: What a RecvBytes takes of a message at the most; the rest of a longer one would be lost.
_MESSAGE_BYTES: Final = 64 * 1024
_SO_ZEROCOPY: Final = getattr(stdlib_socket, "SO_ZEROCOPY", 60)


class NativeSocket(SocketType, Lender):
    """What socket() and its like return. socket: a proactor Socket, owned from now on.

    received: what the stream over it has received, if there is one already.
    """

    __slots__ = ("_did_shutdown_write", "_pending", "_receive", "_received", "_socket", "is_shared")

    def __init__(
        self, socket: Socket, received: StreamReceive | None = None, *, did_shutdown_write: bool = False
    ) -> None:
        self._socket = socket
        socket.keeps_failure = False  # each call reports what the kernel says
        self._received = received
        self._receive = RecvBytes(socket, 1)
        self._pending = 0
        #: Whether the descriptor was given away.
        self.is_shared = False
        self._did_shutdown_write = did_shutdown_write

    @property
    def proactor_socket(self) -> Socket:
        """The proactor's Socket, to be used by operations. What a stream over it has received, they do not see."""
        self._share()
        return self._socket

    def for_stream(self) -> tuple[Socket, StreamReceive]:
        """What a stream over it works with."""
        socket = self._open()
        if self._received is None:
            self._received = StreamReceive(socket)
            if self.is_shared:
                self._received.share()
        return socket, self._received

    # What a socket is --------------------------------------------------------------------------------------------

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        return self._socket.family  # type: ignore[return-value]

    @property
    def type(self) -> stdlib_socket.SocketKind:
        return self._socket.type  # type: ignore[return-value]

    @property
    def proto(self) -> int:
        return self._socket.proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:
        return self._did_shutdown_write

    def fileno(self) -> int:
        if not self._socket.closed:
            self._share()
        return self._socket.descriptor

    def getpeername(self) -> Address:
        return self._stdlib().getpeername()

    def getsockname(self) -> Address:
        return self._stdlib().getsockname()

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> int | bytes:
        if buflen is None:
            return self._stdlib().getsockopt(level, optname)
        return self._stdlib().getsockopt(level, optname, buflen)

    @enable_ki_protection
    def setsockopt(
        self, level: int, optname: int, value: int | ReadableBuffer | None, optlen: int | None = None
    ) -> None:
        """Set an option of the socket.

        SO_ZEROCOPY lets sends of 16 KiB and more do without copying, where the data cannot change (bytes).
        """
        if optlen is None:
            if value is None:
                raise TypeError("value must not be None without optlen")
            self._stdlib().setsockopt(level, optname, value)
            if optname == _SO_ZEROCOPY and level == stdlib_socket.SOL_SOCKET:
                self._socket.zero_copy = bool(self._stdlib().getsockopt(level, optname))
        elif value is not None:
            raise TypeError(f"value must be None beside optlen, not {value!r}")
        else:
            self._stdlib().setsockopt(level, optname, value, optlen)

    def get_inheritable(self) -> bool:
        return self._stdlib().get_inheritable()

    def set_inheritable(self, inheritable: bool) -> None:
        self._stdlib().set_inheritable(inheritable)

    # What does not block -----------------------------------------------------------------------------------------

    @enable_ki_protection
    def detach(self) -> int:
        """Give up the descriptor and return it; the object counts as closed.

        Raises BusyResourceError while a task uses it, and RuntimeError if a stream over it has received bytes that
        nobody has taken: whoever gets the descriptor would miss them.
        """
        if self._socket.closed:
            return -1
        if self._pending:
            raise BusyResourceError("another task is using this socket")
        self._share()
        if self._received is not None:
            self._received.give_away()
        run = CONTEXT.run
        return self._socket.detach() if run is None else run.proactor.loop_access.release_unused(self._socket)

    def dup(self) -> SocketType:
        self._share()
        return NativeSocket(Socket.from_stdlib(self._stdlib().dup()))

    def listen(self, backlog: int = min(stdlib_socket.SOMAXCONN, 128)) -> None:
        self._stdlib().listen(backlog)
        self._socket.happened("listen")

    def shutdown(self, flag: int) -> None:
        self._stdlib().shutdown(flag)
        if flag in (stdlib_socket.SHUT_WR, stdlib_socket.SHUT_RDWR):
            self._did_shutdown_write = True

    @enable_ki_protection
    def close(self) -> None:
        """Close it. What is pending on it ends with ClosedResourceError.

        Raises RuntimeError in another thread than that of the run in which tasks use the socket.
        """
        socket = self._socket
        if socket.closed:
            return
        run = CONTEXT.run
        if run is None:
            self._close_outside(socket)
        elif self.is_unused():
            run.proactor.loop_access.close_unused(socket)
        else:
            notify_closing(socket)
            run.proactor.loop_access.submit(SocketClose(socket))

    def _close_outside(self, socket: Socket) -> None:
        """Without a run, or in another thread."""
        received = self._received
        if self._pending or (received is not None and received.is_busy):
            raise RuntimeError("a task is using this socket: close it in the thread of the task's run")
        if received is not None and received.is_armed and received._proactor is not None:
            received._proactor.submit(SocketClose(socket))  # any thread
        else:
            socket.close()

    def is_unused(self) -> bool:
        """Whether nothing can be pending on the socket."""
        received = self._received
        return not (self.is_shared or self._pending or (received is not None and received.is_armed))

    @enable_ki_protection
    def is_readable(self) -> bool:
        received = self._received
        if received is not None:
            # What is armed may have brought something that only the next turn would tell of.
            if not received.is_busy and CONTEXT.run is not None:
                received.end_now()
            if received.head or received.end is not None:
                return True
        poll = select.poll()
        poll.register(self._stdlib(), select.POLLIN)
        return bool(poll.poll(0))

    # Opening and connecting --------------------------------------------------------------------------------------

    async def bind(self, address: Address) -> None:
        stdlib = self._stdlib()
        address = await resolve_for_socket(self, address, local=True)
        if self._socket.family == _UNIX and address and address[0] not in ("\0", 0):
            await run_in_thread(stdlib.bind, address)  # it makes a file
            return
        await checkpoint()
        self._stdlib().bind(address)

    async def connect(self, address: Address) -> None:
        self._stdlib()
        try:
            address = await resolve_for_socket(self, address, local=False)
            await self._connect(Connect(self._open(), address))
        except (Cancelled, KeyboardInterrupt):
            self.close()  # nobody knows how far it had got
            raise

    async def _connect(self, connecting: Connect) -> None:
        try:
            await self._perform(connecting)
        except OSError as error:
            text = f"cannot connect to {connecting.address!r}: {error.strerror or error}"
            raise OSError(error.errno, text) from None

    async def accept(self) -> tuple[SocketType, Address]:
        while True:
            accepted: Socket = await self._perform(Accept(self._open()))
            try:
                return NativeSocket(accepted), accepted.getpeername()
            except OSError:
                accepted.close()  # the peer has gone: there is no connection, and no address

    async def wait_writable(self) -> None:
        await self._perform(HandlePoll(self._open(), PollEvents.OUT))

    # Receiving ---------------------------------------------------------------------------------------------------

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        socket = self._open()
        if self._received is not None and await self._is_here(self._received, buflen, flags):
            return self._take(self._received, buflen, flags)
        receive = self._receive
        if flags or buflen <= 0 or (buflen > _MESSAGE_BYTES and socket.type != _STREAM):
            return await self._call_when_ready(PollEvents.IN, socket.stdlib.recv, buflen, flags)
        if receive.identifier:
            receive = RecvBytes(socket, buflen)  # another task uses that one
        receive.length = buflen
        self._pending += 1
        try:
            data: bytes = await receive
            return data
        finally:
            self._pending -= 1
            receive.result = None

    async def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        socket = self._open()
        view = _part_to_fill(buffer, nbytes)
        if self._received is not None and await self._is_here(self._received, view.nbytes, flags):
            data = self._take(self._received, view.nbytes, flags)
            view[: len(data)] = data
            return len(data)
        if flags or not view.nbytes:
            return await self._call_when_ready(PollEvents.IN, socket.stdlib.recv_into, view, 0, flags)
        count: int = await self._perform(Recv(socket, view))
        return count

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Address]:
        socket = self._open()
        if self._received is not None and await self._is_here(self._received, bufsize, flags):
            return self._take(self._received, bufsize, flags), None
        return await self._call_when_ready(PollEvents.IN, socket.stdlib.recvfrom, bufsize, flags)

    async def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Address]:
        socket = self._open()
        view = _part_to_fill(buffer, nbytes)
        if self._received is not None and await self._is_here(self._received, view.nbytes, flags):
            return await self.recv_into(view, 0, flags), None
        if flags or socket.type != _DATAGRAM or socket.family not in _ADDRESS_FAMILIES:
            return await self._call_when_ready(PollEvents.IN, socket.stdlib.recvfrom_into, view, 0, flags)
        count, sender = await self._perform(RecvFrom(socket, view))
        return count, sender

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Address]:
        socket = self._open()
        if self._received is not None and await self._is_here(self._received, bufsize, flags):
            return self._take(self._received, bufsize, flags), [], 0, None
        return await self._call_when_ready(PollEvents.IN, socket.stdlib.recvmsg, bufsize, ancbufsize, flags)

    async def recvmsg_into(
        self, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        socket = self._open()
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        if self._received is not None and await self._is_here(self._received, 0, flags):
            first = next((view for view in views if view.nbytes), memoryview(bytearray()))
            return await self.recv_into(first, 0, flags), [], 0, None
        return await self._call_when_ready(PollEvents.IN, socket.stdlib.recvmsg_into, views, ancbufsize, flags)

    async def _is_here(self, received: StreamReceive, max_bytes: int, flags: int) -> bool:
        """End what a stream has armed; whether it has brought bytes, which come first. An error of it is raised."""
        if max_bytes < 0 or flags & _PAST_THE_STREAM:
            return False
        if current_task().cancel_pending:
            await YIELD
        await received.end_armed()
        if self._socket.closed:
            raise ClosedResourceError("another task closed this socket")
        if received.head:
            await PASS
            return True
        end = received.take_end()
        if isinstance(end, OSError):
            raise end
        return False

    @staticmethod
    def _take(received: StreamReceive, max_bytes: int, flags: int) -> bytes:
        if flags & _MSG_PEEK:
            return received.peek(max_bytes)
        return received.take(max_bytes)

    # Sending -----------------------------------------------------------------------------------------------------

    async def send(self, bytes: ReadableBuffer, flags: int = 0, /) -> int:
        socket = self._open()
        if current_task().cancel_pending:
            await YIELD
        try:
            sent = self._stdlib().send(bytes, flags)
        except BlockingIOError:
            if flags:
                return await self._call_when_ready(PollEvents.OUT, socket.stdlib.send, bytes, flags)
            count: int = await self._perform(Send(socket, bytes))
            return count
        await PASS
        return sent

    async def sendto(self, *args: Any) -> int:
        if len(args) == 2:
            data, address = args
            flags = 0
        elif len(args) == 3:
            data, flags, address = args
        else:
            raise TypeError("sendto() takes data and address, or data, flags and address")
        socket = self._open()
        if not is_resolved(socket.family, address):
            address = await resolve_for_socket(self, address, local=False)
        if current_task().cancel_pending:
            await YIELD
        try:
            sent = self._stdlib().sendto(data, flags, address)
        except BlockingIOError:
            if flags or socket.family not in _ADDRESS_FAMILIES:
                return await self._call_when_ready(PollEvents.OUT, socket.stdlib.sendto, data, flags, address)
            count: int = await self._perform(SendTo(socket, data, address))
            return count
        await PASS
        return sent

    async def sendmsg(
        self,
        buffers: Iterable[ReadableBuffer],
        ancdata: AncillaryData = (),
        flags: int = 0,
        address: Address = None,
        /,
    ) -> int:
        socket = self._open()
        buffers, ancdata = list(buffers), list(ancdata)  # it may take two calls
        if address is None:
            return await self._call_when_ready(PollEvents.OUT, socket.stdlib.sendmsg, buffers, ancdata, flags)
        address = await resolve_for_socket(self, address, local=False)
        return await self._call_when_ready(PollEvents.OUT, socket.stdlib.sendmsg, buffers, ancdata, flags, address)

    # Lending -----------------------------------------------------------------------------------------------------

    def lent_resource(self) -> Socket:
        """For graphs: the proactor's Socket."""
        return self._socket

    def lend(self, operation: Operation) -> Loan:
        """For graphs: the socket for one operation; see Lender. What a stream over it has received comes first."""
        if self._socket.closed:
            raise ClosedResourceError("this socket was closed")
        loan: Loan
        if self._received is not None and isinstance(operation, Recv | RecvBytes):
            loan = ReceiveLoan(self._received, self._use_is_over)
        else:
            loan = UseLoan(self._use_is_over)
        self._pending += 1
        return loan

    def _use_is_over(self) -> None:
        self._pending -= 1

    # Under all of them -------------------------------------------------------------------------------------------

    def _open(self) -> Socket:
        if self._socket.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._socket

    def _stdlib(self) -> stdlib_socket.socket:
        return self._open().stdlib

    def _share(self) -> None:
        """The descriptor is given away: others may use it, past this object."""
        self.is_shared = True
        if self._received is not None:
            self._received.share()

    async def _perform(self, operation: Operation) -> Any:
        self._pending += 1
        try:
            return await operation
        finally:
            self._pending -= 1

    async def _call_when_ready(self, events: PollEvents, call: Callable[..., T], *arguments: Any) -> T:
        """Call without waiting, now or as soon as the socket is ready. Cancelled: the call was not made."""
        if current_task().cancel_pending:
            await YIELD
        try:
            result = call(*arguments)
        except BlockingIOError:
            while True:
                await self._perform(HandlePoll(self._open(), events))
                try:
                    return call(*arguments)
                except BlockingIOError:
                    continue
        await PASS
        return result

    def __repr__(self) -> str:
        if self._socket.closed:
            return "<proactor_trio.socket.socket [closed]>"
        return repr(self._socket.stdlib).replace("socket.socket", "proactor_trio.socket.socket")


def _part_to_fill(buffer: WriteableBuffer, nbytes: int) -> memoryview:
    view = memoryview(buffer).cast("B")
    if not 0 <= nbytes <= view.nbytes:
        raise ValueError(f"nbytes must be from 0 to the length of the buffer, {view.nbytes}, not {nbytes}")
    return view[:nbytes] if nbytes else view
