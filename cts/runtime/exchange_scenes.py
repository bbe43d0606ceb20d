"""Hosts of one run that exchange frontiers: over TCP, over lines in memory that can be cut, with peers made by hand."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from proactor_trio import (
    TASK_STATUS_IGNORED,
    BrokenResourceError,
    CancelScope,
    SocketStream,
    StapledStream,
    TaskStatus,
    open_memory_channel,
    open_nursery,
    open_tcp_listeners,
    open_tcp_stream,
    serve_listeners,
    sleep_forever,
)
from proactor_trio.abc import Listener, Stream
from proactor_trio.frontier_exchange import (
    FrontierExchange,
    HostIdentity,
    HostState,
    LocalHost,
    StreamTransport,
    TcpTransport,
    Transport,
    Update,
    open_exchange,
)
from proactor_trio.frontier_exchange.frame_stream import FrameStream
from proactor_trio.frontier_exchange.wire import Message
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Axis, AxisDomain, Frontier, FrontierTracker
from proactor_trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pump

LOOPBACK = "127.0.0.1"
SESSION = 7
LEASE = 8.0


def axis_of(machine_index: int, ordinal: int = 0, session: int = SESSION) -> Axis:
    return Axis.make(session, machine_index, AxisDomain.HOST, ordinal)


def tracker_of(machine_index: int, *ordinals: int, session: int = SESSION, capacity: int = 256) -> FrontierTracker:
    """The tracker of a machine, with axes of its own; by default one."""
    tracker = FrontierTracker(capacity, session, machine_index)
    for ordinal in ordinals or (0,):
        tracker.register_axis(axis_of(machine_index, ordinal, session))
    return tracker


async def reached(tracker: FrontierTracker, *entries: tuple[int, int]) -> None:
    """Wait for a frontier. Raises what an axis has failed with."""
    await tracker.wait(Frontier(sorted(entries)))


async def in_state(exchange: FrontierExchange, machine_index: int, state: HostState) -> None:
    """Wait until a peer is in a state."""
    while machine_index not in exchange.peers or exchange.peers[machine_index].state is not state:
        await checkpoint()


async def trouble_with(exchange: FrontierExchange, machine_index: int) -> Exception:
    """Wait until something has gone wrong with a peer."""
    while True:
        status = exchange.peers.get(machine_index)
        if status is not None and status.error is not None:
            return status.error
        await checkpoint()


async def some_error(exchange: FrontierExchange) -> Exception:
    """Wait for the first error that an exchange reports."""
    while not exchange.recent_errors:
        await checkpoint()
    return exchange.recent_errors[0]


class Host:
    """A host of a scene."""

    def __init__(self, tracker: FrontierTracker, exchange: FrontierExchange, transport: Transport) -> None:
        self.tracker = tracker
        self.exchange = exchange
        self.transport = transport
        self.axis = axis_of(tracker.machine_index)

    def advance(self, epoch: int) -> None:
        self.tracker.advance(self.axis, epoch)


@asynccontextmanager
async def host(tracker: FrontierTracker, transport: Transport, **options: Any) -> AsyncIterator[Host]:
    async with open_exchange(tracker, transport, **options) as exchange:
        yield Host(tracker, exchange, transport)


@asynccontextmanager
async def two_hosts(**options: Any) -> AsyncIterator[tuple[Host, Host]]:
    """Machines 0 and 1, connected by TCP."""
    async with AsyncExitStack() as stack:
        transport = TcpTransport(port=0, host=LOOPBACK)
        near = await stack.enter_async_context(host(tracker_of(0), transport, **options))
        to_near = TcpTransport({0: (LOOPBACK, transport.port)})
        far = await stack.enter_async_context(host(tracker_of(1), to_near, **options))
        await near.exchange.wait_for_peer(1)
        await far.exchange.wait_for_peer(0)
        yield near, far


# In memory --------------------------------------------------------------------------------------------------------


class Line(Listener[Stream]):
    """A line in memory to one host: connections by dial(), which can be cut and healed.

    What is sent while it is cut comes when it is healed, however late.
    """

    def __init__(self) -> None:
        self._dialed, self._accepted = open_memory_channel[Stream](math.inf)
        self._ways: list[tuple[MemorySendStream, MemoryReceiveStream]] = []
        self._is_cut = False

    async def dial(self) -> Stream:
        if self._is_cut:
            await sleep_forever()
        await checkpoint()
        there, back = self._way(), self._way()
        self._dialed.send_nowait(StapledStream(back[0], there[1]))
        return StapledStream(there[0], back[1])

    async def accept(self) -> Stream:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        await self._accepted.aclose()

    def cut(self) -> None:
        self._is_cut = True

    def heal(self) -> None:
        self._is_cut = False
        for way in self._ways:
            _pump(*way)

    def break_connections(self) -> None:
        """All that there are end, in the middle of whatever is on its way."""
        for sending, receiving in self._ways:
            sending.close_hook = None
            sending.close()
            receiving.put_eof()
        self._ways = []

    def _way(self) -> tuple[MemorySendStream, MemoryReceiveStream]:
        sending, receiving = MemorySendStream(), MemoryReceiveStream()

        def pump() -> None:
            if not self._is_cut:
                _pump(sending, receiving)

        async def pump_when_sending() -> None:
            pump()

        sending.send_all_hook = pump_when_sending
        sending.close_hook = pump
        self._ways.append((sending, receiving))
        return sending, receiving


def _pump(sending: MemorySendStream, receiving: MemoryReceiveStream) -> None:
    try:
        memory_stream_pump(sending, receiving)
    except BrokenResourceError:
        return  # the other side has ended: nobody is left to hear it


@asynccontextmanager
async def two_hosts_on_a_line(**options: Any) -> AsyncIterator[tuple[Host, Host, Line]]:
    """Machine 1 connects to machine 0. For a MockClock."""
    line = Line()
    options = {"lease": LEASE, **options}
    async with (
        host(tracker_of(0), StreamTransport({}, [line]), **options) as near,
        host(tracker_of(1), StreamTransport({0: line.dial}), **options) as far,
    ):
        await near.exchange.wait_for_peer(1)
        await far.exchange.wait_for_peer(0)
        yield near, far, line


def identity_of(machine_index: int, incarnation: bytes = b"by hand", **changes: Any) -> HostIdentity:
    fields = {"session_epoch": SESSION, "lease": LEASE, **changes}
    return HostIdentity(machine_index=machine_index, incarnation=incarnation.ljust(16), **fields)


class HandmadePeer:
    """The other side of a connection, which says what the test wants."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.frames = FrameStream(stream)

    async def say(self, *messages: Message) -> None:
        for message in messages:
            await self.frames.send(message)

    async def hear(self) -> Message | None:
        """The next that is no sign of life."""
        while True:
            message = await self.frames.receive()
            if message != Update({}, {}):
                return message

    async def join(self, identity: HostIdentity) -> None:
        await self.say(identity)
        assert isinstance(await self.hear(), HostIdentity)


