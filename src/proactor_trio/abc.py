"""The interfaces: what a clock, an instrument, a stream, a channel, a listener must do."""

from __future__ import annotations

import socket as stdlib_socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from proactor_trio._kernel.clock import Clock
from proactor_trio._kernel.errors import EndOfChannel
from proactor_trio._kernel.instruments import Instrument

if TYPE_CHECKING:
    from proactor_trio.sockets.socket_type import SocketType

__all__ = [
    "AsyncResource",
    "Channel",
    "Clock",
    "HalfCloseableStream",
    "HostnameResolver",
    "Instrument",
    "Listener",
    "ReceiveChannel",
    "ReceiveStream",
    "SendChannel",
    "SendStream",
    "SocketFactory",
    "Stream",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SendType = TypeVar("SendType", contravariant=True)
ReceiveType = TypeVar("ReceiveType", covariant=True)


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


class SendChannel(AsyncResource, Generic[SendType]):
    """The sending side of a channel: objects go in."""

    __slots__ = ()

    @abstractmethod
    async def send(self, value: SendType) -> None:
        """Send an object; wait if need be.

        Raises BrokenResourceError when nobody can receive it any more, ClosedResourceError when this side was or is
        being closed, BusyResourceError where only one task may send at a time and another one does.
        """


class ReceiveChannel(AsyncResource, Generic[ReceiveType]):
    """The receiving side of a channel: objects come out. Iterating over it gives them as they come."""

    __slots__ = ()

    @abstractmethod
    async def receive(self) -> ReceiveType:
        """Wait for an object and return it.

        Raises EndOfChannel when there is none left and nobody can send another one, ClosedResourceError when this side
        was or is being closed, BrokenResourceError when something went wrong on the way, BusyResourceError where only
        one task may receive at a time and another one does.
        """

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceiveType:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None


class Channel(SendChannel[T], ReceiveChannel[T]):
    """A channel in both directions."""

    __slots__ = ()


class HostnameResolver(ABC):
    """Who resolves names for a run; see socket.set_custom_hostname_resolver()."""

    __slots__ = ()

    @abstractmethod
    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, Any, int, str, Any]]:
        """As socket.getaddrinfo(). host: never numeric; a name is encoded by IDNA 2008, as ASCII bytes."""

    @abstractmethod
    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As socket.getnameinfo()."""


class SocketFactory(ABC):
    """Who makes the sockets of a run; see socket.set_custom_socket_factory()."""

    __slots__ = ()

    @abstractmethod
    def socket(
        self, family: int = stdlib_socket.AF_INET, type: int = stdlib_socket.SOCK_STREAM, proto: int = 0
    ) -> SocketType:
        """A socket: an instance of a class that derives from socket.SocketType."""
