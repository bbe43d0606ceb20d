"""FdStream: a byte stream over a pipe, a terminal, or whatever else has a descriptor and no positions.

Some facts. Operations name a descriptor by its number, and the kernel looks the number up when it is told of them, at
the end of the tick. A number that was closed before that may be another file's by then: a read would take bytes from a
stranger. And where the kernel cannot wait for a file by itself (terminals, on io_uring), a read of a file that is in
non-blocking mode ends with EAGAIN. A write to a terminal may end with EINTR there although no signal came, when the
kernel has other work for the ring's thread; no byte was written then.

So: the stream owns its descriptor, and closes it when the last operation on it has ended. `close()` ends them and
counts from that moment on; without any (the usual case) the descriptor is closed at once. Both errors are answered by
waiting for readiness and trying again. Non-blocking mode makes it safe to try a direct call first, which for a write is
nearly always all there is to do, and for a read saves a copy; it belongs to the open file and thus also to all who
share it, and goes back with the close.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Any, Final, final

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import Stream
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.arguments import readable_view
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.lending import Lender, Loan, UseLoan
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.descriptor import StreamRead, StreamWrite
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.sync.event import Event

#: What a pipe holds on Linux.
DEFAULT_RECEIVE_BYTES: Final = 64 * 1024

#: No receive allocates more than this, however much is asked for.
LARGEST_RECEIVE_BYTES: Final = 1024 * 1024


class OwnedDescriptor:
    """A descriptor in non-blocking mode, with the operations that are pending on it. Closed once, by its owner."""

    __slots__ = ("_is_released", "_pending", "_was_blocking", "closed", "number")

    def __init__(self, number: int) -> None:
        self.number = -1  # as long as it is not ours
        self.closed = False
        self._pending: list[Operation] = []
        self._is_released: Event | None = None
        if not isinstance(number, int):
            raise TypeError(f"fd must be an int, not {type(number).__name__}")
        self._was_blocking = os.get_blocking(number)
        os.set_blocking(number, False)
        self.number = number

    def fileno(self) -> int:
        """Its number, also while it waits to be closed; -1 from then on."""
        return self.number

    async def perform(self, operation: Operation) -> Any:
        """Await an operation on it. Raises ClosedResourceError if it is or will be closed."""
        self.hold(operation)
        try:
            return await operation
        finally:
            self.let_go(operation)

    def hold(self, operation: Operation) -> None:
        """An operation on it begins. Raises ClosedResourceError if it is or will be closed."""
        if self.closed:
            raise ClosedResourceError("this stream was closed")
        self._pending.append(operation)

    def let_go(self, operation: Operation) -> None:
        """The operation has ended."""
        self._pending.remove(operation)
        if self.closed and not self._pending:
            self._release()

    def close(self) -> None:
        """End what is pending on it, and close it as soon as nothing is."""
        if self.closed:
            return
        self.closed = True
        if not self._pending:
            self._release()
            return
        proactor = current_run().proactor
        for operation in self._pending:
            proactor.cancel(operation)

    async def wait_released(self) -> None:
        """Wait until nothing is pending on it and it is closed, whatever happens to the calling task."""
        if self.number == -1:
            return
        if self._is_released is None:
            self._is_released = Event()
        with CancelScope(shield=True):
            await self._is_released.wait()

    def _release(self) -> None:
        number, self.number = self.number, -1
        try:
            os.set_blocking(number, self._was_blocking)
        finally:
            os.close(number)
            if self._is_released is not None:
                self._is_released.set()

    def __del__(self) -> None:
        if self.number != -1:
            self._release()


@final
class FdStream(Stream, Lender):
    """A stream over a descriptor that is open for reading, for writing, or both. One task may send and one receive.

    fd: the number. The stream owns it: do not use it directly any more; closing the stream closes it. It is put into
        non-blocking mode until then, which all notice that share the open file: duplicates and other processes, and for
        a terminal the other standard streams of this one.

    Raises TypeError if fd is no int, OSError if it is no open descriptor.
    """

    __slots__ = ("__weakref__", "_descriptor", "_read", "_receiving", "_sending")

    def __init__(self, fd: int) -> None:
        self._descriptor = OwnedDescriptor(fd)
        self._read: StreamRead | None = None  # kept with its buffer, for the next receive
        self._receiving = False
        self._sending = False

    def __init_subclass__(cls) -> None:
        raise TypeError("FdStream does not support subclassing")

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them (None: a good size); b"" at the end of the stream.

        Raises BusyResourceError if another task receives, ClosedResourceError if it was or is being closed,
        BrokenResourceError if the descriptor cannot be read. Cancelled: no byte was lost.
        """
        if self._receiving:
            raise BusyResourceError("another task is already receiving from this stream")
        size = _receive_size(max_bytes)
        if self._descriptor.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        await checkpoint_if_cancelled()
        self._receiving = True
        try:
            try:
                data = os.read(self._descriptor.number, size)
            except BlockingIOError:
                return await self._receive_later(size)
            await cancel_shielded_checkpoint()
        except OSError as error:
            raise _stream_error(error, "receiving failed") from error
        finally:
            self._receiving = False
        return data

    async def _receive_later(self, size: int) -> bytes:
        read = self._read
        if read is None:
            read = self._read = StreamRead(self._descriptor, bytearray(size))
        elif len(read.buffer) != size:
            read.buffer = bytearray(size)
        while True:
            try:
                count: int = await self._descriptor.perform(read)
                break
            except (BlockingIOError, InterruptedError):
                await self._descriptor.perform(HandlePoll(self._descriptor, PollEvents.IN))
        return bytes(read.buffer) if count == size else bytes(memoryview(read.buffer)[:count])

    @enable_ki_protection
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Returns when the kernel has taken it.

        Raises BusyResourceError if another task sends, ClosedResourceError if it was or is being closed,
        BrokenResourceError if nobody can receive any more. If it is cancelled half-way, an unknown part was sent.
        """
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        if self._descriptor.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        view = readable_view(data, "data")
        await checkpoint_if_cancelled()
        self._sending = True
        try:
            sent = self._send_at_once(view)
            if sent == view.nbytes:
                await cancel_shielded_checkpoint()
            else:
                await self._send_rest(view, sent)
        except OSError as error:
            raise _stream_error(error, "sending failed") from error
        finally:
            self._sending = False

    def _send_at_once(self, view: memoryview) -> int:
        if not view.nbytes:
            return 0
        try:
            return os.write(self._descriptor.number, view)
        except BlockingIOError:
            return 0

    async def _send_rest(self, view: memoryview, sent: int) -> None:
        while sent < view.nbytes:
            try:
                sent += await self._descriptor.perform(StreamWrite(self._descriptor, view[sent:]))
            except (BlockingIOError, InterruptedError):
                await self._descriptor.perform(HandlePoll(self._descriptor, PollEvents.OUT))

    @enable_ki_protection
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room for more data to send, or nobody can receive any more."""
        if self._sending:
            raise BusyResourceError("another task is already sending on this stream")
        if self._descriptor.closed:
            await checkpoint()
            raise ClosedResourceError("this stream was closed")
        self._sending = True
        try:
            await self._descriptor.perform(HandlePoll(self._descriptor, PollEvents.OUT))
        finally:
            self._sending = False

    def lent_resource(self) -> OwnedDescriptor:
        """For graphs: the descriptor."""
        return self._descriptor

    def lend(self, operation: Operation) -> Loan:
        """For graphs: one direction, for a StreamRead or StreamWrite; see Lender."""
        is_read = isinstance(operation, StreamRead)
        if self._receiving if is_read else self._sending:
            doing = "receiving from" if is_read else "sending on"
            raise BusyResourceError(f"another task is already {doing} this stream")
        self._descriptor.hold(operation)
        if is_read:
            self._receiving = True
        else:
            self._sending = True
        return UseLoan(partial(self._take_back, operation))

    def _take_back(self, operation: Operation) -> None:
        if isinstance(operation, StreamRead):
            self._receiving = False
        else:
            self._sending = False
        self._descriptor.let_go(operation)

    @enable_ki_protection
    def close(self) -> None:
        """Close it, without a checkpoint. Tasks that use it get ClosedResourceError; the descriptor is closed then."""
        self._descriptor.close()

    @enable_ki_protection
    async def aclose(self) -> None:
        """Close it. Tasks that use it get ClosedResourceError. Closed also when cancelled; may be repeated."""
        self._descriptor.close()
        await self._descriptor.wait_released()
        await checkpoint()

    def fileno(self) -> int:
        """The descriptor; -1 once it is closed."""
        return -1 if self._descriptor.closed else self._descriptor.number

    def __repr__(self) -> str:
        state = "closed" if self._descriptor.closed else f"descriptor {self._descriptor.number}"
        return f"<FdStream, {state}>"


def _receive_size(max_bytes: int | None) -> int:
    if max_bytes is None:
        return DEFAULT_RECEIVE_BYTES
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer, not {type(max_bytes).__name__}")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    return min(max_bytes, LARGEST_RECEIVE_BYTES)


def _stream_error(error: OSError, what: str) -> BaseException:
    """What a stream raises for an error of the system."""
    if error.errno == errno.EBADF:
        return ClosedResourceError(f"{what}: the descriptor was closed behind the stream's back")
    return BrokenResourceError(f"{what}: {error}")
