"""DTLSEndpoint: many associations over one UDP socket.

One task receives for all of them, a system task that holds the socket but not the endpoint; so an endpoint that nobody
has any more can be collected, which warns and closes the socket. It looks at addresses: a packet goes to the channel
with that peer. A ClientHello goes through the cookie exchange first (cookies.py), whatever the address; nothing is kept
of a client before that, and no channel is given up for one that has not proved to be where it says it is.
"""

from __future__ import annotations

import contextlib
import errno
import socket as stdlib_socket
import warnings
import weakref
from collections.abc import Awaitable, Callable
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVarTuple, final

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.errors import BusyResourceError, EndOfChannel, WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, TaskStatus, open_nursery
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.channels.memory_channel import MemoryReceiveChannel, MemorySendChannel, open_memory_channel
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.sockets.socket_type import SocketType
from proactor_trio.streams.dtls.channel import DTLSChannel
from proactor_trio.streams.dtls.cookies import ClientHello, CookieJar
from proactor_trio.streams.dtls.handshake import Handshake
from proactor_trio.streams.dtls.records import MalformedPacket, seems_to_be_client_hello
from proactor_trio.streams.turn import Turn

if TYPE_CHECKING:
    from OpenSSL import SSL

    from proactor_trio.streams.dtls.session import Session

ArgumentsT = TypeVarTuple("ArgumentsT")

#: The most that a datagram of UDP carries.
LARGEST_DATAGRAM_BYTES: Final = 65527

_HEADER_BYTES: Final = {stdlib_socket.AF_INET: 28, stdlib_socket.AF_INET6: 48}
_ETHERNET_MTU: Final = 1500
#: What every path carries: RFC 791 and RFC 8200.
_SMALLEST_MTU: Final = {stdlib_socket.AF_INET: 576, stdlib_socket.AF_INET6: 1280}

#: What a socket may report of a packet that it has sent before, or of the moment.
_PASSING_ERRORS: Final = frozenset(
    (
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EMSGSIZE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOBUFS,
        errno.ENOMEM,
    )
)


