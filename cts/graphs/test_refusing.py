"""What a graph refuses, and with which words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cts.support import Sockets
from proactor_trio import open_graph
from proactor_trio.graph import Group, from_result
from proactor_trio.proactor import Accept, Nop, OperationFlags, Timer


async def test_an_edge_from_a_node_of_another_graph_is_refused() -> None:
    async with open_graph() as other:
        stranger = other.add(Nop())
        async with open_graph() as graph:
            with pytest.raises(ValueError, match=r"after: .* another graph"):
                graph.add(Nop(), after=stranger)


async def test_a_result_of_another_graph_is_refused() -> None:
    async with open_graph() as other:
        stranger = other.add(Nop())
        async with open_graph() as graph:
            with pytest.raises(ValueError, match="from_result"):
                graph.add(Timer(from_result(stranger)))


async def test_an_operation_is_refused_the_second_time() -> None:
    nop = Nop()
    async with open_graph() as graph:
        graph.add(nop)
        with pytest.raises(ValueError, match="node of this graph already"):
            graph.add(nop)


async def test_an_edge_that_closes_a_cycle_is_refused() -> None:
    async with open_graph() as graph:
        first = graph.add(Nop())
        second = graph.add(Nop(), after=first)
        third = graph.add(Nop(), after=second)
        with pytest.raises(ValueError, match="cycle"):
            graph.add_edge(third, first)


async def test_an_edge_to_itself_is_refused() -> None:
    async with open_graph() as graph:
        node = graph.add(Nop())
        with pytest.raises(ValueError, match="cycle"):
            graph.add_edge(node, node)


async def test_an_edge_to_what_was_submitted_is_refused() -> None:
    async with open_graph() as graph:
        first, second = graph.add(Nop()), graph.add(Nop())
        await graph.submit()
        with pytest.raises(ValueError, match="submitted already"):
            graph.add_edge(first, second)


async def test_a_multishot_operation_is_refused(sockets: Sockets) -> None:
    listener = sockets.listener()
    async with open_graph() as graph:
        with pytest.raises(ValueError, match="flags: Accept"):
            graph.add(Accept(listener, flags=OperationFlags.MULTISHOT))


async def test_what_was_refused_is_not_in_the_graph() -> None:
    async with open_graph() as graph:
        first = graph.add(Nop())
        with pytest.raises(TypeError, match="exclude each other"):
            graph.add(Nop(), after=first, deadline=1, timeout=1)
        assert graph.nodes == (first,)
        assert first.successors == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"work": 5}, TypeError, "work must be"),
        ({"work": Nop(), "after": 5}, TypeError, "not iterable"),
        ({"work": Nop(), "after": [5]}, TypeError, "after must be nodes"),
        ({"work": Nop(), "after_any": [5]}, TypeError, "after_any must be nodes"),
        ({"work": Nop(), "timeout": -1}, ValueError, "timeout"),
        ({"work": Nop(), "timeout": math.nan}, ValueError, "timeout"),
        ({"work": Nop(), "deadline": "soon"}, TypeError, "deadline"),
        ({"work": print, "timeout": 1}, TypeError, "plain function"),
        ({"work": Nop(), "group": 5}, ValueError, "group"),
    ],
    ids=str,
)
async def test_a_wrong_argument_of_add_is_named(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    async with open_graph() as graph:
        with pytest.raises(error, match=words):
            graph.add(**arguments)


async def test_a_group_of_another_graph_is_refused() -> None:
    async with open_graph() as other, open_graph() as graph:
        group: Group = other.add_group()
        with pytest.raises(ValueError, match="group"):
            graph.add(Nop(), group=group)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"on_error": "ignore"}, ValueError, "on_error"),
        ({"deadline": math.nan}, ValueError, "deadline"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": "1"}, TypeError, "timeout"),
        ({"timeout": 1, "deadline": 1}, TypeError, "exclude each other"),
    ],
    ids=str,
)
async def test_a_wrong_argument_of_open_graph_is_named(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_graph(**arguments)


async def test_nothing_is_added_after_the_end() -> None:
    async with open_graph() as graph:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        graph.add(Nop())


async def test_a_graph_is_entered_once() -> None:
    graph = open_graph()
    async with graph:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        async with graph:
            pass


async def test_nothing_is_submitted_outside_of_the_block() -> None:
    graph = open_graph()
    graph.add(Nop())
    with pytest.raises(RuntimeError, match="async with"):
        await graph.submit()


async def test_a_result_is_of_a_node() -> None:
    with pytest.raises(TypeError, match="node must be a node"):
        from_result(5)  # type: ignore[arg-type]


async def test_a_function_of_a_result_is_callable() -> None:
    async with open_graph() as graph:
        node = graph.add(Nop())
        with pytest.raises(TypeError, match="function"):
            from_result(node, 5)  # type: ignore[arg-type]
