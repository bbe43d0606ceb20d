"""Submission entries: one function a kind, each packs one operation into a place of the mapped array.

Every encoder is `encode(entries, offset, operation, flags)`; `flags` are the link flags of the entry. Memory that an
entry names is the operation's own (`view`, `path`, ...), which lives until its final completion. A timespec is read by
the kernel when the entry is consumed; it is kept in `backend_state`, so that nothing depends on when that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proactor_trio.backends.contract import (
    POLL_EVENTS,
    Capability,
    Kind,
    OperationFields,
    OperationFlags,
    PollEvents,
)
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode_files
from proactor_trio.backends.io_uring.encode_net import (
    MSG_NOSIGNAL,
    MSG_WAITALL,
    encode_receive_from,
    encode_receive_pieces,
    encode_send_pieces,
    encode_send_to,
)
from proactor_trio.backends.io_uring.encode_threads import encode_futex_wait, encode_futex_wake, encode_message
from proactor_trio.backends.io_uring.mapping import address_of

Encoder = Callable[[memoryview, int, OperationFields, int], None]

SOCK_CLOEXEC_NONBLOCK: Final = 0o2000000 | 0o4000
O_CLOEXEC: Final = 0o2000000

#: The `backend_state` of a receive that the kernel was asked to end when so many bytes have come.
COUNTED: Final = "counted"

#: The group of the provided receive buffers.
RECEIVE_GROUP: Final = 1

# A cached read of 1 MiB holds the submitting thread for 0.3 ms, one of 64 MiB for 17 ms; above this length the
# kernel's own workers do the copy. Below it their hand-over costs more than the copy.
ASYNC_TRANSFER_BYTES: Final = 256 * 1024

# What read(2) and its like take at a time.
LARGEST_TRANSFER: Final = 0x7FFFF000

# Where the kernel has no provided buffers each receive has one of its own, of at most this length.
ALLOCATED_RECEIVE_BYTES: Final = 64 * 1024

_UNIX: Final = 1

POLLIN: Final = 0x001
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020
POLLRDHUP: Final = 0x2000

_IN: Final = int(PollEvents.IN)
_OUT: Final = int(PollEvents.OUT)
_ERR: Final = int(PollEvents.ERR)
_HUP: Final = int(PollEvents.HUP)

_pack_into: Final = c.SQE.pack_into
_NANOSECONDS: Final = 1_000_000_000
_LARGEST_SECONDS: Final = 9e9


def encode_nop(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(entries, offset, c.OP_NOP, flags, 0, -1, 0, 0, 0, 0, operation.identifier, 0, 0, 0, 0, 0)


def encode_timer(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    operation.backend_state = timespec = timespec_of(operation.deadline)
    _pack_into(
        entries, offset, c.OP_TIMEOUT, flags, 0, -1, 0, address_of(timespec), 1,
        c.TIMEOUT_ABS | c.TIMEOUT_ETIME_SUCCESS, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


#: What to poll for, by the number of the PollEvents that are asked for.
_POLL_MASKS: Final = tuple(
    (POLLIN | POLLRDHUP if asked & PollEvents.IN else 0) | (POLLOUT if asked & PollEvents.OUT else 0)
    for asked in POLL_EVENTS
)


def encode_handle_poll(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    mask = _POLL_MASKS[operation.poll_events]
    _pack_into(
        entries, offset, c.OP_POLL_ADD, flags, 0, operation.descriptor, 0, 0, 0, mask, operation.identifier,
        0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_accept(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    mode = c.ACCEPT_MULTISHOT if operation.flags & OperationFlags.MULTISHOT else 0
    _pack_into(
        entries, offset, c.OP_ACCEPT, flags, mode, operation.descriptor, 0, 0, 0, SOCK_CLOEXEC_NONBLOCK,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_connect(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    address = operation.address_bytes
    _pack_into(
        entries, offset, c.OP_CONNECT, flags, 0, operation.descriptor, len(address), address_of(address), 0, 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_receive(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    if not operation.length:
        encode_nop(entries, offset, operation, flags)  # the kernel would wait for bytes that have no place
        return
    if type(view) is tuple:
        encode_receive_pieces(entries, offset, operation, flags)
        return
    _pack_into(
        entries, offset, c.OP_RECV, flags, 0, operation.descriptor, 0, address_of(view),
        min(view.nbytes, LARGEST_TRANSFER),
        MSG_WAITALL if operation.whole else 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_receive_provided(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    operation.data = b""
    _pack_into(
        entries, offset, c.OP_RECV, flags | c.SQE_BUFFER_SELECT, 0, operation.descriptor, 0, 0, operation.length, 0,
        operation.identifier, RECEIVE_GROUP, 0, 0, 0, 0,
    )  # fmt: skip


def receive_again(*, counted: bool) -> Encoder:
    """The encoder of receives into provided buffers where the kernel has IORING_RECV_MULTISHOT (Linux 6.0).

    counted: whether it ends them by itself when `length` bytes have come in all (Linux 6.17).
    """

    def encode_receive_again(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
        # Not for Unix sockets, see encode_receive_pool().
        if not operation.flags or operation.socket.family == _UNIX:
            encode_receive_provided(entries, offset, operation, flags)
            return
        operation.data = b""
        operation.backend_state = COUNTED if counted else None
        _pack_into(
            entries, offset, c.OP_RECV, flags | c.SQE_BUFFER_SELECT, c.RECV_MULTISHOT, operation.descriptor, 0, 0, 0, 0,
            operation.identifier, RECEIVE_GROUP, 0, operation.length if counted else 0, 0, 0,
        )  # fmt: skip

    return encode_receive_again


def encode_receive_pool(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    # Not for Unix sockets: there IORING_RECV_MULTISHOT loses the end of the stream when it comes right behind the last
    # bytes (Linux 6.17 and later, measured on 6.18; axboe/liburing issue 1549). One by one does not.
    repeats = operation.flags & OperationFlags.MULTISHOT and operation.socket.family != _UNIX
    mode = c.RECV_MULTISHOT if repeats else 0
    _encode_receive_pool(entries, offset, operation, flags, mode)


def encode_receive_pool_once(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    """For kernels without IORING_RECV_MULTISHOT (Linux 6.0)."""
    _encode_receive_pool(entries, offset, operation, flags, 0)


def _encode_receive_pool(entries: memoryview, offset: int, operation: OperationFields, flags: int, mode: int) -> None:
    # POLL_FIRST: what has nothing to receive is not to fail for want of a buffer.
    _pack_into(
        entries, offset, c.OP_RECV, flags | c.SQE_BUFFER_SELECT, mode | c.RECVSEND_POLL_FIRST, operation.descriptor,
        0, 0, 0, 0, operation.identifier, operation.buffer_group, 0, 0, 0, 0,
    )  # fmt: skip


def encode_receive_allocated(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    buffer = bytearray(min(operation.length, ALLOCATED_RECEIVE_BYTES))
    operation.data = b""
    operation.backend_state = memoryview(buffer)
    _pack_into(
        entries, offset, c.OP_RECV, flags, 0, operation.descriptor, 0, address_of(buffer), len(buffer), 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_send(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    if type(view) is tuple:
        encode_send_pieces(entries, offset, operation, flags)
        return
    message_flags = operation.message_flags | MSG_NOSIGNAL
    _pack_into(
        entries, offset, c.OP_SEND, flags, 0, operation.descriptor, 0, address_of(view),
        min(view.nbytes, LARGEST_TRANSFER), message_flags | MSG_WAITALL if operation.whole else message_flags,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_file_open(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    path = operation.path + b"\0"
    operation.backend_state = path
    _pack_into(
        entries, offset, c.OP_OPENAT, flags, 0, c.AT_FDCWD, 0, address_of(path), operation.mode,
        operation.open_flags | O_CLOEXEC, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_file_read(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    length = min(view.nbytes, LARGEST_TRANSFER)
    if length >= ASYNC_TRANSFER_BYTES:
        flags |= c.SQE_ASYNC
    _pack_into(
        entries, offset, c.OP_READ, flags, 0, operation.descriptor, operation.offset, address_of(view), length, 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_file_write(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    length = min(view.nbytes, LARGEST_TRANSFER)
    if length >= ASYNC_TRANSFER_BYTES:
        flags |= c.SQE_ASYNC
    _pack_into(
        entries, offset, c.OP_WRITE, flags, 0, operation.descriptor, operation.offset, address_of(view), length, 0,
        operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_file_sync(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_FSYNC, flags, 0, operation.descriptor, 0, 0, 0,
        c.FSYNC_DATASYNC if operation.data_only else 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_close(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    _pack_into(
        entries, offset, c.OP_CLOSE, flags, 0, operation.descriptor, 0, 0, 0, 0, operation.identifier, 0, 0, 0, 0, 0
    )


def encode_cancel(entries: memoryview, offset: int, identifier: int, user_data: int) -> None:
    """Cancel one operation in flight by its identifier; reports only a failure."""
    _pack_into(
        entries, offset, c.OP_ASYNC_CANCEL, c.SQE_CQE_SKIP_SUCCESS, 0, -1, 0, identifier, 0, 0, user_data,
        0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_cancel_descriptor(entries: memoryview, offset: int, descriptor: int, user_data: int) -> None:
    """Cancel all that is pending on a descriptor, then go on with the next entry whatever came of it."""
    _pack_into(
        entries, offset, c.OP_ASYNC_CANCEL, c.SQE_CQE_SKIP_SUCCESS | c.SQE_IO_HARDLINK, 0, descriptor, 0, 0, 0,
        c.CANCEL_FD | c.CANCEL_ALL, user_data, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_cancel_everything(entries: memoryview, offset: int, user_data: int) -> None:
    """Cancel all operations of the ring; reports how many there were."""
    _pack_into(
        entries, offset, c.OP_ASYNC_CANCEL, 0, 0, -1, 0, 0, 0, c.CANCEL_ANY | c.CANCEL_ALL, user_data,
        0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_poll_multishot(entries: memoryview, offset: int, descriptor: int, user_data: int) -> None:
    """Report each time that a descriptor becomes readable."""
    _pack_into(
        entries, offset, c.OP_POLL_ADD, 0, 0, descriptor, 0, 0, c.POLL_ADD_MULTI, POLLIN, user_data, 0, 0, 0, 0, 0
    )


def encode_stream_read(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    _pack_into(
        entries, offset, c.OP_READ, flags, 0, operation.descriptor, c.NO_OFFSET, address_of(view),
        min(view.nbytes, LARGEST_TRANSFER), 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_stream_write(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    view = operation.view
    _pack_into(
        entries, offset, c.OP_WRITE, flags, 0, operation.descriptor, c.NO_OFFSET, address_of(view),
        min(view.nbytes, LARGEST_TRANSFER), 0, operation.identifier, 0, 0, 0, 0, 0,
    )  # fmt: skip


def encode_link_timeout(entries: memoryview, offset: int, timespec: bytearray, flags: int, user_data: int) -> None:
    """End the entry before it, which is linked to this one, at a time on the clock of time.monotonic()."""
    _pack_into(
        entries, offset, c.OP_LINK_TIMEOUT, flags, 0, -1, 0, address_of(timespec), 1, c.TIMEOUT_ABS, user_data,
        0, 0, 0, 0, 0,
    )  # fmt: skip


def timespec_of(seconds: float) -> bytearray:
    """A struct __kernel_timespec; what lies before the clock's begin is its begin."""
    nanoseconds = int(min(max(0.0, seconds), _LARGEST_SECONDS) * _NANOSECONDS)
    return bytearray(c.TIMESPEC.pack(nanoseconds // _NANOSECONDS, nanoseconds % _NANOSECONDS))


def encode_nothing(entries: memoryview, offset: int, operation: OperationFields, flags: int) -> None:
    raise AssertionError(f"{operation.kind!r} is none of the kinds of this backend")


def encoder_table(*, provided_buffers: bool) -> list[Encoder]:
    """The encoders in the order of `Kind`; `encode_nothing` where there is none."""
    table: dict[Kind, Encoder] = {
        Kind.NOP: encode_nop,
        Kind.TIMER: encode_timer,
        Kind.HANDLE_POLL: encode_handle_poll,
        Kind.ACCEPT: encode_accept,
        Kind.CONNECT: encode_connect,
        Kind.RECV: encode_receive,
        Kind.RECV_BYTES: encode_receive_provided if provided_buffers else encode_receive_allocated,
        Kind.SEND: encode_send,
        Kind.SOCKET_CLOSE: encode_close,
        Kind.FILE_OPEN: encode_file_open,
        Kind.FILE_READ: encode_file_read,
        Kind.FILE_WRITE: encode_file_write,
        Kind.FILE_SYNC: encode_file_sync,
        Kind.FILE_CLOSE: encode_close,
        Kind.STREAM_READ: encode_stream_read,
        Kind.STREAM_WRITE: encode_stream_write,
        Kind.RECV_FROM: encode_receive_from,
        Kind.SEND_TO: encode_send_to,
        Kind.FUTEX_WAIT: encode_futex_wait,
        Kind.FUTEX_WAKE: encode_futex_wake,
        Kind.MESSAGE: encode_message,
        Kind.FILE_STATUS: encode_files.encode_status,
        Kind.FILE_ALLOCATE: encode_files.encode_allocate,
        Kind.FILE_TRUNCATE: encode_files.encode_truncate,
        Kind.RENAME: encode_files.encode_rename,
        Kind.UNLINK: encode_files.encode_unlink,
        Kind.MAKE_DIRECTORY: encode_files.encode_make_directory,
        Kind.SPLICE: encode_files.encode_splice,
        Kind.RECV_POOL: encode_receive_pool,
        Kind.FILE_CONTENTS: encode_close,  # entries of their own, as a close has them: whole_files.py
    }
    return [table.get(kind, encode_nothing) for kind in Kind]


#: The opcodes without which a kind does not exist here; what is not listed needs only those that are required anyway.
_OPCODES: Final[dict[Kind, tuple[int, ...]]] = {
    Kind.FUTEX_WAIT: (c.OP_FUTEX_WAIT,),
    Kind.FUTEX_WAKE: (c.OP_FUTEX_WAKE,),
    Kind.MESSAGE: (c.OP_MSG_RING,),
    Kind.FILE_STATUS: (c.OP_STATX,),
    Kind.FILE_ALLOCATE: (c.OP_FALLOCATE,),
    Kind.FILE_TRUNCATE: (c.OP_FTRUNCATE,),
    Kind.RENAME: (c.OP_RENAMEAT,),
    Kind.UNLINK: (c.OP_UNLINKAT,),
    Kind.MAKE_DIRECTORY: (c.OP_MKDIRAT,),
    Kind.SPLICE: (c.OP_SPLICE,),
}

#: What goes with a capability that can be switched off.
_OF_CAPABILITY: Final = {
    Capability.FUTEX_OPERATIONS: frozenset((Kind.FUTEX_WAIT, Kind.FUTEX_WAKE)),
    Capability.PROACTOR_MESSAGING: frozenset((Kind.MESSAGE,)),
    Capability.ABSOLUTE_TIMEOUT: frozenset((Kind.TIMER,)),
    Capability.MULTISHOT: frozenset((Kind.RECV_POOL,)),
    Capability.FIXED_FILES: frozenset((Kind.FILE_CONTENTS,)),
    Capability.LINKED_OPERATIONS: frozenset((Kind.FILE_CONTENTS,)),
}


def encodable_kinds(opcodes: frozenset[int], allowed: Capability) -> frozenset[Kind]:
    """The kinds that a kernel with these opcodes takes, without those that the caller's mask switches off."""
    table = encoder_table(provided_buffers=False)
    kinds = {kind for kind in Kind if table[kind] is not encode_nothing and opcodes.issuperset(_OPCODES.get(kind, ()))}
    for capability, dependent in _OF_CAPABILITY.items():
        if not allowed & capability:
            kinds -= dependent
    return frozenset(kinds)


def poll_events(mask: int) -> int:
    """The number of the PollEvents for what poll(2) reports; RDHUP counts as HUP, NVAL as ERR."""
    events = 0
    if mask & POLLIN:
        events |= _IN
    if mask & POLLOUT:
        events |= _OUT
    if mask & (POLLERR | POLLNVAL):
        events |= _ERR
    if mask & (POLLHUP | POLLRDHUP):
        events |= _HUP
    return events
