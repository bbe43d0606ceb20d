"""The io_uring backend: operations become entries, one system call a tick hands them over and brings completions back.

Some facts about cancellation and closing:

* A cancelled operation still posts its own completion; only that one ends it. What IORING_OP_ASYNC_CANCEL itself
  reports says little (repeated_cancels.py). -EALREADY means that a kernel worker runs it and it will end by itself.
* close(2) does not end what is pending on a descriptor: the operation keeps the file, and the peer sees no EOF.
* A receive that finds no provided buffer ends with -ENOBUFS and has consumed nothing.

What that means for us: a cancel that failed with -ENOENT is repeated, as long as the operation is in flight. A close is
two hard-linked entries: cancel everything on the descriptor, then close it. -ENOBUFS never leaves this file.

Rule 6 of the contract (nothing is lost by an exception) is kept so: completions are copied to `_batch`, reversed,
before their places in the ring are acknowledged; acknowledging is idempotent and repeated after an interruption; an
entry leaves `_batch` after its hook returned; and an entry whose operation is no longer in flight is skipped.
"""

from __future__ import annotations

import errno
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import ClassVar, Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    BackendUnavailable,
    BufferGroup,
    Capability,
    CapabilityReport,
    CompletionFlags,
    CompletionHook,
    Kind,
    MemoryRegistration,
    OperationFields,
    OperationFlags,
    Support,
    TablePlace,
)
from proactor_trio.backends.doorbell import Doorbell
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode
from proactor_trio.backends.io_uring.buffer_group import BufferGroups, has_buffer_rings
from proactor_trio.backends.io_uring.buffer_ring import BufferRing
from proactor_trio.backends.io_uring.encode_net import take_sender
from proactor_trio.backends.io_uring.encode_registered import with_registered_buffers
from proactor_trio.backends.io_uring.encode_threads import MESSAGE_BIT, decode_message
from proactor_trio.backends.io_uring.encode_zero_copy import with_zero_copy
from proactor_trio.backends.io_uring.fixed_files import FixedFiles, with_fixed_files
from proactor_trio.backends.io_uring.linked_timeouts import TIMEOUT_BIT, Handover, LinkedTimeouts
from proactor_trio.backends.io_uring.linking import link_obstacle, linkable_prefix
from proactor_trio.backends.io_uring.postponed import Postponed
from proactor_trio.backends.io_uring.probe import capability_reports, multishot_kinds, supported_opcodes
from proactor_trio.backends.io_uring.registered_buffers import LARGEST_PIECE, RegisteredBuffers
from proactor_trio.backends.io_uring.repeated_cancels import RepeatedCancels
from proactor_trio.backends.io_uring.ring import Ring
from proactor_trio.backends.io_uring.silent_chains import SilentChains, silent_steps
from proactor_trio.backends.io_uring.wait_event import WaitEvent
from proactor_trio.backends.io_uring.whole_files import CONTENTS_ENTRIES, STEP_SHIFT, STEPS, WholeFiles
from proactor_trio.backends.io_uring.zero_copy import ZeroCopySends

