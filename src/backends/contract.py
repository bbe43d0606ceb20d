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
   still in `in_flight` (for a report with MORE: while `operation.deliveries` has not grown) its report has not been
   delivered and is made again by the next `poll()`; all later ones follow then. The same holds for an exception (a
   signal handler that raises) anywhere else in `poll()`.
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
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import Any, ClassVar


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


class OperationFlags(IntFlag):
    """How an operation behaves.

    MULTISHOT: it is delivered many times, each time but the last with `CompletionFlags.MORE`.
    LINKED: the next operation of the same submission starts only after this one succeeded.
    """

    NONE = 0
    MULTISHOT = 1
    LINKED = 2


class CompletionFlags(IntFlag):
    """What a completion says beside its result. MORE: this one is not the last of its operation."""

    NONE = 0
    MORE = 1


class PollEvents(IntFlag):
    """Readiness in the portable form that HANDLE_POLL asks for and reports."""

    NONE = 0
    IN = 1
    ERR = 2
    HUP = 4
    OUT = 8


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


class OperationFields:
    """What a backend may know of an operation: its kind and the fields of that kind.

    | kind         | reads                                            | result                                  |
    |--------------|--------------------------------------------------|-----------------------------------------|
    | NOP          |                                                  | 0                                       |
    | TIMER        | deadline                                         | 0                                       |
    | HANDLE_POLL  | descriptor, poll_events                          | PollEvents                              |
    | ACCEPT       | descriptor, socket, flags                        | a descriptor, CLOEXEC and non-blocking  |
    | CONNECT      | descriptor, socket, address, address_bytes       | 0                                       |
    | RECV         | descriptor, socket, view, whole                  | bytes received, 0 at the end            |
    | RECV_BYTES   | descriptor, socket, length                       | bytes received, which stand in `data`   |
    | SEND         | descriptor, socket, view, whole                  | bytes sent                              |
    | SOCKET_CLOSE | descriptor                                       | 0; first ends all that is pending on it |
    | FILE_OPEN    | path, open_flags, mode                           | a descriptor, CLOEXEC                   |
    | FILE_READ    | descriptor, view, offset                         | bytes read, 0 at the end                |
    | FILE_WRITE   | descriptor, view, offset                         | bytes written                           |
    | FILE_SYNC    | descriptor, data_only                            | 0                                       |
    | FILE_CLOSE   | descriptor                                       | 0; first ends all that is pending on it |
    | STREAM_READ  | descriptor, view                                 | bytes read, 0 at the end                |
    | STREAM_WRITE | descriptor, view                                 | bytes written                           |

    `socket` stands for the file behind a socket's descriptor: another object, another file. Both kinds of close detach
    the descriptor from its owner when they begin; until a backend closes it, it stays what it was.
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
        "data",
        "data_only",
        "deadline",
        "deliveries",
        "descriptor",
        "expires",
        "flags",
        "identifier",
        "length",
        "mode",
        "offset",
        "open_flags",
        "partial_bytes",
        "path",
        "poll_events",
        "started",
        "view",
        "whole",
    )

    kind: ClassVar[Kind]

    identifier: int  # a counter that is never reused; 0 while the operation is not in flight
    flags: OperationFlags
    descriptor: int
    socket: Any  # what owns the descriptor of a socket; to a backend only its identity means something
    address: Any
    address_bytes: bytes
    view: Any  # a memoryview of bytes while in flight, for the kinds that have memory; else None
    length: int
    whole: bool
    offset: int
    path: bytes
    open_flags: int
    mode: int
    data_only: bool
    deadline: float
    poll_events: PollEvents
    data: Any
    started: bool  # set by the backend when the operation is its own (rule 9)
    after: int  # the identifier of the step before it in a chain that the backend has linked; 0: none
    expires: float | None  # when it has to end, on the clock of time.monotonic(); None: never
    partial_bytes: int  # what a transfer had moved when its deadline ended it (rule 11)
    deliveries: int  # reports with MORE that the hook has taken over; the hook's, backends only read it (rule 6)
    backend_state: Any


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


class Backend(ABC):
    """One kernel interface. `Backend(complete, options)` raises BackendUnavailable where it cannot run."""

    #: The name by which it is chosen and shown.
    name: ClassVar[str]
    #: One line about what exactly is running, for reports ("compiled helper, DEFER_TASKRUN").
    variant: str
    #: The kinds that `start()` takes. The proactor does the others itself.
    native_kinds: frozenset[Kind]
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

    @abstractmethod
    def statistics(self) -> Mapping[str, int]:
        """Counters of this backend by name (system calls, operations, completions, ...)."""
