"""Operations on files as such and on their names: status, allocation, rename, unlink, directories, splice, sendfile."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cts.support import Completions, Files, Sockets, drain, finish, pattern, perform, pipe, settle, start
from proactor_trio.proactor import (
    AllocateMode,
    ClosedResourceError,
    File,
    FileAllocate,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileTruncate,
    FileWrite,
    MakeDirectory,
    Nop,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    RemoveDirectory,
    Rename,
    RenameMode,
    SendFile,
    Sequence,
    SocketClose,
    Splice,
    StatusCode,
    Unlink,
    status_of,
)

pytestmark = pytest.mark.needs("files")

LINKED = OperationFlags.LINKED


# Status ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["path", "bytes", "file"])
def test_a_status_is_what_stat_says(proactor: Proactor, files: Files, form: str) -> None:
    file = files.holding(pattern(5000), "data")
    path = files.folder / "data"
    named: Any = {"path": path, "bytes": os.fsencode(path), "file": file}[form]
    status, expected = perform(proactor, FileStatus(named)), os.stat(path)
    names = [name for name in dir(expected) if name.startswith("st_")]
    assert {name: getattr(status, name) for name in names} == {name: getattr(expected, name) for name in names}


def test_a_link_is_followed_or_not(proactor: Proactor, files: Files) -> None:
    files.holding(b"", "target")
    link = files.folder / "link"
    link.symlink_to("target")
    assert stat.S_ISREG(perform(proactor, FileStatus(link)).st_mode)
    assert stat.S_ISLNK(perform(proactor, FileStatus(link, follow_links=False)).st_mode)


def test_the_status_of_what_is_not_there_is_not_found(proactor: Proactor, tmp_path: Path) -> None:
    operation = finish(proactor, FileStatus(tmp_path / "nothing"))
    assert isinstance(operation.error, FileNotFoundError)
    assert (operation.error.filename, status_of(operation.error)) == (tmp_path / "nothing", StatusCode.NOT_FOUND)


# Allocation and truncation ---------------------------------------------------------------------------------------


def test_a_file_is_cut_off(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    perform(proactor, FileTruncate(file, 4))
    assert os.pread(file.fileno(), 100, 0) == b"0123"


def test_a_file_is_lengthened_with_zeros(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"01")
    perform(proactor, FileTruncate(file, 4))
    assert os.pread(file.fileno(), 100, 0) == b"01\0\0"


def test_allocation_lengthens_a_file(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"")
    perform(proactor, FileAllocate(file, 0, 8192))
    assert os.fstat(file.fileno()).st_size == 8192


def test_allocation_may_keep_the_length(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"12")
    perform(proactor, FileAllocate(file, 0, 8192, AllocateMode.KEEP_SIZE))
    assert os.fstat(file.fileno()).st_size == 2


def test_a_hole_reads_as_zeros(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x" * 8192)
    perform(proactor, FileAllocate(file, 0, 4096, AllocateMode.PUNCH_HOLE))
    assert os.pread(file.fileno(), 8192, 0) == bytes(4096) + b"x" * 4096


@pytest.mark.parametrize("make", [lambda file: FileTruncate(file, 1), lambda file: FileAllocate(file, 0, 1)])
def test_a_file_that_is_read_only_is_not_changed(proactor: Proactor, files: Files, make: Any) -> None:
    files.holding(b"abc", "file")
    file = files.keep(perform(proactor, FileOpen(files.folder / "file", os.O_RDONLY)))
    assert status_of(finish(proactor, make(file)).error) is not StatusCode.OK


# Names -----------------------------------------------------------------------------------------------------------


def test_a_file_gets_another_name(proactor: Proactor, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"contents")
    perform(proactor, Rename(tmp_path / "old", tmp_path / "new"))
    assert (sorted(os.listdir(tmp_path)), (tmp_path / "new").read_bytes()) == (["new"], b"contents")


@pytest.mark.parametrize(
    ("mode", "contents"),
    [(RenameMode.REPLACE, {"new": b"old"}), (RenameMode.EXCHANGE, {"new": b"old", "old": b"new"})],
)
def test_what_has_the_name_already(
    proactor: Proactor, tmp_path: Path, mode: RenameMode, contents: dict[str, bytes]
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    perform(proactor, Rename(tmp_path / "old", tmp_path / "new", mode))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_what_has_the_name_already_may_be_kept(proactor: Proactor, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    rename = finish(proactor, Rename(tmp_path / "old", tmp_path / "new", RenameMode.KEEP))
    assert isinstance(rename.error, FileExistsError)
    assert (rename.error.filename, rename.error.filename2) == (tmp_path / "old", tmp_path / "new")


def test_a_file_is_unlinked(proactor: Proactor, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    perform(proactor, Unlink(tmp_path / "file"))
    assert os.listdir(tmp_path) == []


def test_directories_are_made_and_removed(proactor: Proactor, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    perform(proactor, MakeDirectory(folder, 0o700))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    perform(proactor, RemoveDirectory(folder))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (Unlink, FileNotFoundError),
        (RemoveDirectory, FileNotFoundError),
        (lambda path: MakeDirectory(path.parent), FileExistsError),
        (lambda path: Unlink(path.parent), OSError),
        (lambda path: Rename(path, path), FileNotFoundError),
    ],
)
def test_errors_name_the_file(proactor: Proactor, tmp_path: Path, make: Any, error: type[OSError]) -> None:
    operation = finish(proactor, make(tmp_path / "nothing"))
    assert isinstance(operation.error, error)
    assert operation.error.filename in (tmp_path / "nothing", tmp_path)


def test_a_chain_writes_a_file_and_puts_it_in_its_place(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"", "new")
    sequence = Sequence(
        [
            FileWrite(file, b"contents", 0),
            FileSync(file, data_only=True),
            Rename(files.folder / "new", files.folder / "final"),
            FileTruncate(file, 4),
        ]
    )
    finish(proactor, sequence)
    assert (sequence.error, (files.folder / "final").read_bytes()) == (None, b"cont")


def test_a_chain_that_breaks_renames_nothing(proactor: Proactor, files: Files, completions: Completions) -> None:
    file = files.holding(b"ab", "old")
    steps = (
        FileRead(file, bytearray(10), 0, completions, 1, LINKED),
        Rename(files.folder / "old", files.folder / "new", completion_fn=completions, user_data=2),
    )
    proactor.submit(*steps)
    settle(proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "cancelled")]
    assert os.listdir(files.folder) == ["old"]


# Splice ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
def test_bytes_go_from_a_file_to_a_pipe(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    with pipe() as (reader, writer):
        assert perform(proactor, Splice(file, writer, 4, 3)) == 4
        assert os.read(reader, 100) == b"3456"


@pytest.mark.needs("descriptors")
def test_bytes_go_from_a_pipe_to_a_file(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    with pipe() as (reader, writer):
        os.write(writer, b"abc")
        assert perform(proactor, Splice(reader, file, 100, None, 2)) == 3
    assert os.pread(file.fileno(), 100, 0) == b"01abc56789"


@pytest.mark.needs("descriptors")
def test_it_waits_for_the_first_byte(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"")
    with pipe() as (reader, writer):
        splice = Splice(reader, file, 100, None, 0)
        start(proactor, splice)
        assert splice.state is OperationState.SUBMITTED
        os.write(writer, b"abc")
        settle(proactor, splice)
    assert splice.result == 3


@pytest.mark.needs("descriptors")
def test_the_end_of_a_pipe_is_zero_bytes(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"")
    with pipe() as (reader, writer):
        os.close(writer)
        assert perform(proactor, Splice(reader, file, 100, None, 0)) == 0


@pytest.mark.needs("descriptors")
def test_a_splice_without_a_pipe_is_refused_by_the_kernel(proactor: Proactor, files: Files) -> None:
    splice = finish(proactor, Splice(files.holding(b"a", "a"), files.holding(b"b", "b"), 1, 0, 0))
    assert status_of(splice.error) is StatusCode.INVALID_ARGUMENT


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize(("count", "offset", "name"), [(0, 0, "count"), (1, -1, "source_offset")])
def test_numbers_of_a_splice_are_checked(proactor: Proactor, files: Files, count: int, offset: int, name: str) -> None:
    with pipe() as (_reader, writer), pytest.raises(ValueError, match=name):
        proactor.submit(Splice(files.holding(b""), writer, count, offset))


# SendFile --------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("length", [1, 65536, 1_000_003])
def test_a_file_is_sent_whole(proactor: Proactor, sockets: Sockets, files: Files, length: int) -> None:
    near, far = sockets.tcp_pair()
    contents = pattern(length)
    send = SendFile(near, files.holding(contents), 0, length)
    proactor.submit(send)
    received = drain(proactor, far, length)
    settle(proactor, send)
    assert (send.result, received) == (length, contents)


@pytest.mark.needs("descriptors")
def test_a_part_of_a_file_is_sent(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, far = sockets.tcp_pair()
    assert perform(proactor, SendFile(near, files.holding(b"0123456789"), 2, 5)) == 5
    assert drain(proactor, far, 5) == b"23456"


@pytest.mark.needs("descriptors")
def test_the_end_of_the_file_ends_it(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, far = sockets.tcp_pair()
    assert perform(proactor, SendFile(near, files.holding(b"0123456789"), 6, 100)) == 4
    assert drain(proactor, far, 4) == b"6789"


@pytest.mark.needs("descriptors")
def test_a_cancelled_one_says_how_much_was_sent(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, _far = sockets.tcp_pair()
    send = SendFile(near, files.holding(bytes(20_000_000)), 0, 20_000_000)
    start(proactor, send)
    while proactor.poll(0.05):
        pass
    proactor.cancel(send)
    settle(proactor, send)
    assert isinstance(send.error, OperationCancelled) or 0 < send.result < 20_000_000


@pytest.mark.needs("descriptors")
def test_a_socket_that_is_closed_ends_it(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, _far = sockets.tcp_pair()
    send = SendFile(near, files.holding(bytes(20_000_000)), 0, 20_000_000)
    start(proactor, send)
    while proactor.poll(0.05):
        pass
    close = SocketClose(near)
    proactor.submit(close)
    settle(proactor, send, close)
    assert send.error is not None or send.result < 20_000_000


@pytest.mark.needs("descriptors")
def test_a_peer_that_is_gone_ends_it(proactor: Proactor, sockets: Sockets, files: Files) -> None:
    near, far = sockets.tcp_pair()
    far.close()
    send = finish(proactor, SendFile(near, files.holding(bytes(5_000_000)), 0, 5_000_000))
    assert send.error is not None or send.result < 5_000_000


# Chains ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize(
    "fail",
    [
        lambda files, reader: FileSync(files.keep(File(os.dup(reader))), flags=LINKED),
        lambda files, reader: FileStatus(files.folder / "nothing", flags=LINKED),
        lambda files, reader: FileAllocate(files.keep(File(os.dup(reader))), 0, 1, flags=LINKED),
        lambda files, reader: FileTruncate(files.keep(File(os.dup(reader))), 0, flags=LINKED),
        lambda files, reader: Rename(files.folder / "nothing", files.folder / "new", flags=LINKED),
        lambda files, reader: Unlink(files.folder / "nothing", flags=LINKED),
        lambda files, reader: RemoveDirectory(files.folder / "nothing", flags=LINKED),
        lambda files, reader: MakeDirectory(files.folder, flags=LINKED),
    ],
    ids=["sync", "status", "allocate", "truncate", "rename", "unlink", "remove", "make"],
)
def test_a_failure_ends_the_chain_and_the_next_step_has_no_effect(
    proactor: Proactor, files: Files, completions: Completions, fail: Any
) -> None:
    """On io_uring the kernel would let the link go on."""
    files.holding(b"kept", "kept")
    with pipe() as (reader, _writer):
        step, unlink = fail(files, reader), Unlink(files.folder / "kept", completions)
        proactor.submit(step, unlink)
        settle(proactor, step, unlink)
    assert (step.error is not None, completions.outcomes) == (True, [(None, "cancelled")])
    assert (files.folder / "kept").exists()


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [FileStatus, Unlink, RemoveDirectory, MakeDirectory, lambda path: Rename("a", path)])
def test_a_path_is_a_path(proactor: Proactor, make: Any) -> None:
    with pytest.raises(TypeError, match="must be a path"):
        proactor.submit(make(7.5))
    with pytest.raises(ValueError, match="null character"):
        proactor.submit(make("a\0b"))


def test_a_closed_file_is_refused(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"")
    perform(proactor, FileClose(file))
    for operation in (FileStatus(file), FileTruncate(file, 1), FileAllocate(file, 0, 1)):
        with pytest.raises(ClosedResourceError):
            proactor.submit(operation)


def test_a_length_is_not_negative(proactor: Proactor, files: Files) -> None:
    with pytest.raises(ValueError, match="length"):
        proactor.submit(FileTruncate(files.holding(b""), -1))


def test_a_close_waits_for_operations_of_workers(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    truncate, status, close = FileTruncate(file, 3), FileStatus(file), FileClose(file)
    proactor.submit(truncate, status, close)
    settle(proactor, truncate, status, close)
    assert all(
        operation.error is None or isinstance(operation.error, OperationCancelled) for operation in (truncate, status)
    )


def test_a_nop_shows_that_the_proactor_is_well_afterwards(proactor: Proactor) -> None:
    assert perform(proactor, Nop()) is None