# User data of our own entries. Operations have positive identifiers; a cancel carries its target with the sign bit.
_IGNORED: Final = 0
_WAKEUP: Final = (1 << 62) + 1
_MESSAGE_SHIFT: Final = MESSAGE_BIT.bit_length() - 1
_CANCEL_BIT: Final = 1 << 63
_MORE: Final = int(CompletionFlags.MORE)
_INTERRUPTED_TURNS: Final = frozenset((-errno.EINTR, -errno.EAGAIN, -errno.EBUSY))
_CLOSE_ENTRIES: Final = 2
#: A close and an operation with a deadline need two entries at once, the contents of a file three.
_SMALLEST_QUEUE: Final = 3
#: Workers of the kernel for files (0: as many as it likes, four times the processors) and for what may take for ever.
_WORKERS: Final = Struct("<II")
_LARGEST_UNBOUNDED_WORKERS: Final = 64
#: What looks like an error and is none: a timer whose time has come, a futex that does not hold the value any more.
_SUCCESS_OF_KIND: Final = {Kind.TIMER: -errno.ETIME, Kind.FUTEX_WAIT: -errno.EAGAIN}
_SQE_SHIFT: Final = c.SQE_SHIFT
_CQE_BUFFER: Final = c.CQE_BUFFER
_CQE_BUFFER_SHIFT: Final = c.CQE_BUFFER_SHIFT
_CQE_MORE: Final = c.CQE_MORE
_CQE_MORE_OR_NOTIFICATION: Final = c.CQE_MORE | c.CQE_NOTIFICATION
_NO_FLAGS: Final = OperationFlags.NONE
_MULTISHOT: Final = int(OperationFlags.MULTISHOT)
_AGAIN: Final = -errno.EAGAIN
_NO_BUFFER: Final = -errno.ENOBUFS
_INVALID: Final = -errno.EINVAL


