"""The io_uring backend: operations become entries, one system call a tick hands them over and brings completions back.

Some facts about cancellation and closing:

* A cancelled operation still posts its own completion; only that one ends it. IORING_OP_ASYNC_CANCEL itself reports
  -ENOENT for an operation that is finished, but also for one that is between two states, and for a link of a chain
  that has not started. -EALREADY means that a kernel worker runs it and it will end by itself.
* close(2) does not end what is pending on a descriptor: the operation keeps the file, and the peer sees no EOF.
* A receive that finds no provided buffer ends with -ENOBUFS and has consumed nothing.

What that means for us: a cancel that failed with -ENOENT is repeated, as long as the operation is in flight, after
each turn in which the step before it is done. A close is two hard-linked entries: cancel everything on the descriptor,
then close it. -ENOBUFS never leaves this file.

Rule 6 of the contract (nothing is lost by an exception) is kept so: completions are copied to `_batch`, reversed,
before their places in the ring are acknowledged; acknowledging is idempotent and repeated after an interruption; an
entry leaves `_batch` after its hook returned; and an entry whose operation is no longer in flight is skipped.
"""

from __future__ import annotations

import errno
import socket
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    BackendUnavailable,
    Capability,
    CapabilityReport,
    CompletionFlags,
    CompletionHook,
    Kind,
    OperationFields,
    Support,
)
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode
from proactor_trio.backends.io_uring.buffer_ring import BufferRing
from proactor_trio.backends.io_uring.linked_timeouts import TIMEOUT_BIT, LinkedTimeouts
from proactor_trio.backends.io_uring.probe import capability_reports, supported_opcodes
from proactor_trio.backends.io_uring.ring import Ring

# User data of our own entries. Operations have positive identifiers; a cancel carries its target with the sign bit.
_IGNORED: Final = 0
_WAKEUP: Final = (1 << 62) + 1
_CANCEL_BIT: Final = 1 << 63
_LARGEST_TURN_WHILE_CANCELLING: Final = 0.001
_MORE: Final = int(CompletionFlags.MORE)
_INTERRUPTED_TURNS: Final = frozenset((-errno.EINTR, -errno.EAGAIN, -errno.EBUSY))
_CLOSE_ENTRIES: Final = 2
_SQE_SHIFT: Final = c.SQE_SHIFT
_CQE_BUFFER: Final = c.CQE_BUFFER
_CQE_BUFFER_SHIFT: Final = c.CQE_BUFFER_SHIFT
_CQE_MORE: Final = c.CQE_MORE


