"""SSLStream: a stream that is encrypted by TLS.

1. The handshake is made by whoever first wants to send or to receive, and once.
2. One task may send and one receive at a time; that each of them may have to do both below is the engine's affair.
3. A peer says goodbye (close_notify) before it goes. An end without that may be an attacker's work and breaks the
   stream, except where the protocol above has its own way of telling, as HTTP has: `https_compatible`.
4. Closing says goodbye and does not wait for an answer. Where that cannot be done it closes all the same.
"""

from __future__ import annotations

import operator
import ssl
from typing import Generic, NoReturn, TypeVar

from proactor_trio._kernel.errors import BrokenResourceError, BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import checkpoint, checkpoint_if_cancelled
from proactor_trio.abc import Stream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.lending import Lender
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.conflict_detector import ConflictDetector
from proactor_trio.streams.tls.engine import Engine
from proactor_trio.streams.tls.session_attributes import NeedHandshakeError, SessionAttributes

T_Stream = TypeVar("T_Stream", bound=Stream)


class SSLStream(SessionAttributes, Stream, Lender, Generic[T_Stream]):
    """An encrypted stream over another stream. One task may send and one may receive at a time.

    transport_stream: what carries the encrypted bytes; owned from now on, and an attribute (None after unwrap()).
    ssl_context: what is allowed and who is trusted, such as ssl.create_default_context() makes.
    server_hostname: for clients: the name that the server must prove to have. Where the context checks names and this
        is not given, ValueError is raised.
    server_side: this is the server.
    https_compatible: an end without a goodbye counts as an end, and none is said when this is closed. For HTTPS and
        whatever else knows from its own messages whether it has got everything.

    It has the attributes of ssl.SSLObject; those that a handshake decides raise NeedHandshakeError before it.
    """

    transport_stream: T_Stream

    def __init__(
        self,
        transport_stream: T_Stream,
        ssl_context: ssl.SSLContext,
        *,
        server_hostname: str | bytes | None = None,
        server_side: bool = False,
        https_compatible: bool = False,
    ) -> None:
        if ssl_context.check_hostname and server_hostname is None and not server_side:
            # OpenSSL takes any name then; the stdlib refuses it for its sockets, but not for its objects.
            raise ValueError("ssl_context checks names, so server_hostname must be given")
        self.transport_stream = transport_stream
        self._engine = Engine(transport_stream, ssl_context, server_hostname, server_side)
        self._https_compatible = https_compatible
        self._has_ended = False
        self._sending = ConflictDetector("another task is already sending on this TLS stream")
        self._receiving = ConflictDetector("another task is already receiving from this TLS stream")

    def __init_subclass__(cls) -> None:
        raise TypeError("SSLStream does not support subclassing")

    @property
    def _tls(self) -> ssl.SSLObject:
        return self._engine.tls

    @property
    def _tls_after_handshake(self) -> ssl.SSLObject:
        if not self._engine.is_handshaken:
            raise NeedHandshakeError("this is not known before the handshake: call do_handshake() first")
        return self._engine.tls

    def lent_resource(self) -> NoReturn:
        """For graphs: there is none."""
        raise TypeError(
            "an SSLStream has nothing that an operation could use: TLS is made above the socket, in Python. Add an "
            "async function that uses the stream to the graph instead"
        )

    @enable_ki_protection
    async def do_handshake(self) -> None:
        """Shake hands now, if that was not done yet; if another task is at it, wait for that.

        Raises BrokenResourceError (from ssl.SSLError, if the two could not agree or the peer is not trusted),
        ClosedResourceError. Cancelled: it goes on with the next call if nothing was being sent; else the stream is
        broken.
        """
        self._engine.check()
        if self._engine.is_handshaken:
            await checkpoint()
        else:
            await self._engine.handshake()

    @enable_ki_protection
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of `data`.

        Raises BusyResourceError if another task sends, ClosedResourceError if it was or is being closed,
        BrokenResourceError if the peer is gone, sends no TLS, or this stream was broken before. If it is cancelled
        half-way, an unknown part was sent and the stream is broken.
        """
        with self._sending:
            self._engine.check()
            await self._engine.handshake()
            if memoryview(data).nbytes:
                await self._engine.write(data)
            else:
                await checkpoint()  # to OpenSSL, writing nothing is an end

    @enable_ki_protection
    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport might take more at once. Raises as send_all() does."""
        with self._sending:
            self._engine.check()
            await self._engine.wait_for_room()

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them (None: a good size); b"" at the end of the stream.

        Raises BusyResourceError if another task receives, ClosedResourceError if it was or is being closed,
        BrokenResourceError if the stream ended without a goodbye (unless `https_compatible`), the peer sends no TLS, or
        this stream was broken before. Cancelled: no byte was lost; only in a handshake or while an answer of TLS itself
        is being sent the stream is broken by it.
        """
        size = None if max_bytes is None else _checked_size(max_bytes)
        with self._receiving:
            engine = self._engine
            if engine.has_undelivered or self._has_ended:
                return await self._receive_known(size)
            try:
                engine.check()
                await engine.handshake()
                return await engine.read(size)
            except BrokenResourceError as error:
                # Older OpenSSL has either name for the same thing.
                if self._https_compatible and isinstance(error.__cause__, (ssl.SSLEOFError, ssl.SSLSyscallError)):
                    self._has_ended = True
                    await checkpoint()
                    return b""
                raise

    async def _receive_known(self, size: int | None) -> bytes:
        if self._engine.is_closed:
            self._engine.check()
        await checkpoint()
        return self._engine.take_undelivered(size)

    @enable_ki_protection
    async def unwrap(self) -> tuple[T_Stream, bytes]:
        """End TLS with a goodbye from both sides, and return the transport, to be used without.

        Returns the transport and the bytes that have already been received behind the peer's goodbye. This stream
        counts as closed then. Raises as send_all() and receive_some() do; BrokenResourceError also if the peer sends
        more data instead of a goodbye. Cancelled half-way, the stream is broken or can only be closed.
        """
        with self._sending, self._receiving:
            self._engine.check()
            await self._engine.handshake()
            trailing = await self._engine.shut_down()
            self._engine.close()
            transport = self.transport_stream
            self.transport_stream = None  # type: ignore[assignment]
            return transport, trailing

    @enable_ki_protection
    async def aclose(self) -> None:
        """Say goodbye, unless `https_compatible` or broken, and close the transport.

        The handshake is made before if it was not. A goodbye that the peer does not get is no error; a handshake that
        fails is. Cancelled, or in case of an error, the transport is closed forcefully. Tasks that use the stream get
        ClosedResourceError.
        """
        engine = self._engine
        if engine.is_closed:
            await checkpoint()
            return
        try:
            if not (engine.is_broken or self._https_compatible):
                await engine.handshake()
                await self._say_goodbye()
        except BaseException as error:
            closed_by_another = engine.is_closed
            engine.close()
            await aclose_forcefully(engine.transport)
            if closed_by_another and isinstance(error, ClosedResourceError):
                return  # another task had less patience
            raise
        engine.close()
        if self.transport_stream is not None:  # another task may have unwrapped it meanwhile
            await engine.transport.aclose()

    async def _say_goodbye(self) -> None:
        await checkpoint_if_cancelled()
        try:
            await self._engine.say_goodbye()
        except (BrokenResourceError, BusyResourceError):
            return

    def __repr__(self) -> str:
        side = "server" if self.server_side else "client"
        return f"<SSLStream, {side}, over {self.transport_stream!r}>"


def _checked_size(max_bytes: int) -> int:
    size = operator.index(max_bytes)
    if size < 1:
        raise ValueError(f"max_bytes must be at least 1, not {size}")
    return size
