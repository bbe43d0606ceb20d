"""Submission entries for what threads and rings say to each other: futexes (Linux 6.7) and messages (Linux 5.18).

Facts (io_uring_prep_futex_wait(3), io_uring_prep_msg_ring(3)): a futex entry carries its word's address, the value, a
mask of bits that anybody may match, and the FUTEX2 flags in place of a descriptor. A message puts a completion of our
choice into another ring: 32 bits as its result, 64 bits as its user data.
"""

from __future__ import annotations

from typing import Final

from proactor_trio.backends.contract import OperationFields
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.mapping import address_of

#: User data of a message: its upper half, with this bit. The lower half is the result.
MESSAGE_BIT: Final = 1 << 60

_ANYBODY: Final = 0xFFFFFFFF
_HALF: Final = 32
_HALF_MASK: Final = 0xFFFFFFFF

_pack_into: Final = c.SQE.pack_into


def encode_futex_wait(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_FUTEX_WAIT, flags, 0, operation.futex_flags, operation.futex_value,
        address_of(operation.view), 0, 0, operation.identifier, 0, 0, 0, _ANYBODY, 0,
    )  # fmt: skip


def encode_futex_wake(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_FUTEX_WAKE, flags, 0, operation.futex_flags, operation.futex_value,
        address_of(operation.view), 0, 0, operation.identifier, 0, 0, 0, _ANYBODY, 0,
    )  # fmt: skip


def encode_message(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    upper = operation.message >> _HALF
    _pack_into(
        entries, offset, c.OP_MSG_RING, flags, 0, operation.message_target, MESSAGE_BIT | upper, 0,
        operation.message & _HALF_MASK, 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def decode_message(user_data: int, result: int) -> int:
    """The 64 bits of a message that has arrived."""
    return (user_data & _HALF_MASK) << _HALF | result & _HALF_MASK
