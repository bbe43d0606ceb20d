"""Operations on sockets: Accept, Connect, Recv, RecvBytes, Send, SocketClose. Those of datagrams: datagram.py.

Each keeps its socket and its memory alive until its final completion. A closed socket is refused at submission with
ClosedResourceError; one that is closed later ends the operation as cancelled, cause RESOURCE_CLOSED.

Failures of a connection stay (see socket.py): Send and Connect on a socket that has one complete with it in the next
poll, without asking the kernel.

Zero-copy
=========

Where the socket has `zero_copy` and the kernel can, a send leaves the caller's memory to the network card. Some facts
(io_uring_enter(2), IORING_OP_SEND_ZC; and measured): the kernel reports twice, when it has taken the bytes and when it
needs the memory no more. The second report comes when the peer has acknowledged them; that may take minutes, and cannot
be cancelled. The loopback device copies in any case. Below some ten thousand bytes copying is the cheaper way.

What that means for us:

* With a `completion_fn` the final completion comes when the memory may be changed again, with ZERO_COPY_ACHIEVED if
  nothing was copied. A task that awaits such a send goes on as soon as the kernel has taken the bytes.
  `Proactor.close()` waits for these as for all operations; a peer that never acknowledges holds it up, unless the
  socket was closed with LINGER_ZERO.
* Without one nobody is told when the memory is free. The send then completes when the kernel has taken the bytes, and
  may be submitted again; the backend keeps the memory until it is free. Since nobody may change it meanwhile, only
  `bytes` are sent so; what is writable is copied.
* Memory that is registered with the proactor (a Span of a Region) is named by its place in the kernel's table of
  buffers, which saves the work on its pages.
* What stands in a chain, or has a deadline, is copied: nothing of that must wait for the second report.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
import sys
from enum import IntFlag
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.address import encode_address
from proactor_trio.proactor.address_text import in_stdlib_form
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError, OperationCancelled
from proactor_trio.proactor.memory.region import Region
from proactor_trio.proactor.memory.span import Span
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation
from proactor_trio.proactor.operations.buffers import cannot_change, gathered, regions_of, scattered
from proactor_trio.proactor.socket import Socket

#: A RecvBytes returns at most so many bytes, whatever more it was allowed to.
LARGEST_RECEIVE_BYTES: Final = 1024 * 1024

#: How long a MULTISHOT Accept leaves a listener alone when the process or the system has no more descriptors or memory.
ACCEPT_PAUSE_SECONDS: Final = 0.1

#: How long a send waits before it tries a receiver without room again; twice as long each time.
SHORTEST_PATIENCE_SECONDS: Final = 0.001
LONGEST_PATIENCE_SECONDS: Final = 0.05

_EXHAUSTED_ERRORS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
# Plain numbers: the stdlib's are members of an IntFlag, whose arithmetic costs more than a system call's entry.
_MSG_MORE: Final = int(getattr(stdlib_socket, "MSG_MORE", 0))
_MSG_DONTWAIT: Final = int(getattr(stdlib_socket, "MSG_DONTWAIT", 0))
_STREAM: Final = stdlib_socket.SOCK_STREAM
_UNIX: Final = getattr(stdlib_socket, "AF_UNIX", -1)


class SendFlags(IntFlag):
    """How to send. MORE: more follows soon, so the kernel may wait for it to fill a packet (a hint, see send(2))."""

    NONE = 0
    MORE = 1


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
        super().__init__(completion_fn, user_data, flags, **limits)
        self.socket = socket if isinstance(socket, Socket) else self._borrow(socket, Socket, "socket")

    def _prepare(self) -> None:
        socket = self.socket
        if socket.closed:
            raise ClosedResourceError(f"{type(self).__name__}: socket was closed")
        self.descriptor = socket.descriptor

    def resource(self) -> Socket:
        return self.socket

    def _resource_is_closed(self) -> bool:
        return self.socket.closed


class ConnectionOperation(SocketOperation):
    """Base: what shows by failing that the connection is gone."""

    __slots__ = ()

    def _failure(self, result: int) -> BaseException:
        self.socket.note_failure(-result)
        return super()._failure(result)


class Transfer(ConnectionOperation):
    """Base: what moves bytes from or to memory of the caller. Regions of its spans stay registered until its end."""

    __slots__ = ("_asked_whole", "_regions")

    _asked_whole: bool
    _regions: tuple[Region, ...]

    def ask_whole(self) -> None:
        """From the next submission on, go on until all is moved, as with `whole=True`."""
        self._asked_whole = True

    @property
    def is_asked_whole(self) -> bool:
        """Whether it goes on until all is moved, beside a chain."""
        return self._asked_whole

    def _is_wanted_whole(self) -> bool:
        """Whether this submission goes on until all is moved: of a stream, where that was asked for or it is linked."""
        wanted = self._asked_whole or bool(self.flags & OperationFlags.LINKED)
        return wanted and self.socket.type == _STREAM

    def _hold(self, buffers: Any) -> None:
        """The last step of `_prepare()`: nothing after it may raise."""
        self._regions = regions = regions_of(buffers)
        for region in regions:
            region.retain(self)

    def _let_go(self) -> None:
        for region in self._regions:
            region.release(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self._let_go()

    def _finish(self, result: int) -> Any:
        self._let_go()
        return result

    def _failure(self, result: int) -> BaseException:
        self._let_go()
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self._let_go()
        return super()._cancellation()


class Accept(SocketOperation):
    """Takes a connection from a listening socket. Result: the new Socket.

    With MULTISHOT it goes on until it fails or is cancelled; each connection is delivered with MORE. A connection that
    arrived before a cancellation took effect is delivered, not lost.

    Without descriptors or memory for a connection (EMFILE, ENFILE, ENOBUFS, ENOMEM) a single Accept fails, and may be
    submitted again; with MULTISHOT it lets 0.1 s pass and goes on. The connections wait in the listener's backlog. One
    that was gone before it could be taken is passed over with MULTISHOT.
    """

    __slots__ = ()
    kind = Kind.ACCEPT
    can_be_multishot = True

    @property
    def peer_address(self) -> Any:
        """The address of the peer of the connection that was delivered last, in the stdlib's form.

        The system is asked now: OSError (ENOTCONN) if the peer has reset the connection meanwhile.
        """
        return self.result.getpeername()

    def _finish(self, result: int) -> Socket:
        if self.data is None:
            self.data = self.socket.unopened_connection()
        connection: Socket = self.data
        connection.descriptor = result
        connection.closed = False
        return connection

    def _retry_delay(self, result: int) -> float | None:
        if not self.flags & OperationFlags.MULTISHOT:
            return None
        if -result in _EXHAUSTED_ERRORS:
            return ACCEPT_PAUSE_SECONDS
        return 0.0 if result == -errno.ECONNABORTED else None  # that connection was gone before it was taken


class Connect(ConnectionOperation):
    """Connects a socket. Result: None.

    address: an Address, or in the stdlib's form for the socket's family, numeric. A cancelled attempt leaves the socket
    unusable for another one; close it. For a datagram socket it sets the peer.
    """

    __slots__ = ()
    kind = Kind.CONNECT
    can_be_refused = True

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
        family = self.socket.family
        self.address = in_stdlib_form(family, self.address)
        self.address_bytes = encode_address(family, self.address)
        self.socket.happened("connect")

    def _withdraw(self) -> None:
        self.socket.happened("not connected")

    def _refusal(self) -> int:
        socket = self.socket
        return -socket.failed_errno if socket.keeps_failure else 0

    def _finish(self, result: int) -> None:
        self.socket.happened("connected")

    def _failure(self, result: int) -> BaseException:
        error = super()._failure(result)
        self.socket.happened("not connected")
        return error

    def _cancellation(self) -> OperationCancelled:
        self.socket.happened("not connected")
        return super()._cancellation()


class Recv(Transfer):
    """Receives into the caller's buffer. Result: the number of bytes, 0 at the end of the stream.

    buffer: writable memory or a Span, or a list or tuple of at most 8 of them that are filled in order; it is not to be
        touched until the final completion.
    whole: go on until the buffer is full; fewer bytes then mean the end, an error or a cancellation after them.
    In a chain it is always whole, and a short result ends the chain. Datagrams are never put together: one is whole.

    With MULTISHOT it goes on after each delivery, into the same buffer: whoever wants the bytes takes them in the
    completion function. The end of the stream, an empty datagram, a failure or a cancellation is final.
    """

    __slots__ = ("buffer",)
    kind = Kind.RECV
    can_be_multishot = True

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
        self._asked_whole = whole

    def _prepare(self) -> None:
        super()._prepare()
        self.whole = bool(self._asked_whole or self.flags) and self._is_wanted_whole()
        self.view, self.length = scattered(self.buffer, "buffer")
        self._hold(self.buffer)

    def _is_short(self, result: int) -> bool:
        return self.whole and result < self.length

    def _is_last(self, result: int) -> bool:
        return result == 0

    def _finish(self, result: int) -> int:
        if self._regions and (result == 0 or not self.flags & OperationFlags.MULTISHOT):
            self._let_go()
        return result


class RecvBytes(ConnectionOperation):
    """Receives what is there into memory of the proactor. Result: bytes, b"" at the end of the stream.

    max_bytes: the most to return. Where the kernel can, no memory is held while nothing arrives.
    It cannot have a successor in a chain: its result has no length that would be short.

    With MULTISHOT each piece is delivered as it comes, and `max_bytes` is about how much it takes in all. The piece
    that reaches that is delivered without MORE, and so is one after which the system goes on no longer, the first one
    where it has no such receives: submit it again for more. The end of the stream, b"", is final. A cancellation loses
    nothing: what came before it was delivered. Not every kernel can count (Linux 6.17 can); until it is cancelled, it
    takes whatever the peer sends there. ResourceExhausted by the kernel (ENOBUFS) is an OSError, and loses nothing.
    """

    __slots__ = ()
    kind = Kind.RECV_BYTES
    can_be_linked = False
    can_be_multishot = True

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

    def _is_last(self, result: int) -> bool:
        return True  # what the system has ended is not begun again here: its owner may not want more

    def _finish(self, result: int) -> bytes:
        return self.data if result else b""


class Transmission(Transfer):
    """Base: what sends from the caller's memory.

    A Unix datagram socket whose receiver has no room is tried again by the clock: the kernel has no event for that, and
    io_uring would send an empty datagram after its wait (the kernel takes the bytes before it finds out).

    zero_copy_achieved: whether the kernel is known to have sent without copying; set by the final completion of a
        zero-copy send that has a completion_fn.
    """

    __slots__ = ("_patience", "payload", "zero_copy_achieved")
    can_be_refused = True

    def __init__(
        self,
        socket: Socket,
        data: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        send_flags: SendFlags = SendFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.payload = data
        self.message_flags = _MSG_MORE if send_flags & SendFlags.MORE else 0
        if self.socket.family == _UNIX and self.socket.type == stdlib_socket.SOCK_DGRAM:
            self.message_flags |= _MSG_DONTWAIT
        self._patience = SHORTEST_PATIENCE_SECONDS
        self.whole = False
        self.zero_copy = False
        self.zero_copy_achieved = False

    def _prepare(self) -> None:
        socket = self.socket
        if socket.closed:
            raise ClosedResourceError(f"{type(self).__name__}: socket was closed")
        self.descriptor = socket.descriptor
        payload = self.payload
        self.view, self.length = gathered(payload, "data")
        self.zero_copy_achieved = False
        self.zero_copy = socket.zero_copy and self._may_leave_its_memory()
        if self.zero_copy:
            self.buffer_slot = payload.slot_of(self._proactor) if type(payload) is Span else -1
        if type(payload) is bytes:
            self._regions = ()
        else:
            self._hold(payload)

    def _may_leave_its_memory(self) -> bool:
        """Whether the memory may be the kernel's for longer than the send takes; see the module."""
        if not self.length or self._limits is not None:
            return False
        return self.completion_fn is not None or cannot_change(self.view)

    def _refusal(self) -> int:
        socket = self.socket
        return -socket.failed_errno if socket.keeps_failure else 0

    def _note_zero_copy(self) -> None:
        self.zero_copy_achieved = True

    def _retry_delay(self, result: int) -> float | None:
        if result != -errno.EAGAIN:
            return None
        delay = self._patience
        self._patience = min(2 * delay, LONGEST_PATIENCE_SECONDS)
        return delay

    def _finish(self, result: int) -> int:
        self._patience = SHORTEST_PATIENCE_SECONDS
        if self._regions:
            self._let_go()
        return result


class Send(Transmission):
    """Sends from the caller's memory. Result: the number of bytes that the kernel took, at least 1 unless empty.

    data: a bytes-like object or a Span, or a list or tuple of at most 8 that are sent one after the other; it is not to
        be changed until the final completion.
    whole: go on until all of it is sent; fewer bytes then mean an error or a cancellation after them. In a chain it is
        always whole, and a short result ends the chain.
    send_flags: see SendFlags.
    Whether the data is copied: see the module.
    """

    __slots__ = ()
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
        send_flags: SendFlags = SendFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, data, completion_fn, user_data, flags, send_flags, **limits)
        self._asked_whole = whole

    def _prepare(self) -> None:
        super()._prepare()
        self.whole = bool(self._asked_whole or self.flags) and self._is_wanted_whole()

    def _is_short(self, result: int) -> bool:
        return self.whole and result < self.length


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
        self.socket.happened("closed")

    def _failure(self, result: int) -> BaseException:
        self.socket.happened("closed")
        return super()._failure(result)