@asynccontextmanager
async def host_and_handmade_peer(**options: Any) -> AsyncIterator[tuple[Host, HandmadePeer, Line]]:
    """Machine 0, and a connection to it that has said nothing yet. For a MockClock."""
    line = Line()
    tracker = options.pop("tracker", None) or tracker_of(0)
    async with host(tracker, StreamTransport({}, [line]), **{"lease": LEASE, **options}) as near:
        yield near, HandmadePeer(await line.dial()), line


class Relay:
    """Stands between TCP hosts; connections through it can be broken."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._scopes: set[CancelScope] = set()
        self.port = 0
        self.count = 0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        (listener,) = await open_tcp_listeners(0, host=LOOPBACK)
        self.port = listener.socket.getsockname()[1]
        await serve_listeners(self._carry, [listener], task_status=task_status)

    async def _carry(self, stream: SocketStream) -> None:
        self.count += 1
        with CancelScope() as scope:
            self._scopes.add(scope)
            async with await open_tcp_stream(LOOPBACK, self._target) as onward, open_nursery() as nursery:
                nursery.start_soon(_copy, stream, onward, scope)
                nursery.start_soon(_copy, onward, stream, scope)

    def break_connections(self) -> None:
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()


async def _copy(source: SocketStream, target: SocketStream, scope: CancelScope) -> None:
    try:
        async for piece in source:
            await target.send_all(piece)
    except BrokenResourceError:
        pass
    scope.cancel()


class Updates(Transport):
    """Takes the updates of a host and keeps them."""

    def __init__(self) -> None:
        self.taken: list[Update] = []
        self.local_host: LocalHost | None = None

    async def run(self, host: LocalHost, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        self.local_host = host
        with host.open_feed() as feed:
            task_status.started()
            while True:
                update = await feed.next_update()
                if update is None:
                    return
                self.taken.append(update)
