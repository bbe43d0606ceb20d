"""explain(form="svg"): a picture of a graph without any program that draws graphs.

Nodes stand in rows by the longest way that leads to them, so that all edges point down. That is less beautiful than
what Graphviz makes of the "dot" form, and needs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from proactor_trio.graph.explaining import COLOURS, edge_style, outcome, why_not
from proactor_trio.graph.node import Node

if TYPE_CHECKING:
    from proactor_trio.graph.execution import Execution

_WIDTH: Final = 240
_HEIGHT: Final = 44
_GAP: Final = 36
_STROKES: Final = {"bold": "3", "solid": "1", "dashed": "1"}


def explain_as_svg(execution: Execution) -> str:
    """A picture; what is said of nodes and edges in the text stands in their tooltips."""
    rows = _rows(execution.nodes)
    places = {node: _place(row, column) for row, nodes in enumerate(rows) for column, node in enumerate(nodes)}
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _GAP
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
        ' font-size="12">'
    ]
    for node, (x, y) in places.items():
        for earlier, condition in node.predecessors:
            reason = why_not(earlier, node, condition, execution.proactor)
            lines.append(_edge(places[earlier], (x, y), edge_style(condition, reason), reason or "in the kernel"))
    lines += [_box(node, *place) for node, place in places.items()]
    lines.append("</svg>")
    return "\n".join(lines)


def _rows(nodes: list[Node]) -> list[list[Node]]:
    """The nodes by the length of the longest way to them. A node may have been added before its predecessors."""
    depths: dict[Node, int] = {}
    pending = [*nodes]
    while pending:
        rest = []
        for node in pending:
            if all(earlier in depths for earlier, _ in node.predecessors):
                depths[node] = max((depths[earlier] + 1 for earlier, _ in node.predecessors), default=0)
            else:
                rest.append(node)
        pending = rest
    rows: list[list[Node]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for node in nodes:
        rows[depths[node]].append(node)
    return rows


def _place(row: int, column: int) -> tuple[int, int]:
    return _GAP + column * (_WIDTH + _GAP), _GAP + row * (_HEIGHT + _GAP)


def _edge(start: tuple[int, int], end: tuple[int, int], style: str, words: str) -> str:
    dashes = ' stroke-dasharray="5"' if style == "dashed" else ""
    return (
        f'<line x1="{start[0] + _WIDTH // 2}" y1="{start[1] + _HEIGHT}" x2="{end[0] + _WIDTH // 2}" y2="{end[1]}"'
        f' stroke="black" stroke-width="{_STROKES[style]}"{dashes}><title>{escape(words)}</title></line>'
    )


def _box(node: Node, x: int, y: int) -> str:
    words = escape(f"{node.name}{outcome(node)}")
    return (
        f'<g><title>{words}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" fill="white"'
        f' stroke="{COLOURS[node.state]}"/><text x="{x + 8}" y="{y + 18}">{escape(node.name)}</text>'
        f'<text x="{x + 8}" y="{y + 34}" fill="{COLOURS[node.state]}">{escape(node.state.value)}</text></g>'
    )
