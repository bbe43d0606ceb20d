"""explain(): what of a graph is handed over together, what the kernel goes through by itself, and why not the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proactor_trio.graph.compiling import obstacle
from proactor_trio.graph.node import Condition, Node, NodeState

if TYPE_CHECKING:
    from proactor_trio.graph.execution import Execution
    from proactor_trio.proactor.proactor import Proactor

_PAUSES: Final = (
    "A chain in the kernel goes on inside the system calls of the thread that polls: while that thread runs Python, it "
    "pauses. Operations on a ProactorThread's proactor do not wait for it."
)
_LONGEST_RESULT: Final = 60


def explain_as_text(execution: Execution) -> str:
    """One line for each node, and one for each edge into it."""
    lines: list[str] = []
    proactor = execution.proactor
    kernel = False
    for node in execution.nodes:
        lines.append(f"{node.name}{outcome(node)}")
        for earlier, condition in node.predecessors:
            reason = why_not(earlier, node, condition, proactor)
            kernel = kernel or not reason
            lines.append(f"    after {_condition(condition)}{earlier.name}: {reason or 'in the kernel'}")
    if kernel:
        lines += ["", _PAUSES]
    return "\n".join(lines)


def explain_as_dot(execution: Execution) -> str:
    """The same for Graphviz: bold edges are in the kernel, dashed ones are followed however the earlier node ends."""
    lines = ["digraph operations {", "    node [shape=box];"]
    proactor = execution.proactor
    for node in execution.nodes:
        lines.append(f"    n{node.number} [label={_quoted(node.name + outcome(node))}, color={COLOURS[node.state]}];")
        for earlier, condition in node.predecessors:
            reason = why_not(earlier, node, condition, proactor)
            how = f"style={edge_style(condition, reason)}, tooltip={_quoted(reason or 'in the kernel')}"
            lines.append(f"    n{earlier.number} -> n{node.number} [{how}];")
    lines.append("}")
    return "\n".join(lines)


COLOURS: Final = {
    NodeState.ADDED: "black",
    NodeState.WAITING: "black",
    NodeState.RUNNING: "blue",
    NodeState.CANCELLING: "orange",
    NodeState.SUCCEEDED: "darkgreen",
    NodeState.FAILED: "red",
    NodeState.CANCELLED: "gray",
}


def edge_style(condition: Condition, reason: str) -> str:
    """How an edge is drawn: bold if the kernel follows it, dashed if it is followed however the earlier node ends."""
    if condition is Condition.END:
        return "dashed"
    return "solid" if reason else "bold"


def why_not(earlier: Node, later: Node, condition: Condition, proactor: Proactor | None) -> str:
    """Why the kernel does not follow an edge, in words; "" if it does."""
    reason = obstacle(earlier, later)
    if reason:
        return f"on completion, since {reason}"
    if proactor is None:
        return "handed over together; the backend of the run decides how"
    assert earlier.operation is not None
    assert later.operation is not None
    reason = proactor.link_obstacle(earlier.operation, later.operation, leads=not earlier.predecessors)
    return reason and f"handed over together, but not linked in the kernel, since {reason}"


def _condition(condition: Condition) -> str:
    return "" if condition is Condition.SUCCESS else "the end of "


def outcome(node: Node) -> str:
    """The state of a node, and how long it took with which result, behind its name."""
    if not node.has_ended:
        return "" if node.state is NodeState.ADDED else f" [{node.state.value}]"
    seconds = f" in {(node.ended - node.began) * 1e3:.3f} ms" if node.began else ""
    if node.error is not None:
        return f" [{node.state.value}{seconds}: {_short(node.error)}]"
    return f" [{node.state.value}{seconds}: {_short(node.result)}]"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_RESULT else text[: _LONGEST_RESULT - 1] + "…"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
