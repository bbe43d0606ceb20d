"""The posix backend when exceptions come at any moment: nothing is lost, nothing comes twice."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from types import FrameType

import pytest

from proactor_trio.backends.contract import (
    OperationFlags,
)
from tests.backends.posix_owner import (
    Accept,
    Nop,
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
    operation = Accept(stdlib_socket=listener, flags=OperationFlags.MULTISHOT)
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


@pytest.mark.parametrize("whole", [False, True], ids=["once", "whole"])
def test_a_signal_handler_that_raises_loses_no_byte(owner: Owner, whole: bool) -> None:
    """A timer's handler raises again and again, anywhere in poll() and cancel(); the stream comes through complete."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(True)
    ours.setblocking(False)
    sent = bytes(range(256)) * 4000
    thread = threading.Thread(target=lambda: (theirs.sendall(sent), theirs.shutdown(socket.SHUT_WR)))
    interruptions = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Only where the backend runs: the test's own steps are not protected.
        nonlocal interruptions
        code = None if frame is None else frame.f_code
        if code is not None and "/posix/" in code.co_filename and code.co_name != "start":
            interruptions += 1
            raise Interruption

    arrived = bytearray()
    end = time.monotonic() + 30
    before = signal.signal(signal.SIGALRM, interrupt)
    thread.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
        operation = receive(ours, 700, whole=whole)
        count = 0
        while True:
            assert time.monotonic() < end, f"stuck after {len(arrived)} bytes"
            operation.results.clear()
            owner.start(operation)
            count += 1
            while operation.identifier:
                assert time.monotonic() < end, f"stuck after {len(arrived)} bytes, {interruptions} interruptions"
                try:
                    if count % 7 == 0:
                        owner.backend.cancel(operation)
                    owner.poll(0.5)
                except Interruption:
                    pass
            if operation.result == 0:
                break
            if operation.result != -errno.ECANCELED:
                arrived += received(operation)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    thread.join()
    ours.close()
    theirs.close()
    assert bytes(arrived) == sent
    assert interruptions
