"""FileContents: a file read in one operation, after which nothing is open, however it ended."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from cts.support import Completions, Files, finish, open_descriptors, pattern, perform, settle, start
from proactor_trio.proactor import (
    Capability,
    FileContents,
    FileOpen,
    Nop,
    OperationCancelled,
    OperationFlags,
    Proactor,
    StatusCode,
    register_file,
    status_of,
)

pytestmark = pytest.mark.needs("files")

LINKED = OperationFlags.LINKED
#: As many as may be under way at a time on any backend, and some more.
MANY = 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(pattern(1000))
    return path


def in_use(path: Path) -> bool:
    """Whether some file table of this process still has the file: then a lease for writing is refused."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        assert error.errno == errno.EAGAIN
        return True
    finally:
        os.close(descriptor)
    return False


@pytest.mark.ring_rule(6)
def test_a_file_that_is_shorter_than_the_buffer_is_read_and_not_left_open(proactor: Proactor, path: Path) -> None:
    before = open_descriptors()
    assert perform(proactor, FileContents(path, 4096)) == pattern(1000)
    assert open_descriptors() == before
    assert not in_use(path)


@pytest.mark.parametrize("most_bytes", [1, 999, 1000])
def test_a_file_that_fills_the_buffer_is_read_so_far_and_not_left_open(
    proactor: Proactor, path: Path, most_bytes: int
) -> None:
    assert perform(proactor, FileContents(path, most_bytes)) == pattern(1000)[:most_bytes]
    assert not in_use(path)


def test_an_empty_file_has_no_contents(proactor: Proactor, path: Path) -> None:
    path.write_bytes(b"")
    assert perform(proactor, FileContents(path, 10)) == b""


@pytest.mark.parametrize(("name", "number"), [("nothing", errno.ENOENT), ("file/inside", errno.ENOTDIR), ("", None)])
def test_what_cannot_be_opened_is_an_error_with_the_path(
    proactor: Proactor, path: Path, name: str, number: int | None
) -> None:
    wanted = path.parent / name
    operation = finish(proactor, FileContents(wanted, 10))
    assert isinstance(operation.error, OSError)
    assert operation.error.errno == (errno.EISDIR if number is None else number)
    assert operation.error.filename == wanted


def test_a_fifo_without_a_writer_is_not_waited_for(proactor: Proactor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    operation = finish(proactor, FileContents(tmp_path / "fifo", 10))
    assert operation.result == b"" or isinstance(operation.error, OSError)


@pytest.mark.parametrize("most_bytes", [0, -1, 1 << 31, "5"])
def test_an_impossible_length_is_refused(proactor: Proactor, path: Path, most_bytes: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="most_bytes"):
        proactor.submit(FileContents(path, most_bytes))


@pytest.mark.parametrize("wrong", ["with\0null", 5])
def test_what_is_no_path_is_refused(proactor: Proactor, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="path"):
        proactor.submit(FileContents(wrong, 10))


def test_one_operation_reads_one_file_after_the_other(proactor: Proactor, tmp_path: Path) -> None:
    operation = FileContents(tmp_path / "0", 100)
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"%d" % number * number)
        operation.name = tmp_path / str(number)
        assert perform(proactor, operation) == b"%d" % number * number


@pytest.mark.ring_rule(6)
def test_more_than_there_are_places_are_read_at_once(proactor: Proactor, path: Path) -> None:
    operations = [FileContents(path, 2000) for _ in range(MANY)]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert [operation.result for operation in operations] == [pattern(1000)] * MANY
    assert not in_use(path)


@pytest.mark.ring_rule(6)
def test_places_are_given_back_also_by_those_that_fail(proactor: Proactor, path: Path) -> None:
    for round_number in range(3):
        operations = [
            FileContents(path if (number + round_number) % 3 else path / "inside", 2000) for number in range(MANY)
        ]
        proactor.submit(*operations)
        settle(proactor, *operations)
    assert perform(proactor, FileContents(path, 2000)) == pattern(1000)
    assert not in_use(path)


