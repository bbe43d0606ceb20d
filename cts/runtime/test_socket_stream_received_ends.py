"""SocketStream with bytes received ahead: closing, dropping, ends of runs, other threads, forks."""

from __future__ import annotations

import gc
import os
import signal
import socket as stdlib_socket
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.runtime.connections import (
    arm,
    connection,
    connection_to,
    listening,
    receive_all,
    received_by,
    received_of,
    some_turns,
)
from cts.support import open_descriptors
from proactor_trio import (
    ClosedResourceError,
    SocketStream,
    fail_after,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.testing import wait_all_tasks_blocked

# ---- closing ----------------------------------------------------------------------------------------------------


async def test_closing_ends_what_is_armed_and_the_peer_sees_the_end() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        await stream.aclose()
        with pytest.raises(ClosedResourceError):
            await stream.receive_some()
        assert received_by(peer) == b""


async def test_bytes_that_lie_here_are_gone_when_it_is_closed() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"nobody takes this")
        await some_turns()
        await stream.aclose()
        with pytest.raises(ClosedResourceError):
            await stream.receive_some()


async def test_closing_the_socket_object_ends_what_is_armed() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        stream.socket.close()
        await some_turns()
        assert received_by(peer) == b""
        with pytest.raises(ClosedResourceError):
            await stream.receive_some()


async def test_the_socket_object_can_be_closed_by_another_thread() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        await proactor_trio.to_thread.run_sync(stream.socket.close)
        await some_turns()
        assert received_by(peer) == b"" and stream.socket.fileno() == -1


async def test_another_thread_cannot_close_it_under_a_task() -> None:
    async with connection() as (stream, _):
        async with open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="thread"):
                await proactor_trio.to_thread.run_sync(stream.socket.close)
            nursery.cancel_scope.cancel()


async def test_a_stream_that_is_dropped_closes_its_connection(collected: Callable[[], None]) -> None:
    async with listening() as listener:
        stream, peer = await connection_to(listener)
    await arm(stream)
    with peer, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stream
        with fail_after(5):
            while not caught:
                gc.collect()
                await checkpoint()
        assert [warning.category for warning in caught] == [ResourceWarning]
        assert received_by(peer) == b""


async def test_its_socket_object_goes_on_when_the_stream_is_dropped(collected: Callable[[], None]) -> None:
    async with listening() as listener:
        stream, peer = await connection_to(listener)
    await arm(stream)
    with stream.socket as sock, peer:
        del stream
        collected()
        peer.send(b"for the socket")
        assert await sock.recv(100) == b"for the socket"


def test_a_stream_outlives_its_run_and_works_in_another(run: Callable[..., Any]) -> None:
    async def first() -> tuple[SocketStream, stdlib_socket.socket]:
        async with listening() as listener:
            stream, peer = await connection_to(listener)
        await arm(stream)
        peer.send(b"between")
        return stream, peer

    async def second(stream: SocketStream, peer: stdlib_socket.socket) -> None:
        with fail_after(5):
            assert await receive_all(stream, 7) == b"between"
            await arm(stream)
            peer.send(b"the runs")
            assert await receive_all(stream, 8) == b"the runs"
            await stream.aclose()

    stream, peer = run(first)
    with peer:
        assert not received_of(stream).is_armed
        run(second, stream, peer)


def test_a_stream_can_be_closed_after_its_run(run: Callable[..., Any]) -> None:
    async def main() -> tuple[SocketStream, stdlib_socket.socket]:
        async with listening() as listener:
            stream, peer = await connection_to(listener)
        await arm(stream)
        return stream, peer

    stream, peer = run(main)
    with peer:
        stream.socket.close()
        assert received_by(peer) == b""


@pytest.mark.ring_rule(10)
def test_a_run_ends_while_streams_are_armed(run: Callable[..., Any]) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async with listening() as listener:
            for _ in range(20):
                stream, peer = await connection_to(listener)
                await arm(stream)
                peer.send(b"unread")
                kept.append((stream, peer))

    before = open_descriptors()
    run(main)
    for stream, peer in kept:
        stream.socket.close()
        peer.close()
    assert open_descriptors() == before


@pytest.mark.needs("fork")
async def test_a_forked_child_drops_a_stream_quietly(collected: Callable[[], None]) -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                stream.__del__()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        peer.send(b"for the parent")
        assert await stream.receive_some() == b"for the parent"


def test_control_c_during_a_receive_loses_no_byte(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with connection() as (stream, peer):
            await arm(stream)
            interrupted = False
            try:
                async with open_nursery() as nursery:

                    async def interrupt() -> None:
                        await wait_all_tasks_blocked()
                        peer.send(b"kept")
                        signal.raise_signal(signal.SIGINT)

                    nursery.start_soon(interrupt)
                    await stream.receive_some(1)
                    await proactor_trio.sleep_forever()
            except* KeyboardInterrupt:
                interrupted = True
            assert interrupted
            rest = await stream.receive_some()
            assert rest in (b"kept", b"ept")

    run(main)
