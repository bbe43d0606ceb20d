"""Submission entries for what is done to files beside reading and writing them.

Facts (io_uring_enter(2), and the io_uring_prep_*(3) pages): paths and the memory of a status are read and written
while the operation is in flight, so they are kept in `backend_state` and `data`. These operations are done by the
kernel's own workers. STATX and FALLOCATE are there since Linux 5.6, SPLICE 5.7, RENAMEAT and UNLINKAT 5.11, MKDIRAT
5.15, FTRUNCATE 6.9.
"""

from __future__ import annotations

from typing import Final

from proactor_trio.backends.contract import OperationFields
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.mapping import address_of

_OFFSET_MASK: Final = (1 << 64) - 1
_LARGEST_LENGTH: Final = 0x7FFFF000

_pack_into: Final = c.SQE.pack_into


def encode_status(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    path = operation.path + b"\0"
    operation.backend_state = path
    operation.data = status = bytearray(c.STATX_BYTES)
    descriptor, at_flags = operation.descriptor, c.AT_EMPTY_PATH
    if operation.path:
        descriptor, at_flags = c.AT_FDCWD, 0 if operation.follow_links else c.AT_SYMLINK_NOFOLLOW
    _pack_into(
        entries, offset, c.OP_STATX, flags, 0, descriptor, address_of(status), address_of(path), c.STATX_BASIC_STATS,
        at_flags, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_allocate(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_FALLOCATE, flags, 0, operation.descriptor, operation.offset, operation.length,
        operation.mode, 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_truncate(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_FTRUNCATE, flags, 0, operation.descriptor, operation.length, 0, 0, 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_rename(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    paths = operation.path + b"\0", operation.second_path + b"\0"
    operation.backend_state = paths
    _pack_into(
        entries, offset, c.OP_RENAMEAT, flags, 0, c.AT_FDCWD, address_of(paths[1]), address_of(paths[0]),
        c.AT_FDCWD & 0xFFFFFFFF, operation.mode, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_unlink(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    path = operation.path + b"\0"
    operation.backend_state = path
    _pack_into(
        entries, offset, c.OP_UNLINKAT, flags, 0, c.AT_FDCWD, 0, address_of(path), 0, operation.mode,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_make_directory(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    path = operation.path + b"\0"
    operation.backend_state = path
    _pack_into(
        entries, offset, c.OP_MKDIRAT, flags, 0, c.AT_FDCWD, 0, address_of(path), operation.mode, 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_splice(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_SPLICE, flags, 0, operation.second_descriptor, operation.second_offset & _OFFSET_MASK,
        operation.offset & _OFFSET_MASK, min(operation.length, _LARGEST_LENGTH), 0, operation.identifier, 0, 0,
        operation.descriptor, 0, 0,
    )  # fmt: skip
