"""FileOpen, FileRead, FileWrite, FileSync and FileClose."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
from pathlib import Path

import pytest

from cts.support import Completions, Files, finish, pattern, perform, poll_until, settle
from proactor_trio.proactor import (
    ClosedResourceError,
    File,
    FileClose,
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    Proactor,
    StatusCode,
    status_of,
)

pytestmark = pytest.mark.needs("files")

MEBIBYTE = 1 << 20

# Opening -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("FileTest.OpenExistingFileForRead")
def test_open_gives_a_file(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"contents")
    file = files.keep(perform(proactor, FileOpen(tmp_path / "there")))
    assert os.pread(file.fileno(), 100, 0) == b"contents"


@pytest.mark.parametrize("convert", [str, os.fsencode, Path])
def test_a_path_may_be_text_bytes_or_path_like(proactor: Proactor, files: Files, tmp_path: Path, convert: type) -> None:
    (tmp_path / "übung").write_bytes(b"")
    files.keep(perform(proactor, FileOpen(convert(tmp_path / "übung"))))


@pytest.mark.ring_rule(23)
def test_an_opened_file_is_not_inherited(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = files.keep(perform(proactor, FileOpen(tmp_path / "new", os.O_CREAT | os.O_RDWR)))
    assert fcntl.fcntl(file.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


@pytest.mark.reference("FileTest.OpenWithCreateCreatesNewFile")
def test_open_creates_with_the_mode_less_the_umask(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.keep(perform(proactor, FileOpen(tmp_path / "new", os.O_CREAT | os.O_WRONLY, 0o666)))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_open_truncates_when_asked(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(b"contents")
    files.keep(perform(proactor, FileOpen(tmp_path / "full", os.O_WRONLY | os.O_TRUNC)))
    assert (tmp_path / "full").read_bytes() == b""


@pytest.mark.parametrize(
    ("name", "open_flags", "error"),
    [
        ("missing", os.O_RDONLY, FileNotFoundError),
        ("there", os.O_CREAT | os.O_EXCL | os.O_RDWR, FileExistsError),
        (".", os.O_WRONLY, IsADirectoryError),
        ("there/below", os.O_RDONLY, NotADirectoryError),
    ],
)
def test_an_open_that_fails_names_the_file(
    proactor: Proactor, tmp_path: Path, name: str, open_flags: int, error: type[OSError]
) -> None:
    (tmp_path / "there").write_bytes(b"")
    path = tmp_path / name
    with pytest.raises(error) as failure:
        perform(proactor, FileOpen(path, open_flags))
    assert failure.value.filename == path


@pytest.mark.reference("FileTest.OpenNonExistentFileFailsNotFound")
def test_a_file_that_does_not_exist_is_not_found(proactor: Proactor, tmp_path: Path) -> None:
    opening = finish(proactor, FileOpen(tmp_path / "missing"))
    assert (status_of(opening.error), opening.result) == (StatusCode.NOT_FOUND, None)


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(ValueError, match="path"):
        FileOpen("a\0b")


# Reading and writing -------------------------------------------------------------------------------------------------


@pytest.mark.reference("FileTest.ReadAtOffset")
def test_read_gives_the_bytes_at_the_offset(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    buffer = bytearray(4)
    assert perform(proactor, FileRead(file, buffer, 3)) == 4
    assert buffer == b"3456"


@pytest.mark.reference("FileTest.ReadPastEOFShortRead")
def test_read_over_the_end_gives_what_is_there(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    buffer = bytearray(100)
    assert perform(proactor, FileRead(file, buffer, 6)) == 4
    assert buffer[:4] == b"6789"


@pytest.mark.parametrize("offset", [10, 11, 1 << 40])
@pytest.mark.reference("FileTest.ReadBeyondEOFReturnsZeroBytes")
def test_read_at_or_behind_the_end_is_zero(proactor: Proactor, files: Files, offset: int) -> None:
    file = files.holding(b"0123456789")
    assert perform(proactor, FileRead(file, bytearray(10), offset)) == 0


def test_read_of_nothing_is_zero(proactor: Proactor, files: Files) -> None:
    assert perform(proactor, FileRead(files.holding(b"x"), bytearray(), 0)) == 0


def test_read_does_not_move_the_position_of_the_descriptor(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    perform(proactor, FileRead(file, bytearray(4), 2))
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


@pytest.mark.reference("FileTest.WriteAtOffset")
def test_write_stands_at_the_offset(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = files.holding(b"0123456789")
    assert perform(proactor, FileWrite(file, b"abc", 4)) == 3
    assert (tmp_path / "file").read_bytes() == b"0123abc789"


def test_write_behind_the_end_leaves_a_hole_of_zeros(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = files.holding()
    perform(proactor, FileWrite(file, b"abc", 5))
    assert (tmp_path / "file").read_bytes() == bytes(5) + b"abc"


@pytest.mark.reference("FileTest.WriteAndReadBack")
def test_what_was_written_is_read_back(proactor: Proactor, files: Files) -> None:
    file = files.holding()
    contents = pattern(100_000)
    assert perform(proactor, FileWrite(file, contents, 0)) == len(contents)
    buffer = bytearray(len(contents))
    assert perform(proactor, FileRead(file, buffer, 0)) == len(contents)
    assert buffer == contents


@pytest.mark.parametrize("length", [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * MEBIBYTE])
@pytest.mark.reference("FileTest.ReadEntireFile")
def test_a_large_read_is_complete(proactor: Proactor, files: Files, length: int) -> None:
    contents = pattern(length)
    file = files.holding(contents)
    buffer = bytearray(length)
    assert perform(proactor, FileRead(file, buffer, 0)) == length
    assert buffer == contents


@pytest.mark.reference("FileTest.LargeWriteAndReadBack")
def test_a_large_write_is_complete_and_read_back(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    contents, buffer = pattern(3 * MEBIBYTE), bytearray(3 * MEBIBYTE)
    file = files.holding()
    assert perform(proactor, FileWrite(file, contents, 0)) == len(contents)
    assert perform(proactor, FileRead(file, buffer, 0)) == len(contents)
    assert (tmp_path / "file").read_bytes() == buffer == contents


@pytest.mark.reference("FileTest.ConcurrentReadsAtDifferentOffsets")
def test_many_reads_in_flight_at_different_offsets(proactor: Proactor, files: Files) -> None:
    contents = pattern(64 * 4096)
    file = files.holding(contents)
    buffers = [bytearray(4096) for _ in range(64)]
    reads = [FileRead(file, buffer, number * 4096) for number, buffer in enumerate(buffers)]
    proactor.submit(*reads)
    settle(proactor, *reads)
    assert [read.error for read in reads] == [None] * 64
    assert b"".join(buffers) == contents


def test_many_writes_in_flight_at_different_offsets(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    contents = pattern(64 * 4096)
    file = files.holding()
    writes = [FileWrite(file, contents[start : start + 4096], start) for start in range(0, len(contents), 4096)]
    proactor.submit(*writes)
    settle(proactor, *writes)
    assert (tmp_path / "file").read_bytes() == contents


def test_reads_of_many_files_in_flight(proactor: Proactor, files: Files) -> None:
    contents = [pattern(5000, seed) for seed in range(40)]
    opened = [files.holding(piece, f"file {number}") for number, piece in enumerate(contents)]
    buffers = [bytearray(5000) for _ in contents]
    reads = [FileRead(file, buffer, 0) for file, buffer in zip(opened, buffers, strict=True)]
    proactor.submit(*reads)
    settle(proactor, *reads)
    assert buffers == contents


def test_read_of_a_file_opened_for_writing_is_ebadf(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = files.keep(perform(proactor, FileOpen(tmp_path / "new", os.O_CREAT | os.O_WRONLY)))
    read = finish(proactor, FileRead(file, bytearray(10), 0))
    assert isinstance(read.error, OSError) and read.error.errno == errno.EBADF


def test_write_to_a_file_opened_for_reading_is_ebadf(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    file = files.keep(perform(proactor, FileOpen(tmp_path / "there")))
    write = finish(proactor, FileWrite(file, b"y", 0))
    assert isinstance(write.error, OSError) and write.error.errno == errno.EBADF


def test_read_of_a_directory_is_eisdir(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    folder = files.keep(perform(proactor, FileOpen(tmp_path, os.O_RDONLY | os.O_DIRECTORY)))
    with pytest.raises(IsADirectoryError):
        perform(proactor, FileRead(folder, bytearray(10), 0))


def test_write_to_a_full_device_is_enospc(proactor: Proactor, files: Files) -> None:
    full = files.keep(perform(proactor, FileOpen("/dev/full", os.O_WRONLY)))
    with pytest.raises(OSError) as failure:
        perform(proactor, FileWrite(full, b"x", 0))
    assert failure.value.errno == errno.ENOSPC


def test_read_into_a_part_of_a_buffer_touches_that_part_only(proactor: Proactor, files: Files) -> None:
    buffer = bytearray(b".") * 8
    perform(proactor, FileRead(files.holding(b"abcdef"), memoryview(buffer)[2:5], 1))
    assert buffer == b"..bcd..."


# Bringing to the device, closing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_only", [False, True])
def test_sync_completes_with_none(proactor: Proactor, files: Files, data_only: bool) -> None:
    file = files.holding()
    perform(proactor, FileWrite(file, b"abc", 0))
    assert perform(proactor, FileSync(file, data_only=data_only)) is None


@pytest.mark.reference("FileTest.AsyncClose")
def test_close_closes_the_descriptor(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x")
    descriptor = file.fileno()
    assert perform(proactor, FileClose(file)) is None
    assert file.closed and file.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(descriptor)


@pytest.mark.reference("FileTest.WriteFlushClose")
def test_write_sync_close_read_back_elsewhere(proactor: Proactor, files: Files, tmp_path: Path) -> None:
    file = perform(proactor, FileOpen(tmp_path / "new", os.O_CREAT | os.O_RDWR))
    perform(proactor, FileWrite(file, b"kept", 0))
    perform(proactor, FileSync(file))
    perform(proactor, FileClose(file))
    assert (tmp_path / "new").read_bytes() == b"kept"


@pytest.mark.parametrize(
    "make",
    [
        lambda file: FileRead(file, bytearray(1), 0),
        lambda file: FileWrite(file, b"x", 0),
        FileSync,
        FileClose,
    ],
)
def test_a_closed_file_is_refused_at_submission(proactor: Proactor, files: Files, make: type) -> None:
    file = files.holding(b"x")
    perform(proactor, FileClose(file))
    with pytest.raises(ClosedResourceError, match="file was closed"):
        proactor.submit(make(file))


@pytest.mark.reference("FileTest.ImportRetainRelease")
def test_a_file_that_was_taken_over_stays_open_while_an_operation_names_it(
    proactor: Proactor, tmp_path: Path, completions: Completions
) -> None:
    (tmp_path / "there").write_bytes(pattern(MEBIBYTE))
    buffer = bytearray(MEBIBYTE)
    proactor.submit(FileRead(File(os.open(tmp_path / "there", os.O_RDONLY)), buffer, 0, completions))
    gc.collect()
    poll_until(proactor, lambda: len(completions) == 1)
    read = completions.operations[0]
    assert isinstance(read, FileRead)
    read.file.close()
    assert buffer == pattern(MEBIBYTE)


def test_a_dropped_open_file_is_closed_with_a_warning(tmp_path: Path) -> None:
    file = File(os.open(tmp_path, os.O_RDONLY))
    with pytest.warns(ResourceWarning, match="unclosed"):
        del file
