"""Operation graphs: what runs after what, said before anything has happened, and timed and cancelled as one."""

from proactor_trio.graph.graph import Graph
from proactor_trio.graph.group import Group
from proactor_trio.graph.node import Node, NodeState
from proactor_trio.graph.results import from_result
from proactor_trio.graph.template import GraphTemplate

__all__ = ["Graph", "GraphTemplate", "Group", "Node", "NodeState", "from_result"]
