"""Lockstep streams: in memory, with no buffer at all. A send ends when its last byte was received."""

from __future__ import annotations

from collections.abc import Callable

from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import ReceiveStream, SendStream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.conflict_detector import ConflictDetector
from proactor_trio.streams.stapled import StapledStream
from proactor_trio.testing.memory_streams import checked_size


class _Link:
    """What the two ends share: the bytes that a send has not got rid of, who waits, and who was closed."""

    __slots__ = ("changes", "is_receiving", "offered", "receiver_is_closed", "sender_is_closed")

    def __init__(self) -> None:
        self.offered = bytearray()
        self.is_receiving = False
        self.sender_is_closed = False
        self.receiver_is_closed = False
        self.changes = ParkingLot()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds or either end is closed; a checkpoint in any case."""
        if self._is_over(condition):
            await checkpoint()
        while not self._is_over(condition):
            await self.changes.park()

    def _is_over(self, condition: Callable[[], bool]) -> bool:
        return self.sender_is_closed or self.receiver_is_closed or condition()

    def has_changed(self) -> None:
        """Let those who wait look again."""
        self.changes.unpark_all()


class LockstepSendStream(SendStream):
    """The sending end of lockstep_stream_one_way_pair()."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._sending = ConflictDetector("another task is already sending on this stream")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Offer `data` and wait until all of it was received.

        Raises BusyResourceError, ClosedResourceError, BrokenResourceError if the receiving end was or is closed. If it
        is cancelled half-way, what was not received by then never will be.
        """
        link = self._link
        with self._sending:
            self._refuse_if_closed()
            if link.receiver_is_closed:
                raise BrokenResourceError("the receiving end of this stream was closed")
            await checkpoint_if_cancelled()
            link.offered += data
            link.has_changed()
            try:
                await link.wait_until(lambda: not link.offered)
                self._refuse_if_closed()
                if link.offered:
                    raise BrokenResourceError("the receiving end of this stream was closed")
            finally:
                link.offered.clear()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a task receives, or the receiving end is closed. Raises BusyResourceError, ClosedResourceError."""
        with self._sending:
            self._refuse_if_closed()
            await self._link.wait_until(lambda: self._link.is_receiving)
            self._refuse_if_closed()

    def _refuse_if_closed(self) -> None:
        if self._link.sender_is_closed:
            raise ClosedResourceError("this stream was closed")

    def close(self) -> None:
        """Close it: the receiver comes to the end of the stream, a task that sends gets ClosedResourceError."""
        self._link.sender_is_closed = True
        self._link.has_changed()

    async def aclose(self) -> None:
        """close(), and a checkpoint."""
        self.close()
        await checkpoint()


class LockstepReceiveStream(ReceiveStream):
    """The receiving end of lockstep_stream_one_way_pair()."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._receiving = ConflictDetector("another task is already receiving from this stream")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes that are being sent, and take at most `max_bytes` of them; none when the sender was closed.

        Raises BusyResourceError, ClosedResourceError.
        """
        link = self._link
        with self._receiving:
            size = checked_size(max_bytes)
            self._refuse_if_closed()
            link.is_receiving = True
            link.has_changed()
            try:
                await link.wait_until(lambda: bool(link.offered))
            finally:
                link.is_receiving = False
            self._refuse_if_closed()
            received = bytes(link.offered[:size])
            del link.offered[:size]
            link.has_changed()
            return received

    def _refuse_if_closed(self) -> None:
        if self._link.receiver_is_closed:
            raise ClosedResourceError("this stream was closed")

    def close(self) -> None:
        """Close it: a task that sends gets BrokenResourceError, one that receives ClosedResourceError."""
        self._link.receiver_is_closed = True
        self._link.has_changed()

    async def aclose(self) -> None:
        """close(), and a checkpoint."""
        self.close()
        await checkpoint()


def lockstep_stream_one_way_pair() -> tuple[LockstepSendStream, LockstepReceiveStream]:
    """A sending and a receiving end, connected, with nothing in between that could hold a byte.

    Each send waits until all of its data was received. So a new pair is clogged, which is what the stream checks ask
    for, and the flow control of what stands above it can be tried in the extreme. Both ends have a close() that is no
    checkpoint.
    """
    link = _Link()
    return LockstepSendStream(link), LockstepReceiveStream(link)


def lockstep_stream_pair() -> tuple[
    StapledStream[LockstepSendStream, LockstepReceiveStream], StapledStream[LockstepSendStream, LockstepReceiveStream]
]:
    """Two streams, connected in both directions, each stapled of the ends of lockstep_stream_one_way_pair()."""
    right_going, right_coming = lockstep_stream_one_way_pair()
    left_going, left_coming = lockstep_stream_one_way_pair()
    return StapledStream(right_going, left_coming), StapledStream(left_going, right_coming)
