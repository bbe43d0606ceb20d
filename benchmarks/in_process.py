"""Measured loops: how scheduler and files run a contender's rows in a child process and time them there.

A row is an async function that does a given number of units. Each is run once to warm up and once between
two readings of the process's own CPU clock, inside the same `run`, so that starting and ending the loop is
not counted.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .child_processes import send_message, start_child
from .measuring import Sample
from .processor_time import own_processor_time

Row = Callable[[int], Awaitable[None]]
"""Does so many units."""
Runner = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs an async function to its end, as `trio.run` does."""

WARM_UP_PART = 10
"""The warm-up is this part of the measured units."""


def measure_rows(workload: str, contender: str, parameters: Mapping[str, Any]) -> dict[str, Sample]:
    """Run a contender in a child process of its own and return its samples."""
    with start_child("child", workload, contender, parameters=parameters) as child:
        rows = child.next_message()["rows"]
    return {row: Sample(**sample) for row, sample in rows.items()}


def time_rows(run: Runner, rows: Mapping[str, Row], units: Mapping[str, int]) -> None:
    """In the child: time every row, and send the samples to the parent."""
    samples = {}
    for name, row in rows.items():
        samples[name] = _time_row(run, row, units[name])
    send_message({"rows": samples})


def _time_row(run: Runner, row: Row, units: int) -> dict[str, Any]:
    sample: dict[str, Any] = {}

    async def main() -> None:
        await row(max(1, units // WARM_UP_PART))
        start = own_processor_time()
        await row(units)
        end = own_processor_time()
        sample.update(units=units, **end.used_since(start))

    run(main)
    return sample


def run_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    """`Runner` of asyncio."""
    with asyncio.Runner() as runner:
        runner.run(_as_coroutine(main))


def run_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    """`Runner` of asyncio on uvloop."""
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_as_coroutine(main))


async def _as_coroutine(main: Callable[[], Awaitable[None]]) -> None:
    await main()
