"""StapledStream: one stream in both directions, of two that go one way each."""

from __future__ import annotations

from typing import Generic, TypeVar

from proactor_trio.abc import HalfCloseableStream, ReceiveStream, SendStream

SendStreamT = TypeVar("SendStreamT", bound=SendStream)
ReceiveStreamT = TypeVar("ReceiveStreamT", bound=ReceiveStream)


class StapledStream(HalfCloseableStream, Generic[SendStreamT, ReceiveStreamT]):
    """A stream that sends by one stream and receives by another; both are its own from now on.

    send_stream: for send_all(), wait_send_all_might_not_block() and send_eof(), which closes it if it cannot be ended
        otherwise. receive_stream: for receive_some(). Both are attributes, which may be exchanged.
    """

    def __init__(self, send_stream: SendStreamT, receive_stream: ReceiveStreamT) -> None:
        self.send_stream = send_stream
        self.receive_stream = receive_stream

    def __init_subclass__(cls) -> None:
        raise TypeError("StapledStream does not support subclassing")

    def __repr__(self) -> str:
        return f"<StapledStream sending by {self.send_stream!r}, receiving by {self.receive_stream!r}>"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """`send_stream.send_all()`."""
        await self.send_stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """`send_stream.wait_send_all_might_not_block()`."""
        await self.send_stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the sending side: by its own send_eof() if it has one, else by closing it."""
        send_eof = getattr(self.send_stream, "send_eof", None)
        await (self.send_stream.aclose() if send_eof is None else send_eof())

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """`receive_stream.receive_some()`."""
        return await self.receive_stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close both, the receiving one also when closing the sending one failed or was cancelled."""
        try:
            await self.send_stream.aclose()
        finally:
            await self.receive_stream.aclose()
