"""The interfaces: what a clock, an instrument, a stream, a listener must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.instruments import Instrument

__all__ = [
    "AsyncResource",
    "Clock",
    "HalfCloseableStream",
    "Instrument",
    "Listener",
    "ReceiveStream",
    "SendStream",
    "Stream",
]

T_co = TypeVar("T_co", covariant=True)


class AsyncResource(ABC):
    """Something that must be closed; `async with` closes it."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Close it, gently where there is such a way. When cancelled it is closed all the same, but forcefully."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class SendStream(AsyncResource):
    """The sending side of a byte stream."""

    __slots__ = ()

    @abstractmethod
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Raises BusyResourceError, BrokenResourceError, ClosedResourceError."""

    @abstractmethod
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until send_all() of a little data might go through at once."""


class ReceiveStream(AsyncResource):
    """The receiving side of a byte stream. Iterating over it gives the bytes as they come."""

    __slots__ = ()

    @abstractmethod
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Wait for bytes and return at most `max_bytes` of them; nothing at the end of the stream."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | bytearray:
        data = await self.receive_some()
        if not data:
            raise StopAsyncIteration
        return data


class Stream(SendStream, ReceiveStream):
    """A byte stream in both directions."""

    __slots__ = ()


class HalfCloseableStream(Stream):
    """A byte stream whose sending side can be ended while receiving goes on."""

    __slots__ = ()

    @abstractmethod
    async def send_eof(self) -> None:
        """Say that no more data will be sent."""


class Listener(AsyncResource, Generic[T_co]):
    """Something that hands out incoming connections."""

    __slots__ = ()

    @abstractmethod
    async def accept(self) -> T_co:
        """Wait for a connection and return it."""
