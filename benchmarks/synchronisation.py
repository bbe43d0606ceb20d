"""Workload synchronisation: tasks that wait for each other; CPU time per hand-over.

Trio and proactor_trio run the very same functions; asyncio and uvloop run the nearest equivalent in the same loops. Two
tasks take part in the rows where somebody waits. A hand-over is one object that goes through a channel, one lock that
is taken and given back, or one event that is waited for and set.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from .in_process import Row, Runner, run_asyncio, run_uvloop, time_rows
from .measuring import Contender, Mark, Workload
from .scheduler import measure_on_one_cpu

ROOMY = 1000

CHANNEL = "channel without a buffer"
BUFFERED = "channel, nobody waits"
LOCK = "lock between two tasks"
FREE_LOCK = "lock that is free"
EVENT = "events to and fro"

WAITING_ROWS = (CHANNEL, LOCK, FREE_LOCK, EVENT)


def structured_rows(library: Any) -> dict[str, Row]:
    """The rows of a library with Trio's interface."""

    async def channel(units: int) -> None:
        send_channel, receive_channel = library.open_memory_channel(0)

        async def send() -> None:
            async with send_channel:
                for number in range(units):
                    await send_channel.send(number)

        async with library.open_nursery() as nursery:
            nursery.start_soon(send)
            for number in range(units):
                check(await receive_channel.receive(), number)

    async def buffered(units: int) -> None:
        send_channel, receive_channel = library.open_memory_channel(ROOMY)
        for _ in range(units // ROOMY):
            for number in range(ROOMY):
                await send_channel.send(number)
            for number in range(ROOMY):
                check(await receive_channel.receive(), number)

    async def lock(units: int) -> None:
        one_lock = library.Lock()
        checkpoint = library.lowlevel.checkpoint

        async def use() -> None:
            for _ in range(units // 2):
                async with one_lock:
                    await checkpoint()

        async with library.open_nursery() as nursery:
            nursery.start_soon(use)
            nursery.start_soon(use)

    async def free_lock(units: int) -> None:
        one_lock = library.Lock()
        for _ in range(units):
            async with one_lock:
                pass

    async def event(units: int) -> None:
        asked = [library.Event() for _ in range(units // 2)]
        answered = [library.Event() for _ in range(units // 2)]

        async def answer() -> None:
            for question, reply in zip(asked, answered, strict=True):
                await question.wait()
                reply.set()

        async with library.open_nursery() as nursery:
            nursery.start_soon(answer)
            for question, reply in zip(asked, answered, strict=True):
                question.set()
                await reply.wait()

    return {CHANNEL: channel, BUFFERED: buffered, LOCK: lock, FREE_LOCK: free_lock, EVENT: event}


def asyncio_rows() -> dict[str, Row]:
    """The rows of asyncio. Its queue has one place where the channel has none, and its free lock never gives way."""

    async def channel(units: int) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def send() -> None:
            for number in range(units):
                await queue.put(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            for number in range(units):
                check(await queue.get(), number)

    async def buffered(units: int) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(ROOMY)
        for _ in range(units // ROOMY):
            for number in range(ROOMY):
                await queue.put(number)
            for number in range(ROOMY):
                check(await queue.get(), number)

    async def lock(units: int) -> None:
        one_lock = asyncio.Lock()
        sleep = asyncio.sleep

        async def use() -> None:
            for _ in range(units // 2):
                async with one_lock:
                    await sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(use())
            group.create_task(use())

    async def free_lock(units: int) -> None:
        one_lock = asyncio.Lock()
        for _ in range(units):
            async with one_lock:
                pass

    async def event(units: int) -> None:
        asked = [asyncio.Event() for _ in range(units // 2)]
        answered = [asyncio.Event() for _ in range(units // 2)]

        async def answer() -> None:
            for question, reply in zip(asked, answered, strict=True):
                await question.wait()
                reply.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(answer())
            for question, reply in zip(asked, answered, strict=True):
                question.set()
                await reply.wait()

    return {CHANNEL: channel, BUFFERED: buffered, LOCK: lock, FREE_LOCK: free_lock, EVENT: event}


def check(received: int, sent: int) -> None:
    """Fail if something else came out than went in."""
    if received != sent:
        raise ValueError(f"received {received}, but {sent} was sent")


def time_structured_rows(library_name: str, run_options: dict[str, str], parameters: Mapping[str, Any]) -> None:
    """Run Trio or proactor_trio, in the child."""
    library: Any = importlib.import_module(library_name)
    time_rows(partial(library.run, **run_options), structured_rows(library), parameters["units"])


def time_asyncio_rows(run: Runner, parameters: Mapping[str, Any]) -> None:
    """Run asyncio or uvloop, in the child."""
    time_rows(run, asyncio_rows(), parameters["units"])


UNITS = {CHANNEL: 30_000, BUFFERED: 30 * ROOMY, LOCK: 20_000, FREE_LOCK: 20_000, EVENT: 30_000}

CONTENDERS = (
    Contender("trio", "trio", partial(time_structured_rows, "trio", {})),
    Contender("asyncio", "asyncio", partial(time_asyncio_rows, run_asyncio)),
    Contender("uvloop", "uvloop", partial(time_asyncio_rows, run_uvloop)),
    *(
        Contender(
            f"proactor_trio {backend}",
            "proactor_trio",
            partial(time_structured_rows, "proactor_trio", {"backend": backend}),
        )
        for backend in ("io_uring", "epoll", "poll")
    ),
)

WORKLOAD = Workload(
    name="synchronisation",
    title="tasks that wait for each other; CPU time of the process",
    unit="hand-over",
    rows=tuple(UNITS),
    contenders=CONTENDERS,
    baselines=("trio",),
    marks=tuple(
        mark
        for contender in CONTENDERS
        if contender.library == "proactor_trio"
        for mark in (
            Mark(contender.name, "trio", 0.5, rows=WAITING_ROWS),
            Mark(contender.name, "trio", 0.4, rows=(BUFFERED,)),
        )
    ),
    sizes={"units": UNITS},
    quick_sizes={"units": {row: units // 3 // ROOMY * ROOMY for row, units in UNITS.items()}},
    measure=measure_on_one_cpu,
)
