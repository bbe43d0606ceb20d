"""Streams that receive ahead of their readers where the kernel can, and what the suites ask about them."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proactor_trio import (
    CancelScope,
    SocketListener,
    SocketStream,
    open_nursery,
    open_tcp_listeners,
)
from proactor_trio.backends.io_uring import buffer_ring
from proactor_trio.lowlevel import checkpoint
from proactor_trio.sockets.received import SINGLE_RECEIVES, StreamReceive
from proactor_trio.testing import wait_all_tasks_blocked

LARGEST_PIECE = buffer_ring.BUFFER_BYTES


@asynccontextmanager
async def listening() -> AsyncIterator[SocketListener]:
    (listener,) = await open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener


async def connection_to(listener: SocketListener) -> tuple[SocketStream, stdlib_socket.socket]:
    """A stream, which goes on receiving by itself where the kernel can, and a plain non-blocking peer."""
    peer = stdlib_socket.create_connection(listener.socket.getsockname())
    peer.setblocking(False)
    stream = await listener.accept()
    for _ in range(SINGLE_RECEIVES):
        peer.send(b"x")
        assert await stream.receive_some() == b"x"
    return stream, peer


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[SocketStream, stdlib_socket.socket]]:
    async with listening() as listener:
        stream, peer = await connection_to(listener)
    with peer:
        async with stream:
            yield stream, peer


def received_of(stream: SocketStream) -> StreamReceive:
    return stream._received


def lying_in(stream: SocketStream) -> int:
    """How many bytes lie in the process that nobody has taken."""
    received = received_of(stream)
    return len(received.head) - received.taken + received.untaken


async def arm(stream: SocketStream) -> None:
    """Wait for bytes in vain, after which a receive is armed where the kernel can."""
    with CancelScope() as scope:
        async with open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            scope.cancel()


async def receive_all(stream: SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = await stream.receive_some()
        assert piece, f"the end came after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


async def some_turns(count: int = 20) -> None:
    for _ in range(count):
        await checkpoint()


def received_by(peer: stdlib_socket.socket) -> bytes:
    peer.settimeout(5)
    return peer.recv(100)
