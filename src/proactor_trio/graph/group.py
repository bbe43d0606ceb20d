"""Group: some nodes of a graph that are timed and cancelled together, beside the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from proactor_trio._kernel.deadlines import Entry
from proactor_trio.graph.node import Node
from proactor_trio.proactor.errors import TooSlowError

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run
    from proactor_trio.graph.graph import Graph


class Group:
    """Nodes with a deadline of their own; made by `Graph.add_group()`. For the tasks of one run.

    When the deadline passes, those of its nodes that have not ended end cancelled, and the graph has failed with
    TooSlowError. Nodes outside that depend on one of them end cancelled too.
    """

    __slots__ = ("_entry", "_graph", "_run", "cancel_called", "deadline", "name", "nodes")

    def __init__(self, graph: Graph, name: str, deadline: float) -> None:
        self._graph = graph
        self._run: Run | None = None
        self._entry: Entry | None = None
        self.name = name
        self.deadline = deadline
        self.nodes: list[Node] = []
        self.cancel_called = False

    def add(self, work: Any, **arguments: Any) -> Node:
        """Add a node to the graph and to this group; the arguments are those of `Graph.add()`."""
        return self._graph.add(work, group=self, **arguments)

    def cancel(self) -> None:
        """Cancel those of its nodes that have not ended. The graph does not fail by that."""
        self.cancel_called = True
        self._graph.execution.cancel_nodes(self.nodes, f"the group {self.name!r} was cancelled")

    def begin(self, run: Run) -> None:
        """The graph is entered: the deadline counts."""
        if self.deadline != math.inf and self._entry is None:
            self._run = run
            self._entry = run.deadlines.add(self.deadline, self)

    def end(self) -> None:
        """The graph has ended."""
        if self._entry is not None and self._run is not None:
            self._run.deadlines.discard(self._entry)
        self._entry = None

    def expire(self) -> None:
        """Its deadline has come; see deadlines.Expiring."""
        self._entry = None
        if self.is_over():
            return
        error = TooSlowError(f"the deadline of the group {self.name!r} of an operation graph has passed")
        execution = self._graph.execution
        execution.cancel_nodes(self.nodes, f"the deadline of its group {self.name!r} has passed")
        execution.add_root(error)

    def is_over(self) -> bool:
        """Whether nothing in it waits for its end."""
        return all(node.has_ended for node in self.nodes)

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {len(self.nodes)} nodes>"
