"""Streams in memory: two ends that each have a buffer, and a pump between the buffers.

The ends know nothing of each other. A sending end keeps what it was given until somebody takes it out; a receiving end
gives what somebody has put in. `memory_stream_pump()` moves bytes from one to the other, and is all that a pair adds:
it is the hook of the sending end. So a test can stand between the two and let bytes come late, in pieces, or never.
"""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable

from proactor_trio._kernel.errors import BrokenResourceError, WouldBlock
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import ReceiveStream, SendStream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.conflict_detector import ConflictDetector
from proactor_trio.streams.stapled import StapledStream

SyncHook = Callable[[], object]
AsyncHook = Callable[[], Awaitable[object]]


def checked_size(max_bytes: int | None) -> int | None:
    """`max_bytes` of a receive. Raises TypeError, ValueError."""
    if max_bytes is None:
        return None
    size = operator.index(max_bytes)
    if size < 1:
        raise ValueError(f"max_bytes must be at least 1, not {size}")
    return size


class ByteQueue:
    """Bytes that one side puts in and another takes out, and an end, after which nothing can be put in."""

    __slots__ = ("_arrivals", "_bytes", "_has_ended", "_taking")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._has_ended = False
        self._arrivals = ParkingLot()
        self._taking = ConflictDetector("another task is already taking data out of this stream")

    def put(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes. Raises ClosedResourceError after the end."""
        if self._has_ended:
            raise ClosedResourceError("this stream was closed")
        self._bytes += data
        self._arrivals.unpark_all()

    def end(self, *, discard: bool = False) -> None:
        """Nothing more comes; discard: and what is there is dropped."""
        if discard:
            self._bytes.clear()
        self._has_ended = True
        self._arrivals.unpark_all()

    def take_nowait(self, max_bytes: int | None) -> bytearray:
        """At most so many bytes; none at the end. Raises WouldBlock if there are none before the end."""
        with self._taking:
            size = checked_size(max_bytes)
            if not self._bytes and not self._has_ended:
                raise WouldBlock
            return self._take(size)

    async def take(self, max_bytes: int | None) -> bytearray:
        """At most so many bytes, none at the end; wait for some. Raises BusyResourceError if another task waits."""
        with self._taking:
            size = checked_size(max_bytes)
            if self._bytes or self._has_ended:
                await checkpoint()
            else:
                await self._arrivals.park()
            return self._take(size)

    def _take(self, size: int | None) -> bytearray:
        taken = self._bytes[:size]
        del self._bytes[:size]
        return taken


class MemorySendStream(SendStream):
    """A sending end in memory: what is sent can be taken out by get_data() and get_data_nowait().

    send_all_hook: an async function, called by send_all() when it has put its data into the buffer.
    wait_send_all_might_not_block_hook: an async function, called by the method of that name.
    close_hook: a function, called by close() and aclose().

    The hooks are attributes as well, and may be changed at any time.
    """

    def __init__(
        self,
        send_all_hook: AsyncHook | None = None,
        wait_send_all_might_not_block_hook: AsyncHook | None = None,
        close_hook: SyncHook | None = None,
    ) -> None:
        self.send_all_hook = send_all_hook
        self.wait_send_all_might_not_block_hook = wait_send_all_might_not_block_hook
        self.close_hook = close_hook
        self._outgoing = ByteQueue()
        self._sending = ConflictDetector("another task is already using this stream")

    def __init_subclass__(cls) -> None:
        raise TypeError("MemorySendStream does not support subclassing")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Put `data` into the buffer, and call the hook. Raises BusyResourceError, ClosedResourceError."""
        with self._sending:
            await _be_seen()
            self._outgoing.put(data)
            if self.send_all_hook is not None:
                await self.send_all_hook()

    async def wait_send_all_might_not_block(self) -> None:
        """Call the hook; there is always room. Raises BusyResourceError, ClosedResourceError."""
        with self._sending:
            await _be_seen()
            self._outgoing.put(b"")  # raises if it was closed
            if self.wait_send_all_might_not_block_hook is not None:
                await self.wait_send_all_might_not_block_hook()

    def close(self) -> None:
        """End the data, and call the hook. What is in the buffer can still be taken out."""
        self._outgoing.end()
        if self.close_hook is not None:
            self.close_hook()

    async def aclose(self) -> None:
        """close(), and a checkpoint."""
        self.close()
        await checkpoint()

    async def get_data(self, max_bytes: int | None = None) -> bytearray:
        """Take data out of the buffer, at most `max_bytes`; wait for some if there is none.

        Nothing comes out when the stream was closed and the buffer is empty.
        """
        return await self._outgoing.take(max_bytes)

    def get_data_nowait(self, max_bytes: int | None = None) -> bytearray:
        """get_data() without waiting. Raises WouldBlock."""
        return self._outgoing.take_nowait(max_bytes)


class MemoryReceiveStream(ReceiveStream):
    """A receiving end in memory: what comes out was put in by put_data().

    receive_some_hook: an async function, called by receive_some() before it looks for data.
    close_hook: a function, called by close() and aclose().

    The hooks are attributes as well, and may be changed at any time.
    """

    def __init__(self, receive_some_hook: AsyncHook | None = None, close_hook: SyncHook | None = None) -> None:
        self.receive_some_hook = receive_some_hook
        self.close_hook = close_hook
        self._incoming = ByteQueue()
        self._is_closed = False
        self._receiving = ConflictDetector("another task is already using this stream")

    def __init_subclass__(cls) -> None:
        raise TypeError("MemoryReceiveStream does not support subclassing")

    async def receive_some(self, max_bytes: int | None = None) -> bytearray:
        """Call the hook, and take data out of the buffer, at most `max_bytes`; wait for some if there is none.

        Raises BusyResourceError, ClosedResourceError.
        """
        with self._receiving:
            await _be_seen()
            self._refuse_if_closed()
            if self.receive_some_hook is not None:
                await self.receive_some_hook()
            received = await self._incoming.take(max_bytes)
            self._refuse_if_closed()
            return received

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ClosedResourceError("this stream was closed")

    def close(self) -> None:
        """Drop what is in the buffer, and call the hook. A task that receives gets ClosedResourceError."""
        self._is_closed = True
        self._incoming.end(discard=True)
        if self.close_hook is not None:
            self.close_hook()

    async def aclose(self) -> None:
        """close(), and a checkpoint."""
        self.close()
        await checkpoint()

    def put_data(self, data: bytes | bytearray | memoryview) -> None:
        """Put data into the buffer, for receive_some(). Raises ClosedResourceError after close() and put_eof()."""
        self._incoming.put(data)

    def put_eof(self) -> None:
        """Put the end of the stream behind the data. Idempotent."""
        self._incoming.end()


async def _be_seen() -> None:
    """Two checkpoints: what uses a stream from two tasks at a time then meets in it, and is told so."""
    await checkpoint()
    await checkpoint()


def memory_stream_pump(
    memory_send_stream: MemorySendStream, memory_receive_stream: MemoryReceiveStream, *, max_bytes: int | None = None
) -> bool:
    """Move what was sent, at most `max_bytes`, to a receiving end; also the end of the data.

    Returns whether there was anything to move. Raises BrokenResourceError if the receiving end was closed.
    """
    try:
        data = memory_send_stream.get_data_nowait(max_bytes)
    except WouldBlock:
        return False
    try:
        if data:
            memory_receive_stream.put_data(data)
        else:
            memory_receive_stream.put_eof()
    except ClosedResourceError:
        raise BrokenResourceError("the receiving end of this stream was closed") from None
    return True


def memory_stream_one_way_pair() -> tuple[MemorySendStream, MemoryReceiveStream]:
    """A sending and a receiving end, connected: the sending one pumps when it is sent to, and when it is closed.

    Its buffer has no limit, so nothing waits for the receiver.
    """
    sending = MemorySendStream()
    receiving = MemoryReceiveStream()

    def pump() -> None:
        memory_stream_pump(sending, receiving)

    async def pump_in_send() -> None:
        pump()

    sending.send_all_hook = pump_in_send
    sending.close_hook = pump
    return sending, receiving


def memory_stream_pair() -> tuple[
    StapledStream[MemorySendStream, MemoryReceiveStream], StapledStream[MemorySendStream, MemoryReceiveStream]
]:
    """Two streams, connected in both directions, each stapled of the ends that memory_stream_one_way_pair() makes."""
    right_going, right_coming = memory_stream_one_way_pair()
    left_going, left_coming = memory_stream_one_way_pair()
    return StapledStream(right_going, left_coming), StapledStream(left_going, right_coming)
