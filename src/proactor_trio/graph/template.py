"""GraphTemplate: a graph that is compiled once and run many times, as in a loop over tokens or blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio.graph.node import Node

if TYPE_CHECKING:
    from proactor_trio.graph.graph import Graph


class GraphTemplate:
    """Made by `Graph.template()`. One run at a time; for the tasks of one run loop after the other.

    Between two runs the fields of the operations may be changed (`node.operation.payload`, `.buffer`, `.offset`,
    `.values`), and `deadline` of groups; nodes and edges stay. Results stand in the nodes until the next run.
    """

    __slots__ = ("_graph", "_is_running")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._is_running = False

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in the order in which they were added."""
        return self._graph.nodes

    @enable_ki_protection
    async def run(self, *, deadline: float = math.inf, timeout: float = math.inf) -> None:
        """Run all nodes, and wait until each has ended; raises and is cancelled as the block of a graph.

        deadline, timeout: of this run, as in open_graph(). Raises RuntimeError while it runs already.
        """
        if self._is_running:
            raise RuntimeError("this template runs already")
        self._is_running = True
        try:
            await self._graph.enter(deadline, timeout)
            self._graph.execution.rewind()
            error = await self._graph.leave(None)
        finally:
            self._is_running = False
        if error is not None:
            try:
                raise error
            finally:
                del error

    def explain(self) -> str:
        """See `Graph.explain()`."""
        return self._graph.explain()
