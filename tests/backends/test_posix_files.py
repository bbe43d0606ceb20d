"""The posix backend on files."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from proactor_trio.backends.posix.backend import EpollBackend
from tests.backends.posix_owner import (
    PATIENCE,
    FileClose,
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    Nop,
    Operation,
    Owner,
)


def test_file(owner: Owner, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    opened = FileOpen(path=path, open_flags=os.O_RDWR | os.O_CREAT, mode=0o600)
    descriptor = owner.run(opened)
    assert not os.get_inheritable(descriptor)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert owner.run(FileWrite(descriptor=descriptor, view=memoryview(b"hello world"), offset=3)) == 11
    for data_only in (True, False):
        assert owner.run(FileSync(descriptor=descriptor, data_only=data_only)) == 0
    for size, offset, expected in ((5, 3, b"hello"), (100, 9, b"world"), (10, 14, b""), (2, 0, b"\0\0")):
        operation = FileRead(descriptor=descriptor, view=memoryview(bytearray(size)), offset=offset)
        assert owner.run(operation) == len(expected)
        assert bytes(operation.view[: len(expected)]) == expected
    assert owner.run(FileClose(descriptor=descriptor)) == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_file_errors(owner: Owner, tmp_path: Path) -> None:
    missing = FileOpen(path=os.fsencode(tmp_path / "missing"), open_flags=os.O_RDONLY, mode=0)
    assert owner.run(missing) == -errno.ENOENT
    assert owner.run(FileClose(descriptor=1_000_000)) == -errno.EBADF
    reader, writer = os.pipe()
    assert owner.run(FileRead(descriptor=reader, view=memoryview(bytearray(5)), offset=0)) == -errno.ESPIPE
    assert owner.run(FileWrite(descriptor=writer, view=memoryview(b"x"), offset=0)) == -errno.ESPIPE
    assert owner.run(FileRead(descriptor=writer, view=memoryview(bytearray(1 << 20)), offset=0)) < 0
    os.close(reader)
    os.close(writer)


def test_many_reads_at_a_time(owner: Owner, tmp_path: Path) -> None:
    content = os.urandom(1 << 22)
    path = tmp_path / "file"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    size = 1 << 17  # too large to be read in place
    reads = [
        FileRead(descriptor=descriptor, view=memoryview(bytearray(size)), offset=offset)
        for offset in range(0, len(content), size)
    ]
    owner.start(*reads)
    owner.finish(*reads)
    assert b"".join(bytes(read.view) for read in reads) == content
    assert all(read.result == size for read in reads)
    owner.run(FileClose(descriptor=descriptor))


def blocked_workers(owner: Owner, tmp_path: Path) -> tuple[list[Operation], Path]:
    """Four workers that wait in open(2) until somebody opens the other end of the pipe."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    opens: list[Operation] = [
        FileOpen(path=os.fsencode(fifo), open_flags=os.O_WRONLY, mode=0)  # waits for a reader
        for _ in range(4)
    ]
    owner.start(*opens)
    end = time.monotonic() + PATIENCE
    while any(operation.backend_state is None or operation.backend_state.claim for operation in opens):
        assert time.monotonic() < end
        owner.poll(0)
        time.sleep(0.001)
    return opens, fifo


def release(owner: Owner, opens: list[Operation], fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    owner.finish(*opens)
    for operation in opens:
        os.close(operation.result)
    os.close(reader)


def test_cancel_of_file_operations(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    descriptor = os.open(path, os.O_RDWR)
    opens, fifo = blocked_workers(owner, tmp_path)
    queued = FileWrite(descriptor=descriptor, view=memoryview(b"new"), offset=0)
    owner.start(queued)
    owner.settle()
    for operation in (queued, opens[0]):
        owner.backend.cancel(operation)
        owner.backend.cancel(operation)
    owner.finish(queued)
    assert queued.result == -errno.ECANCELED
    assert opens[0].results == [], "a worker has begun it: it ends with its real result"
    release(owner, opens, fifo)
    assert path.read_bytes() == b"old"
    os.close(descriptor)


def test_file_close_ends_what_is_pending(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    descriptor = os.open(path, os.O_RDWR)
    opens, fifo = blocked_workers(owner, tmp_path)
    queued = [FileWrite(descriptor=descriptor, view=memoryview(b"new"), offset=0) for _ in range(2)]
    owner.start(*queued)
    owner.settle()
    closing = FileClose(descriptor=descriptor)
    owner.start(closing)
    owner.backend.cancel(closing)  # has no effect
    owner.settle()
    assert [operation.result for operation in queued] == [-errno.ECANCELED] * 2
    release(owner, opens, fifo)
    owner.finish(closing)
    assert closing.result == 0
    assert path.read_bytes() == b"old"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_file_close_waits_for_what_runs(owner: Owner) -> None:
    # A worker is inside fsync or write on this descriptor, or done with it; never is it closed in between.
    for _ in range(20):
        descriptor = os.open("/tmp", os.O_TMPFILE | os.O_RDWR)
        writes = [FileWrite(descriptor=descriptor, view=memoryview(bytes(1 << 16)), offset=0) for _ in range(8)]
        owner.start(*writes)
        owner.poll(0)
        closing = FileClose(descriptor=descriptor)
        owner.start(closing)
        owner.finish(closing, *writes)
        assert closing.result == 0
        assert {operation.result for operation in writes} <= {1 << 16, -errno.ECANCELED}
        assert owner.order[-1] is closing


def test_threads_come_late_and_go_at_close(tmp_path: Path) -> None:
    before = threading.active_count()
    owner = Owner(EpollBackend)
    owner.run(Nop())
    assert threading.active_count() == before
    owner.run(FileOpen(path=os.fsencode(tmp_path / "missing"), open_flags=os.O_RDONLY, mode=0))
    assert threading.active_count() == before + 1
    owner.backend.close()
    assert threading.active_count() == before
