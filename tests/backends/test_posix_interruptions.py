"""The posix backend when exceptions come at any moment: nothing is lost, nothing comes twice."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

from proactor_trio.backends.contract import (
    OperationFlags,
)
from tests.backends.posix_owner import (
    PATIENCE,
    Accept,
    FileClose,
    FileOpen,
    FileRead,
    FileWrite,
    Nop,
    Operation,
    Owner,
    receive,
    received,
    send,
)


def test_exception_before_delivery_loses_nothing(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    operations = [Nop(), send(pair[0], b"x"), Nop()]
    owner.start(*operations)
    owner.before_commit.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        owner.poll(0)
    assert all(operation.results == [] for operation in operations)
    owner.settle()
    assert [operation.result for operation in operations] == [0, 1, 0]


def test_exception_after_delivery_repeats_nothing(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    operations = [Nop(), send(pair[0], b"x"), Nop()]
    owner.start(*operations)
    owner.after_commit.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        owner.poll(0)
    owner.settle()
    assert [operation.result for operation in operations] == [0, 1, 0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_exception_while_delivering_with_more(owner: Owner, listener: socket.socket, when: str) -> None:
    operation = Accept(socket=listener, flags=OperationFlags.MULTISHOT)
    owner.start(operation)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    (owner.before_commit if when == "before" else owner.after_commit).append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        owner.settle()
    owner.settle()
    assert len(operation.results) == len(set(operation.results)) == 3
    for descriptor in operation.results:
        os.close(descriptor)
    for client in clients:
        client.close()


class Interruption(Exception):
    """Raised by a signal handler."""


class Interruptions:
    """A timer whose handler raises Interruption, again and again, wherever it finds the backend at work."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Interruptions:
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # The test's own steps, its hook among them, are not protected; start() has nothing to recover from.
        code = None if frame is None else frame.f_code
        if code is not None and "/posix/" in code.co_filename and code.co_name != "start":
            self.count += 1
            raise Interruption


def finish_interrupted(owner: Owner, *operations: Operation, cancel: tuple[Operation, ...] = ()) -> None:
    """Cancel some of the operations and poll until all are done, whatever is raised on the way."""
    end = time.monotonic() + PATIENCE
    while any(operation.identifier for operation in operations):
        assert time.monotonic() < end, "not done in time"
        try:
            for operation in cancel:
                if operation.identifier:
                    owner.backend.cancel(operation)
            owner.poll(0.5)
        except Interruption:
            pass


@pytest.mark.parametrize("whole", [False, True], ids=["once", "whole"])
def test_a_signal_handler_that_raises_loses_no_byte(
    owner: Owner, pair: tuple[socket.socket, socket.socket], whole: bool
) -> None:
    ours, theirs = pair
    theirs.setblocking(True)
    sent = bytes(range(256)) * 4000
    thread = threading.Thread(target=lambda: (theirs.sendall(sent), theirs.shutdown(socket.SHUT_WR)))
    thread.start()
    arrived = bytearray()
    operation = receive(ours, 700, whole=whole)
    with Interruptions() as interruptions:
        for number in itertools.count():
            operation.results.clear()
            owner.start(operation)
            finish_interrupted(owner, operation, cancel=(operation,) if number % 7 == 0 else ())
            if operation.result == 0:
                break
            if operation.result != -errno.ECANCELED:
                arrived += received(operation)
    thread.join()
    assert arrived == sent
    assert interruptions.count


def test_a_signal_handler_that_raises_loses_no_file_operation(owner: Owner, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    with Interruptions() as interruptions:
        for number in range(150):
            opening = FileOpen(path=path, open_flags=os.O_RDWR | os.O_CREAT, mode=0o600)
            owner.start(opening)
            finish_interrupted(owner, opening)
            content = bytes([number]) * (1000 if number % 2 else 100_000)
            writing = FileWrite(descriptor=opening.result, view=memoryview(content), offset=0)
            owner.start(writing)
            finish_interrupted(owner, writing)
            reads = tuple(
                FileRead(descriptor=opening.result, view=memoryview(bytearray(len(content))), offset=0)
                for _ in range(4)
            )
            closing = FileClose(descriptor=opening.result)
            owner.start(*reads[:2])
            finish_interrupted(owner, *reads[:2], cancel=reads[1:2])
            owner.start(*reads[2:], closing)
            finish_interrupted(owner, *reads, closing)
            assert (writing.result, closing.result) == (len(content), 0)
            for read in reads:
                assert read.result == -errno.ECANCELED or bytes(read.view) == content
            assert reads[0].result == len(content)
    assert interruptions.count
