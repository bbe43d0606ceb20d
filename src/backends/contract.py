"""The lower seam: what a backend is told, and the one hook by which it answers.

A backend knows a kernel, nothing else. It is given operations that are already validated and owned, and it reports
raw completions. Everything that is the same everywhere (validation, ownership, chains that the kernel cannot link,
errors as exceptions, callbacks, threads) stands above this file, once.

The rules of the seam:

1. All methods but `wake()` are called on the thread that owns the proactor. `wake()` may come from any thread and from
   a signal handler: it takes no lock that the owner could hold.
2. `start()` only begins an operation. It never reports: every completion is reported from inside `poll()`.
3. Each started operation is reported exactly once without MORE. A MULTISHOT operation may be reported any number of
   times with MORE before that. The report is `complete(operation, result, flags)` with `result >= 0` or `-errno`.
4. `cancel()` is a request for an operation that has been started and has not been reported finally. The final report
   says what happened: `-ECANCELED`, or the real result where that came first. The backend repeats the request by
   itself where one attempt is not enough.
5. Between `start()` and the final report the operation keeps alive all that it names (memory, sockets, files); the
   backend need not. The backend must not touch any of it after the final report.
6. An exception that leaves `complete()` ends the `poll()`, and loses nothing: while the operation's identifier is
   still in `in_flight` (for a report with MORE, with -EAGAIN, or of a MULTISHOT operation: while
   `operation.deliveries` has not grown) its report has not been delivered and is made again by the next `poll()`; all
   later ones follow then. The same holds for an exception (a signal handler that raises) anywhere else in `poll()`.
7. `linkable()` says how long a prefix of a chain this kernel can link; it only looks, and 0 is a fine answer.
   `start_chain()` begins such a prefix. Every step of it is reported, in chain order, also those that never ran
   (`-ECANCELED`).
8. A short transfer of a step that has a successor in its chain breaks the chain: it is reported with its count and
   the later steps with `-ECANCELED`. `whole` says that a transfer is to be continued until all of it is done.
9. `start()` sets `operation.started`, and `start_chain()` that of its first step, by the statement before the one that
   makes the operation the backend's, so that no signal handler comes between: whoever was interrupted sees by it
   whether the operation was begun.
10. A close is never cancelled, and begins only when no operation that the kernel looks up by number later (a file
   operation, a link that has not started) is left on its descriptor; the proactor sees to both.
11. A backend with `native_deadlines` takes operations with `expires` by `start_chain()` only, also single ones. It
    reports `-ETIME` for an operation that its deadline ended, and leaves what a `whole` transfer had moved by then in
    `partial_bytes`. MULTISHOT operations with `expires` are not given to it.
12. A SILENT step of a chain may be reported late: with the next step that is reported, in chain order.
13. A send with `zero_copy` may leave its memory to the network card, where the kernel can; elsewhere it is copied. Once
    the kernel has taken the bytes and may still read the memory, the report is made with MORE; the final one, with the
    same result, comes when the memory is free, and carries ZERO_COPY_ACHIEVED if nothing was copied. That may take
    minutes and cannot be cancelled. The hook may take the report with MORE for the final one (the identifier is then
    no longer in `in_flight`): the backend keeps the memory itself until it is free, and reports no more.
14. A loop that is not ours waits for a backend instead of `poll()` (proactor/hosting.py). It calls `poll(0)`, then
    `prepare_wait()`, and if that did not return 0, it waits until the descriptor of `open_wait_handle()` is readable
    or so many seconds are over. `prepare_wait()` makes the descriptor unreadable first and looks for work afterwards:
    what happened before the look is seen by it, and what happens later makes the descriptor readable. A backend of
    which nobody asks for the descriptor does nothing for it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Any, ClassVar, Final

__all__ = [
    "POLL_EVENTS",
    "Backend",
    "BackendOptions",
    "BackendUnavailable",
    "BufferGroup",
    "Capability",
    "CapabilityReport",
    "CompletionFlags",
    "CompletionHook",
    "Kind",
    "MemoryRegistration",
    "OperationFields",
    "OperationFlags",
    "PollEvents",
    "Support",
    "TablePlace",
]


class Kind(IntEnum):
    """What an operation asks of the kernel; the fields that each kind uses stand in `OperationFields`."""

    NOP = 0
    TIMER = 1
    HANDLE_POLL = 2
    ACCEPT = 3
    CONNECT = 4
    RECV = 5
    RECV_BYTES = 6
    SEND = 7
    SOCKET_CLOSE = 8
    FILE_OPEN = 9
    FILE_READ = 10
    FILE_WRITE = 11
    FILE_SYNC = 12
    FILE_CLOSE = 13
    #: Done by our own code above the seam; never given to a backend.
    SOFTWARE = 14
    STREAM_READ = 15
    STREAM_WRITE = 16
    RECV_FROM = 17
    SEND_TO = 18
    FUTEX_WAIT = 19
    FUTEX_WAKE = 20
    MESSAGE = 21
    FILE_STATUS = 22
    FILE_ALLOCATE = 23
    FILE_TRUNCATE = 24
    RENAME = 25
    UNLINK = 26
    MAKE_DIRECTORY = 27
    SPLICE = 28
    RECV_POOL = 29
    FILE_CONTENTS = 30


class OperationFlags(IntFlag):
    """How an operation behaves.

    MULTISHOT: it is delivered many times, each time but the last with `CompletionFlags.MORE`.
    LINKED: the next operation of the same submission starts only after this one succeeded.
    SILENT: beside LINKED, nobody looks at this step alone: it need not be reported before its chain ends.
    """

    NONE = 0
    MULTISHOT = 1
    LINKED = 2
    SILENT = 4


class CompletionFlags(IntFlag):
    """What a completion says beside its result.

    MORE: this one is not the last of its operation.
    ZERO_COPY_ACHIEVED: the kernel sent without copying; only with the final completion of a zero-copy send.
    """

    NONE = 0
    MORE = 1
    ZERO_COPY_ACHIEVED = 2


class PollEvents(IntFlag):
    """Readiness in the portable form that HANDLE_POLL asks for and reports."""

    NONE = 0
    IN = 1
    ERR = 2
    HUP = 4
    OUT = 8


#: All combinations, by their numbers: arithmetic of enums costs as much as a system call, and a report has none to do.
POLL_EVENTS: Final = tuple(map(PollEvents, range(16)))


class Capability(IntFlag):
    """What a backend can do, bit by bit."""

    NONE = 0
    MULTISHOT = 1 << 0
    FIXED_FILES = 1 << 1
    REGISTERED_BUFFERS = 1 << 2
    LINKED_OPERATIONS = 1 << 3
    ZERO_COPY_SEND = 1 << 4
    DMABUF = 1 << 5
    DEVICE_FENCE = 1 << 6
    ABSOLUTE_TIMEOUT = 1 << 7
    FUTEX_OPERATIONS = 1 << 8
    PROACTOR_MESSAGING = 1 << 9
    WAIT_COMPLETION_PACKET = 1 << 10
    ALL = (1 << 11) - 1


class Support(Enum):
    """How a capability is there: by the kernel, by our own code, or not at all."""

    NATIVE = "native"
    EMULATED = "emulated"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class CapabilityReport:
    """One capability of one backend, and why it is so."""

    support: Support
    reason: str


class TablePlace:
    """Where a file stands in the kernel's table of files: made empty by the owner, filled in by a backend.

    number: the place, -1 where it has none, and `reason` says why then.
    """

    __slots__ = ("number", "reason")

    def __init__(self) -> None:
        self.number = -1
        self.reason = ""


class OperationFields:
    """What a backend may know of an operation: its kind and the fields of that kind.

    | kind         | reads                                            | result                                  |
    |--------------|--------------------------------------------------|-----------------------------------------|
    | NOP          |                                                  | 0                                       |
    | TIMER        | deadline                                         | 0                                       |
    | HANDLE_POLL  | descriptor, poll_events                          | PollEvents                              |
    | ACCEPT       | descriptor, socket, flags                        | a descriptor, CLOEXEC and non-blocking  |
    | CONNECT      | descriptor, socket, address, address_bytes       | 0                                       |
    | RECV         | descriptor, socket, view, length, whole          | bytes received, 0 at the end            |
    | RECV_BYTES   | descriptor, socket, length                       | bytes received, which stand in `data`   |
    | SEND         | descriptor, socket, view, length, whole, ...     | bytes sent                              |
    | SOCKET_CLOSE | descriptor                                       | 0; first ends all that is pending on it |
    | FILE_OPEN    | path, open_flags, mode                           | a descriptor, CLOEXEC                   |
    | FILE_READ    | descriptor, view, offset, buffer_slot            | bytes read, 0 at the end                |
    | FILE_WRITE   | descriptor, view, offset, buffer_slot            | bytes written                           |
    | FILE_SYNC    | descriptor, data_only                            | 0                                       |
    | FILE_CLOSE   | descriptor                                       | 0; first ends all that is pending on it |
    | STREAM_READ  | descriptor, view                                 | bytes read, 0 at the end                |
    | STREAM_WRITE | descriptor, view                                 | bytes written                           |
    | FUTEX_WAIT   | view (the word), futex_value, futex_flags        | 0, also if the word has another value   |
    | FUTEX_WAKE   | view (the word), futex_value, futex_flags        | how many were woken                     |
    | MESSAGE      | message_target, message                          | 0                                       |
    | FILE_STATUS  | path or descriptor, follow_links                 | 0; the status stands in `data`          |
    | FILE_ALLOCATE| descriptor, offset, length, mode                 | 0                                       |
    | FILE_TRUNCATE| descriptor, length                               | 0                                       |
    | RENAME       | path, second_path, mode                          | 0                                       |
    | UNLINK       | path, mode                                       | 0                                       |
    | MAKE_DIRECTORY| path, mode                                      | 0                                       |
    | SPLICE       | descriptor, offset, second_descriptor, ...       | bytes moved, 0 at the end               |
    | RECV_FROM    | descriptor, socket, view                         | bytes received; `data`: see below       |
    | SEND_TO      | descriptor, socket, view, address, ...           | bytes sent                              |
    | RECV_POOL    | descriptor, socket, buffer_group, flags          | bytes in buffer `buffer_index`, 0: none |
    | FILE_CONTENTS| path, view                                       | bytes read from the file's beginning    |

    SEND and SEND_TO also read `message_flags` and `zero_copy`; with MSG_DONTWAIT among the former a backend may report
    -EAGAIN instead of waiting, and the proactor begins it again. SEND_TO has its destination in both `address` and
    `address_bytes`. In RECV, SEND, RECV_FROM and SEND_TO `view` may be a tuple of views, which are filled or sent one
    after the other (scatter, gather); `length` is their sum. RECV_FROM leaves a tuple in `data`: the sender in the
    stdlib's form or None, its address as the kernel wrote it where the former is None, and the message's flags.
    RECV_POOL is for backends whose kernel takes a buffer of a group (open_buffer_group) when bytes have arrived. It
    reports -EAGAIN where the group is empty, and `buffer_index` is -1 where no buffer goes with a report.

    `socket` stands for the file behind a socket's descriptor: another object, another file; its `family` is known.
    Both kinds of close detach the descriptor from its owner when they begin; until a backend closes it, it stays what
    it was.
    FILE_CONTENTS opens, reads and closes; nothing stays open however it ends. It is for regular files.
    FILE_STATUS leaves an os.stat_result or the 256 bytes of a struct statx. `mode` of RENAME and UNLINK are the flags
    of renameat2(2) and unlinkat(2), that of FILE_ALLOCATE those of fallocate(2).
    `deadline` is in seconds on the clock of `time.monotonic()`. `offset` is a byte position; there is no current
    position at this level. STREAM_* are for what has no positions: pipes, eventfds, terminals; a read waits until there
    is something. `backend_state` and `data` belong to the backend between start and final report.

    `expires` is read by backends with `native_deadlines` (rule 11).
    """

    __slots__ = (
        "address",
        "address_bytes",
        "after",
        "backend_state",
        "buffer_group",
        "buffer_index",
        "buffer_slot",
        "data",
        "data_only",
        "deadline",
        "deliveries",
        "descriptor",
        "expires",
        "flags",
        "follow_links",
        "futex_flags",
        "futex_value",
        "identifier",
        "length",
        "message",
        "message_flags",
        "message_target",
        "mode",
        "offset",
        "open_flags",
        "partial_bytes",
        "path",
        "poll_events",
        "second_descriptor",
        "second_offset",
        "second_path",
        "started",
        "view",
        "whole",
        "zero_copy",
    )

    kind: ClassVar[Kind]

    identifier: int  # a counter that is never reused; 0 while the operation is not in flight
    flags: OperationFlags
    descriptor: int
    socket: Any  # what owns the descriptor of a socket; a backend knows its identity and `family`
    address: Any
    address_bytes: bytes
    view: (
        Any  # a memoryview of bytes, or several in a tuple, while in flight, for the kinds that have memory; else None
    )
    length: int
    buffer_slot: int  # where `view` lies in the kernel's table of buffers (register_memory), -1: not there
    buffer_group: int  # of which a buffer is to be taken
    buffer_index: int  # the buffer that was taken, during a report
    whole: bool
    message_flags: int  # MSG_* beside those that the backend sets by itself
    zero_copy: bool  # rule 13
    offset: int
    path: bytes
    second_path: bytes
    second_descriptor: int  # SPLICE moves `length` bytes from `descriptor` to this one
    second_offset: int  # -1 for either: it has no positions
    follow_links: bool
    open_flags: int
    mode: int
    data_only: bool
    deadline: float
    poll_events: PollEvents
    data: Any
    started: bool  # set by the backend when the operation is its own (rule 9)
    after: int  # the identifier of the step before it in a chain that the backend has linked; 0: none
    futex_value: int  # what the word is expected to hold, or how many are to be woken
    futex_flags: int  # FUTEX2_*
    message: int  # 64 bits
    message_target: int  # a Backend.message_handle
    expires: float | None  # when it has to end, on the clock of time.monotonic(); None: never
    partial_bytes: int  # what a transfer had moved when its deadline ended it (rule 11)
    deliveries: int  # reports with MORE that the hook has taken over; the hook's, backends only read it (rule 6)
    backend_state: Any

    def table_place(self) -> TablePlace | None:
        """Where the file behind `descriptor` stands in the kernel's table (register_file); None: not there."""
        return None


