"""Submission entries for memory in the kernel's table of buffers (registered_buffers.py): reads and writes of files.

They take the place of the ordinary encoders when something is registered for the first time, so that nobody else pays
for the question.
"""

from __future__ import annotations

from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode
from proactor_trio.backends.io_uring.mapping import address_of

_pack_into: Final = c.SQE.pack_into


def encode_file_read(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    if operation.buffer_slot < 0:
        encode.encode_file_read(entries, offset, operation, flags)
    else:
        _encode_fixed(c.OP_READ_FIXED, entries, offset, operation, flags)


def encode_file_write(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    if operation.buffer_slot < 0:
        encode.encode_file_write(entries, offset, operation, flags)
    else:
        _encode_fixed(c.OP_WRITE_FIXED, entries, offset, operation, flags)


def _encode_fixed(opcode: int, entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    length = min(view.nbytes, encode.LARGEST_TRANSFER)
    if length >= encode.ASYNC_TRANSFER_BYTES:
        flags |= c.SQE_ASYNC
    _pack_into(
        entries, offset, opcode, flags, 0, operation.descriptor, operation.offset, address_of(view), length, 0,
        operation.identifier, operation.buffer_slot, 0, 0, 0, 0,
    )  # fmt: skip


def with_registered_buffers(encoders: list[encode.Encoder]) -> list[encode.Encoder]:
    """The table of encoders, extended. May be done again."""
    extended = encoders[:]
    extended[Kind.FILE_READ] = encode_file_read
    extended[Kind.FILE_WRITE] = encode_file_write
    return extended
