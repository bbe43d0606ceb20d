"""Registered files: operations name a place in the kernel's table, where there is one, and nothing else changes."""

from __future__ import annotations

import os
import socket as stdlib_socket
import threading
from collections.abc import Callable

import pytest

from cts.net_support import connected_udp
from cts.support import (
    LOOPBACK,
    Completions,
    Files,
    Sockets,
    cause_of,
    drain,
    finish,
    outcome,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    AlreadyExists,
    CancelCause,
    Capability,
    ClosedResourceError,
    Connect,
    FailedPrecondition,
    FileClose,
    FileRead,
    FileSync,
    FileWrite,
    OperationFlags,
    Proactor,
    Recv,
    RecvBytes,
    RecvFrom,
    Send,
    SendTo,
    Socket,
    SocketClose,
    Support,
    register_file,
)


def has_table(proactor: Proactor) -> bool:
    return proactor.capability_reports[Capability.FIXED_FILES].support is Support.NATIVE


@pytest.mark.needs("files")
def test_it_says_whether_it_is_used_and_why_not(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    registration = register_file(proactor, near)
    assert registration.is_used == has_table(proactor)
    assert "table of files" in registration.reason


def test_switched_off_by_the_mask_it_is_not_used(make_proactor: Callable[..., Proactor], sockets: Sockets) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.FIXED_FILES)
    near, far = sockets.tcp_pair()
    assert not register_file(proactor, near).is_used
    perform(proactor, Send(near, b"x"))
    assert drain(proactor, far, 1) == b"x"


# What goes through it ------------------------------------------------------------------------------------------------


@pytest.mark.regression("fixed-files-unused")
def test_operations_reach_the_registered_file_whatever_became_of_its_number(
    proactor: Proactor, sockets: Sockets
) -> None:
    """The proof that it is used: the number leads to another socket for a moment, and the operation does not care."""
    near, far = sockets.unix_pair()
    other, _other_far = sockets.unix_pair()
    if not register_file(proactor, near).is_used:
        return
    saved = os.dup(near.descriptor)
    os.dup2(other.descriptor, near.descriptor)
    try:
        perform(proactor, Send(near, b"through the table"))
    finally:
        os.dup2(saved, near.descriptor)
        os.close(saved)
    assert drain(proactor, far, 17) == b"through the table"


