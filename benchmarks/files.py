"""Workload files: reading 4 KiB at random places of a page-cached 16 MiB file; CPU time per read.

Contenders are the files of proactor_trio, the `to_thread` of Trio and asyncio around `os.pread` (which is
what their own file objects do), and `os.pread` without any loop as the floor. Every block starts with its
own number, and every read is checked for it. The process is not pinned: a library that uses threads may
use all CPUs.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .in_process import Row, Runner, measure_rows, run_asyncio, time_rows
from .measuring import Contender, Mark, Workload

BLOCK_BYTES = 4096
BLOCKS = 16 * 1024 * 1024 // BLOCK_BYTES
NUMBER_BYTES = 8
TASKS = 32
ORDER = random.Random(2).sample(range(BLOCKS), BLOCKS)
"""Every block once, in a random order that is the same in all processes."""

ONE_AT_A_TIME = "4 KiB pread, one at a time"
TOGETHER = f"4 KiB pread, {TASKS} tasks at once"

ReadBlock = Callable[[int, int], Awaitable[bytes]]
"""Reads so many bytes at an offset."""


def check_block(number: int, data: bytes) -> None:
    """Raise unless this is the block of that number."""
    if len(data) != BLOCK_BYTES or int.from_bytes(data[:NUMBER_BYTES], "little") != number:
        raise ValueError(f"block {number}: {len(data)} bytes that begin with {data[:NUMBER_BYTES]!r}")


async def read_blocks(read: ReadBlock, units: int) -> None:
    """Read so many blocks in the order of `ORDER`, one after the other."""
    for number in itertools.islice(itertools.cycle(ORDER), units):
        check_block(number, await read(BLOCK_BYTES, number * BLOCK_BYTES))


def nursery_rows(library: Any, read: ReadBlock) -> dict[str, Row]:
    """The rows of a library with Trio's interface."""

    async def together(units: int) -> None:
        async with library.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(read_blocks, read, units // TASKS)

    return {ONE_AT_A_TIME: partial(read_blocks, read), TOGETHER: together}


def time_proactor_file(backend: str, parameters: Mapping[str, Any]) -> None:
    """The positioned reads of a proactor_trio file, opened inside the run that uses it."""
    library: Any = importlib.import_module("proactor_trio")

    def with_open_file(name: str) -> Row:
        async def row(units: int) -> None:
            async with await library.open_file(parameters["path"], "rb", buffering=0) as file:
                await nursery_rows(library, file.pread)[name](units)

        return row

    rows = {name: with_open_file(name) for name in (ONE_AT_A_TIME, TOGETHER)}
    time_rows(partial(library.run, backend=backend), rows, parameters["units"])


def time_trio_threads(parameters: Mapping[str, Any]) -> None:
    """`os.pread` in Trio's worker threads."""
    trio: Any = importlib.import_module("trio")
    with open(parameters["path"], "rb", buffering=0) as file:
        rows = nursery_rows(trio, partial(trio.to_thread.run_sync, os.pread, file.fileno()))
        time_rows(trio.run, rows, parameters["units_of_threads"])


def time_asyncio_threads(run: Runner, parameters: Mapping[str, Any]) -> None:
    """`os.pread` in asyncio's worker threads."""
    with open(parameters["path"], "rb", buffering=0) as file:
        descriptor = file.fileno()

        async def read(nbytes: int, offset: int) -> bytes:
            return await asyncio.to_thread(os.pread, descriptor, nbytes, offset)

        async def together(units: int) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(TASKS):
                    group.create_task(read_blocks(read, units // TASKS))

        rows: dict[str, Row] = {ONE_AT_A_TIME: partial(read_blocks, read), TOGETHER: together}
        time_rows(run, rows, parameters["units_of_threads"])


def time_plain_pread(parameters: Mapping[str, Any]) -> None:
    """`os.pread` called directly: no other contender can be cheaper. Nothing happens at once in it."""
    with open(parameters["path"], "rb", buffering=0) as file:
        descriptor = file.fileno()

        async def read(nbytes: int, offset: int) -> bytes:
            return os.pread(descriptor, nbytes, offset)

        row = partial(read_blocks, read)
        time_rows(run_asyncio, {ONE_AT_A_TIME: row, TOGETHER: row}, parameters["units"])


@contextmanager
def numbered_file() -> Iterator[dict[str, Any]]:
    """The file that is read; writing it brings it into the page cache."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder, "blocks")
        with path.open("wb") as file:
            for number in range(BLOCKS):
                file.write(number.to_bytes(NUMBER_BYTES, "little") * (BLOCK_BYTES // NUMBER_BYTES))
        yield {"path": str(path)}


CONTENDERS = (
    Contender("trio.to_thread", "trio", time_trio_threads),
    Contender("asyncio.to_thread", "asyncio", partial(time_asyncio_threads, run_asyncio)),
    Contender("os.pread", "os", time_plain_pread),
    *(
        Contender(f"proactor_trio {backend}", "proactor_trio", partial(time_proactor_file, backend))
        for backend in ("io_uring", "epoll")
    ),
)

WORKLOAD = Workload(
    name="files",
    title="4 KiB from the page cache at random places of 16 MiB; CPU time of the process",
    unit="read",
    rows=(ONE_AT_A_TIME, TOGETHER),
    contenders=CONTENDERS,
    baselines=("trio.to_thread",),
    marks=tuple(
        Mark(contender.name, "trio.to_thread", 0.1) for contender in CONTENDERS if contender.library == "proactor_trio"
    ),
    sizes={
        "units": {ONE_AT_A_TIME: 40_000, TOGETHER: 40_000},
        "units_of_threads": {ONE_AT_A_TIME: 4_000, TOGETHER: 4_000},
    },
    quick_sizes={
        "units": {ONE_AT_A_TIME: 12_800, TOGETHER: 12_800},
        "units_of_threads": {ONE_AT_A_TIME: 1_600, TOGETHER: 1_600},
    },
    measure=measure_rows,
    prepare=numbered_file,
)
