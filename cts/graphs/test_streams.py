"""Nodes on streams, sockets and files of the structured library: what these have comes first, and stays in order."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from cts.runtime.conftest import Pair
from proactor_trio import (
    BusyResourceError,
    ClosedResourceError,
    SSLStream,
    move_on_after,
    open_file,
    open_graph,
    open_nursery,
    socket,
)
from proactor_trio.lowlevel import FdStream
from proactor_trio.proactor import (
    FailedPrecondition,
    FileRead,
    FileSync,
    FileWrite,
    Nop,
    Recv,
    RecvBytes,
    SemaphoreWait,
    Send,
    ShortTransfer,
    SocketClose,
    StreamRead,
    StreamWrite,
    TimelineSemaphore,
)
from proactor_trio.testing import memory_stream_pair, wait_all_tasks_blocked


async def receive_exactly(stream: Any, count: int) -> bytes:
    """So many bytes of a stream."""
    data = b""
    while len(data) < count:
        data += await stream.receive_some(count - len(data))
    return data


async def have_received(near: Any, far: Any, data: bytes) -> None:
    """Let `near` have bytes that it has received by itself and nobody has taken."""
    for letter in (b"1", b"2", b"3"):  # by then it receives by itself where the kernel can
        await far.send_all(letter)
        await receive_exactly(near, 1)
    await far.send_all(data + b"!")
    await wait_all_tasks_blocked(0.01)


async def test_a_send_on_a_stream(pair: Pair) -> None:
    near, far = pair
    async with open_graph() as graph:
        graph.add(Send(near, b"abc"))
    assert await receive_exactly(far, 3) == b"abc"


async def test_a_receive_on_a_stream(pair: Pair) -> None:
    near, far = pair
    buffer = bytearray(3)
    async with open_graph() as graph:
        received = graph.add(Recv(near, buffer, whole=True))
        await graph.submit()
        await far.send_all(b"abc")
    assert (received.result, buffer) == (3, b"abc")


async def test_a_receive_first_takes_what_the_stream_has_received(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    buffer = bytearray(2)
    async with open_graph() as graph:
        received = graph.add(Recv(near, buffer))
    assert (received.result, buffer) == (2, b"ab")
    assert await receive_exactly(near, 2) == b"c!"


async def test_a_whole_receive_goes_on_behind_what_the_stream_has_received(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    first, second = bytearray(3), bytearray(3)
    async with open_graph() as graph:
        received = graph.add(Recv(near, [first, second], whole=True))
        await graph.submit()
        await wait_all_tasks_blocked()
        await far.send_all(b"de")
    assert (received.result, first + second) == (6, b"abc!de")
    assert received.operation is not None
    assert received.operation.buffer == [first, second]


async def test_bytes_on_a_stream_come_in_order_through_a_chain(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    buffers = [bytearray(2) for _ in range(3)]
    async with open_graph() as graph:
        previous: Any = ()
        for buffer in buffers:
            previous = graph.add(Recv(near, buffer), after=previous)
        await graph.submit()
        await far.send_all(b"de")
    assert b"".join(buffers) == b"abc!de"


async def test_receive_bytes_takes_what_the_stream_has_received(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    async with open_graph() as graph:
        received = graph.add(RecvBytes(near, 100))
    assert received.result == b"abc!"


async def test_the_stream_goes_on_receiving_after_a_graph(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"")
    async with open_graph() as graph:
        graph.add(Recv(near, bytearray(1)))
    await far.send_all(b"abc")
    assert await receive_exactly(near, 3) == b"abc"


async def test_a_cancelled_receive_gives_what_it_has_got_back_to_the_stream(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    with move_on_after(0.02):
        async with open_graph() as graph:
            received = graph.add(Recv(near, bytearray(8)))
            graph.add(Nop(), after=received)
            graph.add(SemaphoreWait(TimelineSemaphore(), 1))
    assert await receive_exactly(near, 4) == b"abc!"


async def test_a_short_receive_gives_what_it_has_got_back_to_the_stream(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"abc")
    await far.send_eof()
    with pytest.RaisesGroup(ShortTransfer):
        async with open_graph() as graph:
            graph.add(Nop(), after=graph.add(Recv(near, bytearray(8))))
    assert await receive_exactly(near, 3) == b"abc"
    assert await near.receive_some() == b""


async def test_nothing_is_taken_from_the_stream_for_a_receive_whose_turn_does_not_come(pair: Pair) -> None:
    near, far = pair
    await have_received(near, far, b"abc")
    with move_on_after(0.02):
        async with open_graph() as graph:
            graph.add(Recv(near, bytearray(2)), after=graph.add(SemaphoreWait(TimelineSemaphore(), 1)))
    assert await receive_exactly(near, 4) == b"abc!"


async def test_a_semaphore_lets_a_send_on_a_stream_go(pair: Pair) -> None:
    near, far = pair
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        graph.add(Send(near, b"abc"), after=graph.add(SemaphoreWait(semaphore, 1)))
        await graph.submit()
        semaphore.signal(1)
        assert await receive_exactly(far, 3) == b"abc"


async def test_while_a_node_receives_no_task_may(pair: Pair) -> None:
    near, far = pair
    async with open_graph() as graph:
        graph.add(Recv(near, bytearray(1)))
        await graph.submit()
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.receive_some()
        await near.send_all(b"x")  # the other direction is free
        await far.send_all(b"y")


async def test_while_a_node_sends_no_task_may(pair: Pair) -> None:
    near, _ = pair
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        graph.add(Send(near, b"x"), after=graph.add(SemaphoreWait(semaphore, 1)))
        await graph.submit()
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.send_all(b"y")
        semaphore.signal(1)


async def test_while_a_task_receives_no_node_may(pair: Pair) -> None:
    near, _ = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.receive_some)
        await wait_all_tasks_blocked()
        with pytest.RaisesGroup(BusyResourceError):
            async with open_graph() as graph:
                graph.add(Recv(near, bytearray(1)))
        nursery.cancel_scope.cancel()


async def test_two_nodes_that_receive_at_the_same_time_are_refused(pair: Pair) -> None:
    near, _ = pair
    with pytest.RaisesGroup(BusyResourceError):
        async with open_graph() as graph:
            graph.add(Recv(near, bytearray(1)))
            graph.add(Recv(near, bytearray(1)))


async def test_closing_the_stream_ends_its_nodes(pair: Pair) -> None:
    near, _ = pair
    with pytest.RaisesGroup(ClosedResourceError):
        async with open_graph() as graph:
            graph.add(Recv(near, bytearray(1)))
            await graph.submit()
            await wait_all_tasks_blocked()
            await near.aclose()


async def test_a_closed_stream_fails_its_node(pair: Pair) -> None:
    near, _ = pair
    await near.aclose()
    with pytest.RaisesGroup(ClosedResourceError):
        async with open_graph() as graph:
            graph.add(Send(near, b"x"))


async def test_an_operation_for_a_stream_runs_in_a_graph_only(pair: Pair) -> None:
    with pytest.raises(FailedPrecondition, match="SocketStream lends"):
        await Send(pair[0], b"x")


async def test_an_operation_for_a_stream_is_for_graphs_again_afterwards(pair: Pair) -> None:
    send = Send(pair[0], b"x")
    async with open_graph() as graph:
        graph.add(send)
    with pytest.raises(FailedPrecondition, match="SocketStream lends"):
        await send


async def test_a_stream_does_not_lend_itself_to_be_closed(pair: Pair) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match="SocketClose")):
        async with open_graph() as graph:
            graph.add(SocketClose(pair[0]))


async def test_a_template_on_streams(pair: Pair) -> None:
    near, far = pair
    buffer = bytearray(1)
    graph = open_graph()
    graph.add(Recv(far, buffer), after=graph.add(Send(near, b"x")))
    template = graph.template()
    for _ in range(3):
        await template.run()
        await near.send_all(b"y")
        assert await receive_exactly(far, 1) == b"y"


async def test_a_socket_of_the_library() -> None:
    near, far = socket.socketpair()
    with near, far:
        buffer = bytearray(3)
        async with open_graph() as graph:
            graph.add(Recv(far, buffer), after=graph.add(Send(near, b"abc")))
        assert buffer == b"abc"


async def test_a_stream_over_a_descriptor(path: Path) -> None:
    reading, writing = map(FdStream, os.pipe())
    async with reading, writing:
        buffer = bytearray(3)
        async with open_graph() as graph:
            graph.add(StreamRead(reading, buffer), after=graph.add(StreamWrite(writing, b"abc")))
        assert buffer == b"abc"


async def test_while_a_node_reads_from_a_descriptor_no_task_may() -> None:
    reading, writing = map(FdStream, os.pipe())
    async with reading, writing:
        async with open_graph() as graph:
            graph.add(StreamRead(reading, bytearray(1)))
            await graph.submit()
            await wait_all_tasks_blocked()
            with pytest.raises(BusyResourceError):
                await reading.receive_some()
            await writing.send_all(b"x")


async def test_a_file_of_the_library(path: Path) -> None:
    async with await open_file(path, "w+b", buffering=0) as file:
        buffer = bytearray(3)
        async with open_graph() as graph:
            written = graph.add(FileWrite(file, b"abc", 0))
            synced = graph.add(FileSync(file), after=written)
            graph.add(FileRead(file, buffer, 0), after=synced)
        assert buffer == b"abc"


@pytest.mark.parametrize("mode", ["w+b", "w"])
async def test_a_buffered_file_is_refused_with_the_reason(path: Path, mode: str) -> None:
    async with await open_file(path, mode) as file:
        with pytest.raises(TypeError, match="flush"):
            FileWrite(file, b"abc", 0)


async def test_a_tls_stream_is_refused_with_the_reason() -> None:
    near, _ = memory_stream_pair()
    stream = SSLStream(near, ssl.create_default_context(), server_hostname="example.org")
    with pytest.raises(TypeError, match="TLS is made above"):
        Send(stream, b"abc")


async def test_steps_of_one_chain_share_a_direction_of_a_stream(pair: Pair) -> None:
    near, far = pair
    async with open_graph() as graph:
        first = graph.add(Send(near, b"abc"))
        second = graph.add(Send(near, b"def"), after=first)
        await graph.submit()
        assert first.segment is second.segment
    assert await receive_exactly(far, 6) == b"abcdef"


async def test_what_the_second_of_two_linked_receives_has_got_goes_back_to_the_stream(pair: Pair) -> None:
    near, far = pair
    buffer = bytearray(2)
    with move_on_after(0.05):
        async with open_graph() as graph:
            first = graph.add(Recv(near, buffer))
            graph.add(Nop(), after=graph.add(Recv(near, bytearray(8)), after=first))
            await graph.submit()
            await far.send_all(b"abcde")
    assert buffer == b"ab"
    assert await receive_exactly(near, 3) == b"cde"
