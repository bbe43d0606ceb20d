"""A request that waits for a semaphore, and whose deadline reaches through the graph, beside other traffic."""

from __future__ import annotations

import pytest

from cts.support import Sockets
from proactor_trio import Event, SocketStream, TooSlowError, fail_after, open_graph, open_nursery, sleep
from proactor_trio.graph import Node, NodeState
from proactor_trio.proactor import Recv, RecvBytes, SemaphoreWait, Send, TimelineSemaphore
from proactor_trio.testing import wait_all_tasks_blocked

DEADLINE = 0.05


class Request:
    """A connection, a semaphore, and a request that was too late."""

    def __init__(self, sockets: Sockets) -> None:
        self.near, self.far = sockets.tcp_pair()
        self.semaphore = TimelineSemaphore()
        self.nodes: list[Node] = []

    async def send_when(self, value: int, payload: bytes) -> None:
        async with open_graph() as graph:
            waited = graph.add(SemaphoreWait(self.semaphore, value))
            self.nodes = [waited, graph.add(Send(self.near, payload), after=waited)]

    async def be_too_late(self) -> None:
        with pytest.raises(TooSlowError):
            with fail_after(DEADLINE):
                await self.send_when(1, b"too late")


@pytest.fixture
def scene(sockets: Sockets) -> Request:
    return Request(sockets)


async def test_the_deadline_around_a_sceneends_its_wait_and_its_send(scene: Request) -> None:
    await scene.be_too_late()
    assert [node.state for node in scene.nodes] == [NodeState.CANCELLED, NodeState.CANCELLED]


async def test_the_peer_receives_no_byte_of_a_scenethat_was_too_late(scene: Request) -> None:
    await scene.be_too_late()
    scene.semaphore.signal(1)
    await wait_all_tasks_blocked()
    scene.far.stdlib.setblocking(False)
    with pytest.raises(BlockingIOError):
        scene.far.stdlib.recv(100)


async def test_the_semaphore_works_after_a_scenethat_was_too_late(scene: Request) -> None:
    await scene.be_too_late()
    async with open_nursery() as nursery:
        nursery.start_soon(scene.send_when, 2, b"in time")
        await wait_all_tasks_blocked()
        scene.semaphore.signal(2)
    assert await RecvBytes(scene.far, 100) == b"in time"


async def test_the_connection_carries_the_next_sceneand_its_answer(scene: Request) -> None:
    await scene.be_too_late()
    scene.semaphore.signal(1)
    answer = bytearray(2)
    async with open_graph() as graph:
        sent = graph.add(Send(scene.near, b"next"), after=graph.add(SemaphoreWait(scene.semaphore, 1)))
        graph.add(Recv(scene.near, answer), after=sent)
        await graph.submit()
        asked = await RecvBytes(scene.far, 100)
        await Send(scene.far, b"ok")
    assert (asked, answer) == (b"next", b"ok")


async def test_heartbeats_go_on_while_a_scenewaits(scene: Request, sockets: Sockets) -> None:
    near, far = map(SocketStream, sockets.tcp_pair())
    several = Event()
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await near.send_all(b".")
            beats += len(await far.receive_some())
            if beats >= 5:
                several.set()
            await sleep(0)

    async with open_nursery() as nursery:
        nursery.start_soon(scene.send_when, 1, b"waits")
        await wait_all_tasks_blocked()
        nursery.start_soon(beat)
        await several.wait()
        assert [node.state for node in scene.nodes] == [NodeState.RUNNING, NodeState.RUNNING]
        nursery.cancel_scope.cancel()
