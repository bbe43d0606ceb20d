"""Scenes of the operations that wait until somebody else does something."""

from __future__ import annotations

import mmap
import os
import socket as stdlib_socket
import time
from typing import Any

import pytest

from cts.net_support import connected_udp
from cts.runtime.operation_scenes import (
    FullScene,
    Scene,
    WaitingScene,
    close_operation,
    count_ready,
    is_ready,
)
from cts.support import fill
from proactor_trio.lowlevel import current_proactor
from proactor_trio.proactor import (
    Accept,
    Access,
    BufferPool,
    Connect,
    Event,
    EventWait,
    Frontier,
    FrontierTracker,
    FrontierWait,
    FutexWait,
    FutexWake,
    HandlePoll,
    Notification,
    NotificationWait,
    Operation,
    OperationFlags,
    PollEvents,
    Recv,
    RecvBytes,
    RecvFrom,
    RecvPool,
    SemaphoreWait,
    Send,
    SendFile,
    Sequence,
    Slab,
    Socket,
    Splice,
    StreamRead,
    StreamWrite,
    TimelineSemaphore,
    Timer,
    register_slab,
)

BUFFER_BYTES = 1024


class TimerScene(WaitingScene):
    def set_up(self) -> None:
        self.operation: Timer = Timer(time.monotonic() + 1000)

    def arrange_end(self, seconds: float) -> None:
        self.operation.deadline = time.monotonic() + seconds
        self.provoked = 1

    def check(self, attempt: Any) -> None:
        super().check(attempt)
        assert not attempt.returned or time.monotonic() >= self.operation.deadline
        self.operation.deadline = time.monotonic() + 1000


class SocketScene(WaitingScene):
    """Base: bytes that come to `near` from `far`."""

    def set_up(self) -> None:
        self.near, self.far = self.place.sockets.unix_pair()
        self.operation = self.make_operation(self.near)

    def make_operation(self, socket: Socket) -> Operation:
        raise NotImplementedError

    def provoke_once(self) -> None:
        self.far.stdlib.send(b"x")

    def left(self, expected: int) -> int:
        return count_ready(self.near.fileno(), lambda: self.near.stdlib.recv(1), expected)

    def closing(self) -> Operation | None:
        return close_operation(self.near)


class PollScene(SocketScene):
    def make_operation(self, socket: Socket) -> Operation:
        return HandlePoll(socket, PollEvents.IN)


class PollOutScene(FullScene):
    def set_up(self) -> None:
        self.near, self.far = self.place.sockets.unix_pair()
        self.filled = self.fill()
        self.operation = self.make_operation()

    def make_operation(self) -> Operation:
        return HandlePoll(self.near, PollEvents.OUT)

    def fill(self) -> int:
        return fill(self.near)

    def drain(self) -> int:
        drained = 0
        while is_ready(self.far.fileno()):
            drained += len(self.far.stdlib.recv(1 << 20))
        return drained

    def check(self, attempt: Any) -> None:
        if isinstance(self.operation, HandlePoll) and attempt.returned:
            assert attempt.result == PollEvents.OUT
            attempt.result = 0  # no byte was moved
        super().check(attempt)

    def closing(self) -> Operation | None:
        return close_operation(self.near)


class SendScene(PollOutScene):
    def make_operation(self) -> Operation:
        return Send(self.near, bytes(100_000))


class SendFileScene(PollOutScene):
    def make_operation(self) -> Operation:
        return SendFile(self.near, self.place.files.holding(bytes(50_000), "sent"), 0, 50_000)


class RecvScene(SocketScene):
    def make_operation(self, socket: Socket) -> Operation:
        return Recv(socket, bytearray(10))

    def taken(self, result: Any) -> int:
        return int(result)


class RecvBytesScene(SocketScene):
    def make_operation(self, socket: Socket) -> Operation:
        return RecvBytes(socket, 10)

    def taken(self, result: Any) -> int:
        return len(result)


class RecvPoolScene(SocketScene):
    def make_operation(self, socket: Socket) -> Operation:
        slab = self.place.stack.enter_context(Slab.allocate(BUFFER_BYTES, 4))
        region = self.place.stack.enter_context(register_slab(current_proactor(), slab, Access.WRITE | Access.READ))
        self.pool = self.place.stack.enter_context(BufferPool(region))
        return RecvPool(socket, self.pool)

    def taken(self, result: Any) -> int:
        with result as lease:
            return int(lease.length)

    def left(self, expected: int) -> int:
        assert self.pool.available == 4, "a lease is missing"
        return super().left(expected)


class RecvFromScene(WaitingScene):
    def set_up(self) -> None:
        self.near, self.far = connected_udp(self.place.sockets)
        self.operation = RecvFrom(self.near, bytearray(10))

    def provoke_once(self) -> None:
        self.far.stdlib.send(b"datagram")

    def taken(self, result: Any) -> int:
        assert result.length == 8 and result.sender == self.far.getsockname()
        return 1

    def left(self, expected: int) -> int:
        return count_ready(self.near.fileno(), lambda: self.near.stdlib.recv(10), expected)

    def closing(self) -> Operation | None:
        return close_operation(self.near)


