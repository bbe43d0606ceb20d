"""Streams over sockets keep every rule of the checkers of `testing`: TCP and Unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket as stdlib_socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cts.semantics.support import tcp_pair

Pair = tuple[Any, Any]
KINDS = ("tcp", "unix", "over a socket that was used before")


@pytest.fixture(params=KINDS)
def make_pair(lib: Any, request: pytest.FixtureRequest) -> Callable[[], Awaitable[Pair]]:
    """Makes two connected streams."""

    async def unix() -> Pair:
        near, far = lib.socket.socketpair()
        return lib.SocketStream(near), lib.SocketStream(far)

    async def tcp() -> Pair:
        return await tcp_pair(lib)

    async def used() -> Pair:
        near, far = await tcp_pair(lib)
        for number in range(5):
            await near.send_all(b"%d" % number)
            assert await far.receive_some() == b"%d" % number
        return near, far

    return {"tcp": tcp, "unix": unix}.get(request.param, used)


def clog(sock: Any) -> None:
    """Send until the kernel takes no more."""
    with stdlib_socket.socket(fileno=os.dup(sock.fileno())) as plain, contextlib.suppress(BlockingIOError):
        plain.setblocking(False)
        while True:
            plain.send(bytes(1 << 20))


@pytest.mark.semantics(31)
async def test_they_keep_the_rules_of_half_closeable_streams(
    lib: Any, make_pair: Callable[[], Awaitable[Pair]]
) -> None:
    async def make_clogged_pair() -> Pair:
        near, far = await make_pair()
        for stream in (near, far):
            clog(stream.socket)
        return near, far

    await lib.testing.check_half_closeable_stream(make_pair, make_clogged_pair)
