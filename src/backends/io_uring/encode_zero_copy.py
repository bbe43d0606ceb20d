"""Submission entries of sends that leave their memory to the network card: SEND_ZC and SENDMSG_ZC.

They take the place of the ordinary encoders where the kernel has them; an operation without `zero_copy` is encoded as
ever. The kernel is asked to say in the second completion whether it copied (IORING_SEND_ZC_REPORT_USAGE). Memory in the
kernel's table of buffers is named by its place there (IORING_RECVSEND_FIXED_BUF), which saves pinning it.

Source: io_uring_enter(2), io_uring_prep_send_zc(3).
"""

from __future__ import annotations

from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode
from proactor_trio.backends.io_uring.encode_net import encode_send_to, make_header, pieces_of, send_flags
from proactor_trio.backends.io_uring.mapping import address_of

_pack_into: Final = c.SQE.pack_into


def encode_send(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    if not operation.zero_copy:
        encode.encode_send(entries, offset, operation, flags)
    elif type(operation.view) is tuple:
        _encode_pieces(entries, offset, operation, flags, None)
    else:
        _encode_one(entries, offset, operation, flags, 0, 0)


def encode_send_datagram(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    if not operation.zero_copy:
        encode_send_to(entries, offset, operation, flags)
    elif type(operation.view) is tuple:
        _encode_pieces(entries, offset, operation, flags, operation.address_bytes)
    else:
        destination = operation.address_bytes
        _encode_one(entries, offset, operation, flags, address_of(destination), len(destination))


def _encode_one(
    entries: memoryview, offset: int, operation: OperationFields, flags: int, destination: int, length: int
) -> None:
    """destination, length: of a socket address, 0 for the peer."""
    view = operation.view
    slot = operation.buffer_slot
    how = c.SEND_ZC_REPORT_USAGE if slot < 0 else c.SEND_ZC_REPORT_USAGE | c.RECVSEND_FIXED_BUF
    _pack_into(
        entries, offset, c.OP_SEND_ZC, flags, how, operation.descriptor, destination, address_of(view),
        min(view.nbytes, encode.LARGEST_TRANSFER), send_flags(operation), operation.identifier, max(slot, 0), 0, length,
        0, 0,
    )  # fmt: skip


def _encode_pieces(
    entries: memoryview, offset: int, operation: OperationFields, flags: int, destination: bytes | None
) -> None:
    header = make_header(operation, pieces_of(operation), destination)
    _pack_into(
        entries, offset, c.OP_SENDMSG_ZC, flags, c.SEND_ZC_REPORT_USAGE, operation.descriptor, 0, header, 1,
        send_flags(operation), operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def with_zero_copy(encoders: list[encode.Encoder]) -> list[encode.Encoder]:
    """The table of encoders, extended. May be done again."""
    extended = encoders[:]
    extended[Kind.SEND] = encode_send
    extended[Kind.SEND_TO] = encode_send_datagram
    return extended
