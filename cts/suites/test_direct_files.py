"""Flags of FileOpen, direct access with its alignment, and transfers longer than the kernel takes at a time."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from cts.support import Files, finish, pattern, perform
from proactor_trio.proactor import File, FileOpen, FileRead, FileWrite, Proactor, StatusCode, status_of

pytestmark = pytest.mark.needs("files")

DIRECT = getattr(os, "O_DIRECT", 0)


@pytest.fixture
def direct_file(proactor: Proactor, files: Files) -> File:
    """A file of 64 KiB that is open for direct access; skips where the file system has none."""
    files.holding(pattern(65536), "direct")
    operation = finish(proactor, FileOpen(files.folder / "direct", os.O_RDWR | DIRECT))
    if status_of(operation.error) is StatusCode.INVALID_ARGUMENT:
        pytest.skip("this file system has no direct access")
    assert operation.error is None
    return files.keep(operation.result)


def test_a_direct_transfer_that_is_aligned_is_made(proactor: Proactor, direct_file: File) -> None:
    with mmap.mmap(-1, 8192) as memory:
        assert perform(proactor, FileRead(direct_file, memory, 4096)) == 8192
        assert memory[:] == pattern(65536)[4096:12288]


def test_a_direct_write_is_made(proactor: Proactor, direct_file: File) -> None:
    with mmap.mmap(-1, 4096) as memory:
        memory[:] = b"x" * 4096
        assert perform(proactor, FileWrite(direct_file, memory, 0)) == 4096


@pytest.mark.parametrize(
    ("start", "length", "offset", "name"), [(1, 4096, 0, "buffer"), (0, 100, 0, "buffer"), (0, 4096, 5, "offset")]
)
@pytest.mark.parametrize("operation", [FileRead, FileWrite])
def test_what_is_not_aligned_is_refused_by_name(
    proactor: Proactor,
    direct_file: File,
    operation: type[FileRead] | type[FileWrite],
    start: int,
    length: int,
    offset: int,
    name: str,
) -> None:
    with mmap.mmap(-1, 8192) as memory, memoryview(memory) as view, view[start : start + length] as part:
        with pytest.raises(ValueError, match=name):
            proactor.submit(operation(direct_file, part, offset))


def test_a_file_that_is_taken_over_knows_that_it_is_direct(direct_file: File) -> None:
    taken = File(os.dup(direct_file.fileno()))
    assert taken.direct
    taken.close()


@pytest.mark.parametrize(
    "flags",
    [
        os.O_WRONLY | os.O_RDWR,
        os.O_RDONLY | os.O_TRUNC,
        os.O_RDONLY | os.O_APPEND,
        os.O_RDWR | os.O_EXCL,
    ],
)
@pytest.mark.regression("open-flags-not-checked")
def test_flags_that_contradict_each_other_are_refused(proactor: Proactor, tmp_path: Path, flags: int) -> None:
    with pytest.raises(ValueError, match="open_flags"):
        proactor.submit(FileOpen(tmp_path / "file", flags))


@pytest.mark.reference("FileTest.ReadSpanLargerThan4GiBIsClampedNotTruncated")
def test_a_read_into_more_than_4_gib_is_cut_and_not_wrapped(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"contents")
    with mmap.mmap(
        -1, 1 << 32, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    ) as memory:
        assert perform(proactor, FileRead(file, memory, 0)) == 8
        assert memory[:8] == b"contents"
