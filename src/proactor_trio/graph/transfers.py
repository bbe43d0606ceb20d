"""Transfers in a graph: what comes after one relies on all its bytes, unless it is given their number.

As in a chain, wherever the edge is followed: a receive goes on until its buffer is full, a send until all is sent, and
one that ends with fewer bytes has failed with ShortTransfer.
"""

from __future__ import annotations

from proactor_trio.proactor.arguments import readable_view
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.file import FileTransfer
from proactor_trio.proactor.operations.net import Transfer


def make_whole(operation: Operation) -> None:
    """Let a transfer of a stream go on until all is moved."""
    if isinstance(operation, Transfer):
        operation.ask_whole()


def asked_bytes(operation: Operation) -> int:
    """How many bytes a transfer that has succeeded was to move at least; 0 for what is none."""
    if isinstance(operation, Transfer):
        return operation.length if operation.whole else 0
    if isinstance(operation, FileTransfer):
        return readable_view(operation.buffer, "buffer").nbytes
    return 0
