"""StreamTransport: hosts that are connected to each other by byte streams, whatever these are made of.

1. Of two hosts either may connect, or both; two connections do no harm. A host connects to another as long as no
   connection with that one is up, whoever made it.
2. While the other's lease runs, every moment without a connection is dear: attempts overlap, and the first to be
   answered ends the others. Otherwise an attempt that failed is repeated after a while that grows to a second.
3. Nothing that one connection does harms another: what goes wrong is reported, and the connection is closed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.run import current_time
from proactor_trio.abc import Listener, Stream
from proactor_trio.frontier_exchange.connection import CONNECTION_ERRORS, Connection
from proactor_trio.frontier_exchange.errors import HostRefused
from proactor_trio.frontier_exchange.transport import HostIdentity, LocalHost, Transport
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ResourceExhausted
from proactor_trio.streams.serving import serve_listeners
from proactor_trio.timeouts import fail_after, move_on_after, sleep_forever

#: Opens a stream to one other host. May fail with OSError or BrokenResourceError, and is tried again.
Dial = Callable[[], Awaitable[Stream]]

#: For so many seconds a connection may take to be made and greeted.
GREETING_SECONDS: Final = 10.0
#: So many connections that have not greeted yet are kept; further ones are closed.
MOST_STRANGERS: Final = 64
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
#: While the other's lease runs, so many attempts begin in it, and each may take half of it.
_ATTEMPTS_PER_LEASE: Final = 16
#: A lease is over after so many times its length at the latest (members.py).
LEASE_WITH_GRACE: Final = 1.5


class StreamTransport(Transport):
    """Connects the hosts of a session by byte streams; TcpTransport makes them of TCP.

    dials: what opens a stream to each host that this one connects to, by its machine index.
    listeners: where others connect to this host; owned from now on, and closed when the exchange ends.
    """

    def __init__(self, dials: Mapping[int, Dial], listeners: Sequence[Listener[Stream]] = ()) -> None:
        for machine_index in dials:
            check_integer(machine_index, "dials: machine index", 0, 255)
        self._dials = dict(dials)
        self._listeners = tuple(listeners)

    async def run(self, host: LocalHost, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """See Transport."""
        connections = _Connections(host)
        async with open_nursery() as nursery:
            for machine_index, dial in self._dials.items():
                dialer = _Dialer(connections, machine_index, dial)
                nursery.start_soon(dialer.run, name=f"connecting to machine {machine_index}")
            if self._listeners:
                await nursery.start(serve_listeners, connections.serve, self._listeners)
            task_status.started()
            await sleep_forever()


class _Connections:
    """The connections of one host."""

    def __init__(self, host: LocalHost) -> None:
        self.host = host
        self.changed = ParkingLot()
        self._strangers = 0
        self._up: Counter[int] = Counter()
        #: Of each host that was connected: its lease, and until when that may run.
        self._leases: dict[int, tuple[float, float]] = {}

    def is_up(self, machine_index: int) -> bool:
        return self._up[machine_index] > 0

    def running_lease(self, machine_index: int) -> float | None:
        """The lease of a host, in seconds, while it may be lost by the lack of a connection."""
        lease, end = self._leases.get(machine_index, (0.0, -math.inf))
        return lease if current_time() < end else None

    async def serve(self, stream: Stream) -> None:
        """Another host has connected."""
        connection = Connection(self.host, stream)
        try:
            identity = await self._greeting_of(connection)
            if identity is not None:
                await self.carry(connection, identity)
        except CONNECTION_ERRORS as error:
            self.host.report(error, None, connection.place)
        finally:
            await connection.aclose()

    async def _greeting_of(self, connection: Connection) -> HostIdentity | None:
        if self._strangers >= MOST_STRANGERS:
            error = ResourceExhausted(f"{MOST_STRANGERS} connections have not greeted; a further one was closed")
            self.host.report(error, None, connection.place)
            return None
        self._strangers += 1
        try:
            return await connection.hear(GREETING_SECONDS)
        finally:
            self._strangers -= 1

    async def carry(self, connection: Connection, identity: HostIdentity) -> None:
        """Let a connection that was greeted do its work. Raises HostRefused."""
        link = await connection.admit(identity)
        machine_index = identity.machine_index
        self._up[machine_index] += 1
        self.changed.unpark_all()
        try:
            await connection.carry(link, identity.lease)
        except CONNECTION_ERRORS as error:
            self.host.report(error, machine_index, connection.place)
        finally:
            self._up[machine_index] -= 1
            self._leases[machine_index] = identity.lease, current_time() + identity.lease * LEASE_WITH_GRACE
            self.changed.unpark_all()


class _Dialer:
    """Keeps one other host connected."""

    def __init__(self, connections: _Connections, machine_index: int, dial: Dial) -> None:
        self._connections = connections
        self._machine_index = machine_index
        self._dial = dial
        #: The attempts that have not been answered yet.
        self._attempts: dict[CancelScope, None] = {}

    async def run(self) -> None:
        async with open_nursery() as nursery:
            while True:
                await self._connect(nursery)
                await self._wait_while(self._is_up)

    async def _wait_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            await self._connections.changed.park()

    def _is_up(self) -> bool:
        return self._connections.is_up(self._machine_index)

    async def _connect(self, nursery: Nursery) -> None:
        pause = _FIRST_PAUSE
        while not self._is_up():
            lease = self._connections.running_lease(self._machine_index)
            if lease is None:
                await self._attempt(nursery, GREETING_SECONDS)
                await self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                nursery.start_soon(self._attempt, nursery, lease / 2)
                await self._pause(lease / _ATTEMPTS_PER_LEASE)

    async def _pause(self, seconds: float) -> None:
        with move_on_after(seconds):
            await self._wait_while(lambda: not self._is_up())

    async def _attempt(self, nursery: Nursery, seconds: float) -> None:
        """Try to connect once; if that succeeds, the connection goes on in the nursery."""
        place = f"the way to machine {self._machine_index}"
        scope = CancelScope()
        self._attempts[scope] = None
        connection: Connection | None = None
        try:
            with scope:
                with fail_after(seconds):
                    connection = Connection(self._connections.host, await self._dial())
                    place = connection.place
                    identity = await connection.introduce(self._machine_index)
                if not self._is_up():
                    nursery.start_soon(self._carry, connection, identity)
                    connection = None
                    del self._attempts[scope]
                    self._end_attempts()
        except CONNECTION_ERRORS as error:
            self._connections.host.report(error, self._machine_index, place)
        finally:
            self._attempts.pop(scope, None)
            if connection is not None:
                await connection.aclose()

    def _end_attempts(self) -> None:
        for scope in self._attempts:
            scope.cancel()

    async def _carry(self, connection: Connection, identity: HostIdentity) -> None:
        try:
            await self._connections.carry(connection, identity)
        except HostRefused as error:
            self._connections.host.report(error, self._machine_index, connection.place)
        finally:
            await connection.aclose()
