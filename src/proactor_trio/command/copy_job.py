"""A file of 64 MiB copied with 32 reads and writes in flight, and compared by hash."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from proactor_trio import AsyncFile, current_time, open_file, open_nursery, to_thread
from proactor_trio.command.job_report import JobFailed, JobReport

FILE_BYTES: Final = 64 * 1024 * 1024
BLOCK_BYTES: Final = 64 * 1024
IN_FLIGHT: Final = 32
_PREPARED_BYTES: Final = 4 * 1024 * 1024


class _Copy:
    """What the copying tasks share: the offsets that are left, and what has been counted."""

    def __init__(self, source: AsyncFile, target: AsyncFile, length: int) -> None:
        self.source = source
        self.target = target
        self.offsets: Iterator[int] = iter(range(0, length, BLOCK_BYTES))
        self.in_flight = 0
        self.most_in_flight = 0
        self.operations = 0
        self.transferred = 0

    async def work(self) -> None:
        """Copy one block after another until none is left."""
        for offset in self.offsets:
            block = await self._read(offset)
            written = 0
            while written < len(block):
                written += await self._write(block[written:], offset + written)
            self.transferred += written

    async def _read(self, offset: int) -> bytes:
        self._begin()
        block = await self.source.pread(BLOCK_BYTES, offset)
        self._end()
        return block

    async def _write(self, block: bytes, offset: int) -> int:
        self._begin()
        count = await self.target.pwrite(block, offset)
        self._end()
        return count

    def _begin(self) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def _end(self) -> None:
        self.in_flight -= 1
        self.operations += 1


def _write_source(path: Path) -> None:
    """Content that repeats nowhere, so that a block in the wrong place is found."""
    contents = random.Random(FILE_BYTES)
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // _PREPARED_BYTES):
            file.write(contents.randbytes(_PREPARED_BYTES))


def hash_of(path: Path) -> str:
    """The content's hash, read by plain blocking calls that have nothing to do with the library."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


async def copy_file(source: Path, target: Path) -> tuple[_Copy, float]:
    """Copy with many blocks under way at a time; what was counted, and the seconds it took."""
    begin = current_time()
    async with await open_file(source, "rb", 0) as reading, await open_file(target, "wb", 0) as writing:
        copy = _Copy(reading, writing, os.fstat(reading.fileno()).st_size)
        async with open_nursery() as nursery:
            for _ in range(IN_FLIGHT):
                nursery.start_soon(copy.work)
    return copy, current_time() - begin


async def run_copy_job() -> JobReport:
    """Write a file, copy it, compare the two."""
    with tempfile.TemporaryDirectory(prefix="proactor_trio-") as name:
        source, target = Path(name, "source"), Path(name, "target")
        await to_thread.run_sync(_write_source, source)
        copy, seconds = await copy_file(source, target)
        expected = await to_thread.run_sync(hash_of, source)
        found = await to_thread.run_sync(hash_of, target)
        length = target.stat().st_size
    if length != FILE_BYTES:
        raise JobFailed(f"the copy has {length} bytes instead of {FILE_BYTES}")
    if found != expected:
        raise JobFailed(f"the copy's hash is {found[:16]}... instead of {expected[:16]}...")
    if copy.most_in_flight != IN_FLIGHT:
        raise JobFailed(f"at most {copy.most_in_flight} operations were in flight instead of {IN_FLIGHT}")
    return JobReport(
        name="copy",
        work=f"a file of {FILE_BYTES >> 20} MiB in blocks of {BLOCK_BYTES >> 10} KiB, {IN_FLIGHT} in flight",
        transferred=copy.transferred,
        operations=copy.operations,
        operation_name="reads and writes",
        seconds=seconds,
        check=f"the copy has the same hash (blake2b {found[:16]}...)",
    )
