"""Compiling a graph: the longest segments of operations that can be handed over together, as one chain.

Within a segment each node has the one before it as its only predecessor, and is its only successor. The proactor makes
a chain of it, and leaves to the kernel what that can go through by itself; all other edges are followed by us, when a
completion has come in. `obstacle()` says of each edge why it is one of these: what it says is what is done.

The steps of a chain that nobody watches are SILENT: the kernel goes through them without coming back to us in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.graph.node import Condition, Node, NodeState
from proactor_trio.proactor.operation import CompletionFunction, Operation

_NO_FLAGS: Final = OperationFlags.NONE
_LINKED: Final = OperationFlags.LINKED
_LINKED_SILENT: Final = OperationFlags.LINKED | OperationFlags.SILENT


class Segment:
    """Operations that are handed over together. While they run, their flags and completion functions are ours."""

    __slots__ = ("_put_aside", "is_lent", "nodes", "operations")

    def __init__(self, first: Node) -> None:
        self.nodes: list[Node] = []
        #: Whether operations of it work on what others lend.
        self.is_lent = False
        self.operations: list[Operation] = []
        self._put_aside: list[tuple[OperationFlags, CompletionFunction | None]] | None = None
        self.add(first)

    def add(self, node: Node) -> None:
        """One more step, behind the others."""
        node.segment = self
        self.nodes.append(node)
        self.is_lent = self.is_lent or (node.operation is not None and node.operation.is_borrowing)

    @property
    def is_taken(self) -> bool:
        """Whether its operations are ours now."""
        return self._put_aside is not None

    def take(self, told: CompletionFunction) -> None:
        """Make one chain of the operations. `told`: called for the steps that are watched, and for the last."""
        operations = [node.operation for node in self.nodes]
        self.operations = [operation for operation in operations if operation is not None]
        assert len(self.operations) == len(self.nodes)
        self._put_aside = [(operation.flags, operation.completion_fn) for operation in self.operations]
        last = self.nodes[-1]
        for node, operation in zip(self.nodes, self.operations, strict=True):
            operation.flags = _NO_FLAGS if node is last else _LINKED if node.watched else _LINKED_SILENT
            operation.completion_fn = told if node is last or node.watched else None

    def give_back(self) -> None:
        """The operations are their owner's again."""
        if self._put_aside is None:
            return
        for operation, (flags, completion_fn) in zip(self.operations, self._put_aside, strict=True):
            operation.flags = flags
            operation.completion_fn = completion_fn
            operation.unclaimed = False
        self._put_aside = None

    def split(self) -> None:
        """Make a segment of its own of each node."""
        self.give_back()
        for node in self.nodes[1:]:
            Segment(node)
        del self.nodes[1:]


def compile_nodes(nodes: Iterable[Node]) -> None:
    """Give each of these nodes, which are about to be submitted, its segment; and say who has to be whole."""
    for node in nodes:
        if node.operation is None and node.source is None:
            continue
        node.must_be_whole = any(_relies_on_bytes(node, *edge) for edge in node.successors)
        if node.segment is not None:
            continue
        if node.predecessors and not obstacle(node.predecessors[0][0], node):
            continue  # it becomes a part of another one's
        segment = Segment(node)
        last = node
        while last.successors and not obstacle(last, last.successors[0][0]):
            last = last.successors[0][0]
            segment.add(last)


def _relies_on_bytes(node: Node, later: Node, condition: Condition) -> bool:
    """Whether a later node could not know how many bytes were moved."""
    if condition is not Condition.SUCCESS or later.operation is None:
        return False
    return later.placeholders is None or node not in later.placeholders.nodes()


def obstacle(earlier: Node, later: Node) -> str:
    """Why the later node is not handed over together with the earlier one, its predecessor; "" if it is."""
    for check in _OBSTACLES:
        reason = check(earlier, later)
        if reason:
            return reason
    return ""


def _number_of_edges(earlier: Node, later: Node) -> str:
    if len(later.predecessors) > 1:
        return f"{later.name} comes after {len(later.predecessors)} nodes"
    if len(earlier.successors) > 1:
        return f"{len(earlier.successors)} nodes come after {earlier.name}"
    if later.predecessors[0][1] is Condition.END:
        return f"{later.name} runs however {earlier.name} ends"
    return ""


def _kinds_of_work(earlier: Node, later: Node) -> str:
    for node in (earlier, later):
        if node.host_step is not None:
            return f"{node.name} is Python"
        if node.source is not None:
            return f"{node.name} is made from a result"
    if later.placeholders is not None:
        return f"{later.name} needs a result of {earlier.name}"
    return ""


def _operations(earlier: Node, later: Node) -> str:
    assert earlier.operation is not None
    assert later.operation is not None
    if not earlier.operation.can_be_linked:
        return f"{type(earlier.operation).__name__} cannot have a successor in a chain"
    if later.timeout is not None or "timeout" in (later.operation._limits or ()):
        return f"the timeout of {later.name} counts from its turn"
    return ""


def _times(earlier: Node, later: Node) -> str:
    if (earlier.state is NodeState.ADDED) is not (later.state is NodeState.ADDED):
        return f"{earlier.name} was submitted before"
    return ""


_OBSTACLES: Final = (_number_of_edges, _kinds_of_work, _operations, _times)