class IoUringBackend(Backend):
    """Linux 5.19 and later. `native`: use the compiled helper (None: where it is there)."""

    name: ClassVar[str] = "io_uring"
    native_helper: ClassVar[bool | None] = None

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self._complete = complete
        self._in_flight = options.in_flight
        self._ring = ring = Ring(
            options.concurrent_operations,
            disabled=options.created_for_another_thread,
            native=self.native_helper,
        )
        self._is_silent = ring.is_silent
        try:
            opcodes = supported_opcodes(ring)
            self._wake_reader, self._wake_writer = socket.socketpair()
        except BaseException:
            ring.close()
            raise
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._woken = False
        self.capabilities: Mapping[Capability, CapabilityReport] = capability_reports(opcodes, options.allowed)
        self.native_kinds = encode.encodable_kinds(opcodes)
        self.native_multishot = frozenset((Kind.ACCEPT,)) if self._is_native(Capability.MULTISHOT) else frozenset()
        self._links = self._is_native(Capability.LINKED_OPERATIONS)
        self.native_deadlines = self._links
        self._timed = LinkedTimeouts(options.in_flight)
        if not self._is_native(Capability.ABSOLUTE_TIMEOUT):
            self.native_kinds -= {Kind.TIMER}
        self.variant = f"{'compiled helper' if ring.native else 'cffi ABI mode'}, {ring.variant}"
        self._batch: list[tuple[int, int, int]] = []
        self._batch_tail = 0
        self._postponed: deque[OperationFields] = deque()
        self._postponed_chains: deque[Sequence[OperationFields]] = deque()
        self._aborted: deque[OperationFields] = deque()
        self._repeat_cancel: list[tuple[OperationFields, int]] = []
        self._buffers: BufferRing | None = None
        self._receive_views: list[memoryview] = []
        self._returned_buffers = array("H")
        self._encoders = encode.encoder_table(provided_buffers=False)
        #: The postponed operation that is just being started again.
        self._restarting: OperationFields | None = None
        self._armed = False
        if not options.created_for_another_thread:
            self.enable()

    def _is_native(self, capability: Capability) -> bool:
        return self.capabilities[capability].support is Support.NATIVE

    def enable(self) -> None:
        if self._armed:
            return
        self._ring.enable()  # -EBADFD for a ring that was not created disabled: nothing to do then
        try:
            self._buffers = BufferRing(self._ring)
        except (OSError, BackendUnavailable):
            self.variant += ", no provided buffers"
        else:
            self._receive_views = self._buffers.views
            self._returned_buffers = self._buffers.returned
            self._encoders = encode.encoder_table(provided_buffers=True)
        self._arm_wakeup()
        self._armed = True

    # Starting ----------------------------------------------------------------------------------------------------

    def start(self, operation: OperationFields) -> None:
        ring = self._ring
        tail = ring.tail
        encoder = self._encoders[operation.kind]
        if encoder is encode.encode_close:
            self._start_close(operation)
        elif tail != ring.limit or self._make_room(1):
            encoder(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation, 0)
            operation.started = True
            ring.tail = tail + 1
        else:
            operation.started = True
            self._postponed.append(operation)

    def _start_close(self, operation: OperationFields) -> None:
        self._abort_postponed(operation.descriptor)
        if not self._make_room(_CLOSE_ENTRIES):
            operation.started = True
            self._postponed.append(operation)
            return
        ring = self._ring
        tail = ring.tail
        encode.encode_cancel_descriptor(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation.descriptor, _IGNORED)
        encode.encode_close(ring.sqes, ((tail + 1) & ring.mask) << _SQE_SHIFT, operation, 0)
        operation.started = True
        ring.tail = tail + _CLOSE_ENTRIES

    def _abort_postponed(self, descriptor: int) -> None:
        for operation in [waiting for waiting in self._postponed if waiting.descriptor == descriptor]:
            self._aborted.append(operation)
            self._postponed.remove(operation)

    def linkable(self, operations: Sequence[OperationFields]) -> int:
        if not self._links:
            return 0
        length = 0
        room = self._ring.entries
        for operation in operations:
            room -= 1 if operation.expires is None else 2
            if room < 0:
                break
            if operation.kind is Kind.SOCKET_CLOSE or operation.kind is Kind.FILE_CLOSE:
                break  # two entries, one of them a hard link; the chain goes on above us
            length += 1
        return length if length > 1 else 0

    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        timed = [operation for operation in operations if operation.expires is not None]
        if not self._make_room(len(operations) + len(timed)):
            operations[0].started = True
            self._postponed_chains.append(operations)
            return
        ring = self._ring
        tail = ring.tail
        last = operations[-1]
        previous = 0
        for operation in operations:
            link = 0 if operation is last else c.SQE_IO_LINK
            flags = link if operation.expires is None else c.SQE_IO_LINK
            self._encoders[operation.kind](ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation, flags)
            tail += 1
            if operation.expires is not None:
                timespec = self._timed.watch(operation, operation.expires)
                user_data = operation.identifier | TIMEOUT_BIT
                encode.encode_link_timeout(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, timespec, link, user_data)
                tail += 1
            operation.after = previous
            previous = operation.identifier
        operations[0].started = True
        ring.tail = tail

    def _make_room(self, entries: int) -> bool:
        """Whether `entries` places are free, after handing over what is there if need be."""
        ring = self._ring
        if ring.limit - ring.tail < entries:
            ring.flush()
        return bool(ring.limit - ring.tail >= entries)

    # Cancelling --------------------------------------------------------------------------------------------------

    def cancel(self, operation: OperationFields) -> None:
        if operation in self._postponed:
            self._aborted.append(operation)
            self._postponed.remove(operation)
        elif not self._make_room(1):
            self._repeat_cancel.append((operation, operation.identifier))
        else:
            ring = self._ring
            tail = ring.tail
            encode.encode_cancel(
                ring.sqes,
                (tail & ring.mask) << _SQE_SHIFT,
                operation.identifier,
                operation.identifier | _CANCEL_BIT,
            )
            ring.tail = tail + 1

    def _repeat_cancels(self) -> bool:
        """Cancel again what can be cancelled now; whether there was any. A link that has not started keeps waiting."""
        waiting = self._repeat_cancel[:]
        count = len(waiting)
        not_started: list[tuple[OperationFields, int]] = []
        repeated = False
        for operation, identifier in waiting:
            if operation.identifier != identifier:
                continue
            if operation.after in self._in_flight:
                not_started.append((operation, identifier))
            else:
                self.cancel(operation)
                repeated = True
        self._repeat_cancel[:count] = not_started  # what cancel() had no room for stands behind
        return repeated

    def forget(self, descriptor: int) -> None:
        return  # nothing is kept of a descriptor between operations

    # Polling -----------------------------------------------------------------------------------------------------

    def poll(self, timeout: float | None) -> None:
        ring = self._ring
        if self._batch:
            ring.acknowledge(self._batch_tail)
            self._dispatch()
            return
        if self._postponed or self._aborted or self._repeat_cancel or self._postponed_chains:
            timeout = self._before_turn(timeout)
        if timeout == 0 and ring.is_silent():
            return
        if self._returned_buffers:
            self._buffers.offer_returned()  # type: ignore[union-attr]
        error = ring.turn(timeout)
        if self._postponed or self._postponed_chains:
            self._start_postponed()  # now, so that nothing which is started later overtakes it
        if error and error not in _INTERRUPTED_TURNS:
            raise OSError(-error, f"io_uring_enter failed: {errno.errorcode.get(-error, error)}")
        tail, batch = ring.completions()
        if batch:
            batch.reverse()
            self._batch_tail = tail
            self._batch = batch
            ring.acknowledge(tail)
            self._dispatch()

    def _start_postponed(self) -> None:
        """Start again what had no room or no buffer. An interrupted one is known by `started`, as in rule 9."""
        chains = self._postponed_chains
        for _ in range(len(chains)):
            steps = chains[0]
            if self._must_be_started(steps[0]):
                self.start_chain(steps)
            del chains[0]
            self._restarting = None
        postponed = self._postponed
        for _ in range(len(postponed)):
            operation = postponed[0]
            if self._must_be_started(operation):
                if operation.expires is None:
                    self.start(operation)
                else:
                    self.start_chain((operation,))
            del postponed[0]
            self._restarting = None

    def _must_be_started(self, operation: OperationFields) -> bool:
        if self._restarting is not operation:
            operation.started = False
            self._restarting = operation
        return not operation.started

    def is_quiet(self) -> bool:
        return self._is_silent() and not (
            self._batch or self._postponed or self._aborted or self._repeat_cancel or self._postponed_chains
        )

    def _before_turn(self, timeout: float | None) -> float | None:
        while self._aborted:
            operation = self._aborted[0]
            if operation.identifier in self._in_flight:
                self._complete(operation, -errno.ECANCELED, 0)
            self._aborted.popleft()
            timeout = 0
        self._start_postponed()
        if self._repeat_cancel and self._repeat_cancels():
            longest = _LARGEST_TURN_WHILE_CANCELLING
            timeout = longest if timeout is None else min(timeout, longest)
        return timeout

    def _dispatch(self) -> None:
        batch = self._batch
        in_flight = self._in_flight
        complete = self._complete
        handle_poll = Kind.HANDLE_POLL
        while batch:
            identifier, result, flags = batch[-1]
            operation = in_flight.get(identifier)
            if operation is None:
                self._handle_own(identifier, result, flags)
            elif flags & _CQE_BUFFER:
                operation.data = self._receive_views[flags >> _CQE_BUFFER_SHIFT][:result].tobytes()
                complete(operation, result, 0)
                del batch[-1]
                self._returned_buffers.append(flags >> _CQE_BUFFER_SHIFT)
                continue
            elif flags & _CQE_MORE:
                self._dispatch_more(operation, result)
                continue
            elif operation.expires is not None and (final := self._timed.completed(operation, result)) != result:
                if final is not None:
                    complete(operation, final, 0)
            elif result < 0:
                self._complete_failure(operation, result)
            elif operation.kind is handle_poll:
                complete(operation, encode.poll_events(result), 0)
            else:
                complete(operation, result, 0)
            del batch[-1]

    def _dispatch_more(self, operation: OperationFields, result: int) -> None:
        delivered = operation.deliveries
        try:
            self._complete(operation, result, _MORE)
        except BaseException:
            if operation.deliveries != delivered:
                del self._batch[-1]
            raise
        del self._batch[-1]

    def _handle_timeout(self, identifier: int, verdict: int) -> None:
        operation = self._in_flight.get(identifier)
        final = self._timed.timeout_said(identifier, operation, verdict)
        if final is not None and operation is not None:
            self._complete(operation, final, 0)
        self._timed.timeout_done(identifier)

    def _complete_failure(self, operation: OperationFields, result: int) -> None:
        kind = operation.kind
        if result == -errno.ENOBUFS and kind is Kind.RECV_BYTES and self._buffers is not None:
            if operation not in self._postponed:
                self._postponed.append(operation)
        elif result == -errno.ETIME and kind is Kind.TIMER:
            self._complete(operation, 0, 0)
        else:
            self._complete(operation, result, 0)

    def _handle_own(self, identifier: int, result: int, flags: int) -> None:
        if identifier == _WAKEUP:
            self._drain_wakeups()
            self._woken = False  # afterwards: whoever comes in between is served by the poll that returns now
            if not flags & c.CQE_MORE:
                self._arm_wakeup()
        elif identifier & TIMEOUT_BIT and identifier > 0:
            self._handle_timeout(identifier - TIMEOUT_BIT, result)
        elif identifier < 0 and result == -errno.ENOENT:
            operation = self._in_flight.get(identifier + _CANCEL_BIT)
            if operation is not None:
                self._repeat_cancel.append((operation, operation.identifier))
        elif flags & c.CQE_BUFFER and self._buffers is not None:
            # Its delivery was interrupted after it was made.
            self._returned_buffers.append(flags >> c.CQE_BUFFER_SHIFT)

    # Waking ------------------------------------------------------------------------------------------------------

    def _arm_wakeup(self) -> None:
        ring = self._ring
        self._make_room(1)
        encode.encode_poll_multishot(
            ring.sqes, (ring.tail & ring.mask) << _SQE_SHIFT, self._wake_reader.fileno(), _WAKEUP
        )
        ring.tail += 1

    def wake(self) -> None:
        if self._woken:
            return
        try:
            self._woken = True
            self._wake_writer.send(b"\0")
        except OSError:
            return  # full of wake-ups that nobody has read yet, or closed: nobody is left to be woken
        except BaseException:
            self._woken = False  # a signal handler raised: the flag must not stand for a byte that was not sent
            raise

    def _drain_wakeups(self) -> None:
        try:
            while len(self._wake_reader.recv(4096)) == 4096:
                pass
        except BlockingIOError:
            return

    def wakeup_descriptor(self) -> int:
        return self._wake_writer.fileno()

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        ring = self._ring
        if self._armed:
            self._reap_own_operations()
        self._receive_views = []
        ring.close()
        if self._buffers is not None:
            self._buffers.close()
        self._close_wakeup()

    def _reap_own_operations(self) -> None:
        """End the wake-up poll and wait for its completion: closing a ring does not end operations in time."""
        ring = self._ring
        self._make_room(1)
        encode.encode_cancel_everything(ring.sqes, (ring.tail & ring.mask) << _SQE_SHIFT, _IGNORED)
        ring.tail += 1
        for _ in range(10):
            ring.turn(0.1)
            tail, entries = ring.completions()
            ring.acknowledge(tail)
            if any(identifier == _WAKEUP and not flags & c.CQE_MORE for identifier, _, flags in entries):
                return

    def _close_wakeup(self) -> None:
        self._wake_reader.close()
        self._wake_writer.close()

    def abandon(self) -> None:
        self._ring.abandon()
        self._close_wakeup()

    def statistics(self) -> Mapping[str, int]:
        return {"system_calls": self._ring.enters, "postponed": len(self._postponed)}


class IoUringAbiBackend(IoUringBackend):
    """The same ring without the compiled helper, by name: for tests, and to compare."""

    native_helper: ClassVar[bool | None] = False
