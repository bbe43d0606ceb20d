"""Transfers of several buffers, and datagrams with addresses: sendmsg(2), recvmsg(2), readv(2).

Each call stores its outcome by the step that makes it (ledger.py, habit 3).
"""

from __future__ import annotations

import os
import socket
from typing import Final

from proactor_trio.backends.contract import OperationFields
from proactor_trio.backends.posix.descriptors import Descriptor
from proactor_trio.backends.posix.ledger import Ledger

NO_SIGNAL: Final = int(getattr(socket, "MSG_NOSIGNAL", 0))

_NO_ANCILLARY: Final = ((),)

Pieces = tuple[memoryview, ...]


def rest_of(pieces: Pieces, done: int) -> Pieces:
    """What is left of them after so many bytes: an empty piece if nothing is."""
    for index, piece in enumerate(pieces):
        if done < piece.nbytes:
            return (piece[done:], *pieces[index + 1 :])
        done -= piece.nbytes
    return tuple(piece[:0] for piece in pieces[-1:])


def receive_pieces(ledger: Ledger, record: Descriptor, pieces: Pieces) -> None:
    """Fill them in order. Raises as readv(2)."""
    (ledger.outcome,) = map(os.readv, (record.descriptor,), (pieces,))


def send_pieces(ledger: Ledger, record: Descriptor, pieces: Pieces, message_flags: int) -> None:
    """Send them one after the other. Raises as sendmsg(2)."""
    (ledger.outcome,) = map(record.calls.sendmsg, (pieces,), _NO_ANCILLARY, (message_flags | NO_SIGNAL,))


def receive_datagram(ledger: Ledger, record: Descriptor, operation: OperationFields) -> None:
    """Take one datagram with its sender and its flags. Raises as recvmsg(2)."""
    view = operation.view
    pieces = view if type(view) is tuple else (view,)
    (ledger.outcome,) = map(record.calls.recvmsg_into, (pieces,))


def send_datagram(ledger: Ledger, record: Descriptor, operation: OperationFields) -> None:
    """Send one datagram to an address. Raises as sendmsg(2)."""
    view = operation.view
    pieces = view if type(view) is tuple else (view,)
    flags = operation.message_flags | NO_SIGNAL
    (ledger.outcome,) = map(record.calls.sendmsg, (pieces,), _NO_ANCILLARY, (flags,), (operation.address,))
