"""Workloads many_tasks and sleeping_tasks: what a task costs that waits for a time, or for ever, among many others.

* a timer: a task is started, sleeps for a random part of a tenth of a second, and ends. All are started at once.
* a cancellation: tasks that are blocked are cancelled at once; from the cancellation until all have ended.
* the memory of a sleeping task: by how much the process grows while they sleep, as the kernel counts it.

Trio and proactor_trio run the very same functions; asyncio and uvloop run the nearest equivalent.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import random
import resource
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .child_processes import send_message
from .in_process import Runner, run_asyncio, run_uvloop
from .measuring import Contender, Mark, Workload
from .processor_time import own_processor_time
from .scheduler import measure_on_one_cpu

LONGEST_SLEEP_S = 0.1
FOR_EVER_S = 3600.0
SEED = 7

TIMERS = "timer, inserted and fired"
CANCELLATION = "blocked task cancelled"
MEMORY = "sleeping task"

MeasuredRow = Callable[[int], Awaitable[dict[str, Any]]]
"""Does so many units and returns the fields of a `Sample`."""


def sleeping_times(tasks: int) -> list[float]:
    """The same random times for every contender."""
    source = random.Random(SEED)
    return [source.uniform(0, LONGEST_SLEEP_S) for _ in range(tasks)]


def resident_bytes() -> int:
    """How much memory of this process is in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def structured_rows(library: Any) -> dict[str, MeasuredRow]:
    """The rows of a library with Trio's interface."""

    async def timers(units: int) -> dict[str, Any]:
        times = sleeping_times(units)
        start = own_processor_time()
        async with library.open_nursery() as nursery:
            for seconds in times:
                nursery.start_soon(library.sleep, seconds)
        return {"units": units, **own_processor_time().used_since(start)}

    async def cancellation(units: int) -> dict[str, Any]:
        async with library.open_nursery() as nursery:
            for _ in range(units):
                nursery.start_soon(library.sleep_forever)
            await library.testing.wait_all_tasks_blocked()
            start = own_processor_time()
            nursery.cancel_scope.cancel()
        return {"units": units, **own_processor_time().used_since(start)}

    async def memory(units: int) -> dict[str, Any]:
        async with library.open_nursery() as nursery:
            before = resident_bytes()
            for _ in range(units):
                nursery.start_soon(library.sleep, FOR_EVER_S)
            await library.testing.wait_all_tasks_blocked()
            used = resident_bytes() - before
            nursery.cancel_scope.cancel()
        return {"units": units, "memory_bytes": used}

    return {TIMERS: timers, CANCELLATION: cancellation, MEMORY: memory}


def asyncio_rows() -> dict[str, MeasuredRow]:
    """The rows of asyncio, whose tasks are cancelled one by one."""

    async def timers(units: int) -> dict[str, Any]:
        times = sleeping_times(units)
        start = own_processor_time()
        async with asyncio.TaskGroup() as group:
            for seconds in times:
                group.create_task(asyncio.sleep(seconds))
        return {"units": units, **own_processor_time().used_since(start)}

    async def cancellation(units: int) -> dict[str, Any]:
        event = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(event.wait()) for _ in range(units)]
            await asyncio.sleep(0)
            start = own_processor_time()
            for task in tasks:
                task.cancel()
        return {"units": units, **own_processor_time().used_since(start)}

    async def memory(units: int) -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            before = resident_bytes()
            tasks = [group.create_task(asyncio.sleep(FOR_EVER_S)) for _ in range(units)]
            await asyncio.sleep(0)
            used = resident_bytes() - before
            for task in tasks:
                task.cancel()
        return {"units": units, "memory_bytes": used}

    return {TIMERS: timers, CANCELLATION: cancellation, MEMORY: memory}


def measure_structured(library_name: str, run_options: dict[str, str], parameters: Mapping[str, Any]) -> None:
    """Run Trio or proactor_trio, in the child."""
    library: Any = importlib.import_module(library_name)
    importlib.import_module(f"{library_name}.testing")
    measure_rows(partial(library.run, **run_options), structured_rows(library), parameters["units"])


def measure_asyncio(run: Runner, parameters: Mapping[str, Any]) -> None:
    """Run asyncio or uvloop, in the child."""
    measure_rows(run, asyncio_rows(), parameters["units"])


def measure_rows(run: Runner, rows: Mapping[str, MeasuredRow], units: Mapping[str, int]) -> None:
    """In the child: measure the rows that have units, each in a run of its own, and send them to the parent."""
    samples: dict[str, Any] = {}
    for name, count in units.items():
        row = rows[name]

        async def main(name: str = name, row: MeasuredRow = row, count: int = count) -> None:
            samples[name] = await row(count)

        run(main)
    send_message({"rows": samples})


def contenders() -> tuple[Contender, ...]:
    """Who takes part in both workloads."""
    return (
        Contender("trio", "trio", partial(measure_structured, "trio", {})),
        Contender("asyncio", "asyncio", partial(measure_asyncio, run_asyncio)),
        Contender("uvloop", "uvloop", partial(measure_asyncio, run_uvloop)),
        *(
            Contender(
                f"proactor_trio {backend}",
                "proactor_trio",
                partial(measure_structured, "proactor_trio", {"backend": backend}),
            )
            for backend in ("io_uring", "epoll", "poll")
        ),
    )


def marks(at_most: Mapping[str, float]) -> tuple[Mark, ...]:
    """What each row of ours is to reach against Trio."""
    return tuple(
        Mark(contender.name, "trio", ratio, rows=(row,))
        for contender in contenders()
        if contender.library == "proactor_trio"
        for row, ratio in at_most.items()
    )


WORKLOAD = Workload(
    name="many_tasks",
    title="many tasks that wait; CPU time of the process",
    unit="task",
    rows=(TIMERS, CANCELLATION),
    contenders=contenders(),
    baselines=("trio",),
    marks=marks({TIMERS: 0.35, CANCELLATION: 0.7}),
    sizes={"units": {TIMERS: 100_000, CANCELLATION: 10_000}},
    quick_sizes={"units": {TIMERS: 20_000, CANCELLATION: 10_000}},
    measure=measure_on_one_cpu,
)

MEMORY_WORKLOAD = Workload(
    name="sleeping_tasks",
    title="many tasks that sleep; by how much the process grows",
    unit="task",
    rows=(MEMORY,),
    contenders=contenders(),
    baselines=("trio",),
    marks=marks({MEMORY: 1.0}),
    sizes={"units": {MEMORY: 30_000}},
    quick_sizes={"units": {MEMORY: 10_000}},
    measure=measure_on_one_cpu,
    quantity="bytes",
)
