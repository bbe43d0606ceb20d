"""The posix backend on sockets: sending, receiving, connecting, accepting."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest

from proactor_trio.backends.contract import (
    OperationFlags,
)
from proactor_trio.backends.posix import sockets
from tests.backends.posix_owner import (
    PATIENCE,
    Accept,
    Connect,
    Nop,
    Owner,
    RecvBytes,
    receive,
    received,
    send,
)


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
        operation = RecvBytes(socket=ours, length=10)
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


def test_whole_receive_gives_others_their_turn(owner: Owner) -> None:
    # Datagrams make one call for each byte.
    count = 2 * sockets.CALLS_AT_A_TIME + 3
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.setblocking(False)
        ours.bind(("127.0.0.1", 0))
        for number in range(count):
            theirs.sendto(bytes([number]), ours.getsockname())
        operation = receive(ours, count, whole=True)
        owner.start(operation)
        for _ in range(2):
            owner.poll(0)
            assert operation.results == []
        owner.poll(0)
        assert received(operation) == bytes(range(count))


def test_connect(owner: Owner, listener: socket.socket) -> None:
    with socket.socket() as ours:
        ours.setblocking(False)
        assert owner.run(Connect(socket=ours, address=listener.getsockname())) == 0
        assert ours.getpeername() == listener.getsockname()
        assert owner.run(Connect(socket=ours, address=listener.getsockname())) == -errno.EISCONN


def test_connect_refused(owner: Owner, listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()
    with socket.socket() as ours:
        ours.setblocking(False)
        assert owner.run(Connect(socket=ours, address=address)) == -errno.ECONNREFUSED


def test_connect_where_nothing_tells_of_room(owner: Owner, tmp_path: Path) -> None:
    # A Unix listener with a full queue answers EAGAIN, and no readiness ever follows.
    path = str(tmp_path / "listener")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        listening.setblocking(False)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        connects = []
        for client in clients:
            client.setblocking(False)
            connects.append(Connect(socket=client, address=path))
        owner.start(*connects)
        owner.poll(0.01)
        waiting = [operation for operation in connects if operation.identifier]
        assert waiting
        cancelled = waiting.pop()
        owner.backend.cancel(cancelled)
        owner.finish(cancelled)
        assert cancelled.result == -errno.ECANCELED
        while waiting:
            os.close(owner.run(Accept(socket=listening)))
            owner.finish(waiting.pop(0))
        connects.remove(cancelled)
        assert [operation.result for operation in connects] == [0] * 3
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
        operation = Connect(socket=ours, address=full.getsockname())
        owner.start(operation)
        owner.settle()
        assert operation.results == []
        owner.backend.cancel(operation)
        owner.finish(operation)
        assert operation.result == -errno.ECANCELED
        for filler in fillers:
            filler.close()


def test_accept(owner: Owner, listener: socket.socket) -> None:
    operation = Accept(socket=listener)
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
    operation = Accept(socket=listener, flags=OperationFlags.MULTISHOT)
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
    operation = Accept(socket=listener, flags=OperationFlags.MULTISHOT)
    with socket.create_connection(listener.getsockname()):
        highest = os.open(os.devnull, os.O_RDONLY)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            owner.run(operation)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert operation.results == [-errno.EMFILE]
        again = Accept(socket=listener)
        os.close(owner.run(again))
