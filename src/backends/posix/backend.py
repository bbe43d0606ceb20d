"""Readiness made into completions: the backend for every system without a completion queue of its own.

A walk: `start()` puts an operation into `_started`, no more. `poll()` begins those: it makes the call at once where the
descriptor's record says that it may succeed, else queues the operation on the record (descriptors.py, and event_set.py
for the reasoning about readiness). Then it waits, makes the calls for what became ready, and reports. A call that
gave a result puts a report into `_reports`; the hook gets them from there, at the end of `poll()`, in that order.

Files have no readiness; they go to threads (workers.py). A small read is first tried in place, refusing to wait
(RWF_NOWAIT): what lies in the page cache costs one call and no thread.

How an exception loses nothing
==============================

A signal handler may raise between any two bytecodes of `poll()`, `cancel()` and the hook. Four habits make that
harmless:

1. A report stays at the head of `_reports` while the hook runs and is removed afterwards. Before the hook is called, the
   operation is looked up in `in_flight`: the report of an operation that is no longer there was delivered already. So
   a report may exist twice in `_reports`; the second is dropped. A report with MORE leaves its operation in flight;
   for these `_delivering` notes how many deliveries the hook had taken over before.
2. `_attempting` names the operation that is just being moved. If `poll()` or `cancel()` finds it set, then the last
   one was interrupted, and `_recover()` puts that operation right: it has a report and waits nowhere, or it waits and its
   flags are set so that it is tried again, or it is begun anew. All steps may be done twice.
3. The result of a call is stored in the same step in which the call is made: `(self._outcome,) = map(call, arguments)`.
   CPython runs signal handlers after calls, at backward jumps and at function entry. The call is made here inside the
   unpacking, which is none of these, and a store follows. So received bytes and accepted connections are always kept.
4. Lists of events are handled in place and removed afterwards; to handle one twice does no harm.

Some decisions
==============

* The kernel is not asked for events in each `poll()`. If the operations just begun gave reports, these are delivered
  first, but never twice in a row without looking. In a server that answers what it received, every second poll then
  costs no system call.
* One poll takes at most `ACCEPTS_AT_A_TIME` connections from a listener, and makes at most `CALLS_AT_A_TIME` calls
  for a transfer that is to be completed; then it is the others' turn.
* A descriptor is closed by the close operation that the proactor passes through here. What is pending on it ends first.
  The socket object was detached by then, so a call on it fails with EBADF, and that means "closed" as well.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import call
from typing import Any, Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    BackendUnavailable,
    Capability,
    CompletionFlags,
    CompletionHook,
    Kind,
    OperationFields,
    OperationFlags,
    PollEvents,
)
from proactor_trio.backends.posix.capabilities import posix_capabilities
from proactor_trio.backends.posix.descriptors import Descriptor
from proactor_trio.backends.posix.event_set import (
    ERR,
    HUP,
    IN,
    NVAL,
    OUT,
    PRI,
    READ_READY,
    SHORT_READ_PROVES_NOTHING,
    WRITE_READY,
    EventSet,
    PollSet,
    look,
)
from proactor_trio.backends.posix.workers import Job, WorkerPool

ACCEPTS_AT_A_TIME: Final = 16
CALLS_AT_A_TIME: Final = 16
READ_IN_PLACE_BYTES: Final = 64 * 1024

_MORE: Final = int(CompletionFlags.MORE)
_MULTISHOT: Final = int(OperationFlags.MULTISHOT)
_NO_SIGNAL: Final = (getattr(socket, "MSG_NOSIGNAL", 0),)
_SO_ERROR: Final = ((socket.SOL_SOCKET,), (socket.SO_ERROR,))
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_NOTHING: Final = object()
_RECV: Final = Kind.RECV
_RECV_BYTES: Final = Kind.RECV_BYTES
_CONNECTING: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_TRANSFERS: Final = (Kind.RECV, Kind.SEND)  # `backend_state` counts what was moved
_ON_SOCKETS: Final = (Kind.ACCEPT, Kind.CONNECT, Kind.RECV, Kind.RECV_BYTES, Kind.SEND)

#: (operation, its identifier, what the call returned or -errno, completion flags)
Report = tuple[OperationFields, int, Any, int]


class PosixBackend(Backend):
    """All but the event set, which the two classes at the end choose."""

    native_kinds = frozenset(Kind) - {Kind.TIMER}

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self._complete = complete
        self._in_flight = options.in_flight
        self.capabilities = posix_capabilities(options.allowed)
        self.native_multishot = frozenset({Kind.ACCEPT} if Capability.MULTISHOT in options.allowed else ())
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._wake_descriptor = self._wake_reader.fileno()
        self._woken = False
        try:
            self._events = self._create_event_set(self._wake_descriptor)
        except OSError as error:
            self._wake_reader.close()
            self._wake_writer.close()
            raise BackendUnavailable(f"{self.name} cannot be set up: {error}", error.errno) from error
        self._level_triggered = self._events.level_triggered
        self._read_interest = self._events.read_interest
        self._write_interest = self._events.write_interest
        self._ready = self._events.ready
        self._records: dict[int, Descriptor] = {}
        self._started: deque[OperationFields] = deque()
        self._go_on: deque[Descriptor] = deque()  # not waiting for the kernel, only for their turn
        self._reports: deque[Report] = deque()
        self._delivering: tuple[Report, int] | None = None
        self._attempting: OperationFields | None = None
        self._outcome: Any = _NOTHING
        self._looked = True  # the last poll asked the kernel
        self._workers = WorkerPool(self.wake, f"proactor_trio {self.name}")
        self._file_jobs: dict[int, list[Job]] = {}  # by descriptor: jobs that are queued or running
        self._file_closes: dict[int, OperationFields] = {}  # closes that wait for such jobs
        self._not_in_place: set[int] = set()  # descriptors that refused RWF_NOWAIT
        self._system_waits = 0
        self._attempts = 0
        self._completions = 0
        #: How each kind is begun, by its number.
        self._begin: list[Callable[[Any], None]] = [self._refuse] * len(Kind)
        for kind, begin in (
            (Kind.NOP, self._begin_nop),
            (Kind.HANDLE_POLL, self._begin_handle_poll),
            (Kind.ACCEPT, self._begin_read),
            (Kind.CONNECT, self._begin_write),
            (Kind.RECV, self._begin_read),
            (Kind.RECV_BYTES, self._begin_read),
            (Kind.SEND, self._begin_write),
            (Kind.SOCKET_CLOSE, self._begin_socket_close),
            (Kind.FILE_OPEN, self._begin_file),
            (Kind.FILE_READ, self._begin_file_read if _NOWAIT else self._begin_file),
            (Kind.FILE_WRITE, self._begin_file),
            (Kind.FILE_SYNC, self._begin_file),
            (Kind.FILE_CLOSE, self._begin_file_close),
        ):
            self._begin[kind] = begin

    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        raise NotImplementedError

    # What the proactor calls.

    def start(self, operation: OperationFields) -> None:
        operation.backend_state = None
        self._started.append(operation)

    def start_chain(self, operations: Sequence[OperationFields]) -> int:
        return 0

    def cancel(self, operation: OperationFields) -> None:
        if self._attempting is not None:
            self._recover()
        if operation.kind in (Kind.SOCKET_CLOSE, Kind.FILE_CLOSE):
            return  # the descriptor is no longer its owner's; the close is going to happen
        self._attempting = operation
        record = self._records.get(operation.descriptor)
        if operation in self._started:
            self._end(operation, -errno.ECANCELED)
            self._started.remove(operation)
        elif isinstance(operation.backend_state, Job):
            self._take_back(operation.backend_state)
        elif record is not None and record.holds(operation):
            self._end(operation, -errno.ECANCELED)
            record.discard(operation)
            self._settle(record)
        self._attempting = None

    def poll(self, timeout: float | None) -> None:
        if self._attempting is not None:
            self._recover()
        if self._ready:
            self._take_events()
        if self._go_on:
            self._take_turns()
        if self._started:
            self._begin_started()
        if self._workers.done:
            self._collect()
        self._attempting = None
        if self._reports:
            if self._looked:
                self._looked = False
                self._deliver()
                return
            timeout = 0
        elif self._go_on:
            timeout = 0
        self._looked = True
        self._system_waits += 1
        self._events.wait(timeout)
        self._take_events()
        if self._workers.done:
            self._collect()
        self._attempting = None
        if self._reports:
            self._deliver()

    def wake(self) -> None:
        # The flag says that a byte is there or about to be. Only the owner clears it, after it took the byte and before
        # anybody looks at what the wake-up was for. An exception in here must not leave a flag without a byte.
        if self._woken:
            return
        try:
            self._woken = True
            self._wake_writer.send(b"\0")
        except OSError:
            pass  # full: then it wakes anyway; closed: then nobody waits
        except BaseException:
            self._woken = False
            raise

    def wakeup_descriptor(self) -> int:
        return self._wake_writer.fileno()

    def enable(self) -> None:
        pass

    def close(self) -> None:
        self._workers.close()
        for _operation, _identifier, result, _flags in self._reports:
            if type(result) is tuple:
                os.close(result[0])  # a connection that nobody took
        self._reports.clear()
        self._started.clear()
        self._records.clear()
        self.abandon()

    def abandon(self) -> None:
        # Nothing is unregistered: the child's descriptors lead to the same kernel objects as the parent's.
        self._events.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def statistics(self) -> Mapping[str, int]:
        return {
            "system_waits": self._system_waits,
            "attempts": self._attempts,
            "completions": self._completions,
        }

    # Delivery.

    def _deliver(self) -> None:
        reports = self._reports
        in_flight = self._in_flight
        complete = self._complete
        delivered = 0
        if self._delivering is not None:
            self._drop_if_delivered()
        try:
            # What a callback adds (by a cancel) waits for the next poll: no callback can keep us here.
            for _ in range(len(reports)):
                if not reports:
                    break
                operation, identifier, result, flags = reports[0]
                if in_flight.get(identifier) is operation:
                    if type(result) is not int:
                        result = self._as_number(operation, result)
                    if flags:
                        self._delivering = (reports[0], operation.deliveries)
                    delivered += 1
                    complete(operation, result, flags)
                reports.popleft()
        finally:
            self._completions += delivered
        self._delivering = None

    def _drop_if_delivered(self) -> None:
        """After an exception in the hook: the report that was being made may have been taken over."""
        assert self._delivering is not None
        report, deliveries = self._delivering
        if self._reports and self._reports[0] is report and report[0].deliveries != deliveries:
            self._reports.popleft()
        self._delivering = None

    def _as_number(self, operation: OperationFields, result: Any) -> int:
        """What a call returned that is no number: received bytes, an accepted connection, None of a close."""
        if type(result) is bytes:
            operation.data = result
            return len(result)
        if type(result) is tuple:
            descriptor: int = result[0]
            os.set_blocking(descriptor, False)
            return descriptor
        return 0

    # Beginning, recovering, taking events.

    def _begin_started(self) -> None:
        started = self._started
        begin = self._begin
        while started:
            operation = started[0]
            self._attempting = operation
            started.popleft()
            begin[operation.kind](operation)

    def _take_turns(self) -> None:
        for _ in range(len(self._go_on)):
            record = self._go_on[0]
            self._attempt(record)
            self._go_on.popleft()

    def _take_events(self) -> None:
        ready = self._ready
        records = self._records
        level_triggered = self._level_triggered
        while ready:
            for descriptor, mask in ready[0]:
                record = records.get(descriptor)
                if record is None:
                    self._take_other_event(descriptor)
                    continue
                if mask & READ_READY:
                    record.readable = True
                    if mask & SHORT_READ_PROVES_NOTHING:
                        record.short_read_empties = level_triggered and record.short_read_empties
                    if record.reads:
                        self._attempt_reads(record)
                if mask & WRITE_READY:
                    record.writable = True
                    if record.writes:
                        self._attempt_writes(record)
                if record.polls:
                    self._attempt_polls(record)
                if level_triggered:
                    self._settle(record)
            ready.popleft()

    def _take_other_event(self, descriptor: int) -> None:
        if descriptor == self._wake_descriptor:
            try:
                self._wake_reader.recv(4096)
            except BlockingIOError:
                pass
            self._woken = False
        else:
            self._events.forget(descriptor)  # left behind by a descriptor that was closed behind our back

    def _recover(self) -> None:
        """Put right the operation that was being moved when an exception ended a poll() or a cancel()."""
        operation = self._attempting
        assert operation is not None
        reports = self._reports
        identifier = operation.identifier
        outcome = self._outcome
        if outcome is not _NOTHING:
            if not any(report[0] is operation and report[2] is outcome for report in reports):
                reports.append((operation, identifier, outcome, _MORE if _goes_on(operation) else 0))
            self._outcome = _NOTHING
        ended = any(report[0] is operation and report[1] == identifier and not report[3] for report in reports)
        record = self._records.get(operation.descriptor)
        if ended:
            if record is not None:
                record.discard(operation)
            if operation in self._started:
                self._started.remove(operation)
            if isinstance(operation.backend_state, Job):
                self._forget_job(operation.backend_state)
        elif record is not None and record.holds(operation):
            # It may be registered or not, and a flag may have been cleared or not: forget both and try.
            record.readable = record.writable = True
            record.interest = 0
        elif operation not in self._started:
            self._started.appendleft(operation)
        if record is not None:
            self._go_on.append(record)
        for descriptor in list(self._file_closes):
            self._advance_file_close(descriptor)
        self._attempting = None

    # Operations on sockets.

    def _begin_nop(self, operation: OperationFields) -> None:
        self._end(operation, 0)

    def _refuse(self, operation: OperationFields) -> None:
        self._end(operation, -errno.EOPNOTSUPP)

    def _begin_read(self, operation: OperationFields) -> None:
        record = self._records.get(operation.descriptor)
        if record is None or record.socket is None or record.socket() is not operation.stdlib_socket:
            record = self._record_for(operation)
        record.reads.append(operation)
        if len(record.reads) == 1:
            self._attempt_reads(record)

    def _begin_write(self, operation: OperationFields) -> None:
        record = self._records.get(operation.descriptor)
        if record is None or record.socket is None or record.socket() is not operation.stdlib_socket:
            record = self._record_for(operation)
        record.writes.append(operation)
        if len(record.writes) == 1:
            self._attempt_writes(record)

    def _record_for(self, operation: OperationFields) -> Descriptor:
        """The record for a socket operation where the quick look found none, or one of another socket object."""
        record = self._records.get(operation.descriptor)
        if record is not None and record.is_stale():
            self._drop(record, -errno.EBADF)
            record = None
        if record is None:
            record = Descriptor(operation.descriptor)
            self._records[operation.descriptor] = record
        if record.socket is None:
            # New, or made by HANDLE_POLL for a number that may mean something else by now: register anew.
            record.belongs_to(operation.stdlib_socket)
            record.readable = record.writable = True
            record.interest = 0
        return record

    def _attempt_reads(self, record: Descriptor) -> None:
        reads = record.reads
        reports = self._reports
        while reads:
            operation = reads[0]
            self._attempting = operation
            if not record.readable:
                if not record.interest & IN and not self._watch(record, self._read_interest, operation):
                    del reads[0]
                    continue
                return
            self._attempts += 1
            emptied = False
            try:
                kind = operation.kind
                if kind is _RECV and not operation.whole:
                    view = operation.view
                    (self._outcome,) = map(operation.stdlib_socket.recv_into, (view,))
                    emptied = self._outcome < view.nbytes
                elif kind is _RECV_BYTES:
                    length = operation.length
                    (self._outcome,) = map(operation.stdlib_socket.recv, (length,))
                    emptied = len(self._outcome) < length
                elif not (self._accept(record, operation) if kind is Kind.ACCEPT else self._receive_whole(operation)):
                    self._go_on.append(record)
                    return
            except BlockingIOError:
                if not self._watch(record, self._read_interest, operation):
                    del reads[0]
                record.readable = False
                continue
            except (OSError, ValueError, TypeError, OverflowError) as error:
                self._outcome = self._failure(operation, error)
            reports.append((operation, operation.identifier, self._outcome, 0))
            self._outcome = _NOTHING
            del reads[0]
            if emptied and record.short_read_empties:
                record.readable = False

    def _attempt_writes(self, record: Descriptor) -> None:
        writes = record.writes
        reports = self._reports
        while writes:
            operation = writes[0]
            self._attempting = operation
            if not record.writable:
                if not record.interest & OUT and not self._watch(record, self._write_interest, operation):
                    del writes[0]
                    continue
                return
            self._attempts += 1
            try:
                if operation.kind is Kind.CONNECT:
                    self._connect(operation)
                elif not operation.whole:
                    (self._outcome,) = map(operation.stdlib_socket.send, (operation.view,), _NO_SIGNAL)
                elif not self._send_whole(operation):
                    self._go_on.append(record)
                    return
            except BlockingIOError:
                if not self._watch(record, self._write_interest, operation):
                    del writes[0]
                record.writable = False
                continue
            except (OSError, ValueError, TypeError, OverflowError) as error:
                self._outcome = self._failure(operation, error)
            reports.append((operation, operation.identifier, self._outcome, 0))
            self._outcome = _NOTHING
            del writes[0]

    def _accept(self, record: Descriptor, operation: OperationFields) -> bool:
        """Take a connection, or several. False: the operation goes on when it is its turn again."""
        accept = operation.stdlib_socket._accept  # type: ignore[attr-defined]
        try:
            if not _goes_on(operation):
                (self._outcome,) = map(call, (accept,))
                return True
            for _ in range(ACCEPTS_AT_A_TIME):
                (self._outcome,) = map(call, (accept,))
                self._reports.append((operation, operation.identifier, self._outcome, _MORE))
                self._outcome = _NOTHING
        except ConnectionAbortedError:
            pass  # that one was gone before it was taken; there may be others
        return False

    def _receive_whole(self, operation: OperationFields) -> bool:
        """Fill the view as far as bytes are there. False: the operation goes on when it is its turn again."""
        view, progress = operation.view, _progress(operation)
        done = sum(progress)
        for _ in range(CALLS_AT_A_TIME):
            if done == view.nbytes:
                break
            progress.extend(map(operation.stdlib_socket.recv_into, (view[done:],)))
            if not progress[-1]:
                break
            done += progress[-1]
        else:
            if done < view.nbytes:
                progress[:] = [done]
                return False
        self._outcome = done
        return True

    def _send_whole(self, operation: OperationFields) -> bool:
        """Send the view as far as there is room. False: the operation goes on when it is its turn again."""
        view, progress = operation.view, _progress(operation)
        done = sum(progress)
        for _ in range(CALLS_AT_A_TIME):
            progress.extend(map(operation.stdlib_socket.send, (view[done:],), _NO_SIGNAL))
            done += progress[-1]
            if done == view.nbytes:
                self._outcome = done
                return True
        progress[:] = [done]
        return False

    def _connect(self, operation: OperationFields) -> None:
        """Begin to connect, or see what came of it. Raises BlockingIOError while it is under way."""
        answers = _progress(operation)  # of connect_ex, then of SO_ERROR, which each error leaves only once
        stdlib_socket = operation.stdlib_socket
        if not answers:
            answers.extend(map(stdlib_socket.connect_ex, (operation.address,)))
            if answers[0] in _CONNECTING:
                raise BlockingIOError
            error = answers[0]
        else:
            answers.extend(map(stdlib_socket.getsockopt, *_SO_ERROR))
            error = next(filter(None, answers[1:]), 0)
            if not error and not _is_connected(stdlib_socket):
                raise BlockingIOError
        if error:
            raise OSError(error, os.strerror(error))
        self._outcome = 0

    def _begin_socket_close(self, operation: OperationFields) -> None:
        record = self._records.get(operation.descriptor)
        if record is not None:
            self._drop(record, -errno.ECANCELED)
        try:
            (self._outcome,) = map(os.close, (operation.descriptor,))
        except InterruptedError:
            self._outcome = 0  # it is closed all the same
        except OSError as error:
            self._outcome = self._failure(operation, error)
        self._reports.append((operation, operation.identifier, self._outcome, 0))
        self._outcome = _NOTHING

    # Readiness as such.

    def _begin_handle_poll(self, operation: OperationFields) -> None:
        if self._look_for(operation):
            return
        descriptor = operation.descriptor
        record = self._records.get(descriptor)
        if record is not None and record.is_stale():
            self._drop(record, -errno.EBADF)
            record = None
        if record is None:
            record = self._records[descriptor] = Descriptor(descriptor)
        record.polls.append(operation)
        if record.socket is None:
            record.interest &= ~_interest(operation)  # the number may mean another file than the one registered
        self._attempt_polls(record)

    def _look_for(self, operation: OperationFields) -> bool:
        """Whether the operation is done: what it waits for holds, or cannot come any more."""
        self._attempts += 1
        mask = look(operation.descriptor, _interest(operation))
        if mask & NVAL:
            self._end(operation, -errno.EBADF)
        elif mask & ~PRI:
            self._end(operation, _poll_events(mask))
        return bool(mask & ~PRI)

    def _attempt_polls(self, record: Descriptor) -> None:
        for operation in list(record.polls):
            self._attempting = operation
            interest = _interest(operation)
            # Watch first, look then: what comes in between is an edge.
            if (
                record.interest & interest != interest and not self._watch(record, interest, operation)
            ) or self._look_for(operation):
                record.polls.remove(operation)
        self._settle(record)

    # Records.

    def _attempt(self, record: Descriptor) -> None:
        if record.reads:
            self._attempt_reads(record)
        if record.writes:
            self._attempt_writes(record)
        if record.polls:
            self._attempt_polls(record)
        self._settle(record)

    def _watch(self, record: Descriptor, interest: int, operation: OperationFields) -> bool:
        """Be interested in more. If the kernel refuses, the operation ends with its reason and the answer is False."""
        wanted = record.interest | interest
        if wanted != record.interest:
            try:
                self._events.watch(record.descriptor, wanted, known=record.interest != 0)
            except OSError as error:
                self._end(operation, self._failure(operation, error))
                return False
            record.interest = wanted
        return True

    def _settle(self, record: Descriptor) -> None:
        """Take off interest that must not stay, and let go of a record that is not needed any more."""
        if self._level_triggered:
            wanted = IN if record.reads else 0
            if record.writes:
                wanted |= OUT
            for operation in record.polls:
                wanted |= _interest(operation)
            if wanted != record.interest:
                if wanted:
                    self._events.watch(record.descriptor, wanted, known=record.interest != 0)
                else:
                    self._events.forget(record.descriptor)
                record.interest = wanted
        if record.socket is None and not record.polls and self._records.get(record.descriptor) is record:
            self._drop(record, -errno.ECANCELED)

    def _drop(self, record: Descriptor, result: int) -> None:
        """End all that waits on a descriptor, each with this result unless it made progress, and forget it."""
        for operation in record.pending():
            self._end(operation, result)
        record.reads.clear()
        record.writes.clear()
        record.polls.clear()
        if record.interest:
            self._events.forget(record.descriptor)
            record.interest = 0
        del self._records[record.descriptor]

    def _end(self, operation: OperationFields, result: int) -> None:
        """Report an operation whose calls, if any, gave no final result."""
        if result < 0 and operation.kind in _TRANSFERS and operation.backend_state:
            result = sum(operation.backend_state)
        self._reports.append((operation, operation.identifier, result, 0))

    def _failure(self, operation: OperationFields, error: Exception) -> int:
        """The result of a call that raised. Raises the error again where it did not come from the call."""
        if self._outcome is not _NOTHING:
            raise error  # the call was made, and kept; this is a signal handler's
        if operation.kind in _TRANSFERS and operation.backend_state:
            progress: int = sum(operation.backend_state)
            return progress
        if not isinstance(error, OSError):
            return -errno.EINVAL
        if error.errno is None:
            raise error  # a signal handler's
        if error.errno == errno.EBADF and operation.kind in _ON_SOCKETS and operation.stdlib_socket.fileno() < 0:
            return -errno.ECANCELED
        return -error.errno

    # Operations on files.

    def _begin_file(self, operation: OperationFields) -> None:
        job = operation.backend_state
        if job is None:
            job = operation.backend_state = Job(operation)
        if operation.kind is not Kind.FILE_OPEN and operation.kind is not Kind.FILE_CLOSE:
            jobs = self._file_jobs.setdefault(operation.descriptor, [])
            if job not in jobs:
                jobs.append(job)
        try:
            self._workers.submit(job)
        except RuntimeError:
            self._take_back(job)  # no thread can be started, and none is there
            self._reports.append((operation, operation.identifier, -errno.EAGAIN, 0))

    def _begin_file_read(self, operation: OperationFields) -> None:
        view, descriptor = operation.view, operation.descriptor
        if view.nbytes <= READ_IN_PLACE_BYTES and descriptor not in self._not_in_place:
            self._attempts += 1
            try:
                (self._outcome,) = map(os.preadv, (descriptor,), ((view,),), (operation.offset,), (_NOWAIT,))
            except BlockingIOError:
                pass  # not in the page cache
            except OSError as error:
                if error.errno is None or self._outcome is not _NOTHING:
                    raise  # a signal handler's
                self._not_in_place.add(descriptor)  # this file system has no such thing; real errors come again
            else:
                if self._outcome == view.nbytes or not self._outcome:
                    self._reports.append((operation, operation.identifier, self._outcome, 0))
                    self._outcome = _NOTHING
                    return
                self._outcome = _NOTHING  # the end of the file, or of what is in the cache: a worker finds out
        self._begin_file(operation)

    def _begin_file_close(self, operation: OperationFields) -> None:
        descriptor = operation.descriptor
        record = self._records.get(descriptor)
        if record is not None:
            self._drop(record, -errno.ECANCELED)
        self._not_in_place.discard(descriptor)
        self._file_closes[descriptor] = operation
        self._advance_file_close(descriptor)

    def _advance_file_close(self, descriptor: int) -> None:
        """Take back what no worker has begun on a file that is to be closed; close it when nothing runs any more."""
        for job in list(self._file_jobs.get(descriptor, ())):
            self._attempting = job.operation
            self._take_back(job)
        operation = self._attempting = self._file_closes[descriptor]
        if descriptor not in self._file_jobs:
            self._begin_file(operation)
            del self._file_closes[descriptor]

    def _take_back(self, job: Job) -> None:
        """Cancel a file operation that no worker has begun."""
        try:
            (self._outcome,) = map(list.pop, (job.claim,))
        except IndexError:
            return  # it runs, and will say what it did
        self._reports.append((job.operation, job.identifier, self._outcome, 0))
        self._outcome = _NOTHING
        self._forget_job(job)

    def _forget_job(self, job: Job) -> None:
        self._workers.collected()
        descriptor = job.operation.descriptor
        jobs = self._file_jobs.get(descriptor)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._file_jobs[descriptor]

    def _collect(self) -> None:
        """Report what workers have done."""
        done = self._workers.done
        while done:
            job = done[0]
            self._reports.append((job.operation, job.identifier, job.result, 0))
            self._forget_job(job)
            if job.operation.descriptor in self._file_closes:
                self._advance_file_close(job.operation.descriptor)
            done.popleft()


class EpollBackend(PosixBackend):
    """Readiness from epoll(7)."""

    name = "epoll"
    variant = "epoll, edge-triggered; files in worker threads"

    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "epoll exists on Linux only")
        from proactor_trio.backends.posix.event_set import EpollSet

        return EpollSet(wake_descriptor)


class PollBackend(PosixBackend):
    """Readiness from poll(2)."""

    name = "poll"
    variant = "poll; files in worker threads"

    def _create_event_set(self, wake_descriptor: int) -> EventSet:
        return PollSet(wake_descriptor)


def _goes_on(operation: OperationFields) -> bool:
    """Whether it stays after a result."""
    return operation.kind is Kind.ACCEPT and bool(int(operation.flags) & _MULTISHOT)


def _progress(operation: OperationFields) -> list[int]:
    """What the calls of this operation have returned so far."""
    progress: list[int] | None = operation.backend_state
    if progress is None:
        progress = operation.backend_state = []
    return progress


def _is_connected(stdlib_socket: socket.socket) -> bool:
    try:
        stdlib_socket.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True


def _interest(operation: OperationFields) -> int:
    """What to watch for HANDLE_POLL. ERR and HUP always come; PRI stands for "nothing else"."""
    asked = int(operation.poll_events)
    return (IN if asked & PollEvents.IN else 0) | (OUT if asked & PollEvents.OUT else 0) or PRI


def _poll_events(mask: int) -> int:
    events = PollEvents.NONE
    if mask & IN:
        events |= PollEvents.IN
    if mask & OUT:
        events |= PollEvents.OUT
    if mask & ERR:
        events |= PollEvents.ERR
    if mask & HUP:
        events |= PollEvents.HUP
    return int(events)
