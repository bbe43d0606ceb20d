"""Submission entries of transfers with several buffers or an address: RECVMSG and SENDMSG, with their struct msghdr.

The kernel reads the header and the vector when it takes the entry, and writes the sender's address, its length and the
message's flags when it completes. All of that lies in memory that `backend_state` keeps until the operation is done.

Source: recvmsg(2), sendmsg(2), io_uring_enter(2).
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from proactor_trio.backends.contract import OperationFields
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.mapping import address_of

MSG_DONTWAIT: Final = 0x40
MSG_WAITALL: Final = 0x100
MSG_NOSIGNAL: Final = 0x4000

# struct msghdr in the layout of this machine: name, its length, vector, its length, control, its length, flags.
_HEADER: Final = Struct("@PIPNPNi0P")
_NAME_LENGTH: Final = Struct("@8xI" if _HEADER.size == 56 else "@4xI")
_FLAGS: Final = Struct("@PIPNPNi")
_PIECE: Final = Struct("@PN")
_LARGEST_NAME: Final = 128

_pack_into: Final = c.SQE.pack_into


def encode_receive_pieces(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    """RECV into a tuple of views, not all of them empty."""
    header = make_header(operation, operation.view, None)
    _pack_into(
        entries, offset, c.OP_RECVMSG, flags, 0, operation.descriptor, 0, header, 1,
        MSG_WAITALL if operation.whole else 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_receive_from(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    header = make_header(operation, pieces_of(operation), bytearray(_LARGEST_NAME))
    _pack_into(
        entries, offset, c.OP_RECVMSG, flags, 0, operation.descriptor, 0, header, 1, 0, operation.identifier,
        0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_send_pieces(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    """SEND of a tuple of views."""
    header = make_header(operation, operation.view, None)
    _pack_into(
        entries, offset, c.OP_SENDMSG, flags, 0, operation.descriptor, 0, header, 1, send_flags(operation),
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_send_to(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    header = make_header(operation, pieces_of(operation), operation.address_bytes)
    _pack_into(
        entries, offset, c.OP_SENDMSG, flags, 0, operation.descriptor, 0, header, 1, send_flags(operation),
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def pieces_of(operation: OperationFields) -> tuple[memoryview, ...]:
    """The memory of an operation as a tuple of views."""
    view = operation.view
    return view if type(view) is tuple else (view,)


def send_flags(operation: OperationFields) -> int:
    """The MSG_* of a send."""
    flags = operation.message_flags | MSG_NOSIGNAL
    return flags | MSG_WAITALL if operation.whole else flags


def make_header(operation: OperationFields, pieces: tuple[memoryview, ...], name: Any) -> int:
    """The address of a struct msghdr, which lives in `backend_state`. name: of the address to send to or to fill."""
    memory = bytearray(_HEADER.size + _PIECE.size * len(pieces))
    operation.backend_state = (memory, name)
    address = address_of(memory)
    name_address, name_length = (0, 0) if name is None else (address_of(name), len(name))
    _HEADER.pack_into(memory, 0, name_address, name_length, address + _HEADER.size, len(pieces), 0, 0, 0)
    for index, piece in enumerate(pieces):
        _PIECE.pack_into(memory, _HEADER.size + index * _PIECE.size, address_of(piece), piece.nbytes)
    return address


def take_sender(operation: OperationFields) -> None:
    """After a RECV_FROM: what the kernel wrote, into `data`. May be done again."""
    memory, name = operation.backend_state
    (name_length,) = _NAME_LENGTH.unpack_from(memory)
    message_flags = _FLAGS.unpack_from(memory)[6]
    operation.data = (None, bytes(name[:name_length]), message_flags)
