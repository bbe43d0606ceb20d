"""DTLSChannel: an association with one peer, of which packets come out as they went in, or not at all.

1. The handshake is made by whoever first sends or receives, and once; given up in one task, it goes on in another.
2. Packets wait in a buffer of limited size. What does not fit is dropped and counted, as a network does.
3. A packet that OpenSSL does not accept (forged, damaged, repeated) is as if it had not come.
4. When the peer begins anew from the same address the old channel is broken: it has been replaced.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, final

from proactor_trio._kernel.errors import BrokenResourceError, EndOfChannel, WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import Channel
from proactor_trio.channels.memory_channel import MemoryReceiveChannel, MemorySendChannel, open_memory_channel
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.dtls.handshake import Handshake
from proactor_trio.streams.dtls.records import seems_to_shake_hands
from proactor_trio.streams.tls.session_attributes import NeedHandshakeError
from proactor_trio.streams.turn import Turn

if TYPE_CHECKING:
    from proactor_trio.streams.dtls.cookies import ClientHello
    from proactor_trio.streams.dtls.endpoint import DTLSEndpoint
    from proactor_trio.streams.dtls.session import Session

#: RFC 6347, section 4.2.4.1.
DEFAULT_RETRANSMIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DTLSChannelStatistics:
    """incoming_packets_dropped_in_trio: packets that came while the channel's buffer was full."""

    incoming_packets_dropped_in_trio: int


