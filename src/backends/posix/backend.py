"""Readiness made into completions: the backend for every system without a completion queue of its own.

A walk: `start()` puts an operation into `_started`, no more. `poll()` begins those: a call is made at once where the
record of the descriptor says that it may succeed, else the operation waits on the record. Then `poll()` waits for
events, makes the calls for what became ready, and reports.

    sockets.py        what is called when, and the records
    descriptors.py    what is known of one descriptor
    vectors.py        transfers of several buffers, and datagrams
    event_set.py      epoll and poll, and the reasoning about readiness
    files.py          operations on files, and reads in place
    workers.py        the threads for those
    wait_thread.py    a thread that waits for a loop which is not ours, where there is no epoll
    ledger.py         outcomes and reports, and how an exception loses nothing
    capabilities.py   what this backend has and has not

The kernel is not asked for events in each `poll()`: if the operations just begun gave reports, these are delivered
first, but never twice in a row without asking. In a server that answers what it received, every second poll costs no
system call of its own.

A signal whose handler returns does not end a wait by itself (Python goes on waiting); whoever wants that gives
`wakeup_descriptor()` to `signal.set_wakeup_fd`.
"""

from __future__ import annotations

import errno
import sys
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    BackendUnavailable,
    Capability,
    CompletionHook,
    Kind,
    OperationFields,
)
from proactor_trio.backends.doorbell import Doorbell
from proactor_trio.backends.posix.capabilities import posix_capabilities
from proactor_trio.backends.posix.event_set import IN, EventSet, PollSet
from proactor_trio.backends.posix.files import FileOperations
from proactor_trio.backends.posix.ledger import Ledger
from proactor_trio.backends.posix.sockets import DescriptorOperations
from proactor_trio.backends.posix.wait_thread import WaitThread
from proactor_trio.backends.posix.workers import Job, WorkerPool

if sys.platform == "linux":
    from proactor_trio.backends.posix.event_set import EpollSet


#: While tasks are runnable the kernel is asked again after so long.
_ASK_AGAIN_SECONDS: Final = 50e-6


