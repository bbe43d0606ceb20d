"""The posix backend on readiness as such, and on waiting and waking."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from proactor_trio.backends.contract import (
    PollEvents,
)
from tests.backends.posix_owner import (
    PATIENCE,
    HandlePoll,
    Nop,
    Owner,
    receive,
    received,
)


def test_handle_poll(owner: Owner) -> None:
    reader, writer = os.pipe()
    operation = HandlePoll(descriptor=reader, poll_events=PollEvents.IN)
    owner.start(operation)
    owner.settle()
    assert operation.results == []
    os.write(writer, b"x")
    owner.finish(operation)
    assert operation.result == PollEvents.IN
    assert owner.run(HandlePoll(descriptor=reader, poll_events=PollEvents.IN)) == PollEvents.IN
    assert owner.run(HandlePoll(descriptor=writer, poll_events=PollEvents.OUT)) == PollEvents.OUT
    os.read(reader, 1)
    os.close(writer)
    assert owner.run(HandlePoll(descriptor=reader, poll_events=PollEvents.IN)) & PollEvents.HUP
    os.close(reader)
    assert owner.run(HandlePoll(descriptor=reader, poll_events=PollEvents.IN)) == -errno.EBADF


def test_handle_poll_of_several(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    polls = [HandlePoll(descriptor=ours.fileno(), poll_events=PollEvents.IN) for _ in range(3)]
    operation = receive(ours)
    owner.start(polls[0])
    owner.settle()
    owner.start(operation, polls[1])
    owner.settle()
    owner.start(polls[2])
    owner.backend.cancel(polls[1])
    owner.settle()
    assert polls[1].result == -errno.ECANCELED
    theirs.send(b"x")
    owner.finish(operation)
    theirs.send(b"y")  # the first byte may have been received before the polls looked
    owner.finish(polls[0], polls[2])
    assert received(operation) == b"x"


def test_handle_poll_for_the_end_only(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = HandlePoll(descriptor=ours.fileno(), poll_events=PollEvents.HUP)
    owner.start(operation)
    theirs.send(b"not this")
    owner.settle()
    assert operation.results == []
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    owner.finish(operation)
    assert operation.result & PollEvents.HUP


def test_handle_poll_of_a_file(owner: Owner, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        operation = HandlePoll(descriptor=file.fileno(), poll_events=PollEvents.OUT)
        assert owner.run(operation) == PollEvents.OUT


def test_handle_poll_on_a_number_that_is_used_again(owner: Owner) -> None:
    reader, writer = os.pipe()
    old = HandlePoll(descriptor=reader, poll_events=PollEvents.IN)
    owner.start(old)
    owner.settle()
    os.close(reader)
    other_reader, other_writer = os.pipe()
    assert other_reader == reader
    new = HandlePoll(descriptor=other_reader, poll_events=PollEvents.IN)
    owner.start(new)
    owner.settle()
    os.write(other_writer, b"x")
    owner.finish(new)
    assert new.result == PollEvents.IN
    for descriptor in (writer, other_reader, other_writer):
        os.close(descriptor)


def test_idle_poll_is_one_system_call(owner: Owner) -> None:
    before = owner.backend.statistics()["system_waits"]
    for _ in range(5):
        owner.poll(0)
    assert owner.backend.statistics()["system_waits"] == before + 5


def test_poll_waits_as_long_as_it_is_told(owner: Owner) -> None:
    begin = time.monotonic()
    owner.poll(0.02)
    assert time.monotonic() - begin >= 0.02


def test_wake_before_and_several_times(owner: Owner) -> None:
    for _ in range(3):
        owner.backend.wake()
    begin = time.monotonic()
    owner.poll(PATIENCE)
    assert time.monotonic() - begin < PATIENCE / 2
    owner.poll(0.01)  # they counted as one


def test_wake_from_another_thread(owner: Owner) -> None:
    rounds = 200
    woken = threading.Semaphore(0)

    def work() -> None:
        for _ in range(rounds):
            owner.backend.wake()
            assert woken.acquire(timeout=PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(rounds):
        owner.poll(None)
        woken.release()
    thread.join()


def test_wakeup_descriptor(owner: Owner) -> None:
    select.select([], [owner.backend.wakeup_descriptor()], [], 0)
    handled = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: handled.append(number))
    descriptor = signal.set_wakeup_fd(owner.backend.wakeup_descriptor())
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        owner.poll(None)
        timer.join()
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]


def test_events_are_asked_for_however_much_there_is_to_report(
    owner: Owner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    waiting = receive(ours)
    owner.start(waiting)
    owner.settle()
    theirs.send(b"x")
    for _ in range(4):
        owner.start(Nop())
        owner.poll(0)
        if waiting.results:
            break
    assert received(waiting) == b"x"