class AcceptScene(WaitingScene):
    def set_up(self) -> None:
        self.listener = self.place.sockets.unix()
        self.path = self.place.folder / "listener"
        self.listener.bind(str(self.path))
        self.listener.listen(16)
        self.operation = Accept(self.listener)
        self._clients: list[stdlib_socket.socket] = []

    def provoke_once(self) -> None:
        client = stdlib_socket.socket(stdlib_socket.AF_UNIX)
        self._clients.append(client)
        client.connect(self.listener.getsockname())

    def taken(self, result: Any) -> int:
        result.close()
        return 1

    def left(self, expected: int) -> int:
        count = count_ready(self.listener.fileno(), self._take_one, expected)
        self._close_clients()
        return count

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    def give_up(self) -> None:
        self._close_clients()
        self.path.unlink()

    def _take_one(self) -> None:
        connection, _ = self.listener.stdlib.accept()
        connection.close()

    def closing(self) -> Operation | None:
        return close_operation(self.listener)


class ConnectScene(WaitingScene):
    """To a listener whose queue is full. A cancelled attempt leaves its socket unusable, so each has one of its own."""

    def set_up(self) -> None:
        self.listener = self.place.sockets.unix()
        self.path = self.place.folder / "listener"
        self.listener.bind(str(self.path))
        self.listener.listen(1)
        self._accepted = 0
        self._renew()

    def _renew(self) -> None:
        self._fillers: list[stdlib_socket.socket] = []
        try:
            while True:
                client = self.place.sockets.keep(stdlib_socket.socket(stdlib_socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(self.path))
                self._fillers.append(client)
        except BlockingIOError:
            client.close()
        self.socket = self.place.sockets.unix()
        self.operation = Connect(self.socket, str(self.path))

    def provoke_once(self) -> None:
        self._accept_one()

    def _accept_one(self) -> None:
        connection, _ = self.listener.stdlib.accept()
        connection.close()
        self._accepted += 1

    def check(self, attempt: Any) -> None:
        super().check(attempt)
        while is_ready(self.listener.fileno()):
            self._accept_one()
        assert self._accepted == len(self._fillers) + attempt.returned
        self._accepted = 0
        self.give_up()
        self._renew()

    def give_up(self) -> None:
        for client in (*self._fillers, self.socket):
            client.close()


class StreamReadScene(WaitingScene):
    def set_up(self) -> None:
        self.reader, self.writer = self.place.pipe()
        self.operation = StreamRead(self.reader, bytearray(10))

    def provoke_once(self) -> None:
        os.write(self.writer, b"x")

    def taken(self, result: Any) -> int:
        return int(result)

    def left(self, expected: int) -> int:
        return count_ready(self.reader, lambda: os.read(self.reader, 1), expected)


class StreamWriteScene(FullScene):
    def set_up(self) -> None:
        self.reader, self.writer = self.place.pipe()
        self.filled = self.fill()
        self.operation = StreamWrite(self.writer, bytes(10_000))

    def fill(self) -> int:
        filled = 0
        try:
            while True:
                filled += os.write(self.writer, bytes(4096))
        except BlockingIOError:
            return filled

    def drain(self) -> int:
        drained = 0
        while is_ready(self.reader):
            drained += len(os.read(self.reader, 1 << 20))
        return drained


class SpliceScene(WaitingScene):
    """From an empty pipe into another one."""

    def set_up(self) -> None:
        self.reader, self.writer = self.place.pipe()
        self.far_reader, far_writer = self.place.pipe()
        self.operation = Splice(self.reader, far_writer, 10)

    def provoke_once(self) -> None:
        os.write(self.writer, b"x")

    def taken(self, result: Any) -> int:
        return int(result)

    def left(self, expected: int) -> int:
        moved = count_ready(self.far_reader, lambda: os.read(self.far_reader, 1), self.provoked - expected)
        assert moved == self.provoked - expected, "bytes were moved without a result"
        return count_ready(self.reader, lambda: os.read(self.reader, 1), expected)


class EventScene(WaitingScene):
    def set_up(self) -> None:
        self.event = self.place.stack.enter_context(Event())
        self.operation = EventWait(self.event)

    def provoke_once(self) -> None:
        self.event.set()

    def taken(self, result: Any) -> int:
        return 1

    def left(self, expected: int) -> int:
        return count_ready(self.event.fileno(), self.event.clear, expected)


class SemaphoreScene(WaitingScene):
    def set_up(self) -> None:
        self.semaphore = TimelineSemaphore()
        self._renew()

    def _renew(self) -> None:
        self.value = self.semaphore.query() + 1
        self.operation = SemaphoreWait([self.semaphore], [self.value])

    def provoke_once(self) -> None:
        self.semaphore.signal(self.value)

    def check(self, attempt: Any) -> None:
        assert not attempt.returned or self.semaphore.query() == self.value
        super().check(attempt)
        if self.provoked:
            self._renew()


class FrontierScene(WaitingScene):
    def set_up(self) -> None:
        self.tracker = FrontierTracker()
        self.tracker.register_axis(1)
        self._renew()

    def _renew(self) -> None:
        self.wanted = Frontier([(1, (self.tracker.query_epoch(1) or 0) + 1)])
        self.operation = FrontierWait(self.tracker, self.wanted)

    def provoke_once(self) -> None:
        self.tracker.advance(1, self.wanted[1])

    def check(self, attempt: Any) -> None:
        assert not attempt.returned or attempt.result == self.wanted
        assert not self.tracker._axes[1].agenda.entries, "the wait was not withdrawn"
        super().check(attempt)
        if self.provoked:
            self._renew()


class NotificationScene(WaitingScene):
    def set_up(self) -> None:
        self.notification = Notification()
        self.operation = NotificationWait(self.notification)

    def provoke_once(self) -> None:
        self.notification.signal()

    def left(self, expected: int) -> int:
        assert not self.notification.signal_if_observed(), "the wait was not withdrawn"
        return expected


class FutexScene(WaitingScene):
    def set_up(self) -> None:
        memory = self.place.stack.enter_context(mmap.mmap(-1, 4096))
        view = self.place.stack.enter_context(memoryview(memory))
        self.word = self.place.stack.enter_context(view[:4])
        self.operation = FutexWait(self.word, 0)

    def provoke_once(self) -> None:
        current_proactor().submit(FutexWake(self.word, 1, lambda *_: None))


class BehindScene(SocketScene):
    """Base: a Send that comes after a HandlePoll; what it sends arrives exactly if the whole returned."""

    def set_up(self) -> None:
        self.out, self.arrivals = self.place.sockets.unix_pair()
        super().set_up()

    def left(self, expected: int) -> int:
        left = super().left(expected)
        self.sent = count_ready(self.arrivals.fileno(), lambda: self.arrivals.stdlib.recv(1), 0)
        return left

    def check(self, attempt: Any) -> None:
        super().check(attempt)
        assert self.sent == attempt.returned


class SequenceScene(BehindScene):
    def make_operation(self, socket: Socket) -> Operation:
        return Sequence([HandlePoll(socket), Send(self.out, b"s")])


class SequenceWithStepsScene(BehindScene):
    """One whose steps are watched is not handed to the kernel as a chain."""

    def make_operation(self, socket: Socket) -> Operation:
        return Sequence([HandlePoll(socket), Send(self.out, b"s")], lambda sequence, completed, following: None)


class ChainScene(BehindScene):
    def make_operation(self, socket: Socket) -> Operation:
        self.first = HandlePoll(socket, flags=OperationFlags.LINKED)
        return Send(self.out, b"s")

    async def perform(self) -> Any:
        current_proactor().submit(self.first, self.operation)
        return await self.operation


class ChainBehindSemaphoreScene(BehindScene):
    """The head is made in the kernel where that links."""

    def make_operation(self, socket: Socket) -> Operation:
        self.semaphore = TimelineSemaphore()
        return Send(self.out, b"s")

    async def perform(self) -> Any:
        value = self.semaphore.query() + 1
        head = SemaphoreWait([self.semaphore], [value], flags=OperationFlags.LINKED)
        current_proactor().submit(head, self.operation)
        return await self.operation

    def provoke_once(self) -> None:
        self.semaphore.signal(self.semaphore.query() + 1)

    def left(self, expected: int) -> int:
        self.sent = count_ready(self.arrivals.fileno(), lambda: self.arrivals.stdlib.recv(1), 0)
        return expected


def _futex(scene: type[Scene]) -> Any:
    return pytest.param(scene, marks=pytest.mark.needs("futex"), id="FutexWait")


#: By the name of the operation.
WAITING_SCENES: dict[str, type[WaitingScene]] = {
    "Timer": TimerScene,
    "HandlePoll": PollScene,
    "HandlePoll OUT": PollOutScene,
    "Accept": AcceptScene,
    "Connect": ConnectScene,
    "Recv": RecvScene,
    "RecvBytes": RecvBytesScene,
    "RecvPool": RecvPoolScene,
    "RecvFrom": RecvFromScene,
    "Send": SendScene,
    "SendFile": SendFileScene,
    "StreamRead": StreamReadScene,
    "StreamWrite": StreamWriteScene,
    "Splice": SpliceScene,
    "EventWait": EventScene,
    "SemaphoreWait": SemaphoreScene,
    "FrontierWait": FrontierScene,
    "NotificationWait": NotificationScene,
    "Sequence": SequenceScene,
    "Sequence with step_fn": SequenceWithStepsScene,
    "chain": ChainScene,
    "chain behind a semaphore": ChainBehindSemaphoreScene,
}

WAITING = [pytest.param(scene, id=name) for name, scene in WAITING_SCENES.items()] + [_futex(FutexScene)]

#: Those whose resource can be closed while they wait.
CLOSABLE = [
    pytest.param(scene, id=name)
    for name, scene in WAITING_SCENES.items()
    if scene.closing is not WaitingScene.closing and not issubclass(scene, BehindScene)
]
