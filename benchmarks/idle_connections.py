"""Workload idle_connections: the memory of a connection in a serving nursery whose handler waits for bytes.

* one that has just come: nothing was received yet.
* one that is idle again after some messages, as most are in a server that keeps connections open.

The clients are plain descriptors of the same process, which take no memory that is counted.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from .child_processes import send_message
from .in_process import Runner, run_asyncio, run_uvloop
from .many_tasks import resident_bytes
from .measuring import Contender, Mark, Workload
from .scheduler import measure_on_one_cpu

NEW = "a new connection"
IDLE_AGAIN = "idle after some messages"
MESSAGES = 4
MAXIMUM_RECEIVE = 4096
#: Connections that are made before the first look, so that what there is once is there.
FIRST = 100
#: In so many turns of its loop asyncio accepts a connection and comes to its handler.
TURNS = 10


def connect(port: int) -> int:
    """The descriptor of a connected client."""
    return socket.create_connection(("127.0.0.1", port)).detach()


class Server:
    """A server as the measurement sees it.

    let_run: gives the server's tasks time. taken: the number of bytes that its handlers have received.
    """

    def __init__(self, let_run: Callable[[], Awaitable[object]]) -> None:
        self._port = 0
        self.taken = 0
        self._let_run = let_run
        self._clients: list[int] = []

    async def open_clients(self, count: int) -> None:
        """Connect so many, and let the server take them."""
        for _ in range(count):
            self._clients.append(connect(self._port))
            await self._let_run()

    async def send_messages(self) -> None:
        """Send some from each client, each when all of those before have been received."""
        for _ in range(MESSAGES):
            expected = self.taken + len(self._clients)
            for client in self._clients:
                os.write(client, b"x")
            while self.taken < expected:
                await self._let_run()

    def close_clients(self) -> None:
        """Disconnect all."""
        while self._clients:
            os.close(self._clients.pop())

    async def measure(self, port: int, connections: int) -> dict[str, dict[str, int]]:
        """The samples of both rows; it has been started and listens on `port`."""
        self._port = port
        await self.open_clients(FIRST)
        await self.send_messages()
        before = resident_bytes()
        await self.open_clients(connections)
        new = resident_bytes() - before
        await self.send_messages()
        idle_again = resident_bytes() - before
        self.close_clients()
        return {
            NEW: {"units": connections, "memory_bytes": new},
            IDLE_AGAIN: {"units": connections, "memory_bytes": idle_again},
        }


def measure_structured(library_name: str, run_options: dict[str, str], parameters: Mapping[str, Any]) -> None:
    """Run Trio or proactor_trio, in the child."""
    library: Any = importlib.import_module(library_name)
    importlib.import_module(f"{library_name}.testing")
    server = Server(library.testing.wait_all_tasks_blocked)

    async def handler(stream: Any) -> None:
        while data := await stream.receive_some(MAXIMUM_RECEIVE):
            server.taken += len(data)

    async def main() -> None:
        async with library.open_nursery() as nursery:
            listeners = await nursery.start(partial(library.serve_tcp, handler, 0, host="127.0.0.1"))
            port = listeners[0].socket.getsockname()[1]
            send_message({"rows": await server.measure(port, parameters["connections"])})
            nursery.cancel_scope.cancel()

    library.run(main, **run_options)


def measure_asyncio(run: Runner, parameters: Mapping[str, Any]) -> None:
    """Run asyncio or uvloop, in the child."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(MAXIMUM_RECEIVE):
            server.taken += len(data)
        writer.close()

    async def let_run() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    server = Server(let_run)

    async def main() -> None:
        listening = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        send_message({"rows": await server.measure(port, parameters["connections"])})
        listening.close()

    run(main)


_CONTENDERS = (
    Contender("trio", "trio", partial(measure_structured, "trio", {})),
    Contender("asyncio streams", "asyncio", partial(measure_asyncio, run_asyncio)),
    Contender("uvloop streams", "uvloop", partial(measure_asyncio, run_uvloop)),
    *(
        Contender(
            f"proactor_trio {backend}",
            "proactor_trio",
            partial(measure_structured, "proactor_trio", {"backend": backend}),
        )
        for backend in ("io_uring", "epoll", "poll")
    ),
)

WORKLOAD = Workload(
    name="idle_connections",
    title="connections whose handlers wait for bytes; by how much the process grows",
    unit="connection",
    rows=(NEW, IDLE_AGAIN),
    contenders=_CONTENDERS,
    baselines=("trio",),
    marks=tuple(Mark(each.name, "trio", 0.7) for each in _CONTENDERS if each.library == "proactor_trio"),
    sizes={"connections": 4_000},
    quick_sizes={"connections": 1_500},
    measure=measure_on_one_cpu,
    quantity="bytes",
)