@pytest.mark.ring_rule(6)
@pytest.mark.parametrize("polls", [0, 1, 2])
def test_cancelled_ones_are_read_or_cancelled_and_nothing_is_left_open(
    proactor: Proactor, path: Path, polls: int
) -> None:
    for _ in range(10):
        operations = [FileContents(path, 2000) for _ in range(MANY)]
        proactor.submit(*operations)
        for _ in range(polls):
            proactor.poll(0)
        for operation in operations:
            proactor.cancel(operation)
        settle(proactor, *operations)
        for operation in operations:
            assert operation.result == pattern(1000) or isinstance(operation.error, OperationCancelled)
    assert perform(proactor, FileContents(path, 2000)) == pattern(1000)
    assert not in_use(path)


def test_each_ends_once(proactor: Proactor, path: Path, completions: Completions) -> None:
    operations = [FileContents(path, 2000, completions) for _ in range(MANY)]
    proactor.submit(*operations)
    for operation in operations[::2]:
        proactor.cancel(operation)
    settle(proactor, *operations)
    assert sorted(map(id, completions.operations)) == sorted(map(id, operations))


def test_what_follows_in_a_chain_runs_when_it_was_read(
    proactor: Proactor, path: Path, completions: Completions
) -> None:
    chain = FileContents(path, 4096, completions, "read", LINKED), Nop(completions, "after")
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("read", "ok"), ("after", "ok")]


def test_what_follows_in_a_chain_is_cancelled_when_it_was_not(
    proactor: Proactor, path: Path, completions: Completions
) -> None:
    chain = FileContents(path / "inside", 4096, completions, "read", LINKED), Nop(completions, "after")
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("read", "NotADirectoryError"), ("after", "cancelled")]


def test_it_may_come_behind_something_in_a_chain(proactor: Proactor, path: Path, completions: Completions) -> None:
    chain = Nop(completions, "before", LINKED), FileContents(path, 4096, completions, "read")
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("before", "ok"), ("read", "ok")]


@pytest.mark.parametrize("limits", [{"timeout": 1000}, {"timeout": 0}])
def test_it_may_have_a_deadline(proactor: Proactor, path: Path, limits: Any) -> None:
    operation = finish(proactor, FileContents(path, 4096, **limits))
    assert operation.result == pattern(1000) or status_of(operation.error) is StatusCode.DEADLINE_EXCEEDED
    assert not in_use(path)


def test_closing_the_proactor_ends_it(make_proactor: Any, path: Path) -> None:
    proactor = make_proactor()
    operations = [FileContents(path, 4096) for _ in range(MANY)]
    start(proactor, *operations)
    proactor.close()
    assert all(operation.result == pattern(1000) or operation.error is not None for operation in operations)


@pytest.mark.needs("fixed_files")
def test_registered_files_keep_their_places_beside_it(proactor: Proactor, path: Path, files: Files) -> None:
    file = files.keep(perform(proactor, FileOpen(path)))
    register_file(proactor, file)
    operations = [FileContents(path, 4096) for _ in range(MANY)]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert file.registration is not None and file.registration.is_used
    assert {operation.result for operation in operations} == {pattern(1000)}


# Step by step, above a backend that does not do it ----------------------------------------------------------------

WITHOUT_TABLE = Capability.ALL & ~Capability.FIXED_FILES


def test_it_is_made_of_steps_where_no_backend_does_it(make_proactor: Any, path: Path) -> None:
    proactor = make_proactor(allowed_capabilities=WITHOUT_TABLE)
    before = open_descriptors()
    assert perform(proactor, FileContents(path, 4096)) == pattern(1000)
    failed = finish(proactor, FileContents(path / "inside", 4096))
    assert isinstance(failed.error, NotADirectoryError) and failed.error.filename == path / "inside"
    folder = finish(proactor, FileContents(path.parent, 4096))
    assert isinstance(folder.error, IsADirectoryError) and folder.error.filename == path.parent
    assert open_descriptors() == before


@pytest.mark.parametrize("polls", range(6))
def test_its_steps_leave_nothing_open_when_cancelled(make_proactor: Any, path: Path, polls: int) -> None:
    proactor = make_proactor(allowed_capabilities=WITHOUT_TABLE)
    assert perform(proactor, FileContents(path, 4096)) == pattern(1000)
    before = open_descriptors()
    operation = FileContents(path, 4096)
    proactor.submit(operation)
    for _ in range(polls):
        proactor.poll(0)
    proactor.cancel(operation)
    settle(proactor, operation)
    assert operation.result == pattern(1000) or isinstance(operation.error, OperationCancelled)
    assert open_descriptors() == before
