"""Servers under load: how their workloads start a contender's server, load it, and measure it from outside.

The server runs in a child process on one CPU and the load generator in another one on another CPU. The
server is the plain public API of its library with the handler that the workload gives; no measuring code
runs in it. It serves on 127.0.0.1, tells the parent its port, and is killed after the measurement.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from .child_processes import ChildFailed, choose_cpus, send_message, start_child
from .measuring import Contender, Sample

StreamHandler = Callable[[Any], Awaitable[None]]
"""Serves one connection of Trio's or proactor_trio's streams; the listener closes the stream after it."""
ReaderWriterHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection of asyncio's streams, and closes it."""


def server_contenders(stream: StreamHandler, reader_writer: ReaderWriterHandler) -> tuple[Contender, ...]:
    """The same server on every library."""
    return (
        Contender("trio", "trio", partial(_serve_streams, "trio", {}, stream)),
        Contender("asyncio streams", "asyncio", partial(_serve_asyncio, reader_writer)),
        Contender("uvloop streams", "uvloop", partial(_serve_uvloop, reader_writer)),
        *(
            Contender(
                f"proactor_trio {backend}",
                "proactor_trio",
                partial(_serve_streams, "proactor_trio", {"backend": backend}, stream),
            )
            for backend in ("io_uring", "epoll", "poll")
        ),
    )


def measure_server(workload: str, contender: str, parameters: Mapping[str, Any]) -> dict[str, Sample]:
    """Start the server, load it, and return its CPU time per unit, as the workload's only row."""
    server_cpu, generator_cpu = choose_cpus()
    with start_child("child", workload, contender, parameters={**parameters, "cpu": server_cpu}) as server:
        target = {"port": server.next_message()["port"], "server_process_id": server.process_id}
        with start_child(
            "load_generator", workload, parameters={**parameters, **target, "cpu": generator_cpu}
        ) as generator:
            try:
                message = generator.next_message()
            except ChildFailed as error:
                # Either may be the cause of the other: a server that fell over, or one that sent something wrong.
                server_error = server.last_words()
                raise ChildFailed(f"{error}; server: {server_error}" if server_error else str(error)) from None
    return {workload: Sample(**message)}


def _serve_streams(
    library_name: str, run_options: dict[str, str], handler: StreamHandler, parameters: Mapping[str, Any]
) -> None:
    library: Any = importlib.import_module(library_name)

    async def main() -> None:
        listeners = await library.open_tcp_listeners(0, host="127.0.0.1")
        send_message({"port": listeners[0].socket.getsockname()[1]})
        await library.serve_listeners(handler, listeners)

    library.run(main, **run_options)


async def _serve_readers_and_writers(handler: ReaderWriterHandler) -> None:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    send_message({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


def _serve_asyncio(handler: ReaderWriterHandler, parameters: Mapping[str, Any]) -> None:
    asyncio.run(_serve_readers_and_writers(handler))


def _serve_uvloop(handler: ReaderWriterHandler, parameters: Mapping[str, Any]) -> None:
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_readers_and_writers(handler))
