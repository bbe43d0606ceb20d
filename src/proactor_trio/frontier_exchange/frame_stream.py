"""Frames over a byte stream."""

from __future__ import annotations

from proactor_trio.abc import Stream
from proactor_trio.frontier_exchange.errors import BadFrame
from proactor_trio.frontier_exchange.wire import HEADER_BYTES, Message, decode_body, decode_header, encode


class FrameStream:
    """One task may send and one may receive at a time. A receive that is cancelled loses nothing.

    A send that was cancelled may have left a part of a frame behind, so that nothing can be sent any more.
    """

    __slots__ = ("_has_half_sent", "_received", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._received = bytearray()
        self._has_half_sent = False

    @property
    def can_send(self) -> bool:
        """Whether what is sent now would begin as a frame."""
        return not self._has_half_sent

    async def send(self, message: Message) -> None:
        """Send a message. Raises what the stream raises."""
        self._has_half_sent = True
        await self.stream.send_all(encode(message))
        self._has_half_sent = False

    async def receive(self) -> Message | None:
        """Wait for the next message; None at the end. Raises BadFrame, and what the stream raises."""
        if not await self._has_received(HEADER_BYTES):
            return None
        kind, length = decode_header(self._received[:HEADER_BYTES])
        size = HEADER_BYTES + length
        await self._has_received(size)
        body = bytes(self._received[HEADER_BYTES:size])
        del self._received[:size]
        return decode_body(kind, body)

    async def _has_received(self, count: int) -> bool:
        """Wait for so many bytes. False at the end, if nothing came before it."""
        while len(self._received) < count:
            piece = await self.stream.receive_some()
            if piece:
                self._received += piece
            elif self._received:
                raise BadFrame("the connection ended in the middle of a frame")
            else:
                return False
        return True
