"""Which steps of a chain the kernel can be left to go through by itself (IOSQE_IO_LINK).

Facts (io_uring_enter(2), and measured on Linux 6.18): a link goes on unless the kernel marks its entry as failed. It
does not so for every kind:

* Operations on files other than transfers (FSYNC, STATX, FALLOCATE, FTRUNCATE, RENAMEAT, UNLINKAT, MKDIRAT) report
  their error and let the link go on: a rename would be made behind a failed fsync.
* A cancelled FUTEX_WAIT lets it go on, too; and one whose word has changed already, which is a success, breaks it.

So these end a prefix: what comes behind them is begun above the backend, once their result is known. So do closes, of
which each takes two entries, one of them a hard link, and sends that may have to be begun again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.io_uring.encode_net import MSG_DONTWAIT
from proactor_trio.backends.io_uring.zero_copy import is_send

_CLOSES: Final = frozenset((Kind.SOCKET_CLOSE, Kind.FILE_CLOSE))
_FAILURE_GOES_ON: Final = frozenset(
    (
        Kind.FUTEX_WAIT,
        Kind.FILE_SYNC,
        Kind.FILE_STATUS,
        Kind.FILE_ALLOCATE,
        Kind.FILE_TRUNCATE,
        Kind.RENAME,
        Kind.UNLINK,
        Kind.MAKE_DIRECTORY,
    )
)


def link_obstacle(operation: OperationFields) -> str:
    """Why nothing can be linked behind this operation in the kernel; "" if it can."""
    if operation.kind in _CLOSES:
        return "a close is two entries of the ring already"
    if operation.kind in _FAILURE_GOES_ON:
        return f"the kernel would go on behind a failed {operation.kind.name}"
    if is_send(operation) and operation.message_flags & MSG_DONTWAIT:
        return "a send to a Unix datagram socket may have to be begun again"
    return ""


def linkable_prefix(operations: Sequence[OperationFields], room: int) -> int:
    """The length of the longest prefix that can be linked, 0 or at least 2. room: entries of an empty queue."""
    length = 0
    for operation in operations:
        room -= 1 if operation.expires is None else 2
        if room < 0 or operation.kind in _CLOSES:
            break
        if is_send(operation) and operation.message_flags & MSG_DONTWAIT:
            break
        length += 1
        if operation.kind in _FAILURE_GOES_ON:
            break
    return length if length > 1 else 0
