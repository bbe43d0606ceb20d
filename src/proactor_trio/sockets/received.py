"""What a stream has received: the receive that is under way, and the bytes that nobody has taken yet.

Facts (measured). A receive that goes on by itself (MULTISHOT) saves submitting one for each message. But nobody holds
it back: it brings about 33 pieces each time that the kernel is entered, until the shared buffers are gone, and whoever
finds none (ENOBUFS) is ended without having lost anything.

So: one is armed only when somebody waits and nothing is there, and takes at most ARMED_BYTES; a kernel that cannot
count is told to stop when so much lies here untaken. An idle reader therefore costs a connection that much memory at
the most, the peer is held back by TCP as ever, and a fast peer cannot take the buffers from the others for long. One
that found no buffer is armed again if somebody waits: by then those of the turn before have been given back.

The bytes belong to the socket and not to its stream, since `stream.socket.recv()` and `detach()` must miss none of
them. Both end what is armed first, and take what lies here. From the moment at which the descriptor itself is given
away (`fileno()`, `detach()`, `proactor_socket`) nothing is armed any more: then each receive is a single one, which
asks the kernel for no more than its caller wants.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Final

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.task import Abort, RaiseCancelT, Task
from proactor_trio._kernel.traps import PARK
from proactor_trio.backends.contract import CompletionFlags, Kind, OperationFlags
from proactor_trio.proactor.errors import OperationCancelled
from proactor_trio.proactor.operation import Operation, OperationState
from proactor_trio.proactor.operations.net import RecvBytes
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.socket import Socket

#: What one armed receive takes in all.
ARMED_BYTES: Final = 256 * 1024

#: So many receives of a stream are single ones: a connection that is closed after a message needs no more.
SINGLE_RECEIVES: Final = 2

_MULTISHOT: Final = OperationFlags.MULTISHOT
_SINGLE: Final = OperationFlags.NONE
_NEW: Final = OperationState.NEW
_DONE: Final = OperationState.DONE
_SUBMITTED: Final = OperationState.SUBMITTED
_UNIX: Final = 1


class StreamReceive(RecvBytes):
    """The receiving side of one socket: an operation that is submitted again and again, and what it has brought.

    task: who waits for it, parked.
    is_busy: whether somebody is inside of a receive.
    head: the bytes that are to be taken first, from `taken` on.
    end: what came behind all bytes and was not told yet: b"" for the end of the stream, or an error.
    """

    __slots__ = ("_more", "_singles", "end", "head", "is_busy", "taken", "task", "untaken")

    def __init__(self, socket: Socket) -> None:
        super().__init__(socket, ARMED_BYTES, _arrived)
        self.descriptor = socket.descriptor
        self.task: Task | None = None
        self.is_busy = False
        self.head = b""
        self.taken = 0
        self._more: deque[bytes] | None = None
        self.untaken = 0
        self.end: bytes | BaseException | None = None
        self._singles = SINGLE_RECEIVES

    @property
    def is_armed(self) -> bool:
        """Whether a receive is under way."""
        state = self.state
        return state is not _DONE and state is not _NEW

    def share(self) -> None:
        """The descriptor is given away: arm nothing from now on, and end what is armed."""
        self._singles = -1
        self.disarm()

    def disarm(self) -> None:
        """Ask what is armed to end, unless somebody waits for it. Any thread."""
        proactor = self._proactor
        # In a forked child it is the parent's, and goes on there.
        if self.is_armed and self.task is None and proactor is not None and not proactor.is_inherited:
            proactor.cancel(self)

    async def end_armed(self) -> None:
        """End what is armed and wait for that, which takes a turn of the loop and is not cancelled.

        Raises BusyResourceError if another task receives.
        """
        if self.is_busy:
            raise BusyResourceError("another task is already receiving from this stream")
        if self.is_armed:
            self.is_busy = True
            try:
                self.disarm()
                self.task = current_task()
                await PARK  # `waiting` stays None: nothing interrupts this
            finally:
                self.is_busy = False

    def end_now(self) -> None:
        """End what is armed without a turn of the loop. Nobody receives. For the thread of the run only."""
        if self.is_armed and self._proactor is not None:
            self._proactor.end_now(self)

    def give_away(self) -> None:
        """End everything here, for those who give the descriptor away.

        Raises BusyResourceError if a task receives, RuntimeError if bytes lie here, which nobody else would ever see.
        """
        if self.is_busy:
            raise BusyResourceError("another task is already receiving from this stream")
        self.end_now()
        if self.head:
            count = len(self.head) - self.taken + self.untaken
            raise RuntimeError(f"the stream has received {count} bytes already: take them by receive_some() first")

    def arm(self, proactor: Proactor, max_bytes: int) -> None:
        """Begin a receive. `max_bytes`: what the caller wants, which is all that a single one asks for."""
        self.end = None
        singles = self._singles
        if singles == 0:
            self.flags = _MULTISHOT
            self.length = ARMED_BYTES
        else:
            if singles > 0:
                self._singles = singles - 1 if self._can_go_on(proactor) else -1
            self.flags = _SINGLE
            self.length = max_bytes
        proactor.submit_prepared(self)

    def _can_go_on(self, proactor: Proactor) -> bool:
        # The kernel's form loses the end of the stream on Unix sockets; see backends/io_uring/encode.py.
        return self.socket.family != _UNIX and proactor.has_native_multishot(Kind.RECV_BYTES)

    def withdraw(self, _: RaiseCancelT) -> Abort:
        """The task does not wait any more. What is armed stays so: what it brings is for the next receive."""
        self.task = None
        return Abort.SUCCEEDED

    def take(self, max_bytes: int) -> bytes:
        """The first bytes, at most so many. There are some."""
        head = self.head
        start = self.taken
        if len(head) - start > max_bytes:
            self.taken = start + max_bytes
            return head[start : self.taken]
        more = self._more
        if more:
            self.head = following = more.popleft()
            self.untaken -= len(following)
        else:
            self.head = b""
        if start:
            self.taken = 0
            return head[start:]
        return head

    def put_back(self, data: bytes) -> None:
        """Bytes that were taken are the first again."""
        self.head = data + self.head[self.taken :]
        self.taken = 0

    def peek(self, max_bytes: int) -> bytes:
        """The first bytes, at most so many of the first piece, which stay here."""
        return self.head[self.taken : self.taken + max_bytes]

    def add(self, piece: bytes) -> None:
        """Put a piece behind `head`. Too much of it ends what is armed."""
        if self._more is None:
            self._more = deque()
        self._more.append(piece)
        self.untaken += len(piece)
        if self.untaken > ARMED_BYTES and self.state is _SUBMITTED:
            self.disarm()

    def take_end(self) -> bytes | BaseException | None:
        """What came behind all bytes, told once."""
        end, self.end = self.end, None
        return end


def _arrived(operation: Operation, flags: CompletionFlags) -> None:
    """A piece has come, or the end, or the receive has ended without."""
    assert isinstance(operation, StreamReceive)
    received = operation
    error = received.error
    if error is None:
        piece: bytes = received.result
        if not piece:
            received.end = piece
        elif received.head:
            received.add(piece)
        else:
            received.head = piece
    elif not _is_of_the_moment(received, error):
        received.end = error
    task = received.task
    if task is not None:
        received.task = None
        task.operation_completed(received)


def _is_of_the_moment(received: StreamReceive, error: BaseException) -> bool:
    """Whether a receive has ended without saying anything about the connection: it was asked to, or found no buffer."""
    if isinstance(error, OperationCancelled):
        return not received.socket.closed
    return received.flags is _MULTISHOT and isinstance(error, OSError) and error.errno == errno.ENOBUFS