@final
class DTLSEndpoint:
    """A UDP socket that speaks DTLS with any number of peers, as a client and as a server.

    socket: a datagram socket of proactor_trio.socket; owned from now on. To serve, it should be bound. An attribute.
    incoming_packets_buffer: how many packets wait in each channel for somebody to receive them. An attribute.

    It is a context manager, and must be closed. It needs pyOpenSSL: ImportError if that is not installed.
    """

    def __init__(self, socket: SocketType, *, incoming_packets_buffer: int = 10) -> None:
        self._is_closed = True  # as long as there is nothing to close
        _check_pyopenssl()
        if not isinstance(socket, SocketType):
            raise TypeError(f"socket must be a proactor_trio.socket.SocketType, not {type(socket).__name__}")
        if socket.type != stdlib_socket.SOCK_DGRAM:
            raise ValueError("socket must be a datagram socket (SOCK_DGRAM)")
        self.socket = socket
        self.incoming_packets_buffer = incoming_packets_buffer
        self._channels: weakref.WeakValueDictionary[Any, DTLSChannel] = weakref.WeakValueDictionary()
        self._cookies = CookieJar()
        self._sending = Turn()
        self._server_context: SSL.Context | None = None
        self._arrivals: MemorySendChannel[DTLSChannel] | None = None
        self._is_receiving = False
        self._is_closed = False

    def __init_subclass__(cls) -> None:
        raise TypeError("DTLSEndpoint does not support subclassing")

    def __repr__(self) -> str:
        return f"<DTLSEndpoint on {self.socket!r}>"

    @enable_ki_protection
    async def serve(
        self,
        ssl_context: SSL.Context,
        async_fn: Callable[[DTLSChannel, *ArgumentsT], Awaitable[object]],
        *args: *ArgumentsT,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Run `async_fn(channel, *args)` in a task for each peer that connects; the channel is closed at its end.

        The peer has proved to have its address by then. The handshake is made by the first use, in the handler, which
        thus can catch what that raises; what it does not catch ends the serving.

        It ends when the endpoint is closed and all handlers have ended. For start(): tells when it serves. Raises
        BusyResourceError if another task serves already, ClosedResourceError. A context can be used again, but not be
        changed any more.
        """
        self._check()
        if self._server_context is not None:
            raise BusyResourceError("another task is already serving on this endpoint")
        from proactor_trio.streams.dtls.session import prepare

        prepare(ssl_context)
        self._arrivals, arriving = open_memory_channel[DTLSChannel](inf)
        self._server_context = ssl_context
        try:
            self._start_receiving()
            async with open_nursery() as nursery:
                task_status.started()
                async for channel in arriving:
                    nursery.start_soon(_handle, channel, async_fn, args)
        finally:
            self._server_context = None
            self._arrivals.close()
            self._arrivals = None
            _close_all_in(arriving)

    @enable_ki_protection
    def connect(self, address: tuple[str, int], ssl_context: SSL.Context) -> DTLSChannel:
        """A channel with the peer at `address`, as its client. Nothing is sent before the first use of the channel.

        address: numeric. An older channel with that peer is broken by this.
        ssl_context: can be used again, but not be changed any more. Raises ClosedResourceError.
        """
        self._check()
        from proactor_trio.streams.dtls.session import Session, prepare

        prepare(ssl_context)
        peer: Any = address
        if self.socket.family == stdlib_socket.AF_INET6 and len(address) == 2:
            peer = (*address, 0, 0)  # as the system names whom it receives from
        self._start_receiving()
        session = Session.of_client(ssl_context, self._best_mtu)
        channel = DTLSChannel.of(self, peer, session, self._handshake_on(session, 0))
        self._put(channel)
        return channel

    @enable_ki_protection
    def close(self) -> None:
        """Close the socket and all channels; no checkpoint. Tasks that use them get ClosedResourceError."""
        if self._is_closed:
            return
        self._is_closed = True
        self.socket.close()
        for channel in list(self._channels.values()):
            channel.close()
        if self._arrivals is not None:
            self._arrivals.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_closed:
            warnings.warn(f"unclosed DTLS endpoint {self!r}", ResourceWarning, source=self, stacklevel=1)
            self.close()

    # For channels --------------------------------------------------------------------------------------------------

    async def send_packet(self, packet: bytes, address: Any) -> None:
        """Send a datagram, behind those that other tasks are sending."""
        await self._sending.take()
        try:
            self._check()
            await self.socket.sendto(packet, address)
        finally:
            self._sending.give()

    def forget(self, channel: DTLSChannel) -> None:
        """A channel was closed."""
        if self._channels.get(channel.peer_address) is channel:
            del self._channels[channel.peer_address]

    # Receiving -----------------------------------------------------------------------------------------------------

    def _start_receiving(self) -> None:
        if self._is_receiving:
            return
        run = current_run()
        run.spawn_system_task(_receive_for, weakref.ref(self), self.socket, name="proactor_trio.DTLSEndpoint")
        self._is_receiving = True

    async def take(self, packet: bytes, address: Any) -> None:
        """A packet has come."""
        if not packet:
            return  # a datagram may be empty; to OpenSSL that is an error
        if seems_to_be_client_hello(packet):
            answers = self._take_client_hello(packet, address)
        else:
            channel = self._channels.get(address)
            answers = [] if channel is None else channel.deliver(packet)
            del channel
        for answer in answers:
            with contextlib.suppress(OSError, ClosedResourceError):  # to whom it may concern: the sender can be forged
                await self.send_packet(answer, address)

    def _take_client_hello(self, packet: bytes, address: Any) -> list[bytes]:
        """What is to be answered."""
        context, arrivals = self._server_context, self._arrivals
        if context is None or arrivals is None:
            return []
        try:
            hello = ClientHello.decode(packet)
        except MalformedPacket:
            return []
        if not self._cookies.is_valid(hello, address):
            return [self._cookies.challenge(hello, address)]
        known = self._channels.get(address)
        if known is not None and known.hello is not None and _are_same(known.hello, hello):
            return []  # it has come twice, and the answer to it is on its way or will be sent again
        from proactor_trio.streams.dtls.session import Session

        session = Session.of_server(context, self._best_mtu, packet)
        if session is None:
            return []
        # The client takes no record with a lower number than its own (RFC 6347, section 4.2.1).
        handshake = self._handshake_on(session, hello.record_sequence)
        channel = DTLSChannel.of(self, address, session, handshake, hello)
        self._put(channel)
        arrivals.send_nowait(channel)
        return []

    def _put(self, channel: DTLSChannel) -> None:
        replaced = self._channels.get(channel.peer_address)
        if replaced is not None:
            replaced.replace()
        self._channels[channel.peer_address] = channel

    def _handshake_on(self, session: Session, first_sequence: int) -> Handshake:
        family = self.socket.family
        smallest = _SMALLEST_MTU.get(family, _ETHERNET_MTU) - _HEADER_BYTES.get(family, 0)
        return Handshake(session, self._best_mtu, smallest, first_sequence)

    @property
    def _best_mtu(self) -> int:
        return _ETHERNET_MTU - _HEADER_BYTES.get(self.socket.family, 0)

    def _check(self) -> None:
        if self._is_closed:
            raise ClosedResourceError("this DTLS endpoint was closed")


async def _receive_for(reference: weakref.ref[DTLSEndpoint], socket: SocketType) -> None:
    """Receive as long as there is an endpoint, and without keeping it."""
    while True:
        try:
            packet, address = await socket.recvfrom(LARGEST_DATAGRAM_BYTES)
        except ClosedResourceError:
            return
        except OSError as error:
            if error.errno in _PASSING_ERRORS:
                await checkpoint()  # should they not pass, others have their turn
                continue
            _close(reference)
            return
        if not await _take_for(reference, packet, address):
            return


async def _take_for(reference: weakref.ref[DTLSEndpoint], packet: bytes, address: Any) -> bool:
    endpoint = reference()
    if endpoint is None:
        return False
    await endpoint.take(packet, address)
    return True


def _close(reference: weakref.ref[DTLSEndpoint]) -> None:
    """The socket is closed, or broken for good."""
    endpoint = reference()
    if endpoint is not None:
        endpoint.close()


async def _handle(channel: DTLSChannel, async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
    with channel:
        await async_fn(channel, *args)


def _close_all_in(arriving: MemoryReceiveChannel[DTLSChannel]) -> None:
    """Nobody will handle these any more."""
    with arriving:
        while True:
            try:
                arriving.receive_nowait().close()
            except (WouldBlock, EndOfChannel):
                return


def _are_same(one: ClientHello, other: ClientHello) -> bool:
    return (one.cookie, one.parameters) == (other.cookie, other.parameters)


def _check_pyopenssl() -> None:
    try:
        import OpenSSL.SSL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "DTLS needs pyOpenSSL: `pip install pyopenssl`, or `pip install proactor_trio[dtls]`"
        ) from error
