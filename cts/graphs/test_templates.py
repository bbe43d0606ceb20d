"""A graph that is compiled once and run many times."""

from __future__ import annotations

import pytest

from cts.support import Sockets
from proactor_trio import TooSlowError, move_on_after, open_graph
from proactor_trio.graph import NodeState, from_result
from proactor_trio.proactor import Nop, SemaphoreSignal, SemaphoreWait, Send, TimelineSemaphore
from proactor_trio.testing import wait_all_tasks_blocked


async def test_a_template_runs_again() -> None:
    calls = []
    graph = open_graph()
    graph.add(calls.append, after=graph.add(Nop()))
    template = graph.template()
    await template.run()
    await template.run()
    assert calls == [None, None]


async def test_the_memory_of_an_operation_may_change_between_runs(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    send = Send(near, b"")
    graph = open_graph()
    graph.add(Nop(), after=graph.add(send))
    template = graph.template()
    for token in (b"one", b"two"):
        send.payload = token
        await template.run()
    assert far.stdlib.recv(10) == b"onetwo"


async def test_values_may_change_between_runs() -> None:
    gate, done = TimelineSemaphore(), TimelineSemaphore()
    wait, signal = SemaphoreWait(gate, 1), SemaphoreSignal(done, 1)
    graph = open_graph()
    graph.add(signal, after=graph.add(wait))
    template = graph.template()
    for step in (1, 2, 3):
        wait.values = signal.values = (step,)
        gate.signal(step)
        await template.run()
    assert done.query() == 3


async def test_results_are_put_in_anew_in_each_run(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    tokens = iter((b"a", b"b"))
    graph = open_graph()
    made = graph.add(lambda: next(tokens))
    graph.add(Send(near, from_result(made)))
    template = graph.template()
    await template.run()
    await template.run()
    assert far.stdlib.recv(10) == b"ab"


async def test_a_run_that_fails_does_not_spoil_the_next() -> None:
    outcomes = [KeyError(), None]

    def step() -> None:
        if (error := outcomes.pop(0)) is not None:
            raise error

    graph = open_graph()
    later = graph.add(Nop(), after=graph.add(step))
    template = graph.template()
    with pytest.RaisesGroup(KeyError):
        await template.run()
    await template.run()
    assert later.state is NodeState.SUCCEEDED


async def test_a_run_that_is_cancelled_does_not_spoil_the_next(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    graph = open_graph()
    graph.add(Send(near, b"x"), after=graph.add(SemaphoreWait(semaphore, 1)))
    template = graph.template()
    with move_on_after(0.005):
        await template.run()
    semaphore.signal(1)
    await template.run()
    assert far.stdlib.recv(10) == b"x"


async def test_each_run_has_its_own_timeout() -> None:
    semaphore = TimelineSemaphore()
    graph = open_graph()
    graph.add(SemaphoreWait(semaphore, 1))
    template = graph.template()
    with pytest.raises(TooSlowError):
        await template.run(timeout=0.005)
    semaphore.signal(1)
    await template.run(timeout=10)


async def test_a_template_does_not_run_twice_at_a_time() -> None:
    from proactor_trio import open_nursery

    graph = open_graph()
    graph.add(SemaphoreWait(TimelineSemaphore(), 1))
    template = graph.template()
    async with open_nursery() as nursery:
        nursery.start_soon(template.run)
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="runs already"):
            await template.run()
        nursery.cancel_scope.cancel()


async def test_a_template_is_of_a_graph_that_was_not_entered() -> None:
    async with open_graph() as graph:
        with pytest.raises(RuntimeError, match="not entered"):
            graph.template()


async def test_the_graph_of_a_template_takes_no_more_nodes() -> None:
    graph = open_graph()
    graph.template()
    with pytest.raises(RuntimeError, match="template"):
        graph.add(Nop())


async def test_an_operation_that_comes_from_a_result_is_another_one_in_each_run(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    tokens = iter((b"a", b"b"))
    graph = open_graph()
    token = graph.add(lambda: next(tokens))
    graph.add(from_result(token, lambda data: Send(near, data)))
    template = graph.template()
    await template.run()
    await template.run()
    assert far.stdlib.recv(10) == b"ab"
