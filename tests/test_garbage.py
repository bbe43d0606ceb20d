"""A loop that runs for ever leaves no cyclic garbage: nothing here waits for the collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

import proactor_trio


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def converse(port: int) -> None:
    """One connection with everything that streams do, a cancelled receive among it."""
    async with await proactor_trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"x" * 100)
        assert await stream.receive_some()
        with proactor_trio.move_on_after(0):
            await stream.receive_some()


async def echo(stream: proactor_trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def test_a_connection_leaves_no_cyclic_garbage(collector_off: None) -> None:
    async with proactor_trio.open_nursery() as nursery:
        listeners = await nursery.start(proactor_trio.serve_tcp, echo, 0)
        port = listeners[0].socket.getsockname()[1]
        await converse(port)
        gc.collect()
        for _ in range(20):
            await converse(port)
        await proactor_trio.testing.wait_all_tasks_blocked()
        assert gc.collect() < 20
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("mode", "buffering"), [("r", -1), ("rb", -1), ("rb", 0)])
async def test_an_opened_file_leaves_no_cyclic_garbage(
    collector_off: None, tmp_path: Path, mode: str, buffering: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    gc.collect()
    for _ in range(20):
        async with await proactor_trio.open_file(path, mode, buffering) as file:
            assert len(await file.read()) == 1
    assert gc.collect() < 20
