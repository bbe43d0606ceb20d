"""The posix backend on bad days: resets, cancellation, closing, descriptors that are used again."""

from __future__ import annotations

import errno
import gc
import os
import socket
import struct
from pathlib import Path

import pytest

from proactor_trio.backends.contract import (
    OperationFlags,
    PollEvents,
)
from proactor_trio.backends.posix import sockets
from tests.backends.posix_owner import (
    PATIENCE,
    Accept,
    HandlePoll,
    Nop,
    Owner,
    Recv,
    SocketClose,
    close,
    receive,
    received,
    send,
)


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
    # The socket object is detached by now; what was started before the close has its turn all the same.
    ours, theirs = pair
    operation, sending = receive(ours), send(ours, b"x")
    owner.start(operation, sending)
    closing = close(ours)
    owner.start(closing)
    owner.finish(operation, sending, closing)
    assert [done.result for done in (operation, sending, closing)] == [-errno.ECANCELED, 1, 0]
    theirs.setblocking(True)
    assert theirs.recv(10) == b"x"
    assert theirs.recv(10) == b""


def test_a_send_goes_on_while_its_close_waits_for_it(owner: Owner, pair: tuple[socket.socket, socket.socket]) -> None:
    # As in a chain of a send and a close: the proactor starts the close when the send is done.
    ours, theirs = pair
    sending = send(ours, bytes(8 * 1024 * 1024), whole=True)
    waiting = receive(ours)
    owner.start(sending, waiting)
    owner.settle()
    closing = close(ours)
    theirs.setblocking(True)
    theirs.send(b"hello")
    theirs.settimeout(PATIENCE)
    arrived = 0
    while sending.identifier:
        arrived += len(theirs.recv(1 << 20))
        owner.poll(0)
    owner.start(closing)
    owner.finish(closing, waiting)
    assert sending.result == sending.view.nbytes
    assert received(waiting) == b"hello"
    while piece := theirs.recv(1 << 20):
        arrived += len(piece)
    assert arrived == sending.result


def test_what_waits_never_meets_another_file(owner: Owner) -> None:
    # Against the rules a socket is closed under a waiting receive, and its number goes to another one.
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    number = ours.fileno()
    waiting = receive(ours)
    owner.start(waiting)
    owner.settle()
    os.close(ours.detach())
    other, peer = socket.socketpair()
    with theirs, other, peer:
        assert number in (other.fileno(), peer.fileno())
        for end in (other, peer):
            end.setblocking(False)
            end.send(b"not for you")
        owner.run(HandlePoll(descriptor=number, poll_events=PollEvents.IN))
        owner.settle()
        assert waiting.result == -errno.EBADF


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
    operation = Accept(socket=listener, flags=OperationFlags.MULTISHOT)
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


def test_receive_from_what_is_no_socket(owner: Owner, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        assert owner.run(Recv(socket=file, view=memoryview(bytearray(1)))) == -errno.ENOTSOCK
        assert owner.run(HandlePoll(descriptor=file.fileno(), poll_events=PollEvents.OUT)) == PollEvents.OUT
    assert owner.run(HandlePoll(descriptor=1 << 40, poll_events=PollEvents.IN)) == -errno.EBADF
