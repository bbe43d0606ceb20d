"""Transfers in a graph: what comes after one relies on all its bytes, unless it is given their number.

As in a chain, wherever the edge is followed: a receive goes on until its buffer is full, a send until all is sent, and
one that ends with fewer bytes has failed with ShortTransfer.
"""

from __future__ import annotations

from socket import SOCK_STREAM
from typing import Any

from proactor_trio.graph.node import Node
from proactor_trio.proactor.arguments import readable_view
from proactor_trio.proactor.operations.buffers import gathered
from proactor_trio.proactor.operations.file import FileTransfer
from proactor_trio.proactor.operations.net import Recv, Send


def expect(node: Node) -> None:
    """Before a node begins that must be whole: how many bytes it has to move at least, and that it goes on until then.

    Raises TypeError or ValueError for memory that its operation is going to refuse.
    """
    operation = node.operation
    if isinstance(operation, Recv | Send):
        if operation.socket.type == SOCK_STREAM:
            operation.ask_whole()
            node.asked = gathered(*_memory_of(operation))[1]
    elif isinstance(operation, FileTransfer):
        node.asked = readable_view(operation.buffer, "buffer").nbytes


def _memory_of(operation: Recv | Send) -> tuple[Any, str]:
    return (operation.buffer, "buffer") if isinstance(operation, Recv) else (operation.payload, "data")
