"""Operations on sockets, and readiness as such: begun at once where a call may succeed, else when a report says so.

The reasoning about readiness stands in event_set.py, that about interruptions in ledger.py; what a descriptor's record
is in descriptors.py.

* A listener with MULTISHOT gives at most `ACCEPTS_AT_A_TIME` connections, and a transfer that is to be completed makes
  at most `CALLS_AT_A_TIME` calls; then it is the others' turn, and theirs again in the next poll.
* A connection to a Unix listener whose queue is full, and a datagram to an address of a Unix socket whose queue is full
  (MSG_DONTWAIT), are tried again by the clock, at most every 50 ms: the kernel has no event for either. Nothing else
  here ever wakes up without cause.
* A descriptor is closed by the close operation that the proactor passes through here. What is pending on it ends first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import time
from collections import deque
from operator import call
from typing import Final

from proactor_trio.backends.contract import POLL_EVENTS, Kind, OperationFields, PollEvents
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
    look,
)
from proactor_trio.backends.posix.ledger import MORE, NOTHING, Ledger, goes_on, progress_of
from proactor_trio.backends.posix.vectors import (
    NO_SIGNAL,
    receive_datagram,
    receive_pieces,
    rest_of,
    send_datagram,
    send_pieces,
)

ACCEPTS_AT_A_TIME: Final = 16
CALLS_AT_A_TIME: Final = 16
LONGEST_PATIENCE_SECONDS: Final = 0.05

_RECV: Final = Kind.RECV
_RECV_BYTES: Final = Kind.RECV_BYTES
_SEND: Final = Kind.SEND
_DO_NOT_WAIT: Final = int(getattr(socket, "MSG_DONTWAIT", 0))
_SO_ERROR: Final = ((socket.SOL_SOCKET,), (socket.SO_ERROR,))
_CONNECTING: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_CONNECTED: Final = (0, errno.EISCONN)


class DescriptorOperations:
    """The records of all descriptors, and what waits on them."""

    __slots__ = (
        "_events",
        "_ledger",
        "_level_triggered",
        "_read_interest",
        "_write_interest",
        "later",
        "records",
        "turns",
    )

    def __init__(self, ledger: Ledger, events: EventSet) -> None:
        self._ledger = ledger
        self._events = events
        self._level_triggered = events.level_triggered
        self._read_interest = events.read_interest
        self._write_interest = events.write_interest
        self.records: dict[int, Descriptor] = {}
        self.later: list[tuple[float, Descriptor]] = []  # what is tried again at a time, for want of any report
        self.turns: deque[Descriptor] = deque()  # records that wait for no report, only for their turn

    def take_events(self, events: list[tuple[int, int]]) -> list[int]:
        """Set flags, and try what waited for them. Returns the descriptors that are not known here."""
        unknown = []
        for descriptor, mask in events:
            record = self.records.get(descriptor)
            if record is None:
                unknown.append(descriptor)
                continue
            if self._level_triggered and not record.is_same_file():
                self.drop(record, -errno.EBADF)  # poll(2) knows numbers only
                continue
            if mask & READ_READY:
                record.readable = True
                if mask & SHORT_READ_PROVES_NOTHING and not self._level_triggered:
                    record.short_read_empties = False
                if record.reads and not record.waits_for_turn:
                    self._attempt_reads(record)
            if mask & WRITE_READY:
                record.writable = True
                if record.writes and not record.waits_for_turn:
                    self._attempt_writes(record)
            if record.polls:
                self._attempt_polls(record)
            if self._level_triggered or record.calls is None:
                self._settle(record)
        return unknown

    def take_turns(self, count: int) -> None:
        """Go on with the first so many; what they put back waits for the next poll."""
        for _ in range(count):
            record = self.turns[0]
            record.waits_for_turn = False
            self._attempt(record)
            self.turns.popleft()

    def cancel(self, operation: OperationFields) -> bool:
        """End an operation that waits on a descriptor; False if it does not."""
        record = self.records.get(operation.descriptor)
        if record is None or not record.holds(operation):
            return False
        self._ledger.end(operation, -errno.ECANCELED)
        record.discard(operation)
        self._settle(record)
        return True

    def recover(self, operation: OperationFields, ended: bool) -> bool:
        """Put right an operation whose handling was interrupted. False: it is not here."""
        record = self.records.get(operation.descriptor)
        if record is None:
            return False
        self._wait_for_turn(record)
        if ended:
            record.discard(operation)
        elif record.holds(operation):
            # The descriptor may be registered or not, and a flag may be cleared or not: forget both, and try.
            record.readable = record.writable = True
            record.interest = 0
            return True
        return False

    def begin_read(self, operation: OperationFields) -> None:
        record = self.records.get(operation.descriptor)
        if record is None or record.owner() is not operation.socket:
            record = self._record_for(operation)
            if record is None:
                return
        record.reads.append(operation)
        if len(record.reads) == 1:
            self._attempt_reads(record)

    def begin_write(self, operation: OperationFields) -> None:
        record = self.records.get(operation.descriptor)
        if record is None or record.owner() is not operation.socket:
            record = self._record_for(operation)
            if record is None:
                return
        record.writes.append(operation)
        if len(record.writes) == 1:
            self._attempt_writes(record)

    def _record_for(self, operation: OperationFields) -> Descriptor | None:
        """The record for a socket operation where the quick look found none, or that of another owner.

        None: the descriptor is no socket, and the operation has its report.
        """
        record = self.records.get(operation.descriptor)
        if record is not None and not record.is_same_file():
            self.drop(record, -errno.EBADF)
            record = None
        if record is None:
            # Known before it holds anything, so that an interruption leaves nothing behind that nobody would let go.
            record = self.records[operation.descriptor] = Descriptor(operation.descriptor)
        try:
            record.belongs_to(operation.socket)
        except OSError as error:
            self._ledger.end(operation, self._ledger.failure(operation, error))
            self._settle(record)
            return None
        return record

    def _attempt_reads(self, record: Descriptor) -> None:
        ledger = self._ledger
        reads = record.reads
        reports = ledger.reports
        while reads:
            operation = reads[0]
            ledger.attempting = operation
            if not record.readable:
                if not record.interest & IN and not self._watch(record, self._read_interest, operation):
                    del reads[0]
                    continue
                return
            ledger.attempts += 1
            emptied = False
            try:
                kind = operation.kind
                if kind is _RECV and not operation.whole:
                    view = operation.view
                    if type(view) is tuple:
                        receive_pieces(ledger, record, view)
                    else:
                        (ledger.outcome,) = map(record.calls.recv_into, (view,))
                    emptied = ledger.outcome < operation.length
                elif kind is _RECV_BYTES:
                    length = operation.length
                    (ledger.outcome,) = map(record.calls.recv, (length,))
                    emptied = len(ledger.outcome) < length
                elif not self._read_otherwise(record, operation):
                    self._wait_for_turn(record)
                    return
            except BlockingIOError:
                if not self._watch(record, self._read_interest, operation):
                    del reads[0]
                record.readable = False
                continue
            except (OSError, ValueError, TypeError, OverflowError) as error:
                ledger.outcome = ledger.failure(operation, error)
            reports.append((operation, operation.identifier, ledger.outcome, 0))
            ledger.outcome = NOTHING
            del reads[0]
            if emptied and record.short_read_empties:
                record.readable = False

    def _attempt_writes(self, record: Descriptor) -> None:
        ledger = self._ledger
        writes = record.writes
        reports = ledger.reports
        while writes:
            operation = writes[0]
            ledger.attempting = operation
            if not record.writable:
                if not record.interest & OUT and not self._watch(record, self._write_interest, operation):
                    del writes[0]
                    continue
                return
            ledger.attempts += 1
            try:
                if operation.kind is _SEND and not operation.whole:
                    view = operation.view
                    if type(view) is tuple:
                        send_pieces(ledger, record, view, operation.message_flags)
                    else:
                        (ledger.outcome,) = map(record.calls.send, (view,), (operation.message_flags | NO_SIGNAL,))
                elif not self._write_otherwise(record, operation):
                    return
            except BlockingIOError:
                if operation.kind is Kind.SEND_TO and operation.message_flags & _DO_NOT_WAIT:
                    self._try_later(record)
                    return
                if not self._watch(record, self._write_interest, operation):
                    del writes[0]
                record.writable = False
                continue
            except (OSError, ValueError, TypeError, OverflowError) as error:
                ledger.outcome = ledger.failure(operation, error)
            reports.append((operation, operation.identifier, ledger.outcome, 0))
            ledger.outcome = NOTHING
            del writes[0]

    def _read_otherwise(self, record: Descriptor, operation: OperationFields) -> bool:
        """Make the calls of the rarer kinds. False: the operation goes on when it is its turn again."""
        kind = operation.kind
        if kind is Kind.ACCEPT:
            return self._accept(record, operation)
        if kind is Kind.STREAM_READ:
            return self._read_stream(operation)
        if kind is Kind.RECV_FROM:
            receive_datagram(self._ledger, record, operation)
            return True
        return self._receive_whole(record, operation)

    def _write_otherwise(self, record: Descriptor, operation: OperationFields) -> bool:
        """Make the calls of the rarer kinds. False: the operation goes on later, and that is arranged."""
        kind = operation.kind
        if kind is Kind.CONNECT:
            if self._connect(record, operation):
                return True
            self._try_later(record)
            return False
        if kind is Kind.STREAM_WRITE:
            self._write_stream(operation)
        elif kind is Kind.SEND_TO:
            send_datagram(self._ledger, record, operation)
        elif not self._send_whole(record, operation):
            self._wait_for_turn(record)
            return False
        return True

    def _accept(self, record: Descriptor, operation: OperationFields) -> bool:
        """Take a connection, or several. False: the operation goes on when it is its turn again."""
        ledger = self._ledger
        accept = record.calls._accept
        try:
            if not goes_on(operation):
                (ledger.outcome,) = map(call, (accept,))
                return True
            for _ in range(ACCEPTS_AT_A_TIME):
                (ledger.outcome,) = map(call, (accept,))
                ledger.reports.append((operation, operation.identifier, ledger.outcome, MORE))
                ledger.outcome = NOTHING
        except ConnectionAbortedError:
            pass  # that one was gone before it was taken; there may be others
        return False

    def _receive_whole(self, record: Descriptor, operation: OperationFields) -> bool:
        """Fill the view as far as bytes are there. False: the operation goes on when it is its turn again."""
        ledger = self._ledger
        view, progress = operation.view, progress_of(operation)
        done = sum(progress)
        for _ in range(CALLS_AT_A_TIME):
            if done == operation.length:
                break
            if type(view) is tuple:
                progress.extend(map(os.readv, (record.descriptor,), (rest_of(view, done),)))
            else:
                progress.extend(map(record.calls.recv_into, (view[done:],)))
            if not progress[-1]:
                break
            done += progress[-1]
        else:
            if done < operation.length:
                progress[:] = [done]
                return False
        ledger.outcome = done
        return True

    def _send_whole(self, record: Descriptor, operation: OperationFields) -> bool:
        """Send the view as far as there is room. False: the operation goes on when it is its turn again."""
        ledger = self._ledger
        view, progress = operation.view, progress_of(operation)
        flags = (operation.message_flags | NO_SIGNAL,)
        done = sum(progress)
        for _ in range(CALLS_AT_A_TIME):
            if type(view) is tuple:
                progress.extend(map(record.calls.sendmsg, (rest_of(view, done),), ((),), flags))
            else:
                progress.extend(map(record.calls.send, (view[done:],), flags))
            done += progress[-1]
            if done == operation.length:
                ledger.outcome = done
                return True
        progress[:] = [done]
        return False

    def _connect(self, record: Descriptor, operation: OperationFields) -> bool:
        """Begin to connect, or see what came of it. Raises BlockingIOError while it is under way.

        False: it could not even begin. A Unix listener whose queue is full says EAGAIN, and nothing tells when there is
        room again.
        """
        answers = progress_of(operation)  # of connect_ex, then of SO_ERROR, which gives an error only once
        calls = record.calls
        if not answers:
            answers.extend(map(calls.connect_ex, (operation.address,)))
        elif answers[0] in _CONNECTING:
            answers.extend(map(calls.getsockopt, *_SO_ERROR))
        if answers[0] == errno.EAGAIN:
            answers.clear()
            return False
        error = answers[0]
        if error in _CONNECTING:
            error = next(filter(None, answers[1:]), 0)
            if not error:
                # Only a second call says for certain; Linux also wants it, to call the socket connected from then on.
                if len(answers) == 1 or calls.connect_ex(operation.address) not in _CONNECTED:
                    raise BlockingIOError
        self._ledger.outcome = -error
        return True

    # What has no positions and is no socket: pipes, eventfds, terminals.

    def begin_stream_read(self, operation: OperationFields) -> None:
        record = self._stream_record(operation)
        record.reads.append(operation)
        if len(record.reads) == 1:
            self._attempt_reads(record)
        self._settle(record)

    def begin_stream_write(self, operation: OperationFields) -> None:
        record = self._stream_record(operation)
        record.writes.append(operation)
        if len(record.writes) == 1:
            self._attempt_writes(record)
        self._settle(record)

    def _stream_record(self, operation: OperationFields) -> Descriptor:
        record = self.records.get(operation.descriptor)
        if record is not None and not record.is_same_file() and (record.inode or record.calls is not None):
            self.drop(record, -errno.EBADF)
            record = None
        if record is None:
            record = self.records[operation.descriptor] = Descriptor(operation.descriptor)
        return record

    def _read_stream(self, operation: OperationFields) -> bool:
        """Read what is there. Raises BlockingIOError when there is nothing, also where the descriptor would block."""
        if _would_block(operation.descriptor, os.O_WRONLY) and not look(operation.descriptor, IN):
            raise BlockingIOError
        (self._ledger.outcome,) = map(os.readv, (operation.descriptor,), ((operation.view,),))
        return True

    def _write_stream(self, operation: OperationFields) -> bool:
        """Write what there is room for; so little that a descriptor which would block does not."""
        piece = operation.view
        if _would_block(operation.descriptor, os.O_RDONLY):
            if not look(operation.descriptor, OUT):
                raise BlockingIOError
            piece = piece[: select.PIPE_BUF]
        (self._ledger.outcome,) = map(os.writev, (operation.descriptor,), ((piece,),))
        return True

    def begin_socket_close(self, operation: OperationFields) -> None:
        ledger = self._ledger
        record = self.records.get(operation.descriptor)
        if record is not None:
            self.drop(record, -errno.ECANCELED)
        try:
            (ledger.outcome,) = map(os.close, (operation.descriptor,))
        except InterruptedError:
            ledger.outcome = 0  # it is closed all the same
        except OSError as error:
            ledger.outcome = ledger.failure(operation, error)
        ledger.report_outcome(operation)

    # Readiness as such.

    def begin_handle_poll(self, operation: OperationFields) -> None:
        descriptor = operation.descriptor
        record = self.records.get(descriptor)
        if record is not None and not record.is_same_file():
            self.drop(record, -errno.EBADF)
            record = None
        if self._look_for(operation):
            return
        if record is None:
            record = self.records[descriptor] = Descriptor(descriptor)
        record.polls.append(operation)
        if not self._attempt_poll(record, operation):
            self._settle(record)

    def _look_for(self, operation: OperationFields) -> bool:
        """Whether the operation is done: what it waits for holds, or cannot come any more."""
        ledger = self._ledger
        ledger.attempts += 1
        mask = look(operation.descriptor, _interest(operation))
        if mask & NVAL:
            ledger.end(operation, -errno.EBADF)
        elif mask & ~PRI:
            ledger.end(operation, _poll_events(mask))
        return bool(mask & ~PRI)

    def _attempt_polls(self, record: Descriptor) -> None:
        for operation in list(record.polls):
            self._ledger.attempting = operation
            self._attempt_poll(record, operation)
        self._settle(record)

    def _attempt_poll(self, record: Descriptor, operation: OperationFields) -> bool:
        """Whether the operation has to wait. Watch first, look then: what comes in between is an edge.

        What is watched anew needs no look: the kernel looks itself, and reports with the next wait (fact 1).
        """
        interest = record.interest
        if self._watch(record, _interest(operation), operation) and (
            record.interest != interest or not self._look_for(operation)
        ):
            return True
        record.polls.remove(operation)
        return False

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
            record.note_inode()
            try:
                self._events.watch(record.descriptor, wanted, known=record.interest != 0)
            except OSError as error:
                self._ledger.end(operation, self._ledger.failure(operation, error))
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
        is_idle = not (record.reads or record.writes or record.polls)
        if record.calls is None and is_idle and self.records.get(record.descriptor) is record:
            self.drop(record, -errno.ECANCELED)

    def drop(self, record: Descriptor, result: int) -> None:
        """End all that waits on a descriptor, each with this result unless it made progress, and forget it."""
        for operation in record.pending():
            self._ledger.end(operation, result)
        record.reads.clear()
        record.writes.clear()
        record.polls.clear()
        if record.interest:
            self._events.forget(record.descriptor)
            record.interest = 0
        record.release()
        self.records.pop(record.descriptor, None)

    def _try_later(self, record: Descriptor) -> None:
        """Have its turn after a while, which gets longer with each time."""
        record.note_inode()
        record.patience = min(record.patience * 2, LONGEST_PATIENCE_SECONDS)
        self.later.append((time.monotonic() + record.patience, record))

    def take_later(self) -> float:
        """Give those whose time has come their turn; returns how long nothing is going to happen here."""
        now = time.monotonic()
        for due, record in self.later:
            if due <= now:
                self._wait_for_turn(record)
        self.later = [entry for entry in self.later if entry[0] > now]
        return 0.0 if self.turns else min(due - now for due, _record in self.later)

    def until_later(self) -> float | None:
        """How long until the first of those has its turn, in seconds; None: there are none."""
        if not self.later:
            return None
        return max(0.0, min(due for due, _record in self.later) - time.monotonic())

    def watched(self) -> dict[int, int]:
        """The descriptors that the event set watches for operations, and for what."""
        return {number: record.interest for number, record in self.records.items() if record.interest}

    def _wait_for_turn(self, record: Descriptor) -> None:
        if not record.waits_for_turn:
            record.note_inode()
            self.turns.append(record)
            record.waits_for_turn = True


def _would_block(descriptor: int, refused_mode: int) -> bool:
    """Whether a call waits instead of failing when nothing can be done: not for a descriptor of the wrong mode."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    return not flags & os.O_NONBLOCK and flags & os.O_ACCMODE != refused_mode


#: What to watch for HANDLE_POLL, by the number of PollEvents. ERR and HUP always come; PRI stands for "nothing else".
_INTERESTS: Final = tuple(
    (IN if asked & PollEvents.IN else 0) | (OUT if asked & PollEvents.OUT else 0) or PRI for asked in POLL_EVENTS
)
_REPORTS: Final = (
    (IN, int(PollEvents.IN)),
    (OUT, int(PollEvents.OUT)),
    (ERR, int(PollEvents.ERR)),
    (HUP, int(PollEvents.HUP)),
)


def _interest(operation: OperationFields) -> int:
    return _INTERESTS[operation.poll_events]


def _poll_events(mask: int) -> int:
    events = 0
    for bit, event in _REPORTS:
        if mask & bit:
            events |= event
    return events
