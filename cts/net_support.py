"""What the suites about sockets share beside `Sockets`: datagram sockets, slow peers, a process without descriptors."""

from __future__ import annotations

import os
import resource
import socket as stdlib_socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cts.support import LOOPBACK, Sockets
from proactor_trio.proactor import Socket, SocketOptions, SocketType


def udp(sockets: Sockets, options: SocketOptions = SocketOptions.NONE) -> Socket:
    """A UDP socket on a port of its own."""
    created = sockets.keep(Socket.of_type(SocketType.UDP, options))
    created.bind((LOOPBACK, 0))
    return created


def udp6(sockets: Sockets) -> Socket:
    """As `udp()`, of IPv6; skips the test where there is none."""
    try:
        created = sockets.keep(Socket.of_type(SocketType.UDP6))
        created.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    return created


def connected_udp(sockets: Sockets) -> tuple[Socket, Socket]:
    """Two UDP sockets, each connected to the other."""
    near, far = udp(sockets), udp(sockets)
    near.stdlib.connect(far.getsockname())
    far.stdlib.connect(near.getsockname())
    return near, far


def unix_datagram(sockets: Sockets, name: str) -> Socket:
    """A Unix datagram socket with an abstract name of this process's own."""
    created = sockets.keep(Socket.of_type(SocketType.UNIX_DGRAM))
    created.bind(f"\0proactor_trio cts {os.getpid()} {name}")
    return created


def slow_reader_pair(sockets: Sockets, *, zero_copy: bool = False) -> tuple[Socket, Socket]:
    """Two connected TCP sockets: (sender with much room, receiver with little): what is sent stays unacknowledged."""
    listener = stdlib_socket.socket()
    try:
        listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, 65536)
        listener.bind((LOOPBACK, 0))
        listener.listen()
        near = stdlib_socket.socket()
        near.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, 4 << 20)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    finally:
        listener.close()
    return sockets.keep(Socket.from_stdlib(near, zero_copy=zero_copy)), sockets.keep(Socket.from_stdlib(far))


@contextmanager
def no_descriptors_left(any_descriptor: int) -> Iterator[None]:
    """This process has as many descriptors as it may have: those above `any_descriptor`, too, are filled up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    holes: list[int] = []
    try:
        while True:
            try:
                holes.append(os.dup(any_descriptor))
            except OSError:
                break
        yield
    finally:
        for hole in holes:
            os.close(hole)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def unix_datagram_pair(sockets: Sockets) -> tuple[Socket, Socket]:
    """Two Unix datagram sockets, each the other's peer."""
    near, far = stdlib_socket.socketpair(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_DGRAM)
    return sockets.keep(Socket.from_stdlib(near)), sockets.keep(Socket.from_stdlib(far))


def fill_with_datagrams(socket: Socket) -> int:
    """Send datagrams of a byte until the kernel takes no more; returns their number."""
    sent = 0
    try:
        while True:
            socket.stdlib.send(b"x")
            sent += 1
    except BlockingIOError:
        return sent
