"""Copying a file with many reads and writes in flight.

    python examples/file_copy.py SOURCE TARGET

Without arguments the program makes a file of 16 MiB in a temporary directory, copies that, and compares.

Some tasks share one iterator of offsets. Each takes the next block, reads it and writes it to the same place: `pread`
and `pwrite` name their offset, so that they do not disturb each other. On io_uring no thread of Python takes part; on
the other backends a few worker threads do. Nothing in this program depends on which it is.
"""

from __future__ import annotations

import filecmp
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import proactor_trio

IN_FLIGHT = 16
BLOCK_BYTES = 128 * 1024


async def copy_blocks(source: proactor_trio.AsyncFile, target: proactor_trio.AsyncFile, offsets: Iterator[int]) -> None:
    """Copy blocks until none is left; others do the same at the same time."""
    for offset in offsets:
        block = await source.pread(BLOCK_BYTES, offset)
        written = 0
        while written < len(block):  # a write may take less than it was given
            written += await target.pwrite(block[written:], offset + written)


async def copy_file(source: Path, target: Path) -> int:
    """Copy a file and bring it to the device; the number of bytes."""
    async with (
        await proactor_trio.open_file(source, "rb", 0) as reading,
        await proactor_trio.open_file(target, "wb", 0) as writing,
    ):
        length = os.fstat(reading.fileno()).st_size
        offsets = iter(range(0, length, BLOCK_BYTES))
        async with proactor_trio.open_nursery() as nursery:
            for _ in range(IN_FLIGHT):
                nursery.start_soon(copy_blocks, reading, writing, offsets)
        await writing.fsync()
    return length


async def demonstrate() -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        contents = random.Random(2)
        async with await proactor_trio.open_file(source, "xb") as file:
            for _ in range(16):
                await file.write(contents.randbytes(1024 * 1024 - 1))  # the last block will be a short one
        count = await copy_file(source, target)
        if not await proactor_trio.to_thread.run_sync(filecmp.cmp, source, target, False):
            raise SystemExit("the copy differs")
        print(f"{count} bytes copied, and the copy is the same")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(f"{proactor_trio.run(copy_file, Path(sys.argv[1]), Path(sys.argv[2]))} bytes copied")
    else:
        proactor_trio.run(demonstrate)
