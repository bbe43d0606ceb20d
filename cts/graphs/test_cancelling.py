"""Cancel scopes, deadlines and groups reach through a whole graph."""

from __future__ import annotations

import pytest

from cts.support import Sockets
from proactor_trio import (
    CancelScope,
    TooSlowError,
    current_time,
    fail_after,
    move_on_after,
    open_graph,
    open_nursery,
    sleep_forever,
)
from proactor_trio.graph import NodeState
from proactor_trio.proactor import Nop, Recv, SemaphoreSignal, SemaphoreWait, Send, TimelineSemaphore
from proactor_trio.testing import wait_all_tasks_blocked


async def test_a_scope_around_the_graph_cancels_its_nodes(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.setblocking(False)
    semaphore = TimelineSemaphore()
    with move_on_after(0.005) as scope:
        async with open_graph() as graph:
            waiting = graph.add(SemaphoreWait(semaphore, 1))
            sent = graph.add(Send(near, b"x"), after=waiting)
    assert scope.cancelled_caught
    assert (waiting.state, sent.state) == (NodeState.CANCELLED, NodeState.CANCELLED)
    semaphore.signal(1)
    await wait_all_tasks_blocked()
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


async def test_a_scope_that_is_cancelled_already_lets_nothing_begin() -> None:
    semaphore = TimelineSemaphore()
    with CancelScope() as scope:
        scope.cancel()
        async with open_graph() as graph:
            node = graph.add(SemaphoreSignal(semaphore, 1))
    assert scope.cancelled_caught
    assert (node.state, semaphore.query()) == (NodeState.CANCELLED, 0)


async def test_fail_after_around_the_graph_raises_too_slow() -> None:
    semaphore = TimelineSemaphore()
    with pytest.raises(TooSlowError):
        with fail_after(0.005):
            async with open_graph() as graph:
                graph.add(SemaphoreWait(semaphore, 1))


async def test_the_scope_of_the_graph_ends_the_block_silently() -> None:
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        waiting = graph.add(SemaphoreWait(semaphore, 1))
        await graph.submit()
        graph.cancel_scope.cancel()
        await sleep_forever()
    assert waiting.state is NodeState.CANCELLED


async def test_the_timeout_of_the_graph_raises_too_slow() -> None:
    semaphore = TimelineSemaphore()
    with pytest.raises(TooSlowError):
        async with open_graph(timeout=0.005) as graph:
            waiting = graph.add(SemaphoreWait(semaphore, 1))
    assert waiting.state is NodeState.CANCELLED
    assert "deadline" in str(waiting.error)


async def test_the_deadline_of_the_graph_raises_too_slow() -> None:
    semaphore = TimelineSemaphore()
    with pytest.raises(TooSlowError):
        async with open_graph(deadline=current_time() + 0.005) as graph:
            graph.add(SemaphoreWait(semaphore, 1))


async def test_a_graph_in_time_raises_nothing() -> None:
    async with open_graph(timeout=10) as graph:
        node = graph.add(Nop())
    assert node.state is NodeState.SUCCEEDED


async def test_a_shield_keeps_outer_cancellation_out() -> None:
    semaphore = TimelineSemaphore()
    with move_on_after(0.005):
        async with open_graph() as graph:
            graph.cancel_scope.shield = True
            waiting = graph.add(SemaphoreWait(semaphore, 1))
            await graph.submit()
            await wait_all_tasks_blocked(0.01)
            semaphore.signal(1)
    assert waiting.state is NodeState.SUCCEEDED


async def test_nodes_are_cancelled_while_the_block_is_shielded() -> None:
    semaphore = TimelineSemaphore()
    with CancelScope() as outer:
        async with open_graph() as graph:
            waiting = graph.add(SemaphoreWait(semaphore, 1))
            await graph.submit()
            await wait_all_tasks_blocked()
            with CancelScope(shield=True):
                outer.cancel()
                await wait_all_tasks_blocked()
                assert waiting.state is NodeState.CANCELLED


async def test_a_result_that_came_first_is_kept(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"x")
    buffer = bytearray(1)
    with CancelScope() as scope:
        async with open_graph() as graph:
            received = graph.add(Recv(near, buffer))
            waiting = graph.add(SemaphoreWait(TimelineSemaphore(), 1), after=received)
            await graph.submit()
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert (received.result, waiting.state) == (1, NodeState.CANCELLED)


async def test_who_awaits_a_node_can_be_cancelled_alone() -> None:
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        waiting = graph.add(SemaphoreWait(semaphore, 1))
        with move_on_after(0.005) as scope:
            await waiting
        assert scope.cancelled_caught
        semaphore.signal(1)
    assert waiting.state is NodeState.SUCCEEDED


async def test_async_functions_are_cancelled_with_the_graph() -> None:
    with move_on_after(0.005):
        async with open_graph() as graph:
            node = graph.add(sleep_forever)
    assert node.state is NodeState.CANCELLED


async def test_the_deadline_of_a_group_cancels_its_nodes_and_raises_too_slow() -> None:
    semaphore = TimelineSemaphore()
    with pytest.raises(TooSlowError, match="slow part"):
        async with open_graph() as graph:
            group = graph.add_group(deadline=current_time() + 0.005, name="slow part")
            waiting = group.add(SemaphoreWait(semaphore, 1))
    assert waiting.state is NodeState.CANCELLED


async def test_the_deadline_of_a_group_leaves_other_branches_alone_with_continue() -> None:
    slow, other = TimelineSemaphore(), TimelineSemaphore()
    with pytest.raises(TooSlowError):
        async with open_graph(on_error="continue") as graph:
            group = graph.add_group(deadline=current_time() + 0.005)
            lost = group.add(SemaphoreWait(slow, 1))
            kept = graph.add(SemaphoreWait(other, 1))
            after = graph.add(lambda node: other.signal(1), after_any=lost)
    assert (lost.state, kept.state, after.state) == (NodeState.CANCELLED, NodeState.SUCCEEDED, NodeState.SUCCEEDED)


async def test_a_group_that_is_in_time_raises_nothing() -> None:
    async with open_graph() as graph:
        graph.add_group(deadline=current_time() + 0.005).add(Nop())
        await graph.submit()
        await wait_all_tasks_blocked(0.01)


async def test_cancelling_a_group_cancels_its_nodes_and_what_depends_on_them() -> None:
    semaphore = TimelineSemaphore()
    async with open_graph() as graph:
        group = graph.add_group()
        waiting = group.add(SemaphoreWait(semaphore, 1))
        later = graph.add(Nop(), after=waiting)
        free = graph.add(Nop())
        await graph.submit()
        await wait_all_tasks_blocked()
        group.cancel()
    assert [node.state for node in (waiting, later, free)] == [
        NodeState.CANCELLED,
        NodeState.CANCELLED,
        NodeState.SUCCEEDED,
    ]


async def test_a_semaphore_works_after_a_wait_for_it_was_cancelled(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    with move_on_after(0.005):
        async with open_graph() as graph:
            graph.add(Send(near, b"lost"), after=graph.add(SemaphoreWait(semaphore, 1)))
    async with open_graph() as graph:
        graph.add(Send(near, b"kept"), after=graph.add(SemaphoreWait(semaphore, 1)))
        await graph.submit()
        semaphore.signal(1)
    assert far.stdlib.recv(20) == b"kept"


async def test_a_thousand_waiting_nodes_are_cancelled() -> None:
    semaphore = TimelineSemaphore()
    with move_on_after(0.01):
        async with open_graph() as graph:
            nodes = [graph.add(SemaphoreWait(semaphore, 1)) for _ in range(500)]
            nodes += [graph.add(Nop(), after=node) for node in nodes]
    assert {node.state for node in nodes} == {NodeState.CANCELLED}


async def test_a_semaphore_that_is_signalled_in_the_moment_of_cancellation_sends_all_or_nothing(
    sockets: Sockets,
) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.setblocking(False)
    semaphore = TimelineSemaphore()
    with CancelScope() as scope:
        async with open_graph() as graph:
            sent = graph.add(Send(near, b"x"), after=graph.add(SemaphoreWait(semaphore, 1)))
            await graph.submit()
            await wait_all_tasks_blocked()
            semaphore.signal(1)
            scope.cancel()
    if sent.state is NodeState.SUCCEEDED:
        assert far.stdlib.recv(1) == b"x"
    else:
        with pytest.raises(BlockingIOError):
            far.stdlib.recv(1)


async def test_a_graph_in_a_nursery_is_cancelled_by_a_sibling_that_fails() -> None:
    nodes = []

    async def run_graph() -> None:
        async with open_graph() as graph:
            nodes.append(graph.add(SemaphoreWait(TimelineSemaphore(), 1)))

    with pytest.RaisesGroup(KeyError):
        async with open_nursery() as nursery:
            nursery.start_soon(run_graph)
            await wait_all_tasks_blocked()
            raise KeyError
    assert nodes[0].state is NodeState.CANCELLED
