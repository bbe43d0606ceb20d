"""Workload file_objects: lines of a text file by `async for`, and small files read whole by `Path`; CPU time for each.

Contenders are proactor_trio and Trio, which makes a trip to a worker thread for each line and each file. Every line and
every file starts with its own number and is checked for it. The process is not pinned: a library that uses threads may
use all CPUs.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .in_process import Row, measure_rows, time_rows
from .measuring import Contender, Mark, Workload

LINES = 40_000
FILES = 2_000
FILE_BYTES = 1024
TASKS = 20

BY_LINE = "a line of text, async for"
ONE_AT_A_TIME = "Path.read_bytes() of 1 KiB, one at a time"
TOGETHER = f"Path.read_bytes() of 1 KiB, {TASKS} tasks at once"


def line_of(number: int) -> str:
    """The line of that number, with its end."""
    return f"{number:08} and some words that make a line of fifty\n"


def contents_of(number: int) -> bytes:
    """What stands in the file of that number."""
    return (b"%08d" % number).ljust(FILE_BYTES, b".")


def rows_of(library: Any, folder: str) -> dict[str, Row]:
    """The rows of a library with Trio's interface."""

    paths = [library.Path(f"{folder}/{number}") for number in range(FILES)]
    expected = [contents_of(number) for number in range(FILES)]

    async def by_line(units: int) -> None:
        left = units
        while left:
            async with await library.open_file(f"{folder}/lines", encoding="ascii") as file:
                number = 0
                async for line in file:
                    if line != line_of(number):
                        raise ValueError(f"line {number}: {line!r}")
                    number += 1
                    left -= 1
                    if not left:
                        break

    async def read_files(first: int, units: int) -> None:
        for unit in range(first, first + units):
            number = unit % FILES
            if await paths[number].read_bytes() != expected[number]:
                raise ValueError(f"file {number} has other contents")

    async def together(units: int) -> None:
        async with library.open_nursery() as nursery:
            for task in range(TASKS):
                nursery.start_soon(read_files, task * (units // TASKS), units // TASKS)

    return {BY_LINE: by_line, ONE_AT_A_TIME: partial(read_files, 0), TOGETHER: together}


def time_trio(parameters: Mapping[str, Any]) -> None:
    """Trio's files, which work in threads."""
    trio: Any = importlib.import_module("trio")
    time_rows(trio.run, rows_of(trio, parameters["folder"]), parameters["units_of_threads"])


def time_proactor(backend: str, parameters: Mapping[str, Any]) -> None:
    """The files of proactor_trio."""
    library: Any = importlib.import_module("proactor_trio")
    time_rows(partial(library.run, backend=backend), rows_of(library, parameters["folder"]), parameters["units"])


@contextmanager
def prepared_folder() -> Iterator[dict[str, Any]]:
    """The files that are read; writing them brings them into the page cache."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        Path(folder, "lines").write_text("".join(map(line_of, range(LINES))), encoding="ascii")
        for number in range(FILES):
            Path(folder, str(number)).write_bytes(contents_of(number))
        yield {"folder": folder}


CONTENDERS = (
    Contender("trio", "trio", time_trio),
    *(
        Contender(f"proactor_trio {backend}", "proactor_trio", partial(time_proactor, backend))
        for backend in ("io_uring", "epoll")
    ),
)

WORKLOAD = Workload(
    name="file_objects",
    title="lines of a text file, and small files read whole, from the page cache; CPU time of the process",
    unit="line or file",
    rows=(BY_LINE, ONE_AT_A_TIME, TOGETHER),
    contenders=CONTENDERS,
    baselines=("trio",),
    marks=tuple(
        Mark(contender.name, "trio", ratio, rows=rows)
        for contender in CONTENDERS
        if contender.library == "proactor_trio"
        for ratio, rows in ((0.05, (BY_LINE,)), (0.2, (ONE_AT_A_TIME, TOGETHER)))
    ),
    sizes={
        "units": {BY_LINE: 80_000, ONE_AT_A_TIME: 8_000, TOGETHER: 8_000},
        "units_of_threads": {BY_LINE: 4_000, ONE_AT_A_TIME: 2_000, TOGETHER: 2_000},
    },
    quick_sizes={
        "units": {BY_LINE: 20_000, ONE_AT_A_TIME: 2_000, TOGETHER: 2_000},
        "units_of_threads": {BY_LINE: 1_000, ONE_AT_A_TIME: 1_000, TOGETHER: 1_000},
    },
    measure=measure_rows,
    prepare=prepared_folder,
)