class PosixBackend(Backend):
    """All but the event set, which the two classes at the end choose."""

    native_kinds = frozenset(Kind) - {
        Kind.TIMER,
        Kind.SOFTWARE,
        Kind.FUTEX_WAIT,
        Kind.FUTEX_WAKE,
        Kind.MESSAGE,
        Kind.SPLICE,
        Kind.RECV_POOL,
    }

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self.capabilities = posix_capabilities(options.allowed)
        self.native_multishot = frozenset({Kind.ACCEPT} if Capability.MULTISHOT in options.allowed else ())
        self._doorbell = Doorbell()
        self._wake_descriptor = self._doorbell.reader()
        self.messages: deque[int] = deque()  # no kernel brings any
        try:
            self._events = self._create_event_set(self._wake_descriptor)
        except OSError as error:
            self._doorbell.close()
            raise BackendUnavailable(f"{self.name} cannot be set up: {error.strerror}", error.errno) from error
        self._ready = self._events.ready
        self._started: deque[OperationFields] = deque()
        self._ledger = Ledger(complete, options.in_flight)
        self._reports = self._ledger.reports
        self._sockets = DescriptorOperations(self._ledger, self._events)
        self._turns = self._sockets.turns
        self._files = FileOperations(self._ledger, WorkerPool(self.wake, f"proactor_trio {self.name}"))
        self._done = self._files.workers.done
        self._wait_thread: WaitThread | None = None
        self._asked = True  # the last poll asked the kernel
        self._asked_at = 0.0
        self._system_waits = 0
        #: How each kind is begun, by its number.
        self._begin: list[Callable[[OperationFields], None]] = [self._refuse] * len(Kind)
        for kind, begin in (
            (Kind.NOP, self._begin_nop),
            (Kind.HANDLE_POLL, self._sockets.begin_handle_poll),
            (Kind.ACCEPT, self._sockets.begin_read),
            (Kind.CONNECT, self._sockets.begin_write),
            (Kind.RECV, self._sockets.begin_read),
            (Kind.RECV_BYTES, self._sockets.begin_read),
            (Kind.SEND, self._sockets.begin_write),
            (Kind.RECV_FROM, self._sockets.begin_read),
            (Kind.SEND_TO, self._sockets.begin_write),
            (Kind.STREAM_READ, self._sockets.begin_stream_read),
            (Kind.STREAM_WRITE, self._sockets.begin_stream_write),
            (Kind.SOCKET_CLOSE, self._sockets.begin_socket_close),
            (Kind.FILE_OPEN, self._files.begin),
            (Kind.FILE_READ, self._files.begin_read),
            (Kind.FILE_WRITE, self._files.begin),
            (Kind.FILE_SYNC, self._files.begin),
            (Kind.FILE_CLOSE, self._begin_file_close),
            (Kind.FILE_STATUS, self._files.begin),
            (Kind.FILE_ALLOCATE, self._files.begin),
            (Kind.FILE_TRUNCATE, self._files.begin),
            (Kind.RENAME, self._files.begin),
            (Kind.UNLINK, self._files.begin),
            (Kind.MAKE_DIRECTORY, self._files.begin),
            (Kind.FILE_CONTENTS, self._files.begin_contents),
        ):
            self._begin[kind] = begin

    @abstractmethod
    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        """The event set of this backend, watching its own wake-up descriptor. Raises OSError where it cannot be."""

    def start(self, operation: OperationFields) -> None:
        operation.backend_state = None
        operation.started = True
        self._started.append(operation)

    def linkable(self, operations: Sequence[OperationFields]) -> int:
        return 0

    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        pass  # nothing is linkable here

    def cancel(self, operation: OperationFields) -> None:
        ledger = self._ledger
        if ledger.attempting is not None:
            self._recover()
        if operation.kind is Kind.SOCKET_CLOSE or operation.kind is Kind.FILE_CLOSE:
            return  # the descriptor is its owner's no longer: the close is going to happen
        ledger.attempting = operation
        if isinstance(operation.backend_state, Job):
            self._files.cancel(operation.backend_state)
        elif operation in self._started:
            ledger.end(operation, -errno.ECANCELED)
            self._started.remove(operation)
        else:
            self._sockets.cancel(operation)
        ledger.attempting = None

    def forget(self, descriptor: int) -> None:
        record = self._sockets.records.get(descriptor)
        if record is not None:
            self._sockets.drop(record, -errno.ECANCELED)

    def poll(self, timeout: float | None) -> None:
        if self._ledger.attempting is not None:
            self._recover()
        sockets = self._sockets
        turns = len(self._turns)
        # Closes first: what was interrupted on a closed descriptor must not be tried again.
        if self._started:
            self._begin_started()
        if self._ready:
            self._take_events()
        if turns:
            sockets.take_turns(turns)
        if self._done:
            self._files.collect()
        self._ledger.attempting = None
        if self._reports:
            if self._asked:
                self._asked = False
                self._ledger.deliver()
                return
            timeout = 0
        elif self._turns:
            timeout = 0
        elif sockets.later:
            longest = sockets.take_later()
            timeout = longest if timeout is None else min(timeout, longest)
        self._asked = True
        self._system_waits += 1
        self._events.wait(timeout)
        self._asked_at = monotonic()
        self._take_events()
        if self._done:
            self._files.collect()
        self._ledger.attempting = None
        if self._reports:
            self._ledger.deliver()

    def is_quiet(self) -> bool:
        # Only the kernel knows what is ready, but a loop that runs tasks all the time need not ask it in each turn.
        return monotonic() - self._asked_at < _ASK_AGAIN_SECONDS and not (
            self._started
            or self._reports
            or self._ready
            or self._turns
            or self._done
            or self._doorbell.is_ringing
            or self._sockets.later
            or self._ledger.attempting
        )

    def open_wait_handle(self) -> int:
        handle = self._events.handle()
        if handle is not None:
            return handle
        if self._wait_thread is None:
            self._wait_thread = WaitThread(f"proactor_trio {self.name}")
        return self._wait_thread.descriptor

    def prepare_wait(self) -> float | None:
        helper = self._wait_thread
        if helper is not None:
            helper.take_report()
        due = bool(
            self._started
            or self._reports
            or self._ready
            or self._turns
            or self._done
            or self._ledger.attempting is not None
        )
        # Also where nothing is waited for now: a file that was closed must be let go before its number is another's.
        if helper is not None and (helper.is_waiting or not due):
            helper.watch(self._sockets.watched() | {self._wake_descriptor: IN})
        return 0 if due else self._sockets.until_later()

    def wake(self) -> None:
        self._doorbell.ring()

    def wakeup_descriptor(self) -> int:
        return self._doorbell.writer()

    def enable(self) -> None:
        pass

    def close(self) -> None:
        self._files.workers.close()
        if self._wait_thread is not None:
            self._wait_thread.end()
        self._ledger.close()
        self._started.clear()
        self._sockets.records.clear()
        self.abandon()

    def abandon(self) -> None:
        # Nothing is unregistered: a child's descriptors lead to the same kernel objects as its parent's.
        self._events.close()
        if self._wait_thread is not None:
            self._wait_thread.close()
        self._doorbell.close()

    def statistics(self) -> Mapping[str, int]:
        return {
            "system_waits": self._system_waits,
            "attempts": self._ledger.attempts,
            "completions": self._ledger.completions,
        }

    def _begin_started(self) -> None:
        ledger = self._ledger
        started = self._started
        begin = self._begin
        while started:
            operation = started[0]
            ledger.attempting = operation
            started.popleft()
            begin[operation.kind](operation)

    def _begin_nop(self, operation: OperationFields) -> None:
        self._ledger.end(operation, 0)

    def _refuse(self, operation: OperationFields) -> None:
        self._ledger.end(operation, -errno.EOPNOTSUPP)

    def _begin_file_close(self, operation: OperationFields) -> None:
        record = self._sockets.records.get(operation.descriptor)
        if record is not None:
            self._sockets.drop(record, -errno.ECANCELED)
        self._files.begin_close(operation)

    def _take_events(self) -> None:
        ready = self._ready
        while ready:
            for descriptor in self._sockets.take_events(ready[0]):
                if descriptor == self._wake_descriptor:
                    self._doorbell.answer()
                else:
                    self._events.forget(descriptor)  # left behind by one that was closed behind our back
            ready.popleft()

    def _recover(self) -> None:
        """Put right the operation that was being moved when an exception ended a poll() or a cancel()."""
        ledger = self._ledger
        operation = ledger.attempting
        assert operation is not None
        ended = ledger.save_outcome(operation)
        waits = self._sockets.recover(operation, ended)
        if ended:
            if operation in self._started:
                self._started.remove(operation)
            if isinstance(operation.backend_state, Job):
                self._files.forget(operation.backend_state)
        elif not waits and operation not in self._started:
            self._started.appendleft(operation)
        self._files.recover()
        ledger.attempting = None


class EpollBackend(PosixBackend):
    """Readiness from epoll(7)."""

    name = "epoll"
    variant = "epoll, edge-triggered; files in worker threads"

    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "epoll exists on Linux only")
        return EpollSet(wake_descriptor)


class PollBackend(PosixBackend):
    """Readiness from poll(2)."""

    name = "poll"
    variant = "poll; files in worker threads"

    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        return PollSet(wake_descriptor)
