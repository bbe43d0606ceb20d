"""What runs in a graph, in which order, with which results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cts.support import Files, Sockets
from proactor_trio import Event, open_graph, sleep
from proactor_trio.graph import NodeState, from_result
from proactor_trio.proactor import (
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    Nop,
    OperationFlags,
    Recv,
    RecvBytes,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    TimelineSemaphore,
)
from proactor_trio.testing import wait_all_tasks_blocked


async def test_the_end_of_the_block_runs_every_node() -> None:
    async with open_graph() as graph:
        nodes = [graph.add(Nop()) for _ in range(5)]
    assert [node.state for node in nodes] == [NodeState.SUCCEEDED] * 5


async def test_a_graph_without_nodes_ends() -> None:
    async with open_graph() as graph:
        pass
    assert graph.nodes == ()


async def test_nothing_runs_before_the_block_ends_or_submits() -> None:
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        graph.add(SemaphoreSignal(semaphore, 1))
        await wait_all_tasks_blocked()
        assert semaphore.query() == 0
    assert semaphore.query() == 1


async def test_submit_starts_what_was_added_so_far() -> None:
    first, second = TimelineSemaphore(), TimelineSemaphore()
    async with open_graph() as graph:
        graph.add(SemaphoreSignal(first, 1))
        await graph.submit()
        graph.add(SemaphoreSignal(second, 1))
        await wait_all_tasks_blocked()
        assert (first.query(), second.query()) == (1, 0)


async def test_a_node_added_while_the_graph_runs_can_come_after_one_that_runs() -> None:
    gate, done = TimelineSemaphore(), TimelineSemaphore()
    async with open_graph() as graph:
        waiting = graph.add(SemaphoreWait(gate, 1))
        await graph.submit()
        graph.add(SemaphoreSignal(done, 1), after=waiting)
        await graph.submit()
        await wait_all_tasks_blocked()
        assert done.query() == 0
        gate.signal(1)
    assert done.query() == 1


async def test_a_node_added_after_its_predecessor_has_ended_runs() -> None:
    async with open_graph() as graph:
        first = graph.add(Nop())
        await first
        second = graph.add(lambda result: result, after=first)
    assert second.state is NodeState.SUCCEEDED


async def test_a_chain_runs_in_order(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    async with open_graph() as graph:
        previous = graph.add(Send(near, b"a"))
        for letter in (b"b", b"c", b"d"):
            previous = graph.add(Send(near, letter), after=previous)
    assert far.stdlib.recv(10) == b"abcd"


async def test_a_node_comes_after_all_of_its_predecessors() -> None:
    first, second, done = TimelineSemaphore(), TimelineSemaphore(), TimelineSemaphore()
    async with open_graph() as graph:
        both = [graph.add(SemaphoreWait(first, 1)), graph.add(SemaphoreWait(second, 1))]
        graph.add(SemaphoreSignal(done, 1), after=both)
        await graph.submit()
        first.signal(1)
        await wait_all_tasks_blocked()
        assert done.query() == 0
        second.signal(1)
    assert done.query() == 1


async def test_two_nodes_after_one_both_run(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        ready = graph.add(SemaphoreWait(semaphore, 1))
        graph.add(Send(near, b"x"), after=ready)
        graph.add(Send(far, b"y"), after=ready)
        await graph.submit()
        semaphore.signal(1)
    assert (far.stdlib.recv(1), near.stdlib.recv(1)) == (b"x", b"y")


async def test_a_semaphore_lets_a_send_go(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        graph.add(Send(near, b"x"), after=graph.add(SemaphoreWait(semaphore, 7)))
        await graph.submit()
        await wait_all_tasks_blocked()
        semaphore.signal(7)
        assert await RecvBytes(far, 10) == b"x"


async def test_awaiting_a_node_gives_its_result(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    async with open_graph() as graph:
        sent = graph.add(Send(near, b"abc"))
        assert await sent == 3


async def test_a_node_can_be_awaited_again_and_by_several_tasks() -> None:
    async with open_graph() as graph:
        node = graph.add(lambda: 5)
        assert await node == 5
        assert await node == 5


async def test_a_watched_step_tells_before_its_chain_has_ended(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    gate = TimelineSemaphore()
    async with open_graph() as graph:
        sent = graph.add(Send(near, b"x"), watch=True)
        waiting = graph.add(SemaphoreWait(gate, 1), after=sent)
        assert await sent == 1
        assert not waiting.has_ended
        gate.signal(1)
    assert far.stdlib.recv(1) == b"x"


async def test_a_function_gets_the_results_in_the_order_of_after(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    async with open_graph() as graph:
        one = graph.add(Send(near, b"a"))
        three = graph.add(Send(near, b"abc"), after=one)
        both = graph.add(lambda *results: results, after=[three, one])
    assert both.result == (3, 1)


async def test_a_function_gets_the_nodes_that_only_had_to_end() -> None:
    async with open_graph() as graph:
        first = graph.add(lambda: "result")
        other = graph.add(Nop())
        seen = graph.add(lambda *arguments: arguments, after=first, after_any=other)
    assert seen.result == ("result", other)


async def test_an_async_function_runs_as_a_task() -> None:
    happened = Event()

    async def wait() -> str:
        await happened.wait()
        return "done"

    async with open_graph() as graph:
        node = graph.add(wait)
        await graph.submit()
        await wait_all_tasks_blocked()
        assert node.state is NodeState.RUNNING
        happened.set()
    assert node.result == "done"


async def test_the_block_waits_for_async_functions() -> None:
    async def late() -> int:
        await sleep(0.01)
        return 1

    async with open_graph() as graph:
        node = graph.add(late)
    assert node.result == 1


async def test_a_result_becomes_an_argument(files: Files) -> None:
    file = files.holding(b"0005....hello")
    header, body = bytearray(4), bytearray(5)
    async with open_graph() as graph:
        read = graph.add(FileRead(file, header, 0))
        graph.add(FileRead(file, body, from_result(read, lambda count: int(bytes(header)) + count - 1)))
    assert body == b"hello"


async def test_a_result_inside_of_a_list_becomes_an_argument(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    async with open_graph() as graph:
        header = graph.add(lambda: b"head")
        graph.add(Send(near, [from_result(header), b"body"]))
    assert far.stdlib.recv(20) == b"headbody"


async def test_a_result_becomes_a_whole_operation(path: Path) -> None:
    async with open_graph() as graph:
        name = graph.add(lambda: path)
        made = graph.add(from_result(name, lambda name: FileOpen(name, 0o102)))
    made.result.close()
    assert path.exists()


async def test_a_function_that_makes_no_operation_fails_the_node() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match="must return an operation")):
        async with open_graph() as graph:
            graph.add(from_result(graph.add(lambda: 1)))


async def test_a_chain_of_a_thousand_steps_runs(files: Files) -> None:
    file = files.holding()
    async with open_graph() as graph:
        previous = graph.add(FileWrite(file, b"0", 0))
        for number in range(1, 1000):
            previous = graph.add(FileWrite(file, b"0", number), after=previous)
        graph.add(FileSync(file), after=previous)
    assert os.fstat(file.descriptor).st_size == 1000


async def test_a_receive_that_others_rely_on_is_whole(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    done = TimelineSemaphore()
    buffer = bytearray(6)
    async with open_graph() as graph:
        received = graph.add(Recv(near, buffer))
        graph.add(SemaphoreSignal(done, 1), after=received)
        graph.add(Nop(), after=received)
        await graph.submit()
        far.stdlib.send(b"abc")
        await wait_all_tasks_blocked()
        assert done.query() == 0
        far.stdlib.send(b"def")
    assert buffer == b"abcdef"


async def test_the_operations_are_their_owners_again_afterwards() -> None:
    nop = Nop()
    async with open_graph() as graph:
        graph.add(Nop(), after=graph.add(nop))
    assert nop.flags == OperationFlags.NONE
    assert await nop is None