def test_bytes_go_both_ways(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    register_file(proactor, near)
    register_file(proactor, far)
    buffer = bytearray(4)
    assert perform(proactor, Send(near, [b"ab", b"cd"], whole=True)) == 4
    assert perform(proactor, Recv(far, buffer, whole=True)) == 4
    perform(proactor, Send(far, b"back"))
    assert (bytes(buffer), perform(proactor, RecvBytes(near, 10))) == (b"abcd", b"back")


def test_an_empty_receive_completes(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    register_file(proactor, near)
    assert perform(proactor, Recv(near, bytearray())) == 0


def test_datagrams_have_their_addresses(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    register_file(proactor, near)
    register_file(proactor, far)
    perform(proactor, SendTo(near, b"datagram", far.getsockname()))
    buffer = bytearray(100)
    assert perform(proactor, RecvFrom(far, buffer)) == (8, near.getsockname())


def test_a_registered_listener_accepts_and_a_registered_client_connects(proactor: Proactor, sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    register_file(proactor, listener)
    register_file(proactor, client)
    accept, connect = Accept(listener), Connect(client, listener.getsockname())
    proactor.submit(accept, connect)
    settle(proactor, accept, connect)
    accepted = sockets.keep(accept.result)
    assert accepted.registration is None and accepted.getpeername() == client.getsockname()


def test_steps_of_a_chain_name_it(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = sockets.tcp_pair()
    register_file(proactor, near)
    buffer = bytearray(4)
    steps = (
        Send(near, b"ping", completions, flags=OperationFlags.LINKED),
        Recv(far, buffer, completions, flags=OperationFlags.LINKED, timeout=60),
        Send(far, b"pong", completions, flags=OperationFlags.LINKED),
        Recv(near, buffer, completions),
    )
    proactor.submit(*steps)
    settle(proactor, *steps)
    assert completions.errors == [None] * 4 and buffer == b"pong"


@pytest.mark.needs("files")
def test_a_file_is_written_read_and_synced(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"0123456789")
    register_file(proactor, file)
    perform(proactor, FileWrite(file, b"abc", 2))
    perform(proactor, FileSync(file))
    buffer = bytearray(10)
    assert perform(proactor, FileRead(file, buffer, 0)) == 10 and buffer == b"01abc56789"


# Ends ----------------------------------------------------------------------------------------------------------------


def closed_by_operation(proactor: Proactor, socket: Socket) -> None:
    assert finish(proactor, SocketClose(socket)).error is None


def closed_at_once(proactor: Proactor, socket: Socket) -> None:
    socket.close()


def closed_by_a_thread(proactor: Proactor, socket: Socket) -> None:
    thread = threading.Thread(target=socket.close)
    thread.start()
    thread.join()
    proactor.poll(0)


@pytest.mark.parametrize("close", [closed_by_operation, closed_at_once, closed_by_a_thread])
def test_a_closed_connection_is_not_kept_open_by_the_table(
    proactor: Proactor, sockets: Sockets, close: Callable[[Proactor, Socket], None]
) -> None:
    near, far = sockets.tcp_pair()
    registration = register_file(proactor, near)
    close(proactor, near)
    assert perform(proactor, RecvBytes(far, 10)) == b""
    assert not registration.is_used


def test_closing_the_proactor_empties_the_table(configuration: object, sockets: Sockets) -> None:
    with Proactor(configuration.backend) as closed:  # type: ignore[attr-defined]
        near, far = sockets.tcp_pair()
        register_file(closed, near)
    near.close()
    far.stdlib.settimeout(3)
    assert far.stdlib.recv(10) == b""


def test_a_dropped_socket_warns_and_is_let_go(proactor: Proactor) -> None:
    near, far = stdlib_socket.socketpair()
    dropped = Socket.from_stdlib(near)
    register_file(proactor, dropped)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del dropped
    proactor.poll(0)
    far.settimeout(3)
    assert far.recv(10) == b""
    far.close()


def test_closing_ends_what_is_pending(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    register_file(proactor, near)
    receive = Recv(near, bytearray(10))
    start(proactor, receive)
    close = finish(proactor, SocketClose(near))
    settle(proactor, receive)
    assert close.error is None and cause_of(receive) is CancelCause.RESOURCE_CLOSED
    assert perform(proactor, RecvBytes(far, 10)) == b""


def test_closing_ends_a_chain_whose_later_steps_name_it(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    first, _silent = sockets.tcp_pair()
    register_file(proactor, near)
    steps = (Recv(first, bytearray(1), completions, flags=OperationFlags.LINKED), Send(near, b"late", completions))
    start(proactor, *steps)
    finish(proactor, SocketClose(near))
    proactor.cancel(steps[0])  # where the kernel had not begun the chain, its first step goes on
    settle(proactor, *steps)
    assert [outcome(error) for error in completions.errors] == ["cancelled", "cancelled"]
    assert perform(proactor, RecvBytes(far, 10)) == b""


def test_a_cancelled_receive_leaves_it_usable(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    register_file(proactor, near)
    receive = Recv(near, bytearray(10))
    start(proactor, receive)
    proactor.cancel(receive)
    settle(proactor, receive)
    perform(proactor, Send(far, b"x"))
    assert perform(proactor, RecvBytes(near, 10)) == b"x"


@pytest.mark.needs("files")
def test_a_files_place_is_given_back_by_its_close(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x")
    registration = register_file(proactor, file)
    perform(proactor, FileClose(file))
    assert not registration.is_used


def test_places_are_used_again(proactor: Proactor, sockets: Sockets) -> None:
    used = set()
    for _ in range(50):
        near, far = stdlib_socket.socketpair()
        socket = Socket.from_stdlib(near)
        registration = register_file(proactor, socket)
        used.add(registration._place.number)
        perform(proactor, Send(socket, b"x"))
        assert far.recv(1) == b"x"
        socket.close()
        far.close()
    assert len(used) == 1


# Refusals ------------------------------------------------------------------------------------------------------------


def test_twice_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    register_file(proactor, near)
    with pytest.raises(AlreadyExists, match="resource"):
        register_file(proactor, near)


def test_what_is_closed_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    with pytest.raises(ClosedResourceError, match="resource"):
        register_file(proactor, near)


def test_what_is_no_socket_and_no_file_is_refused(proactor: Proactor) -> None:
    with pytest.raises(TypeError, match="resource"):
        register_file(proactor, 1)  # type: ignore[arg-type]


def test_another_thread_is_refused_and_nothing_is_left(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    refusals: list[BaseException] = []

    def register() -> None:
        try:
            register_file(proactor, near)
        except FailedPrecondition as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=register)
    thread.start()
    thread.join()
    assert len(refusals) == 1 and near.registration is None


def test_another_proactors_operations_use_the_descriptor(
    proactor: Proactor, make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    register_file(proactor, near)
    perform(make_proactor(), Send(near, b"x"))
    assert drain(proactor, far, 1) == b"x"


def test_a_listener_can_be_bound_again_at_once(proactor: Proactor) -> None:
    """Nothing of it stays in the table when it is closed."""
    port = 0
    for _ in range(5):
        listener = Socket()
        listener.bind((LOOPBACK, port))
        listener.listen()
        port = listener.getsockname()[1]
        register_file(proactor, listener)
        accept = Accept(listener)
        start(proactor, accept)
        closing = finish(proactor, SocketClose(listener))
        poll_until(proactor, lambda accept=accept: accept.error is not None)
        assert closing.error is None
