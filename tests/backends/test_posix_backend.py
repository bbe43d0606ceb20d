"""The posix backend alone: a dictionary and a hook stand in for the proactor. Each test runs on both event sets."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest

from proactor_trio.backends.contract import (
    BackendOptions,
    Capability,
    CompletionFlags,
    Kind,
    OperationFields,
    OperationFlags,
    PollEvents,
    Support,
)
from proactor_trio.backends.posix import sockets
from proactor_trio.backends.posix.backend import EpollBackend, PollBackend, PosixBackend

if sys.platform != "linux":
    pytest.skip("these tests use Linux's numbers", allow_module_level=True)

PATIENCE = 20.0


class Operation(OperationFields):
    __slots__ = ("results",)

    def __init__(self, **fields: Any) -> None:
        self.identifier = 0
        self.flags = OperationFlags.NONE
        self.descriptor = -1
        self.deliveries = 0
        self.after = None
        self.data = None
        self.backend_state = None
        self.whole = False
        self.results: list[int] = []
        for name, value in fields.items():
            setattr(self, name, value)
        if "stdlib_socket" in fields and "descriptor" not in fields:
            self.descriptor = self.stdlib_socket.fileno()

    @property
    def result(self) -> int:
        """The only result."""
        (result,) = self.results
        return result


class Nop(Operation):
    kind: ClassVar[Kind] = Kind.NOP


class Timer(Operation):
    kind: ClassVar[Kind] = Kind.TIMER


class HandlePoll(Operation):
    kind: ClassVar[Kind] = Kind.HANDLE_POLL


class Accept(Operation):
    kind: ClassVar[Kind] = Kind.ACCEPT


class Connect(Operation):
    kind: ClassVar[Kind] = Kind.CONNECT


class Recv(Operation):
    kind: ClassVar[Kind] = Kind.RECV


class RecvBytes(Operation):
    kind: ClassVar[Kind] = Kind.RECV_BYTES


class Send(Operation):
    kind: ClassVar[Kind] = Kind.SEND


class SocketClose(Operation):
    kind: ClassVar[Kind] = Kind.SOCKET_CLOSE


class FileOpen(Operation):
    kind: ClassVar[Kind] = Kind.FILE_OPEN


class FileRead(Operation):
    kind: ClassVar[Kind] = Kind.FILE_READ


class FileWrite(Operation):
    kind: ClassVar[Kind] = Kind.FILE_WRITE


class FileSync(Operation):
    kind: ClassVar[Kind] = Kind.FILE_SYNC


class FileClose(Operation):
    kind: ClassVar[Kind] = Kind.FILE_CLOSE


class Owner:
    """What the backend sees of a proactor."""

    def __init__(self, backend_class: type[PosixBackend], allowed: Capability = Capability.ALL) -> None:
        self.in_flight: dict[int, OperationFields] = {}
        self.identifier = 0
        self.order: list[OperationFields] = []
        self.polling = False
        self.before_commit: list[BaseException] = []
        self.after_commit: list[BaseException] = []
        self.backend = backend_class(self.complete, BackendOptions(in_flight=self.in_flight, allowed=allowed))
        self.backend.enable()

    def complete(self, operation: OperationFields, result: int, flags: int) -> None:
        assert self.polling, "a report outside poll()"
        assert self.in_flight[operation.identifier] is operation
        assert isinstance(operation, Operation)
        if self.before_commit:
            raise self.before_commit.pop()
        operation.results.append(result)
        self.order.append(operation)
        if flags & CompletionFlags.MORE:
            operation.deliveries += 1
        else:
            del self.in_flight[operation.identifier]
            operation.identifier = 0
        if self.after_commit:
            raise self.after_commit.pop()

    def start(self, *operations: Operation) -> None:
        for operation in operations:
            self.identifier += 1
            operation.identifier = self.identifier
            self.in_flight[self.identifier] = operation
            self.backend.start(operation)

    def poll(self, timeout: float | None = 0) -> None:
        self.polling = True
        try:
            self.backend.poll(timeout)
        finally:
            self.polling = False

    def settle(self, polls: int = 4) -> None:
        """Whatever can happen now has happened."""
        for _ in range(polls):
            self.poll(0)

    def finish(self, *operations: Operation) -> None:
        """Poll until these are done."""
        end = time.monotonic() + PATIENCE
        while any(operation.identifier for operation in operations):
            assert time.monotonic() < end, "not done in time"
            self.poll(1)

    def run(self, operation: Operation) -> int:
        self.start(operation)
        self.finish(operation)
        return operation.results[-1]


@pytest.fixture(params=[EpollBackend, PollBackend], ids=["epoll", "poll"])
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    created = Owner(request.param)
    yield created
    for operation in list(created.in_flight.values()):
        created.backend.cancel(operation)
    end = time.monotonic() + PATIENCE
    while created.in_flight and time.monotonic() < end:
        created.poll(0.1)
    created.backend.close()
    assert not created.in_flight


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _address = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as created:
        created.setblocking(False)
        yield created


def receive(stdlib_socket: socket.socket, size: int = 100, **fields: Any) -> Recv:
    return Recv(stdlib_socket=stdlib_socket, view=memoryview(bytearray(size)), **fields)


def send(stdlib_socket: socket.socket, data: bytes, **fields: Any) -> Send:
    return Send(stdlib_socket=stdlib_socket, view=memoryview(data), **fields)


def close(stdlib_socket: socket.socket) -> SocketClose:
    return SocketClose(descriptor=stdlib_socket.detach())


def received(operation: Recv) -> bytes:
    return bytes(operation.view[: operation.result])


# Sockets: the good days.


def test_nothing_is_reported_by_start(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    nop, sending = Nop(), send(pair[0], b"x")
    owner.start(nop, sending)
    assert nop.results == sending.results == []
    owner.poll(0)
    assert (nop.result, sending.result) == (0, 1)
    assert owner.order == [nop, sending]


def test_receive_waits_for_bytes(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = receive(ours)
    owner.start(operation)
    owner.settle()
    assert operation.results == []
    theirs.send(b"hello")
    owner.finish(operation)
    assert received(operation) == b"hello"


def test_receive_bytes(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    for text in (b"one", b"two", b"x" * 10):
        theirs.send(text)
        operation = RecvBytes(stdlib_socket=ours, length=10)
        assert owner.run(operation) == len(text)
        assert operation.data == text


def test_a_waiting_receive_makes_no_calls(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"a")
    owner.run(receive(ours))  # a short read: the socket is known to be empty
    before = owner.backend.statistics()["attempts"]
    operation = receive(ours)
    owner.start(operation)
    owner.settle()
    assert owner.backend.statistics()["attempts"] == before
    theirs.send(b"b")
    owner.finish(operation)
    assert owner.backend.statistics()["attempts"] == before + 1


def test_what_is_left_is_found_without_an_edge(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    owner.start(first := receive(ours, 2))
    owner.settle()
    theirs.send(b"abcde")
    owner.finish(first)
    pieces = [received(first)]
    for _ in range(2):
        operation = receive(ours, 2)
        owner.run(operation)
        pieces.append(received(operation))
    assert pieces == [b"ab", b"cd", b"e"]


def test_receives_are_served_in_order(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operations = [receive(ours, 2) for _ in range(3)]
    owner.start(*operations)
    owner.settle()
    theirs.send(b"aabbcc")
    owner.finish(*operations)
    assert [received(operation) for operation in operations] == [b"aa", b"bb", b"cc"]


def test_end_of_stream_stays(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    waiting = receive(ours)
    owner.start(waiting)
    owner.settle()
    theirs.send(b"last")
    theirs.close()
    owner.finish(waiting)
    assert received(waiting) == b"last"
    assert [owner.run(receive(ours)) for _ in range(3)] == [0, 0, 0]


def test_end_of_stream_after_a_short_read(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    owner.start(first := receive(ours))
    owner.settle()
    theirs.send(b"last")
    owner.finish(first)
    theirs.shutdown(socket.SHUT_WR)
    assert owner.run(receive(ours)) == 0
    assert owner.run(receive(ours)) == 0


def test_urgent_data_does_not_hide_what_is_behind_it(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    owner.start(first := receive(ours))
    owner.settle()
    theirs.send(b"before")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.send(b"behind")
    owner.finish(first)
    pieces = received(first)
    while len(pieces) < len(b"beforebehind"):
        operation = receive(ours)
        owner.run(operation)
        pieces += received(operation)
    assert pieces == b"beforebehind"


def test_descriptors_passed_do_not_hide_what_is_behind_them(owner: Owner) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        owner.start(first := receive(ours))
        owner.settle()
        socket.send_fds(theirs, [b"with"], [theirs.fileno()])
        theirs.send(b"without")
        owner.finish(first)
        pieces = received(first)
        while len(pieces) < len(b"withwithout"):
            operation = receive(ours)
            owner.run(operation)
            pieces += received(operation)
        assert pieces == b"withwithout"


def test_datagrams(owner: Owner) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        owner.start(first := receive(ours))
        owner.settle()
        theirs.send(b"one")
        theirs.send(b"three")
        owner.finish(first)
        second = receive(ours)
        owner.run(second)
        assert (received(first), received(second)) == (b"one", b"three")


def test_send_waits_for_room(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    payload = os.urandom(8 * 1024 * 1024)
    operation = send(ours, payload, whole=True)
    owner.start(operation)
    arrived = bytearray()
    end = time.monotonic() + PATIENCE
    while len(arrived) < len(payload):
        assert time.monotonic() < end
        owner.poll(0.01)
        try:
            arrived += theirs.recv(1 << 20)
        except BlockingIOError:
            pass
    owner.finish(operation)
    assert operation.result == len(payload)
    assert arrived == payload


def test_send_that_is_not_whole_is_short(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    operation = send(pair[0], bytes(64 * 1024 * 1024))
    assert 0 < owner.run(operation) < 64 * 1024 * 1024


def test_send_of_nothing(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    assert owner.run(send(pair[0], b"")) == 0
    assert owner.run(send(pair[0], b"", whole=True)) == 0
    assert owner.run(receive(pair[0], 0)) == 0
    assert owner.run(receive(pair[0], 0, whole=True)) == 0


def test_whole_receive_goes_on_until_it_is_full(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = receive(ours, 10, whole=True)
    owner.start(operation)
    for piece in (b"abc", b"defg", b"hijXYZ"):
        owner.settle()
        assert operation.results == []
        theirs.send(piece)
    owner.finish(operation)
    assert received(operation) == b"abcdefghij"
    rest = receive(ours)
    owner.run(rest)
    assert received(rest) == b"XYZ"


def test_whole_receive_gives_others_their_turn(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setblocking(True)
    size = 32 * 1024 * 1024
    sender = threading.Thread(target=theirs.sendall, args=(bytes(size),))
    operation = receive(ours, size, whole=True)
    owner.start(operation)
    sender.start()
    owner.finish(operation)
    sender.join()
    assert operation.result == size
    assert owner.backend.statistics()["system_waits"] > 1


# Connecting and accepting.


def test_connect(owner: Owner, listener: socket.socket) -> None:
    with socket.socket() as ours:
        ours.setblocking(False)
        assert owner.run(Connect(stdlib_socket=ours, address=listener.getsockname())) == 0
        assert ours.getpeername() == listener.getsockname()
        owner.run(Connect(stdlib_socket=ours, address=listener.getsockname()))  # Linux says 0 once more
        assert owner.run(Connect(stdlib_socket=ours, address=listener.getsockname())) == -errno.EISCONN


def test_connect_refused(owner: Owner, listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()
    with socket.socket() as ours:
        ours.setblocking(False)
        assert owner.run(Connect(stdlib_socket=ours, address=address)) == -errno.ECONNREFUSED


def test_connect_that_cannot_wait(owner: Owner, tmp_path: Path) -> None:
    # A Unix listener with a full queue answers EAGAIN, and no readiness ever follows.
    path = str(tmp_path / "listener")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        results = []
        for client in clients:
            client.setblocking(False)
            results.append(owner.run(Connect(stdlib_socket=client, address=path)))
            if results[-1]:
                break
        assert results[-1] == -errno.EAGAIN
        for client in clients:
            client.close()


def test_connect_is_cancelled(owner: Owner) -> None:
    with socket.socket() as full, socket.socket() as ours:
        # The queue of this listener is full, so the handshake does not get on.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        ours.setblocking(False)
        operation = Connect(stdlib_socket=ours, address=full.getsockname())
        owner.start(operation)
        owner.settle()
        assert operation.results == []
        owner.backend.cancel(operation)
        owner.finish(operation)
        assert operation.result == -errno.ECANCELED
        for filler in fillers:
            filler.close()


def test_accept(owner: Owner, listener: socket.socket) -> None:
    operation = Accept(stdlib_socket=listener)
    owner.start(operation)
    owner.settle()
    assert operation.results == []
    with socket.create_connection(listener.getsockname()) as client:
        owner.finish(operation)
        with socket.socket(fileno=operation.result) as accepted:
            assert accepted.getpeername() == client.getsockname()
            assert not os.get_inheritable(accepted.fileno())
            assert not os.get_blocking(accepted.fileno())


def test_multishot_accept(owner: Owner, listener: socket.socket) -> None:
    count = 2 * sockets.ACCEPTS_AT_A_TIME + 3
    operation = Accept(stdlib_socket=listener, flags=OperationFlags.MULTISHOT)
    owner.start(operation)
    owner.settle()
    clients = [socket.create_connection(listener.getsockname()) for _ in range(count)]
    batches = []
    end = time.monotonic() + PATIENCE
    while len(operation.results) < count:
        assert time.monotonic() < end
        before = len(operation.results)
        owner.poll(1)
        batches.append(len(operation.results) - before)
    assert max(batches) <= sockets.ACCEPTS_AT_A_TIME
    assert operation.identifier, "it goes on"
    late = socket.create_connection(listener.getsockname())
    while len(operation.results) < count + 1:
        assert time.monotonic() < end
        owner.poll(1)
    owner.backend.cancel(operation)
    owner.finish(operation)
    assert operation.results.pop() == -errno.ECANCELED
    assert len(set(operation.results)) == count + 1
    for client in (*clients, late):
        client.close()
    for descriptor in operation.results:
        os.close(descriptor)


def test_accept_without_descriptors_ends_with_the_reason(owner: Owner, listener: socket.socket) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    operation = Accept(stdlib_socket=listener, flags=OperationFlags.MULTISHOT)
    with socket.create_connection(listener.getsockname()):
        highest = os.open(os.devnull, os.O_RDONLY)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            owner.run(operation)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert operation.results == [-errno.EMFILE]
        again = Accept(stdlib_socket=listener)
        os.close(owner.run(again))


# Sockets: the bad days.


def test_reset(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = receive(ours)
    owner.start(operation)
    owner.settle()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    owner.finish(operation)
    assert operation.result == -errno.ECONNRESET
    assert owner.run(send(ours, b"x")) == -errno.EPIPE


def test_partial_progress_before_the_end(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = receive(ours, 10, whole=True)
    owner.start(operation)
    owner.settle()
    theirs.send(b"abc")
    owner.settle()
    theirs.close()
    owner.finish(operation)
    assert received(operation) == b"abc"


def test_partial_progress_before_a_cancel(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    operation = receive(ours, 10, whole=True)
    owner.start(operation)
    theirs.send(b"abc")
    owner.settle()
    owner.backend.cancel(operation)
    owner.finish(operation)
    assert received(operation) == b"abc"
    # The same object again begins anew.
    operation.results.clear()
    owner.start(operation)
    owner.settle()
    owner.backend.cancel(operation)
    owner.finish(operation)
    assert operation.result == -errno.ECANCELED


def test_cancel_takes_no_bytes(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    waiting, unbegun = receive(ours), receive(ours)
    owner.start(waiting)
    owner.settle()
    owner.start(unbegun)
    owner.backend.cancel(waiting)
    owner.backend.cancel(unbegun)
    owner.backend.cancel(waiting)
    assert waiting.results == unbegun.results == []
    theirs.send(b"kept")
    owner.finish(waiting, unbegun)
    assert (waiting.result, unbegun.result) == (-errno.ECANCELED, -errno.ECANCELED)
    owner.settle()
    operation = receive(ours)
    owner.run(operation)
    assert received(operation) == b"kept"


def test_cancel_after_the_result_changes_nothing(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    first, second = Nop(), receive(ours)
    theirs.send(b"won")
    owner.start(first, second)
    owner.before_commit.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        owner.poll(0)
    owner.backend.cancel(second)  # its bytes were taken already
    owner.finish(first, second)
    assert received(second) == b"won"


def test_close_ends_what_is_pending(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    descriptor = ours.fileno()
    first, second = receive(ours), receive(ours)
    polling = HandlePoll(descriptor=descriptor, poll_events=PollEvents.IN)
    owner.start(first, polling, second)
    owner.settle()
    closing = close(ours)
    owner.start(closing)
    owner.finish(closing)
    assert owner.order == [first, polling, second, closing]
    assert [operation.result for operation in (first, polling, second)] == [-errno.ECANCELED] * 3
    assert closing.result == 0
    theirs.setblocking(True)
    assert theirs.recv(1) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_close_in_the_same_batch(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _theirs = pair
    operation, sending = receive(ours), send(ours, b"x")
    owner.start(operation, sending)
    closing = close(ours)
    owner.start(closing)
    owner.finish(operation, sending, closing)
    assert [done.result for done in (operation, sending, closing)] == [-errno.ECANCELED, -errno.ECANCELED, 0]


def test_close_of_nothing(owner: Owner) -> None:
    assert owner.run(SocketClose(descriptor=1_000_000)) == -errno.EBADF


def test_number_is_used_again_after_a_close(owner: Owner) -> None:
    for _ in range(3):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        waiting = receive(ours)
        owner.start(waiting)
        owner.settle()
        theirs.send(b"x")
        owner.finish(waiting)
        owner.run(close(ours))
        theirs.close()


def test_number_is_used_again_behind_our_back(owner: Owner) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    number = ours.fileno()
    old = receive(ours)
    owner.start(old)
    owner.settle()
    ours.close()
    replacement, peer = socket.socketpair()
    with theirs, peer:
        assert number in (replacement.fileno(), peer.fileno())
        if replacement.fileno() != number:
            replacement, peer = peer, replacement
        replacement.setblocking(False)
        new = receive(replacement)
        owner.start(new)
        owner.settle()
        assert old.result == -errno.EBADF
        peer.send(b"new")
        owner.finish(new)
        assert received(new) == b"new"
        replacement.close()


def test_two_objects_for_one_socket(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    other = socket.socket(fileno=ours.fileno())
    try:
        first, second = receive(ours, 1), receive(other, 1)
        owner.start(first)
        owner.settle()
        owner.start(second)
        owner.settle()
        theirs.send(b"ab")
        owner.finish(first, second)
        assert received(first) + received(second) == b"ab"
    finally:
        other.detach()


def test_a_dropped_socket_is_closed_as_ever(owner: Owner) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        operation = receive(ours)
        theirs.send(b"x")
        owner.run(operation)
        del operation
        owner.order.clear()
        with pytest.warns(ResourceWarning):
            del ours
            gc.collect()
        assert theirs.recv(1) == b""


def test_listener_is_dropped_with_a_full_turn_queue(owner: Owner, listener: socket.socket) -> None:
    operation = Accept(stdlib_socket=listener, flags=OperationFlags.MULTISHOT)
    address = listener.getsockname()
    clients = [socket.create_connection(address) for _ in range(sockets.ACCEPTS_AT_A_TIME + 1)]
    owner.start(operation)
    owner.poll(0)
    closing = close(listener)
    owner.start(closing)
    owner.finish(operation, closing)
    owner.settle()
    assert operation.results[-1] == -errno.ECANCELED
    for client in clients:
        client.close()
    for descriptor in operation.results[:-1]:
        os.close(descriptor)


# Readiness as such.


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


# Waiting and waking.


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


# Exceptions.


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


# Files.


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


# The rest.


@pytest.mark.parametrize("backend_class", [EpollBackend, PollBackend])
def test_descriptors_are_given_back(backend_class: type[PosixBackend]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    owner = Owner(backend_class)
    assert len(os.listdir("/proc/self/fd")) > before
    owner.backend.close()
    owner.backend.wake()  # too late, harmless
    assert len(os.listdir("/proc/self/fd")) == before


def test_undelivered_connections_are_closed(listener: socket.socket) -> None:
    owner = Owner(EpollBackend)
    operation = Accept(stdlib_socket=listener)
    with socket.create_connection(listener.getsockname()) as client:
        owner.before_commit.append(KeyboardInterrupt())
        owner.start(operation)
        with pytest.raises(KeyboardInterrupt):
            owner.poll(PATIENCE)
        owner.backend.close()
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""


def test_what_it_can_do() -> None:
    owner = Owner(EpollBackend, Capability.ALL & ~Capability.MULTISHOT)
    capabilities = owner.backend.capabilities
    assert set(capabilities) == set(Capability.ALL)
    assert capabilities[Capability.MULTISHOT].support is Support.MISSING
    assert capabilities[Capability.MULTISHOT].reason == "switched off by the caller"
    assert owner.backend.native_multishot == frozenset()
    assert capabilities[Capability.LINKED_OPERATIONS].support is Support.EMULATED
    assert Kind.TIMER not in owner.backend.native_kinds
    assert owner.run(Timer()) == -errno.EOPNOTSUPP
    assert owner.backend.start_chain([Nop(), Nop()]) == 0
    owner.backend.close()


def test_a_forked_child_leaves_the_parents_registrations(
    owner: Owner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    operation = receive(ours)
    owner.start(operation)
    owner.settle()
    child = os.fork()
    if child == 0:
        owner.backend.abandon()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    theirs.send(b"x")
    owner.finish(operation)
    assert received(operation) == b"x"
