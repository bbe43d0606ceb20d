"""Workload scheduler: what a task pays for the run loop itself, without any I/O; CPU time per operation.

Trio and proactor_trio run the very same functions; asyncio and uvloop run the nearest equivalent in the
same loops. A batch of tasks is one nursery (TaskGroup) of 1000 children that do nothing, waited for at its
end, and counted per task. A deadline is a minute away, so that none expires.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from .child_processes import choose_cpus
from .in_process import Row, Runner, measure_rows, run_asyncio, run_uvloop, time_rows
from .measuring import Contender, Mark, Sample, Workload

BATCH = 1000
TOGETHER = 100
DEADLINE_S = 60

CHECKPOINT = "checkpoint, one task"
CHECKPOINT_TOGETHER = f"checkpoint, {TOGETHER} tasks"
SLEEP_0 = "sleep(0)"
SPAWN = f"spawn and exit, nursery of {BATCH}"
NURSERY = "nursery with one task"
MOVE_ON_AFTER_NOTHING = "move_on_after around nothing"
MOVE_ON_AFTER_CHECKPOINT = "move_on_after around a checkpoint"


async def do_nothing() -> None:
    """The task that is spawned."""


def nursery_rows(library: Any) -> dict[str, Row]:
    """The rows of a library with Trio's interface."""

    async def checkpoint(units: int) -> None:
        checkpoint = library.lowlevel.checkpoint
        for _ in range(units):
            await checkpoint()

    async def checkpoint_together(units: int) -> None:
        async with library.open_nursery() as nursery:
            for _ in range(TOGETHER):
                nursery.start_soon(checkpoint, units // TOGETHER)

    async def sleep_0(units: int) -> None:
        sleep = library.sleep
        for _ in range(units):
            await sleep(0)

    async def spawn(units: int) -> None:
        for _ in range(units // BATCH):
            async with library.open_nursery() as nursery:
                for _ in range(BATCH):
                    nursery.start_soon(do_nothing)

    async def nursery_with_one_task(units: int) -> None:
        open_nursery = library.open_nursery
        for _ in range(units):
            async with open_nursery() as nursery:
                nursery.start_soon(do_nothing)

    async def move_on_after_nothing(units: int) -> None:
        move_on_after = library.move_on_after
        for _ in range(units):
            with move_on_after(DEADLINE_S):
                pass

    async def move_on_after_checkpoint(units: int) -> None:
        move_on_after = library.move_on_after
        checkpoint = library.lowlevel.checkpoint
        for _ in range(units):
            with move_on_after(DEADLINE_S):
                await checkpoint()

    return {
        CHECKPOINT: checkpoint,
        CHECKPOINT_TOGETHER: checkpoint_together,
        SLEEP_0: sleep_0,
        SPAWN: spawn,
        NURSERY: nursery_with_one_task,
        MOVE_ON_AFTER_NOTHING: move_on_after_nothing,
        MOVE_ON_AFTER_CHECKPOINT: move_on_after_checkpoint,
    }


def task_group_rows() -> dict[str, Row]:
    """The rows of asyncio. Its checkpoint is `sleep(0)`, so two rows are the same."""

    async def sleep_0(units: int) -> None:
        sleep = asyncio.sleep
        for _ in range(units):
            await sleep(0)

    async def sleep_0_together(units: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(sleep_0(units // TOGETHER))

    async def spawn(units: int) -> None:
        for _ in range(units // BATCH):
            async with asyncio.TaskGroup() as group:
                for _ in range(BATCH):
                    group.create_task(do_nothing())

    async def group_with_one_task(units: int) -> None:
        task_group = asyncio.TaskGroup
        for _ in range(units):
            async with task_group() as group:
                group.create_task(do_nothing())

    async def timeout_nothing(units: int) -> None:
        timeout = asyncio.timeout
        for _ in range(units):
            async with timeout(DEADLINE_S):
                pass

    async def timeout_sleep_0(units: int) -> None:
        timeout = asyncio.timeout
        sleep = asyncio.sleep
        for _ in range(units):
            async with timeout(DEADLINE_S):
                await sleep(0)

    return {
        CHECKPOINT: sleep_0,
        CHECKPOINT_TOGETHER: sleep_0_together,
        SLEEP_0: sleep_0,
        SPAWN: spawn,
        NURSERY: group_with_one_task,
        MOVE_ON_AFTER_NOTHING: timeout_nothing,
        MOVE_ON_AFTER_CHECKPOINT: timeout_sleep_0,
    }


def time_nursery_rows(library_name: str, run_options: dict[str, str], parameters: Mapping[str, Any]) -> None:
    """Run Trio or proactor_trio, in the child."""
    library: Any = importlib.import_module(library_name)
    time_rows(partial(library.run, **run_options), nursery_rows(library), parameters["units"])


def time_task_group_rows(run: Runner, parameters: Mapping[str, Any]) -> None:
    """Run asyncio or uvloop, in the child."""
    time_rows(run, task_group_rows(), parameters["units"])


def measure_on_one_cpu(workload: str, contender: str, parameters: Mapping[str, Any]) -> dict[str, Sample]:
    """Like `measure_rows`, on one CPU: there is one thread, and moving it would only cost its caches."""
    measured_cpu, _ = choose_cpus()
    return measure_rows(workload, contender, {**parameters, "cpu": measured_cpu})


UNITS = {
    CHECKPOINT: 50_000,
    CHECKPOINT_TOGETHER: 50_000,
    SLEEP_0: 50_000,
    SPAWN: 30 * BATCH,
    NURSERY: 10_000,
    MOVE_ON_AFTER_NOTHING: 30_000,
    MOVE_ON_AFTER_CHECKPOINT: 20_000,
}

CONTENDERS = (
    Contender("trio", "trio", partial(time_nursery_rows, "trio", {})),
    Contender("asyncio", "asyncio", partial(time_task_group_rows, run_asyncio)),
    Contender("uvloop", "uvloop", partial(time_task_group_rows, run_uvloop)),
    *(
        Contender(
            f"proactor_trio {backend}",
            "proactor_trio",
            partial(time_nursery_rows, "proactor_trio", {"backend": backend}),
        )
        for backend in ("io_uring", "epoll", "poll")
    ),
)

WORKLOAD = Workload(
    name="scheduler",
    title="the run loop without I/O; CPU time of the process",
    unit="operation",
    rows=tuple(UNITS),
    contenders=CONTENDERS,
    baselines=("trio",),
    marks=tuple(Mark(contender.name, "trio", 0.5) for contender in CONTENDERS if contender.library == "proactor_trio"),
    sizes={"units": UNITS},
    quick_sizes={"units": {row: units // 3 for row, units in UNITS.items()}},
    measure=measure_on_one_cpu,
)
