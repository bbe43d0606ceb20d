"""Rules of sockets, semaphores and threads, each of which was broken once."""

from __future__ import annotations

import os
import signal
import socket as stdlib_socket
from pathlib import Path
from types import FrameType

import pytest

from cts.support import Sockets, perform
from proactor_trio.proactor import (
    Accept,
    Address,
    Connect,
    File,
    Frontier,
    Proactor,
    ProactorThread,
    ReceivedDatagram,
    RecvFrom,
    SemaphoreWait,
    SendTo,
    Socket,
    SocketState,
    SocketType,
    TimelineSemaphore,
    multi_wait,
)


@pytest.mark.skipif(not hasattr(stdlib_socket, "AF_NETLINK"), reason="needs a family without addresses of ours")
def test_a_receive_whose_senders_could_not_be_said_is_refused_at_once(proactor: Proactor) -> None:
    """Else every poll would fail by the address of the datagram that was taken."""
    netlink = Socket(stdlib_socket.AF_NETLINK, stdlib_socket.SOCK_RAW)
    try:
        with pytest.raises(ValueError, match="socket: addresses of family"):
            proactor.submit(RecvFrom(netlink, bytearray(100)))
    finally:
        netlink.close()


@pytest.mark.needs("unix_sockets")
def test_a_path_object_is_an_address_of_a_stream(proactor: Proactor, sockets: Sockets, tmp_path: Path) -> None:
    listener = sockets.keep(Socket.of_type(SocketType.UNIX_STREAM))
    listener.bind(tmp_path / "listener")
    listener.listen()
    client = sockets.keep(Socket.of_type(SocketType.UNIX_STREAM))
    perform(proactor, Connect(client, tmp_path / "listener"))
    sockets.keep(perform(proactor, Accept(listener)))
    assert client.getpeername() == str(tmp_path / "listener")


@pytest.mark.needs("unix_sockets")
def test_a_path_object_is_an_address_of_a_datagram(proactor: Proactor, sockets: Sockets, tmp_path: Path) -> None:
    near, far = (sockets.keep(Socket.of_type(SocketType.UNIX_DGRAM)) for _ in range(2))
    near.bind(tmp_path / "near")
    far.bind(tmp_path / "far")
    perform(proactor, SendTo(near, b"hello", tmp_path / "far"))
    assert perform(proactor, RecvFrom(far, bytearray(5))) == ReceivedDatagram(5, str(tmp_path / "near"))


@pytest.mark.parametrize("host", [None, b"127.0.0.1", 1])
def test_a_host_that_is_no_string_is_refused_by_name(host: object) -> None:
    with pytest.raises(TypeError, match="address: host must be a string"):
        Address(stdlib_socket.AF_INET, (host, 1))


@pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_what_is_no_path_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="address must be a Unix path"):
        Address(stdlib_socket.AF_UNIX, ("127.0.0.1", 1))


def test_a_second_connect_that_is_refused_does_not_hide_the_first(sockets: Sockets) -> None:
    connecting = sockets.keep(Socket.of_type(SocketType.TCP))
    for event in ("connect", "not connected", "connected"):
        connecting.happened(event)
    assert connecting.state is SocketState.CONNECTED


class _Interruption(BaseException):
    """What the signal handler of these tests raises."""


@pytest.mark.parametrize("kind", [Socket, File])
def test_a_close_that_is_interrupted_behind_the_system_call_has_closed(
    kind: type[Socket | File], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = stdlib_socket.socketpair()
    descriptor = near.fileno()
    resource: Socket | File = Socket.from_stdlib(near) if kind is Socket else File(near.detach())
    close = os.close

    def close_and_be_interrupted(number: int) -> None:
        close(number)
        signal.raise_signal(signal.SIGUSR1)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interruption

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", close_and_be_interrupted)
            with pytest.raises(_Interruption):
                resource.close()
    finally:
        signal.signal(signal.SIGUSR1, previous)
        far.close()
    assert (resource.closed, resource.fileno()) == (True, -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_completion_function_in_the_place_of_the_mode_is_refused() -> None:
    with pytest.raises(TypeError, match="mode must be a WaitMode"):
        SemaphoreWait([TimelineSemaphore()], [1], lambda operation, flags: None)  # type: ignore[arg-type]


def test_multi_wait_refuses_another_mode() -> None:
    with pytest.raises(TypeError, match="mode must be a WaitMode"):
        multi_wait([TimelineSemaphore(1)], [1], True)  # type: ignore[arg-type]


def test_multi_wait_refuses_a_timeout_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="timeout must be a number"):
        multi_wait([TimelineSemaphore(1)], [1], timeout="1")  # type: ignore[arg-type]


def test_entries_of_a_frontier_that_are_no_pairs_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="entries must be pairs"):
        Frontier([1])  # type: ignore[list-item]


@pytest.mark.parametrize(("affinity", "error"), [(3, TypeError), (["first"], TypeError), ([-1], ValueError)])
def test_a_thread_refuses_a_wrong_affinity_by_name(affinity: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="affinity"):
        ProactorThread(affinity=affinity)  # type: ignore[arg-type]


def test_a_thread_refuses_a_poll_timeout_that_is_no_number() -> None:
    with pytest.raises(TypeError, match="poll_timeout must be seconds"):
        ProactorThread(poll_timeout="1")  # type: ignore[arg-type]