@final
class DTLSChannel(Channel[bytes]):
    """An encrypted connection of datagrams with one peer; made by DTLSEndpoint.connect() and DTLSEndpoint.serve().

    endpoint: whose socket it uses. peer_address: of the peer. It is a context manager, with `async` or without.
    """

    __slots__ = (
        "__weakref__",
        "_dropped",
        "_failure",
        "_handshake",
        "_has_ended",
        "_incoming",
        "_is_closed",
        "_is_handshaken",
        "_is_replaced",
        "_received",
        "_session",
        "_shaking_hands",
        "_waiting",
        "endpoint",
        "hello",
        "peer_address",
    )

    endpoint: DTLSEndpoint
    peer_address: Any
    #: What the peer began with, if it did.
    hello: ClientHello | None
    _session: Session
    _handshake: Handshake
    _incoming: MemorySendChannel[bytes]
    _waiting: MemoryReceiveChannel[bytes]
    _received: deque[bytes]
    _shaking_hands: Turn
    _failure: BrokenResourceError | None
    _dropped: int
    _is_handshaken: bool
    _is_closed: bool
    _is_replaced: bool
    _has_ended: bool

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("DTLSChannel has no public constructor: use DTLSEndpoint.connect() or DTLSEndpoint.serve()")

    def __init_subclass__(cls) -> None:
        raise TypeError("DTLSChannel does not support subclassing")

    @classmethod
    def of(
        cls,
        endpoint: DTLSEndpoint,
        peer_address: Any,
        session: Session,
        handshake: Handshake,
        hello: ClientHello | None = None,
    ) -> DTLSChannel:
        """For endpoints: a channel on a session that has just begun."""
        channel = cls.__new__(cls)
        channel.endpoint = endpoint
        channel.peer_address = peer_address
        channel.hello = hello
        channel._session = session
        channel._handshake = handshake
        channel._incoming, channel._waiting = open_memory_channel[bytes](endpoint.incoming_packets_buffer)
        channel._received = deque()
        channel._shaking_hands = Turn()
        channel._failure = None
        channel._dropped = 0
        channel._is_handshaken = False
        channel._is_closed = False
        channel._is_replaced = False
        channel._has_ended = False
        return channel

    def __repr__(self) -> str:
        return f"<DTLSChannel with {self.peer_address!r}{', closed' if self._is_closed else ''}>"

    # For the endpoint ----------------------------------------------------------------------------------------------

    def deliver(self, packet: bytes) -> list[bytes]:
        """A packet has come from the peer. Returns what is to be sent at once."""
        if self._is_handshaken and seems_to_shake_hands(packet):
            # Nobody may be receiving, and the peer waits for the end of the handshake.
            return self._handshake.final_packets()
        try:
            self._incoming.send_nowait(packet)
        except WouldBlock:
            self._dropped += 1
        return []

    def replace(self) -> None:
        """Another channel with this peer has taken its place."""
        self._is_replaced = True
        self._waiting.close()  # first: who waits there is to be told that, and not that this is the end
        self._incoming.close()

    # For users -----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def close(self) -> None:
        """Close it; no checkpoint. Tasks that use it get ClosedResourceError. The peer is not told."""
        if self._is_closed:
            return
        self._is_closed = True
        self._waiting.close()  # first: who waits there is to be told that, and not that this is the end
        self._incoming.close()
        self.endpoint.forget(self)

    @enable_ki_protection
    async def aclose(self) -> None:
        """close(), and a checkpoint."""
        self.close()
        await checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @enable_ki_protection
    async def do_handshake(self, *, initial_retransmit_timeout: float = DEFAULT_RETRANSMIT_SECONDS) -> None:
        """Shake hands now, if that was not done yet; if another task is at it, wait for that.

        initial_retransmit_timeout: seconds to wait for an answer before something is sent again, at first; best 1.5
            times as long as a packet takes there and back. It is doubled as long as nothing is answered.

        Raises BrokenResourceError (from OpenSSL.SSL.Error) if the two cannot agree or the peer is not trusted, or if
        the peer has begun anew; ClosedResourceError; OSError if the system cannot send. There is no limit of time but
        that of a cancel scope. Cancelled: it goes on with the next call.
        """
        if self._is_handshaken:
            await checkpoint()
            return
        await checkpoint_if_cancelled()
        await self._shaking_hands.take()
        try:
            if not self._is_handshaken:
                self._check()
                await self._shake_hands(initial_retransmit_timeout)
        finally:
            self._shaking_hands.give()

    async def _shake_hands(self, initial_retransmit_timeout: float) -> None:
        try:
            await self._handshake.run(self._send_packet, self._next_packet, initial_retransmit_timeout)
        except BrokenResourceError as error:
            self._failure = error
            raise
        self._is_handshaken = True

    @enable_ki_protection
    async def send(self, data: bytes) -> None:
        """Send a packet, after the handshake. It may be lost on the way, as datagrams are.

        Raises ValueError for an empty packet, OpenSSL.SSL.Error for one that is too long for a record, OSError for one
        that is too long for the network; ClosedResourceError, BrokenResourceError as do_handshake(). Cancelled:
        nothing was sent.
        """
        if not memoryview(data).nbytes:
            raise ValueError("OpenSSL cannot send an empty packet by DTLS")
        self._check()
        if not self._is_handshaken:
            await self.do_handshake()
        await checkpoint_if_cancelled()
        self._check()
        await self._send_packet(self._session.encrypt(data))

    @enable_ki_protection
    async def receive(self) -> bytes:
        """Wait for the next packet and return it, after the handshake. Several tasks may receive.

        Raises EndOfChannel if the peer has said goodbye, ClosedResourceError if the channel was or is being closed,
        BrokenResourceError as do_handshake(). Cancelled: no packet was lost.
        """
        self._check()
        if not self._is_handshaken:
            await self.do_handshake()
        await checkpoint_if_cancelled()
        if self._received:
            await cancel_shielded_checkpoint()
        while not self._received:
            if self._has_ended:
                raise EndOfChannel("the peer has ended this DTLS connection")
            self._take(await self._next_packet())
        return self._received.popleft()

    def _take(self, packet: bytes) -> None:
        received, self._has_ended = self._session.decrypt(packet)
        self._received += received

    def set_ciphertext_mtu(self, new_mtu: int) -> None:
        """Say how large a datagram to this peer may be, in bytes without the headers of IP and UDP.

        In the handshake no larger ones are made (and smaller ones if these do not get through); afterwards it is what
        get_cleartext_mtu() counts with, and no limit. By default 1472 for IPv4 and 1452 for IPv6, as Ethernet has it.
        """
        self._handshake.mtu = new_mtu
        self._session.set_ciphertext_mtu(new_mtu)

    def get_cleartext_mtu(self) -> int:
        """How many bytes a packet may have to fit into one datagram. Raises NeedHandshakeError before the handshake."""
        if not self._is_handshaken:
            raise NeedHandshakeError("this is not known before the handshake: call do_handshake() first")
        return self._session.get_cleartext_mtu()

    def statistics(self) -> DTLSChannelStatistics:
        """How many packets were dropped for want of room."""
        return DTLSChannelStatistics(incoming_packets_dropped_in_trio=self._dropped)

    # Below ---------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._is_closed:
            raise ClosedResourceError("this channel was closed")
        if self._is_replaced:
            raise BrokenResourceError("the peer has begun anew, and this channel was replaced")
        if self._failure is not None:
            raise BrokenResourceError(str(self._failure)) from self._failure.__cause__

    async def _next_packet(self) -> bytes:
        try:
            return await self._waiting.receive()
        except ClosedResourceError:
            self._check()
            raise

    async def _send_packet(self, packet: bytes) -> None:
        await self.endpoint.send_packet(packet, self.peer_address)
        self._check()
