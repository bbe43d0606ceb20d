"""One connection between two hosts: the greeting, then updates both ways.

The side that connects says hello; the other side looks at it and answers with its own hello, or with a refusal. So no
update goes to anybody who was not admitted. From then on each side sends when it has something to say.

A connection on which nothing comes for half of the other side's lease is ended: what TCP does after an interruption may
take as long again as that lasted, while a new connection is made at once (stream_transport.py) and begins with all
epochs. So nothing is lost by ending one.
"""

from __future__ import annotations

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.abc import Stream
from proactor_trio.frontier_exchange.errors import BadFrame, HostRefused
from proactor_trio.frontier_exchange.frame_stream import FrameStream
from proactor_trio.frontier_exchange.transport import HostIdentity, Link, LocalHost, Update
from proactor_trio.frontier_exchange.wire import Goodbye, Message, Refusal
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.socket_stream import SocketStream
from proactor_trio.streams.tls.stream import SSLStream
from proactor_trio.timeouts import TooSlowError, fail_after, move_on_after

#: What a stream, or what came out of it, may fail with.
CONNECTION_ERRORS = (OSError, BrokenResourceError, ClosedResourceError, BadFrame, HostRefused, TooSlowError)
#: For so many seconds the last words of a connection may take.
_LAST_WORDS_SECONDS = 1.0


class Connection:
    """A stream to another host. Whoever has one closes it: `aclose()`."""

    __slots__ = ("_error", "_frames", "_has_said_goodbye", "_host", "_is_answer_due", "_scope", "place")

    def __init__(self, host: LocalHost, stream: Stream) -> None:
        self.place = place_of(stream)
        self._host = host
        self._frames = FrameStream(stream)
        self._scope = CancelScope()
        self._error: Exception | None = None
        self._has_said_goodbye = False
        self._is_answer_due = False

    # The greeting ------------------------------------------------------------------------------------------------

    async def introduce(self, machine_index: int) -> HostIdentity:
        """Say hello first, to a host that should be this one. Raises CONNECTION_ERRORS."""
        await self._frames.send(self._host.identity)
        identity = await self._receive_hello()
        if identity.machine_index != machine_index:
            error = HostRefused(f"this is machine {identity.machine_index}, where {machine_index} was expected")
            await self._refuse(error)
            raise error
        return identity

    async def hear(self, seconds: float) -> HostIdentity:
        """Wait for the other side's hello; it is answered once it was admitted. Raises CONNECTION_ERRORS."""
        self._is_answer_due = True
        try:
            with fail_after(seconds):
                return await self._receive_hello()
        except BadFrame as error:
            await self._refuse(error)
            raise

    async def _receive_hello(self) -> HostIdentity:
        message = await self._frames.receive()
        if message is None:
            raise BadFrame("the connection ended before a hello")
        if isinstance(message, Refusal):
            raise _refused(message)
        if not isinstance(message, HostIdentity):
            raise BadFrame(f"{_name_of(message)} came before a hello")
        return message

    async def admit(self, identity: HostIdentity) -> Link:
        """Have the exchange admit it. Raises HostRefused, when the other side has been told."""
        try:
            return self._host.admit(identity, self._scope.cancel)
        except HostRefused as error:
            await self._refuse(error)
            raise

    # Updates -----------------------------------------------------------------------------------------------------

    async def carry(self, link: Link, lease: float) -> None:
        """Send and receive until one side ends it. Raises CONNECTION_ERRORS.

        lease: of the other side, in seconds.
        """
        try:
            with self._scope:
                async with open_nursery(strict_exception_groups=True) as nursery:
                    nursery.start_soon(self._send_updates)
                    await self._receive_messages(link, lease / 2)
                    nursery.cancel_scope.cancel()
            if isinstance(self._error, BadFrame):
                await self._refuse(self._error)
        finally:
            link.close(self._error)
        if self._error is not None:
            raise self._error

    async def _send_updates(self) -> None:
        with self._host.open_feed() as feed:
            try:
                if self._is_answer_due:
                    await self._frames.send(self._host.identity)
                while True:
                    update = await feed.next_update()
                    if update is None:
                        break
                    await self._frames.send(update)
                self._has_said_goodbye = True
                await self._frames.send(Goodbye())  # and the other side ends the connection
            except CONNECTION_ERRORS as error:
                self._end(error)

    async def _receive_messages(self, link: Link, patience: float) -> None:
        while True:
            message: Message | None = None
            try:
                with fail_after(patience):
                    message = await self._frames.receive()
            except TooSlowError:
                self._end(TooSlowError(f"nothing came for {patience:g} s"))
                return
            except CONNECTION_ERRORS as error:
                self._end(error)
                return
            if message is None:
                return
            if not self._has_taken(message, link):
                return

    def _has_taken(self, message: Message, link: Link) -> bool:
        """Whether the connection goes on after this message."""
        if isinstance(message, Update):
            try:
                link.receive(message)
            except BadFrame as error:
                self._end(error)
            return self._error is None
        if isinstance(message, Goodbye):
            link.leave()
        elif isinstance(message, Refusal):
            self._end(_refused(message))
        else:
            self._end(BadFrame("a second hello"))
        return False

    def _end(self, error: Exception) -> None:
        if self._error is None and not self._has_said_goodbye:
            self._error = error
        self._scope.cancel()

    # The end -----------------------------------------------------------------------------------------------------

    async def _refuse(self, error: Exception) -> None:
        """Tell the other side why, if it can be told."""
        if not self._frames.can_send:
            return
        try:
            with move_on_after(_LAST_WORDS_SECONDS):
                await self._frames.send(Refusal(str(error)))
        except CONNECTION_ERRORS:
            return  # it has gone

    async def aclose(self) -> None:
        """Close the stream without waiting for anybody."""
        try:
            await aclose_forcefully(self._frames.stream)
        except CONNECTION_ERRORS:
            return  # it was broken


def _refused(message: Refusal) -> HostRefused:
    return HostRefused(f"the other side has refused: {message.reason}")


def _name_of(message: Message) -> str:
    return f"a {type(message).__name__.lower()}"


def place_of(stream: Stream) -> str:
    """Where a stream leads to, in words."""
    transport = stream.transport_stream if isinstance(stream, SSLStream) else stream
    if not isinstance(transport, SocketStream):
        return f"a connection by {type(transport).__name__}"
    try:
        return f"the connection with {transport.socket.getpeername()}"
    except OSError:
        return "a connection that has ended"