CompletionHook = Callable[[OperationFields, int, int], None]
"""`complete(operation, result, flags)`: `result >= 0` or `-errno`; flags are `CompletionFlags`."""


class BackendUnavailable(Exception):
    """This backend cannot be used here; the text says why in words that help, `errno_value` where there is one."""

    def __init__(self, reason: str, errno_value: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errno_value = errno_value


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a backend is created with.

    in_flight: the proactor's operations in flight by identifier; a backend reads it and never changes it.
    concurrent_operations: how many operations are expected at a time; a hint for queue sizes.
    allowed: capabilities outside this mask are not used.
    created_for_another_thread: the thread that creates the backend is not the one that polls it.
    """

    in_flight: Mapping[int, OperationFields]
    concurrent_operations: int = 256
    allowed: Capability = Capability.ALL
    created_for_another_thread: bool = False


class MemoryRegistration:
    """What the kernel knows of a piece of memory: made empty by the owner, filled in by a backend.

    slots: the numbers of the pieces in the kernel's table of buffers; empty where it has none or did not take them, and
    `reason` says why then.
    """

    __slots__ = ("reason", "slots")

    def __init__(self) -> None:
        self.slots: tuple[int, ...] = ()
        self.reason = ""


class BufferGroup:
    """A ring of receive buffers from which the kernel chooses, over memory of the caller.

    identifier: its number among the groups of the backend; operations name it.
    in_kernel: how many buffers are in the ring; who takes one out, for a completion that names it, counts it down.
    """

    __slots__ = ("identifier", "in_kernel")

    def __init__(self, identifier: int) -> None:
        self.identifier = identifier
        self.in_kernel = 0


class Backend(ABC):
    """One kernel interface. `Backend(complete, options)` raises BackendUnavailable where it cannot run."""

    #: The name by which it is chosen and shown.
    name: ClassVar[str]
    #: One line about what exactly is running, for reports ("compiled helper, DEFER_TASKRUN").
    variant: str
    #: The kinds that `start()` takes. The proactor does the others itself.
    native_kinds: frozenset[Kind]
    #: Where a MESSAGE of another backend of the same kind is to be sent; None: messages come through the proactor only.
    message_handle: int | None = None
    #: What such messages left, in order, for `decode_message()`. The proactor takes them from here after each poll.
    messages: deque[Any]
    #: Whether it keeps `expires` by itself (rule 11).
    native_deadlines: bool = False
    #: The kinds whose MULTISHOT form `start()` takes. The proactor repeats the others itself.
    native_multishot: frozenset[Kind]
    #: Each of the eleven capabilities, with the mask of the options already applied.
    capabilities: Mapping[Capability, CapabilityReport]

    @abstractmethod
    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None: ...

    @abstractmethod
    def start(self, operation: OperationFields) -> None:
        """Begin one operation."""

    @abstractmethod
    def linkable(self, operations: Sequence[OperationFields]) -> int:
        """The length of the longest prefix of a chain that `start_chain()` takes, 0 or at least 2 (rule 7)."""

    def link_obstacle(self, operation: OperationFields) -> str:
        """Why `linkable()` takes nothing behind this operation, in words; "" if it does."""
        return f"{self.name} links nothing"

    @abstractmethod
    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        """Begin operations of which `linkable()` said that they can be linked, or one that has `expires` (rule 11)."""

    @abstractmethod
    def cancel(self, operation: OperationFields) -> None:
        """Ask for an operation in flight to end (rule 4)."""

    @abstractmethod
    def forget(self, descriptor: int) -> None:
        """The owner is about to close this descriptor itself; nothing is pending on it."""

    @abstractmethod
    def poll(self, timeout: float | None) -> None:
        """Begin what was started, wait at most `timeout` seconds (None: for ever, 0: not at all), report.

        Returns early when anything was reported, when `wake()` was called, and when a signal arrived.
        """

    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether `poll(0)` can be left out in this turn; found out without a system call. False is always right.

        True: nothing of ours waits to be begun or reported, and the kernel has nothing for us, or where only a system
        call can tell, it was asked a moment ago (less than 0.1 ms).
        """

    @abstractmethod
    def wake(self) -> None:
        """End a `poll()` that waits, or the next one at once. Any thread; signal-safe; several count as one."""

    @abstractmethod
    def wakeup_descriptor(self) -> int:
        """The descriptor for `signal.set_wakeup_fd`: a byte written there wakes `poll()`."""

    @abstractmethod
    def enable(self) -> None:
        """Called once by the thread that is going to poll, before its first `poll()`."""

    @abstractmethod
    def close(self) -> None:
        """Free everything. Nothing is in flight any more."""

    @abstractmethod
    def abandon(self) -> None:
        """In a forked child: close inherited descriptors, touch nothing that is shared with the parent."""

    def open_wait_handle(self) -> int:
        """The descriptor for a loop that is not ours (rule 14); the same one each time, open until `close()`.

        Raises BackendUnavailable where such a loop cannot wait for this backend. Owner thread, after `enable()`.
        """
        raise BackendUnavailable(f"no other loop can wait for the backend {self.name}: it has no handle for that")

    def prepare_wait(self) -> float | None:
        """How many seconds a loop that is not ours may wait for the descriptor; 0: not at all, None: for ever."""
        raise AssertionError(f"{self.name} has no handle to wait for")

    def decode_message(self, entry: Any) -> int:
        """The 64 bits of one entry of `messages`; for backends with a `message_handle`."""
        raise AssertionError(f"{self.name} has no messages of its own, so there is no {entry!r} to decode")

    @abstractmethod
    def statistics(self) -> Mapping[str, int]:
        """Counters of this backend by name (system calls, operations, completions, ...)."""

    # Memory: what stands here is for backends whose kernel keeps no tables of it. Owner thread. -------------------

    #: The most bytes that can be registered in one piece.
    largest_memory_piece: ClassVar[int] = sys.maxsize

    def register_memory(self, registration: MemoryRegistration, pieces: Sequence[memoryview]) -> None:
        """Put memory into the kernel's table, where it stays pinned until `unregister_memory()`; each piece one slot.

        Never fails for want of a table, of places in it or of lockable memory: `registration.reason` says it.
        """
        registration.reason = f"{self.name}: the kernel has no table of buffers; plain memory is used"

    def unregister_memory(self, registration: MemoryRegistration) -> None:
        """Take memory out of the table; nothing that uses its slots is in flight. May be done again."""
        return

    def register_file(self, place: TablePlace, descriptor: int) -> None:
        """Put the file behind a descriptor into the kernel's table, for operations with that `table_place()`.

        Never fails for want of a table or of places in it: `place.reason` says it. A backend that has put it there
        takes it out when it begins a close of its descriptor.
        """
        place.reason = f"{self.name}: the kernel has no table of files; the descriptor is used"

    def unregister_file(self, place: TablePlace) -> None:
        """Take a file out of the table; nothing is going to look it up. May be done again."""
        return

    def open_buffer_group(self, memory: memoryview, buffer_bytes: int, free: list[int]) -> BufferGroup | None:
        """A ring of all buffers in `memory`; None where the kernel has no such rings.

        free: the indices of free buffers. Any thread appends to it; the backend shows them to the kernel, and takes
        them out of the list, before it enters the kernel the next time. Raises OSError if the kernel refuses.
        """
        return None

    def close_buffer_group(self, group: BufferGroup) -> None:
        """Take the ring from the kernel; no receive from it is in flight. May be done again."""
        return
