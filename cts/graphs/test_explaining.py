"""What a graph says of itself."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cts.support import Files, Sockets
from proactor_trio import open_graph
from proactor_trio.lowlevel import current_proactor
from proactor_trio.proactor import FileSync, FileWrite, Nop, SemaphoreSignal, Send, TimelineSemaphore


def edge_of(explanation: str, node: str) -> str:
    """What is said of the only edge into a node."""
    lines = explanation.splitlines()
    return lines[lines.index(node) + 1]


async def test_a_link_in_the_kernel_is_said_to_be_one_where_it_is(sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    async with open_graph() as graph:
        graph.add(Send(near, b"y"), after=graph.add(Send(near, b"x"), name="first"), name="second")
        said = edge_of(graph.explain(), "second")
    if current_proactor().links_in_kernel:
        assert said.endswith("first: in the kernel")
    else:
        assert "links nothing" in said


async def test_two_predecessors_are_an_obstacle() -> None:
    async with open_graph() as graph:
        graph.add(Nop(), after=[graph.add(Nop()), graph.add(Nop())], name="last")
        assert "comes after 2 nodes" in edge_of(graph.explain(), "last")


async def test_two_successors_are_an_obstacle() -> None:
    async with open_graph() as graph:
        first = graph.add(Nop())
        graph.add(Nop(), after=first)
        graph.add(Nop(), after=first, name="last")
        assert "2 nodes come after" in edge_of(graph.explain(), "last")


async def test_python_is_an_obstacle() -> None:
    async with open_graph() as graph:
        graph.add(Nop(), after=graph.add(lambda: None, name="step"), name="last")
        assert "step is Python" in edge_of(graph.explain(), "last")


async def test_an_edge_after_any_end_is_an_obstacle() -> None:
    async with open_graph() as graph:
        graph.add(Nop(), after_any=graph.add(Nop()), name="last")
        assert "after the end of" in edge_of(graph.explain(), "last")


async def test_a_timeout_is_an_obstacle() -> None:
    async with open_graph() as graph:
        graph.add(Nop(), after=graph.add(Nop()), timeout=5, name="last")
        assert "counts from its turn" in edge_of(graph.explain(), "last")


async def test_an_operation_of_the_proactor_is_no_link_of_the_kernel() -> None:
    async with open_graph() as graph:
        graph.add(SemaphoreSignal(TimelineSemaphore(), 1), after=graph.add(Nop()), name="last")
        assert "not linked in the kernel" in edge_of(graph.explain(), "last")


async def test_a_kind_behind_whose_failure_the_kernel_goes_on_is_no_link(files: Files) -> None:
    file = files.holding()
    async with open_graph() as graph:
        graph.add(FileWrite(file, b"x", 0), after=graph.add(FileSync(file)), name="last")
        assert "not linked in the kernel" in edge_of(graph.explain(), "last")


async def test_after_the_run_states_and_results_are_told() -> None:
    async with open_graph() as graph:
        graph.add(lambda: "a result", name="step")
    assert "step [succeeded" in graph.explain()
    assert "'a result'" in graph.explain()


async def test_before_the_block_the_backend_is_unknown() -> None:
    graph = open_graph()
    graph.add(Nop(), after=graph.add(Nop()), name="last")
    assert "the backend of the run decides" in edge_of(graph.explain(), "last")


async def test_the_form_for_graphviz_has_all_nodes_and_edges() -> None:
    async with open_graph() as graph:
        graph.add(Nop(), after=graph.add(Nop(), name='with "quotes"'))
    text = graph.explain("dot")
    assert text.count("label=") == 2
    assert text.count("->") == 1


async def test_the_picture_is_well_formed_and_has_all_nodes_and_edges() -> None:
    async with open_graph() as graph:
        later = graph.add(Nop(), name="<later>")
        earlier = graph.add(Nop(), name="earlier & first")
        graph.add_edge(earlier, later)
    picture = ElementTree.fromstring(graph.explain("svg"))
    names = {element.tag.partition("}")[2]: element for element in picture.iter()}
    assert {"rect", "line", "text"} <= names.keys()
    assert len(picture.findall(".//{*}rect")) == 2


async def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form"):
        open_graph().explain("png")  # type: ignore[arg-type]