class IoUringBackend(Backend):
    """Linux 5.19 and later. `native`: use the compiled helper (None: where it is there)."""

    name: ClassVar[str] = "io_uring"
    native_helper: ClassVar[bool | None] = None

    def __init__(self, complete: CompletionHook, options: BackendOptions) -> None:
        self._complete = complete
        self._in_flight = options.in_flight
        self._ring = ring = Ring(
            max(options.concurrent_operations, _SMALLEST_QUEUE),
            disabled=options.created_for_another_thread,
            native=self.native_helper,
        )
        self._is_silent = ring.is_silent
        try:
            opcodes = supported_opcodes(ring)
            self._doorbell = Doorbell()
        except BaseException:
            ring.close()
            raise
        self.capabilities: Mapping[Capability, CapabilityReport] = capability_reports(
            opcodes, ring.features, options.allowed
        )
        self.native_kinds = encode.encodable_kinds(opcodes, options.allowed)
        if not has_buffer_rings(ring):
            self.native_kinds -= {Kind.RECV_POOL}
        if not self._is_native(Capability.FIXED_FILES):
            self.native_kinds -= {Kind.FILE_CONTENTS}
        self.native_multishot = multishot_kinds(opcodes) if self._is_native(Capability.MULTISHOT) else frozenset()
        self._links = self._is_native(Capability.LINKED_OPERATIONS)
        self.native_deadlines = self._links
        self._timed = LinkedTimeouts(options.in_flight)
        self._silent_chains = SilentChains(complete, options.in_flight)
        self.message_handle = ring.descriptor if Kind.MESSAGE in self.native_kinds else None
        self.messages: deque[tuple[int, int, int]] = deque()
        self.variant = f"{'compiled helper' if ring.native else 'cffi ABI mode'}, {ring.variant}"
        self._batch: list[tuple[int, int, int]] = []
        self._batch_tail = 0
        self._waiting = Postponed(complete, options.in_flight)
        self._postponed = self._waiting.operations
        self._postponed_chains = self._waiting.chains
        self._aborted = self._waiting.aborted
        self._repeated_cancels = RepeatedCancels(options.in_flight, self._silent_chains)
        self._repeat_cancel = self._repeated_cancels.waiting
        self._registered_buffers: RegisteredBuffers | None = None
        self._groups = BufferGroups(ring)
        self._buffers: BufferRing | None = None
        self._receive_views: list[memoryview] = []
        self._returned_buffers = array("H")
        #: Whether the kernel ends a multishot receive by itself (Linux 6.17); known when it has refused to.
        self._counts_receives = True
        self._zero_copy = ZeroCopySends(complete)
        self._fixed_files = FixedFiles(ring)
        self._has_registered_files = False
        self._whole_files = WholeFiles(complete, options.in_flight, ring, self._fixed_files)
        self._wait_event: WaitEvent | None = None
        self._choose_encoders()
        self._armed = False
        if not options.created_for_another_thread:
            self.enable()

    def _is_native(self, capability: Capability) -> bool:
        return self.capabilities[capability].support is Support.NATIVE

    def _choose_encoders(self) -> None:
        """By what there is: nobody pays for what nobody has registered."""
        encoders = encode.encoder_table(provided_buffers=self._buffers is not None)
        if Kind.RECV_POOL not in self.native_multishot:
            encoders[Kind.RECV_POOL] = encode.encode_receive_pool_once
        if Kind.RECV_BYTES in self.native_multishot and self._buffers is not None:
            encoders[Kind.RECV_BYTES] = encode.receive_again(counted=self._counts_receives)
        if self._is_native(Capability.ZERO_COPY_SEND):
            encoders = with_zero_copy(encoders)
        if self._registered_buffers is not None:
            encoders = with_registered_buffers(encoders)
        if self._has_registered_files:
            encoders = with_fixed_files(encoders)
        self._encoders = encoders

    def enable(self) -> None:
        if self._armed:
            return
        self._ring.enable()  # -EBADFD for a ring that was not created disabled: nothing to do then
        self._ring.register(c.REGISTER_IOWQ_MAX_WORKERS, bytearray(_WORKERS.pack(0, _LARGEST_UNBOUNDED_WORKERS)), 2)
        try:
            self._buffers = BufferRing(self._ring)
        except (OSError, BackendUnavailable):
            self.variant += ", no provided buffers"
        else:
            self._receive_views = self._buffers.views
            self._returned_buffers = self._buffers.returned
            self._choose_encoders()
        self._arm_wakeup()
        self._armed = True

    # Starting ----------------------------------------------------------------------------------------------------

    def start(self, operation: OperationFields) -> None:
        ring = self._ring
        tail = ring.tail
        encoder = self._encoders[operation.kind]
        if encoder is encode.encode_close:
            if not self._start_entries(operation):
                operation.started = True
                self._postponed.append(operation)
        elif tail != ring.limit or self._make_room(1):
            encoder(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation, 0)
            operation.started = True
            ring.tail = tail + 1
        else:
            operation.started = True
            self._postponed.append(operation)

    def _start_entries(self, operation: OperationFields) -> bool:
        """Start a kind that takes several entries at once. False: there was no room for them."""
        if operation.kind is Kind.FILE_CONTENTS:
            return self._make_room(CONTENTS_ENTRIES) and self._whole_files.start(operation)
        self._waiting.abort_all(operation.descriptor)
        if (place := operation.table_place()) is not None:
            self._fixed_files.remove(place)
        if not self._make_room(_CLOSE_ENTRIES):
            return False
        ring = self._ring
        tail = ring.tail
        encode.encode_cancel_descriptor(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation.descriptor, _IGNORED)
        encode.encode_close(ring.sqes, ((tail + 1) & ring.mask) << _SQE_SHIFT, operation, 0)
        operation.started = True
        ring.tail = tail + _CLOSE_ENTRIES
        return True

    def link_obstacle(self, operation: OperationFields) -> str:
        return link_obstacle(operation)

    def linkable(self, operations: Sequence[OperationFields]) -> int:
        return linkable_prefix(operations, self._ring.entries) if self._links else 0

    def start_chain(self, operations: Sequence[OperationFields]) -> None:
        timed = [operation for operation in operations if operation.expires is not None]
        if not self._make_room(len(operations) + len(timed)):
            operations[0].started = True
            self._postponed_chains.append(operations)
            return
        silent = silent_steps(operations)
        if silent:
            self._silent_chains.add(operations, silent)
        ring = self._ring
        tail = ring.tail
        last = operations[-1]
        previous = 0
        handover = Handover()
        for operation in operations:
            link = 0 if operation is last else c.SQE_IO_LINK
            flags = link if operation.expires is None else c.SQE_IO_LINK
            if operation in silent:
                flags |= c.SQE_CQE_SKIP_SUCCESS
            self._encoders[operation.kind](ring.sqes, (tail & ring.mask) << _SQE_SHIFT, operation, flags)
            tail += 1
            if operation.expires is not None:
                timespec = self._timed.watch(operation, operation.expires, handover)
                user_data = operation.identifier | TIMEOUT_BIT
                encode.encode_link_timeout(ring.sqes, (tail & ring.mask) << _SQE_SHIFT, timespec, link, user_data)
                tail += 1
            operation.after = previous
            previous = operation.identifier
        handover.is_made = True
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
        if operation.identifier in self._zero_copy.held:
            return  # it was sent
        if operation in self._postponed:
            self._waiting.abort(operation)
        elif not self._make_room(2):
            self._repeated_cancels.add(operation)
        elif operation.kind is Kind.FILE_CONTENTS:
            self._whole_files.cancel(operation, operation.identifier | _CANCEL_BIT)
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
        if self._groups.groups:
            self._groups.publish()
        error = ring.turn(timeout)
        if self._postponed or self._postponed_chains:
            # Now, so that nothing which is started later overtakes it.
            self._waiting.start_again(self.start, self.start_chain)
        if error and error not in _INTERRUPTED_TURNS:
            raise OSError(-error, f"io_uring_enter failed: {errno.errorcode.get(-error, error)}")
        tail, batch = ring.completions()
        if batch:
            batch.reverse()
            self._batch_tail = tail
            self._batch = batch
            ring.acknowledge(tail)
            self._dispatch()

    def is_quiet(self) -> bool:
        return self._is_silent() and not (
            self._batch or self._postponed or self._aborted or self._repeat_cancel or self._postponed_chains
        )

    def _before_turn(self, timeout: float | None) -> float | None:
        if self._aborted:
            timeout = 0
            self._waiting.report_aborted()
        self._waiting.start_again(self.start, self.start_chain)
        if self._repeat_cancel and (longest := self._repeated_cancels.repeat(self.cancel)) is not None:
            timeout = longest if timeout is None else min(timeout, longest)
        return timeout

    def _dispatch(self) -> None:
        batch = self._batch
        in_flight = self._in_flight
        complete = self._complete
        handle_poll = Kind.HANDLE_POLL
        receive_pool = Kind.RECV_POOL
        receive_from = Kind.RECV_FROM
        futex_wait = Kind.FUTEX_WAIT
        chains = self._silent_chains.chains
        while batch:
            identifier, result, flags = batch[-1]
            operation = in_flight.get(identifier)
            if chains and identifier in chains and self._silent_chains.settle(identifier, result):
                pass
            elif operation is None:
                if identifier >> _MESSAGE_SHIFT == 1:
                    self.messages.extend(map(batch.pop, (-1,)))  # in one step: it must not be lost, nor come twice
                    continue
                self._handle_own(identifier, result, flags)
            elif flags & _CQE_BUFFER:
                if operation.kind is receive_pool:
                    self._dispatch_received(operation, result, flags)
                    continue
                operation.data = self._receive_views[flags >> _CQE_BUFFER_SHIFT][:result].tobytes()
                delivered = operation.deliveries
                try:
                    complete(operation, result, _MORE if flags & _CQE_MORE else 0)
                except BaseException:
                    if operation.deliveries != delivered:
                        self._returned_buffers.append(flags >> _CQE_BUFFER_SHIFT)
                        del batch[-1]
                    raise
                del batch[-1]
                self._returned_buffers.append(flags >> _CQE_BUFFER_SHIFT)
                continue
            elif flags & _CQE_MORE_OR_NOTIFICATION:
                if flags & _CQE_MORE:
                    self._zero_copy.taken(operation, result)
                    self._dispatch_once(operation, result, _MORE)
                    continue
                self._zero_copy.freed(identifier, operation, result)
            elif operation.expires is not None and (final := self._timed.completed(operation, result)) != result:
                if final is not None:
                    complete(operation, final, 0)
            elif result == _NO_BUFFER and operation.kind is receive_pool:
                self._dispatch_once(operation, _AGAIN, 0)
                continue
            elif result == _INVALID and operation.flags and operation.backend_state is encode.COUNTED:
                self._do_not_count_receives(operation)
            elif (result == _AGAIN and operation.kind is not futex_wait) or (
                operation.flags is not _NO_FLAGS and int(operation.flags) & _MULTISHOT
            ):
                self._dispatch_once(operation, result, 0)
                continue
            elif result < 0:
                self._complete_failure(operation, result)
            elif operation.kind is receive_from:
                take_sender(operation)
                complete(operation, result, 0)
            elif operation.kind is handle_poll:
                complete(operation, encode.poll_events(result), 0)
            else:
                complete(operation, result, 0)
            del batch[-1]

    def _dispatch_once(self, operation: OperationFields, result: int, flags: int) -> None:
        """Make a report after which the operation may stay in flight; what it was is known by `deliveries`."""
        delivered = operation.deliveries
        identifier = operation.identifier
        try:
            self._complete(operation, result, flags)
        except BaseException:
            if operation.deliveries != delivered or operation.identifier != identifier:
                del self._batch[-1]
            raise
        del self._batch[-1]

    def _dispatch_received(self, operation: OperationFields, result: int, flags: int) -> None:
        """The buffer goes with the report, whose entry therefore must not stay once the report was delivered."""
        operation.buffer_index = flags >> _CQE_BUFFER_SHIFT
        try:
            self._dispatch_once(operation, result, _MORE if flags & _CQE_MORE else 0)
        finally:
            operation.buffer_index = -1

    def _do_not_count_receives(self, operation: OperationFields) -> None:
        """This kernel cannot end a multishot receive by itself: begin it again without."""
        self._waiting.add_once(operation)
        self._counts_receives = False
        self._choose_encoders()

    def _handle_timeout(self, identifier: int, verdict: int) -> None:
        operation = self._in_flight.get(identifier)
        if operation is not None and self._timed.has_missed(identifier, operation, verdict):
            verdict = -errno.ETIME
            if operation not in self._postponed:  # else it is ended when it is started again
                self.cancel(operation)
        final = self._timed.timeout_said(identifier, operation, verdict)
        if final is not None and operation is not None:
            self._complete(operation, final, 0)
        self._timed.timeout_done(identifier)

    def _complete_failure(self, operation: OperationFields, result: int) -> None:
        kind = operation.kind
        if result == _NO_BUFFER and kind is Kind.RECV_BYTES and self._buffers is not None:
            self._waiting.add_once(operation)
        elif result == _SUCCESS_OF_KIND.get(kind):
            self._complete(operation, 0, 0)
        else:
            self._complete(operation, result, 0)

    def _handle_own(self, identifier: int, result: int, flags: int) -> None:
        if identifier == _WAKEUP:
            self._doorbell.answer()
            if not flags & c.CQE_MORE:
                self._arm_wakeup()
        elif identifier >> STEP_SHIFT in STEPS:
            self._whole_files.completed(identifier, result)
        elif identifier & TIMEOUT_BIT and identifier > 0:
            self._handle_timeout(identifier - TIMEOUT_BIT, result)
        elif identifier < 0 and result == -errno.ENOENT:
            operation = self._in_flight.get(identifier + _CANCEL_BIT)
            if operation is not None and operation.identifier not in self._zero_copy.held:
                self._repeated_cancels.add(operation)
        elif flags & c.CQE_NOTIFICATION:
            self._zero_copy.freed(identifier, None, result)
        elif flags & c.CQE_BUFFER and self._buffers is not None:
            # Its delivery was interrupted after it was made.
            self._returned_buffers.append(flags >> c.CQE_BUFFER_SHIFT)

    # Waking ------------------------------------------------------------------------------------------------------

    def _arm_wakeup(self) -> None:
        ring = self._ring
        self._make_room(1)
        encode.encode_poll_multishot(ring.sqes, (ring.tail & ring.mask) << _SQE_SHIFT, self._doorbell.reader(), _WAKEUP)
        ring.tail += 1

    def wake(self) -> None:
        self._doorbell.ring()

    def wakeup_descriptor(self) -> int:
        return self._doorbell.writer()

    def open_wait_handle(self) -> int:
        if self._wait_event is None:
            self._wait_event = WaitEvent(self._ring)
        return self._wait_event.descriptor

    def prepare_wait(self) -> float | None:
        assert self._wait_event is not None
        self._wait_event.clear()
        if self._batch or self._postponed or self._aborted or self._postponed_chains or not self._is_silent():
            return 0
        return self._repeated_cancels.patience()

    # Memory ------------------------------------------------------------------------------------------------------

    largest_memory_piece: ClassVar[int] = LARGEST_PIECE

    def register_memory(self, registration: MemoryRegistration, pieces: Sequence[memoryview]) -> None:
        report = self.capabilities[Capability.REGISTERED_BUFFERS]
        if report.support is not Support.NATIVE:
            registration.reason = report.reason
            return
        if self._registered_buffers is None:
            self._registered_buffers = RegisteredBuffers(self._ring)
            self._choose_encoders()
        self._registered_buffers.add(registration, pieces)

    def unregister_memory(self, registration: MemoryRegistration) -> None:
        if self._registered_buffers is not None:
            self._registered_buffers.remove(registration)

    def register_file(self, place: TablePlace, descriptor: int) -> None:
        report = self.capabilities[Capability.FIXED_FILES]
        if report.support is not Support.NATIVE:
            place.reason = report.reason
            return
        if not self._has_registered_files:
            self._has_registered_files = True
            self._choose_encoders()
        self._fixed_files.add(place, descriptor)

    def unregister_file(self, place: TablePlace) -> None:
        self._fixed_files.remove(place)

    def open_buffer_group(self, memory: memoryview, buffer_bytes: int, free: list[int]) -> BufferGroup | None:
        return self._groups.open(memory, buffer_bytes, free) if Kind.RECV_POOL in self.native_kinds else None

    def close_buffer_group(self, group: BufferGroup) -> None:
        self._groups.close(group)

    def decode_message(self, entry: tuple[int, int, int]) -> int:
        user_data, result, _flags = entry
        return decode_message(user_data, result)

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        ring = self._ring
        if self._armed:
            self._reap_own_operations()
            self._zero_copy.wait(self._last_turn)
        self._receive_views = []
        self._fixed_files.remove_all()
        ring.close()
        self._groups.forget_all()
        if self._buffers is not None:
            self._buffers.close()
        if self._wait_event is not None:
            self._wait_event.close()
        self._doorbell.close()
        self._zero_copy.report()

    def _reap_own_operations(self) -> None:
        """End the wake-up poll and wait for its completion: closing a ring does not end operations in time."""
        ring = self._ring
        self._make_room(1)
        encode.encode_cancel_everything(ring.sqes, (ring.tail & ring.mask) << _SQE_SHIFT, _IGNORED)
        ring.tail += 1
        for _ in range(10):
            entries = self._last_turn(0.1)
            self._zero_copy.forget_freed(entries)
            if any(identifier == _WAKEUP and not flags & c.CQE_MORE for identifier, _, flags in entries):
                return

    def _last_turn(self, timeout: float) -> list[tuple[int, int, int]]:
        """While the ring is being closed."""
        self._ring.turn(timeout)
        tail, entries = self._ring.completions()
        self._ring.acknowledge(tail)
        return entries

    def abandon(self) -> None:
        self._ring.abandon()
        if self._wait_event is not None:
            self._wait_event.close()
        self._doorbell.close()

    def statistics(self) -> Mapping[str, int]:
        return {
            "system_calls": self._ring.enters,
            "postponed": len(self._postponed),
            "held_sends": len(self._zero_copy.held),
        }


class IoUringAbiBackend(IoUringBackend):
    """The same ring without the compiled helper, by name: for tests, and to compare."""

    native_helper: ClassVar[bool | None] = False
