"""cancel(): for every kind of operation, at every moment of its life, from everywhere."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cts.support import (
    LOOPBACK,
    Completions,
    Files,
    Sockets,
    cause_of,
    fill,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Connect,
    FileClose,
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    PollEvents,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
    Timer,
)


class Scene:
    """What an operation of any kind needs."""

    def __init__(self, sockets: Sockets, files: Files) -> None:
        self.sockets = sockets
        self.files = files
        self.near, self.far = sockets.tcp_pair()
        self.full, _ = sockets.unix_pair()
        fill(self.full)
        self.listener = sockets.listener()
        self.file = files.holding(pattern(500_000))


Maker = Callable[[Scene], Operation]

#: Operations that wait until somebody else does something.
WAITING: dict[str, Maker] = {
    "Timer": lambda scene: Timer(time.monotonic() + 3600),
    "HandlePoll": lambda scene: HandlePoll(scene.near),
    "HandlePoll OUT": lambda scene: HandlePoll(scene.full, PollEvents.OUT),
    "Accept": lambda scene: Accept(scene.listener),
    "Accept MULTISHOT": lambda scene: Accept(scene.listener, flags=OperationFlags.MULTISHOT),
    "Recv": lambda scene: Recv(scene.near, bytearray(10)),
    "Recv whole": lambda scene: Recv(scene.near, bytearray(10), whole=True),
    "RecvBytes": lambda scene: RecvBytes(scene.near, 10),
    "Send": lambda scene: Send(scene.full, b"x"),
    "Send whole": lambda scene: Send(scene.full, bytes(1_000_000), whole=True),
}

#: Operations that end by themselves: a cancellation may come too late.
ENDING: dict[str, Maker] = {
    "Nop": lambda scene: Nop(),
    "Connect": lambda scene: Connect(scene.sockets.tcp(), scene.listener.getsockname()),
    "Connect refused": lambda scene: Connect(scene.sockets.tcp(), scene.sockets.refusing_address()),
    "FileOpen": lambda scene: FileOpen(scene.files.folder / "file"),
    "FileRead": lambda scene: FileRead(scene.file, bytearray(100), 0),
    "FileRead large": lambda scene: FileRead(scene.file, bytearray(500_000), 0),
    "FileWrite": lambda scene: FileWrite(scene.file, b"x", 0),
    "FileSync": lambda scene: FileSync(scene.file),
    "FileClose": lambda scene: FileClose(scene.files.holding(b"", "other")),
    "SocketClose": lambda scene: SocketClose(scene.sockets.tcp()),
}


def parameters(kinds: dict[str, Maker]) -> list[Any]:
    """The kinds, each with what it needs."""

    def tags(name: str) -> list[str]:
        return ["files"] if name.startswith("File") else ["descriptors"] if name.startswith("HandlePoll") else []

    return [pytest.param(make, id=name, marks=pytest.mark.needs(*tags(name))) for name, make in kinds.items()]


every_waiting_kind = pytest.mark.parametrize("make", parameters(WAITING))
every_ending_kind = pytest.mark.parametrize("make", parameters(ENDING))
every_kind = pytest.mark.parametrize("make", [*parameters(WAITING), *parameters(ENDING)])


@pytest.fixture
def scene(sockets: Sockets, files: Files, proactor: Proactor) -> Scene:
    return Scene(sockets, files)


def release(operation: Operation) -> None:
    """Close a result that is a resource."""
    if operation.result is not None and hasattr(operation.result, "close"):
        operation.result.close()


@every_waiting_kind
@pytest.mark.reference("CancellationTest.CancelPendingRecv", "CancellationTest.CancelPendingAccept")
def test_in_flight(proactor: Proactor, scene: Scene, make: Maker) -> None:
    operation = make(scene)
    start(proactor, operation)
    assert proactor.cancel(operation) is True
    settle(proactor, operation)
    assert cause_of(operation) is CancelCause.REQUESTED


@every_waiting_kind
def test_submitted_but_never_polled(proactor: Proactor, scene: Scene, make: Maker) -> None:
    operation = make(scene)
    proactor.submit(operation)
    assert proactor.cancel(operation) is True
    settle(proactor, operation)
    assert cause_of(operation) is CancelCause.REQUESTED


@every_ending_kind
@pytest.mark.reference("CancellationTest.CallbackAlwaysFires")
@pytest.mark.regression("kinds-without-cancel")
def test_an_operation_that_ends_by_itself_ends_once_either_way(
    proactor: Proactor, scene: Scene, make: Maker, completions: Completions
) -> None:
    operation = make(scene)
    operation.completion_fn = completions
    proactor.submit(operation)
    assert proactor.cancel(operation) is True
    settle(proactor, operation)
    proactor.poll(0)
    assert len(completions) == 1
    if isinstance(operation.error, OperationCancelled):
        assert cause_of(operation) is CancelCause.REQUESTED
    release(operation)


@every_waiting_kind
@pytest.mark.reference("CancellationTest.DoubleCancelTimer")
def test_twice_is_the_same_as_once(proactor: Proactor, scene: Scene, make: Maker, completions: Completions) -> None:
    operation = make(scene)
    operation.completion_fn = completions
    start(proactor, operation)
    assert [proactor.cancel(operation), proactor.cancel(operation)] == [True, True]
    settle(proactor, operation)
    proactor.poll(0)
    assert len(completions) == 1


@every_kind
@pytest.mark.regression("cancel-is-never-refused")
def test_never_submitted(proactor: Proactor, scene: Scene, make: Maker) -> None:
    operation = make(scene)
    assert proactor.cancel(operation) is False
    assert operation.state is OperationState.NEW


@every_waiting_kind
def test_after_it_was_cancelled(proactor: Proactor, scene: Scene, make: Maker, completions: Completions) -> None:
    operation = make(scene)
    operation.completion_fn = completions
    start(proactor, operation)
    proactor.cancel(operation)
    settle(proactor, operation)
    assert proactor.cancel(operation) is False
    proactor.poll(0)
    assert len(completions) == 1


@pytest.mark.reference("CancellationTest.CancelCompletedTimer")
@pytest.mark.regression("cancel-is-never-refused")
@pytest.mark.parametrize("make", [Nop, lambda completion_fn: Timer(0.0, completion_fn)], ids=["Nop", "Timer"])
def test_after_completion(proactor: Proactor, completions: Completions, make: Callable[..., Operation]) -> None:
    operation = finish(proactor, make(completions))
    assert proactor.cancel(operation) is False
    proactor.poll(0)
    assert completions.errors == [None]


@every_waiting_kind
def test_by_another_proactor(
    proactor: Proactor, make_proactor: Callable[..., Proactor], scene: Scene, make: Maker
) -> None:
    operation = make(scene)
    start(proactor, operation)
    assert make_proactor().cancel(operation) is False
    assert operation.state is OperationState.SUBMITTED
    proactor.cancel(operation)
    settle(proactor, operation)


@every_waiting_kind
def test_from_another_thread_ends_a_poll_that_waits(proactor: Proactor, scene: Scene, make: Maker) -> None:
    operation = make(scene)
    start(proactor, operation)
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(proactor.cancel(operation)))
    thread.start()
    settle(proactor, operation)
    thread.join()
    assert answers == [True]
    assert cause_of(operation) is CancelCause.REQUESTED


def test_from_another_thread_after_completion(proactor: Proactor) -> None:
    nop = finish(proactor, Nop())
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(proactor.cancel(nop)))
    thread.start()
    thread.join()
    assert answers == [False]
    proactor.poll(0)


@every_waiting_kind
def test_all_that_was_used_stays_usable(proactor: Proactor, scene: Scene, make: Maker) -> None:
    """After a cancellation the same object can be submitted again and cancelled again."""
    operation = make(scene)
    for _ in range(5):
        start(proactor, operation)
        proactor.cancel(operation)
        settle(proactor, operation)
        assert cause_of(operation) is CancelCause.REQUESTED or operation.result


@every_waiting_kind
def test_inside_a_completion_function(proactor: Proactor, scene: Scene, make: Maker) -> None:
    operation = make(scene)
    start(proactor, operation)
    proactor.submit(Nop(lambda nop, flags: None if proactor.cancel(operation) else pytest.fail("not pending")))
    settle(proactor, operation)
    assert cause_of(operation) is CancelCause.REQUESTED


@every_waiting_kind
def test_together_with_the_close_of_its_proactor(
    make_proactor: Callable[..., Proactor], scene: Scene, make: Maker, completions: Completions
) -> None:
    proactor = make_proactor()
    operation = make(scene)
    operation.completion_fn = completions
    start(proactor, operation)
    proactor.cancel(operation)
    proactor.close()
    assert [record.is_final for record in completions.records] == [True]


@pytest.mark.reference("ResourceExhaustionTest.ManyConcurrentCancellations")
def test_fifty_operations_at_once(proactor: Proactor, scene: Scene) -> None:
    receives = [RecvBytes(scene.near, 1) for _ in range(50)]
    start(proactor, *receives)
    for receive in receives:
        assert proactor.cancel(receive)
    settle(proactor, *receives)
    assert {cause_of(receive) for receive in receives} == {CancelCause.REQUESTED}


def test_one_of_several_on_the_same_socket_leaves_the_others(proactor: Proactor, scene: Scene) -> None:
    receives = [RecvBytes(scene.near, 1) for _ in range(3)]
    start(proactor, *receives)
    proactor.cancel(receives[1])
    settle(proactor, receives[1])
    scene.far.stdlib.send(b"ab")
    settle(proactor, *receives)
    assert sorted(receive.result for receive in (receives[0], receives[2])) == [b"a", b"b"]


def test_a_connect_to_an_address_that_does_not_answer(proactor: Proactor, sockets: Sockets) -> None:
    """A listener whose queue is full answers nobody: the attempt hangs until it is cancelled."""
    listener = sockets.listener(backlog=1)
    for _ in range(4):
        start(proactor, waiting := Connect(sockets.tcp(), listener.getsockname()))
        proactor.poll(0.01)
        if waiting.state is OperationState.SUBMITTED:
            break
    else:
        pytest.skip(f"this system's listeners at {LOOPBACK} take every connection")
    proactor.cancel(waiting)
    settle(proactor, waiting)
    assert cause_of(waiting) is CancelCause.REQUESTED


# The race with completion --------------------------------------------------------------------------------------------

REPETITIONS = 200


def test_a_receive_that_races_with_its_bytes_loses_none(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    choice = random.Random(1)
    sent, received = bytearray(), bytearray()
    for number in range(REPETITIONS):
        receive: RecvBytes | Recv = RecvBytes(near, 100) if number % 2 else Recv(near, bytearray(100))
        proactor.submit(receive)
        if choice.random() < 0.5:
            proactor.poll(0)
        steps: list[Callable[[], object]] = [
            lambda: proactor.cancel(receive),  # noqa: B023
            lambda: far.stdlib.send(bytes([number % 256])),  # noqa: B023
        ]
        choice.shuffle(steps)
        for step in steps:
            step()
            if choice.random() < 0.3:
                proactor.poll(0)
        sent.append(number % 256)
        settle(proactor, receive)
        if receive.error is None:
            received += receive.result if number % 2 else bytes(receive.buffer[: receive.result])  # type: ignore[union-attr]
    far.shutdown(1)
    while piece := perform(proactor, RecvBytes(near, 1000)):
        received += piece
    assert received == sent


def test_a_send_that_races_with_room_sends_what_it_says(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    choice = random.Random(2)
    expected = fill(near)
    read = 0
    for _ in range(REPETITIONS):
        send = Send(near, bytes(choice.randrange(1, 100_000)), whole=choice.random() < 0.5)
        proactor.submit(send)
        if choice.random() < 0.5:
            proactor.poll(0)
        if choice.random() < 0.7:
            try:
                read += len(far.stdlib.recv(choice.randrange(1, 200_000)))
            except BlockingIOError:
                pass
        if choice.random() < 0.5:
            proactor.poll(0)
        proactor.cancel(send)
        settle(proactor, send)
        if send.error is None:
            expected += send.result
        else:
            assert cause_of(send) is CancelCause.REQUESTED
    near.shutdown(1)
    while piece := perform(proactor, RecvBytes(far, 1 << 20)):
        read += len(piece)
    assert read == expected


def test_an_accept_that_races_with_its_connection_leaks_none(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    choice = random.Random(3)
    for number in range(REPETITIONS // 4):
        taken: list[Any] = []
        flags = OperationFlags.MULTISHOT if number % 2 else OperationFlags.NONE
        accept = Accept(listener, lambda operation, _: taken.append(operation.result), flags=flags)  # noqa: B023
        proactor.submit(accept)
        if choice.random() < 0.5:
            proactor.poll(0)
        client = sockets.client_of(listener)
        if choice.random() < 0.5:
            proactor.poll(0)
        proactor.cancel(accept)
        settle(proactor, accept)
        found = [result for result in taken if result is not None]
        accepted = found[0] if found else perform(proactor, Accept(listener))
        assert accepted.getpeername() == client.getsockname()
        accepted.close()


@pytest.mark.needs("files")
def test_an_open_that_is_cancelled_leaks_no_descriptor(proactor: Proactor, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"x")
    choice = random.Random(4)
    for _ in range(REPETITIONS):
        opening = FileOpen(tmp_path / "there")
        proactor.submit(opening)
        if choice.random() < 0.5:
            proactor.poll(0)
        proactor.cancel(opening)
        settle(proactor, opening)
        release(opening)


@pytest.mark.needs("files")
def test_a_read_that_is_cancelled_writes_no_memory_afterwards(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x" * 300_000)
    for _ in range(50):
        buffer = bytearray(300_000)
        read = FileRead(file, buffer, 0)
        proactor.submit(read)
        proactor.cancel(read)
        settle(proactor, read)
        snapshot = bytes(buffer)
        proactor.poll(0)
        assert buffer == snapshot
        if read.error is None:
            assert read.result == 300_000


@pytest.mark.reference("CancellationTest.CancelRacesWithCompletion")
def test_a_timer_that_races_with_its_deadline_ends_once(proactor: Proactor, completions: Completions) -> None:
    choice = random.Random(5)
    for _ in range(REPETITIONS):
        timer = Timer(time.monotonic() + choice.random() / 1000, completions)
        proactor.submit(timer)
        proactor.poll(choice.random() / 2000)
        if timer.state is not OperationState.DONE:
            proactor.cancel(timer)
        settle(proactor, timer)
    assert len(completions) == REPETITIONS


def test_a_cancel_from_another_thread_that_races_with_completion_ends_once(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    queue: list[RecvBytes] = []
    stop = threading.Event()

    def cancel_all() -> None:
        while not stop.is_set():
            while queue:
                proactor.cancel(queue.pop())
            os.sched_yield()

    thread = threading.Thread(target=cancel_all)
    thread.start()
    try:
        for _ in range(REPETITIONS):
            receive = RecvBytes(near, 1, completions)
            start(proactor, receive)
            queue.append(receive)
            far.stdlib.send(b"x")
            settle(proactor, receive)
    finally:
        stop.set()
        thread.join()
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    assert len(completions) == REPETITIONS
    lost = sum(error is not None for error in completions.errors)
    far.shutdown(1)
    left = bytearray()
    while piece := perform(proactor, RecvBytes(near, 1000)):
        left += piece
    assert len(left) == lost


def test_a_cancelled_step_whose_turn_has_not_come_keeps_nobody_awake(proactor: Proactor) -> None:
    first = Timer(time.monotonic() + 3600, flags=OperationFlags.LINKED)
    second = Timer(time.monotonic() + 3600)
    start(proactor, first, second)
    proactor.cancel(second)
    for _ in range(3):
        proactor.poll(0)
    begin = time.monotonic()
    assert proactor.poll(0.05) == 0
    assert time.monotonic() - begin >= 0.045
    proactor.cancel(first)
    settle(proactor, first, second)
