"""What becomes of a graph in which something fails."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from cts.support import Files, Sockets
from proactor_trio import ClosedResourceError, TooSlowError, open_graph, open_nursery, sleep_forever
from proactor_trio.graph import NodeState
from proactor_trio.proactor import (
    DeadlineExceeded,
    FileOpen,
    FileRead,
    Nop,
    OperationCancelled,
    Recv,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    ShortTransfer,
    SocketClose,
    TimelineSemaphore,
)
from proactor_trio.testing import wait_all_tasks_blocked


class Broken(Exception):
    """A failure of a host step."""


def fail(*results: object) -> NoReturn:
    raise Broken


async def test_the_failure_of_a_function_is_raised_by_the_block() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            graph.add(fail)


async def test_the_failure_of_an_async_function_is_raised_by_the_block() -> None:
    async def fail_later() -> None:
        raise Broken

    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            graph.add(fail_later)


async def test_the_failure_of_an_operation_is_raised_by_the_block(path: Path) -> None:
    with pytest.RaisesGroup(FileNotFoundError):
        async with open_graph() as graph:
            graph.add(FileOpen(path))


async def test_what_depends_on_a_failure_ends_cancelled_and_names_it(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.setblocking(False)
    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            failed = graph.add(fail, name="the culprit")
            sent = graph.add(Send(near, b"x"), after=failed)
            last = graph.add(Nop(), after=sent)
    assert (sent.state, last.state) == (NodeState.CANCELLED, NodeState.CANCELLED)
    assert isinstance(last.error, OperationCancelled)
    assert "the culprit" in str(last.error)
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


async def test_a_failure_cancels_nodes_that_do_not_depend_on_it() -> None:
    semaphore = TimelineSemaphore()
    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            waiting = graph.add(SemaphoreWait(semaphore, 1))
            graph.add(fail)
    assert waiting.state is NodeState.CANCELLED


async def test_a_failure_cancels_the_block() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            graph.add(fail)
            await graph.submit()
            await sleep_forever()


async def test_with_continue_other_branches_finish(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            lost = graph.add(Nop(), after=graph.add(fail))
            sent = graph.add(Send(near, b"x"))
            graph.add(Send(near, b"y"), after=sent)
    assert far.stdlib.recv(2) == b"xy"
    assert lost.state is NodeState.CANCELLED


async def test_with_continue_all_root_causes_are_raised_together() -> None:
    with pytest.RaisesGroup(Broken, Broken):
        async with open_graph(on_error="continue") as graph:
            graph.add(fail)
            graph.add(fail)


async def test_a_node_after_the_end_of_another_runs_though_that_failed() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            failed = graph.add(fail)
            after = graph.add(lambda node: type(node.error), after_any=failed)
    assert after.result is Broken


async def test_a_failure_that_await_has_raised_into_the_block_is_raised_once() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            await graph.add(fail)


async def test_a_failure_that_a_nursery_of_the_block_has_raised_is_raised_once() -> None:
    async def wait(node: object) -> None:
        await node  # type: ignore[misc]

    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            failed = graph.add(fail)
            async with open_nursery() as nursery:
                nursery.start_soon(wait, failed)


async def test_a_failure_that_the_block_has_caught_is_raised_all_the_same() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            with pytest.raises(Broken):
                await graph.add(fail)


async def test_an_exception_of_the_block_cancels_the_nodes_and_is_raised_in_a_group() -> None:
    semaphore = TimelineSemaphore()
    with pytest.RaisesGroup(KeyError):
        async with open_graph() as graph:
            waiting = graph.add(SemaphoreWait(semaphore, 1))
            await graph.submit()
            raise KeyError
    assert waiting.state is NodeState.CANCELLED


async def test_awaiting_a_node_that_depends_on_a_failure_raises_cancelled_by_it() -> None:
    with pytest.RaisesGroup(Broken):
        async with open_graph(on_error="continue") as graph:
            later = graph.add(Nop(), after=graph.add(fail))
            with pytest.raises(OperationCancelled, match="fail 0"):
                await later


async def test_a_short_read_fails_what_relies_on_it(files: Files) -> None:
    file = files.holding(b"abc")
    signalled = TimelineSemaphore()
    with pytest.RaisesGroup(ShortTransfer):
        async with open_graph() as graph:
            read = graph.add(FileRead(file, bytearray(5), 0))
            graph.add(SemaphoreSignal(signalled, 1), after=read)
    assert (read.partial_bytes, signalled.query()) == (3, 0)


async def test_a_short_read_is_a_result_where_nothing_relies_on_it(files: Files) -> None:
    file = files.holding(b"abc")
    async with open_graph() as graph:
        read = graph.add(FileRead(file, bytearray(5), 0))
        seen = graph.add(lambda count: count, after=read)
    assert seen.result == 3


async def test_the_end_of_a_stream_in_the_middle_of_a_receive_is_a_failure(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"abc")
    far.stdlib.shutdown(1)
    with pytest.RaisesGroup(ShortTransfer):
        async with open_graph() as graph:
            received = graph.add(Recv(near, bytearray(5)))
            graph.add(Nop(), after=received)
    assert received.partial_bytes == 3


async def test_a_failed_semaphore_cancels_what_waits_for_it(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.setblocking(False)
    semaphore = TimelineSemaphore()
    with pytest.RaisesGroup(Broken):
        async with open_graph() as graph:
            graph.add(Send(near, b"x"), after=graph.add(SemaphoreWait(semaphore, 1)))
            await graph.submit()
            await wait_all_tasks_blocked()
            semaphore.fail(Broken())
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


async def test_a_socket_closed_under_a_node_is_a_failure(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    with pytest.RaisesGroup(ClosedResourceError):
        async with open_graph() as graph:
            graph.add(Recv(near, bytearray(1)))
            await graph.submit()
            await wait_all_tasks_blocked()
            await SocketClose(near)


async def test_the_use_of_a_socket_after_its_close_is_a_failure(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    with pytest.RaisesGroup(ClosedResourceError):
        async with open_graph() as graph:
            graph.add(Send(near, b"x"), after=graph.add(SocketClose(near)))


async def test_wrong_arguments_are_the_failure_of_their_node(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match="data")):
        async with open_graph() as graph:
            first = graph.add(Send(near, b"x"))
            wrong = graph.add(Send(near, 5), after=first)
    assert wrong.state is NodeState.FAILED
    assert far.stdlib.recv(2) == b"x"


async def test_the_deadline_of_a_node_is_a_failure_that_is_too_slow(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    with pytest.RaisesGroup(DeadlineExceeded):
        async with open_graph() as graph:
            graph.add(Recv(near, bytearray(1)), timeout=0.005)
    assert issubclass(DeadlineExceeded, TooSlowError)


async def test_the_timeout_of_a_node_counts_from_its_turn(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        ready = graph.add(SemaphoreWait(semaphore, 1))
        graph.add(Send(near, b"x"), after=ready, timeout=5)
        await graph.submit()
        await wait_all_tasks_blocked(0.01)
        semaphore.signal(1)
    assert far.stdlib.recv(1) == b"x"


async def test_the_deadline_of_an_async_function_is_a_failure() -> None:
    with pytest.RaisesGroup(DeadlineExceeded):
        async with open_graph() as graph:
            graph.add(sleep_forever, timeout=0.005)


async def test_a_partial_receive_is_kept_when_the_deadline_of_its_node_passes(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    buffer = bytearray(8)
    far.stdlib.send(b"abc")
    with pytest.RaisesGroup(DeadlineExceeded):
        async with open_graph() as graph:
            received = graph.add(Recv(near, buffer, whole=True), timeout=0.02)
    assert (received.partial_bytes, bytes(buffer[:3])) == (3, b"abc")
