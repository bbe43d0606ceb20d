"""The engine below an SSLStream: an `ssl.SSLObject` between two buffers, and the transport that they stand for.

OpenSSL does no I/O here. It is asked for a step (shake hands, read, write, shut down), takes what it needs from the
buffer of what came in, leaves what is to be sent in the buffer of what goes out, and says "more" when it needs more.
Some facts make that hard:

1. Any step may read and any step may write: a write waits for the peer in a renegotiation, a read answers a key update.
   So a sending and a receiving task meet here, and both may have to send, and both to receive.
2. Records are numbered. What OpenSSL has written must go out whole and in that order: a transport that was cancelled
   half-way, or failed, leaves a peer that can decrypt nothing any more.
3. An answer that one task waits for may be in what another task receives.
4. With TLS 1.3 a server has session tickets to send when it is done shaking hands. A client that only sends never reads
   them, and a server that waited for that would never come to read.

So: sending is one task's turn, who sends all there is, and everybody whose bytes are on the way waits for a turn, also
if none are left by then; a turn that ends badly breaks the engine. Receiving is one task's turn too, and whoever gets
it after something has come looks at that first. The tickets are held back until there is something else to send.
Cancelled while it waits for a turn or for the transport to give something, a step leaves the engine whole: what was
encrypted goes out with the next turn, what was decrypted is kept for the next read.

Errors of OpenSSL break the engine. The alert that tells the peer what is wrong is sent if the transport takes it soon.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final, Generic, NoReturn, TypeVar

from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.traps import cancel_shielded_checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import Stream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.turn import Turn
from proactor_trio.timeouts import move_on_after

TransportT = TypeVar("TransportT", bound=Stream)

#: The most that one record holds (RFC 8446, section 5.1).
RECORD_BYTES: Final = 16 * 1024

#: How much is encrypted before it is sent: many records by one call of the transport, and no second copy of all data.
SEND_BYTES: Final = 256 * 1024

#: How long a transport that takes nothing may keep a failed step from raising its error.
ALERT_SECONDS: Final = 1.0


class Engine(Generic[TransportT]):
    """TLS on a transport. One task may write and one may read at a time; who asks too often is not noticed here.

    tls: the object of OpenSSL, for all that needs no I/O. is_handshaken: whether data can go through.
    """

    __slots__ = (
        "_failure",
        "_held_back",
        "_incoming",
        "_is_broken",
        "_is_closed",
        "_is_closing",
        "_outgoing",
        "_receives",
        "_receiving",
        "_sending",
        "_shaking_hands",
        "_undelivered",
        "is_handshaken",
        "tls",
        "transport",
    )

    def __init__(
        self, transport: TransportT, context: ssl.SSLContext, server_hostname: str | bytes | None, server_side: bool
    ) -> None:
        self.transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self.is_handshaken = False
        self._is_broken = False
        self._is_closing = False
        self._is_closed = False
        self._failure: ssl.SSLError | None = None
        self._shaking_hands = Turn()
        self._sending = Turn()
        self._receiving = Turn()
        self._receives = 0
        self._held_back = b""
        self._undelivered = b""

    # States --------------------------------------------------------------------------------------------------------

    @property
    def is_broken(self) -> bool:
        """Whether nothing goes through any more."""
        return self._is_broken

    @property
    def is_closed(self) -> bool:
        """Whether close() was called."""
        return self._is_closed

    def close(self) -> None:
        """Refuse everything from now on; the transport is the caller's to deal with."""
        self._is_closing = True
        self._is_closed = True

    def check(self) -> None:
        """Raises ClosedResourceError, BrokenResourceError if it is no longer of use."""
        if self._is_closing:
            raise ClosedResourceError("this TLS stream was closed")
        if self._is_broken:
            self._raise_broken()

    def _raise_broken(self) -> NoReturn:
        if self._failure is None:
            raise BrokenResourceError("this TLS stream is unusable since a call on it was cancelled or failed half-way")
        raise BrokenResourceError(f"TLS failed: {self._failure}") from self._failure

    # What streams do -----------------------------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Shake hands, if that was not done yet; a task that is cancelled while waiting leaves the rest to another."""
        if self.is_handshaken:
            return
        await self._shaking_hands.take()
        try:
            if self.is_handshaken:
                return
            self.check()
            await self._until_done(self.tls.do_handshake)
            if self.tls.server_side and self.tls.version() == "TLSv1.3":
                self._held_back = self._outgoing.read()
            elif self._outgoing.pending:
                await self._send()
            self.is_handshaken = True
        finally:
            self._shaking_hands.give()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of `data`, which must not be empty."""
        unsent = memoryview(data).cast("B")
        while unsent:
            written = await self._until_done(self.tls.write, unsent[:SEND_BYTES])
            await self._send()
            unsent = unsent[written:]

    async def read(self, max_bytes: int | None) -> bytes:
        """Receive and decrypt at most `max_bytes`, and no more than there is; nothing at the end of the stream."""
        receives = self._receives
        data: bytes = await self._until_done(self._read, max_bytes)
        if self._outgoing.pending:
            try:
                await (self._send_alert() if self._is_broken else self._send())
            except BaseException:
                self._undelivered = data
                raise
        elif self._receives == receives:
            await cancel_shielded_checkpoint()
        return data

    @property
    def has_undelivered(self) -> bool:
        """Whether there is something for take_undelivered()."""
        return bool(self._undelivered)

    def take_undelivered(self, max_bytes: int | None) -> bytes:
        """What a read that was cancelled had decrypted already."""
        data = self._undelivered[:max_bytes]
        self._undelivered = self._undelivered[len(data) :]
        return data

    async def wait_for_room(self) -> None:
        """Wait until the transport might take something at once."""
        await self._sending.take()
        try:
            self.check()
            await self.transport.wait_send_all_might_not_block()
        finally:
            self._sending.give()

    async def shut_down(self) -> bytes:
        """Say goodbye and wait for the peer's goodbye. Returns what came behind it, which is not TLS."""
        await self._until_done(self.tls.unwrap)
        if self._outgoing.pending:
            await self._send()
        return self._incoming.read()

    async def say_goodbye(self) -> None:
        """Send the peer a close_notify, behind all that is on its way; refuse everything else from now on."""
        self._is_closing = True
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # mostly: the peer's answer is not there yet; otherwise there is nobody to say it to
        await self._send()

    # Steps ---------------------------------------------------------------------------------------------------------

    async def _until_done(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Repeat a step, and send and receive in between, until it has a result. What is left to send is not sent."""
        while True:
            await checkpoint_if_cancelled()
            receives = self._receives
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self._is_broken = True
                self._failure = error
            if self._failure is not None:
                await self._send_alert()
                self._raise_broken()
            if self._outgoing.pending:
                await self._send()
            await self._receive(receives)
            self.check()

    def _read(self, max_bytes: int | None) -> bytes:
        """The step of a read: as many records as there are and fit."""
        if max_bytes is None:
            max_bytes = max(RECORD_BYTES, self._incoming.pending)
        try:
            data = self.tls.read(min(max_bytes, RECORD_BYTES))
        except ssl.SSLZeroReturnError:
            return b""  # both sides have said goodbye
        if not data or len(data) == max_bytes or not self._incoming.pending:
            return data
        records = [data]
        size = len(data)
        while size < max_bytes and self._incoming.pending and data:
            try:
                data = self.tls.read(min(max_bytes - size, RECORD_BYTES))
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:  # for the next call: this one has something to give
                self._is_broken = True
                self._failure = error
                break
            records.append(data)
            size += len(data)
        return b"".join(records)

    # The transport -------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Wait until all that OpenSSL has written so far is sent, by this task or another."""
        await self._sending.take()
        try:
            if self._is_broken:
                self._raise_broken()
            await self._send_all()
        finally:
            self._sending.give()

    async def _send_all(self) -> None:
        data = self._outgoing.read()
        if not data:
            return
        if self._held_back:
            data, self._held_back = self._held_back + data, b""
        try:
            await self.transport.send_all(data)
        except BaseException:
            self._is_broken = True  # nobody knows how much the peer got
            raise

    async def _send_alert(self) -> None:
        if not self._outgoing.pending:
            return
        with move_on_after(ALERT_SECONDS):
            await self._sending.take()
            try:
                await self._send_all()
            except (BrokenResourceError, BusyResourceError, ClosedResourceError):
                pass  # the error that it was to tell of is raised here in any case
            finally:
                self._sending.give()

    async def _receive(self, receives: int) -> None:
        """Wait until something was received after the `receives`-th time, by this task or another."""
        await self._receiving.take()
        try:
            if self._receives != receives:
                return
            data = await self.transport.receive_some()
            self._receives += 1
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        finally:
            self._receiving.give()
