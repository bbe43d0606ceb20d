"""Proactor: submit operations, poll, and each is delivered exactly once.

Composition: it owns one backend and gives it the completion hook (`_complete`). Here stands what is the same for all
backends: validation, ownership, chains, what the kernel lacks, threads, and the delivery of results.

Threads: `submit()`, `cancel()` and `wake()` may be called from any thread, everything else by the owner: the thread
that created it, or with ThreadingMode.CROSS_THREAD the first that polls. Another thread's submissions wait in a queue
that the owner empties at the start of its poll.

Exceptions: what a completion function raises never disturbs the others. An Exception is kept until all completions of
the poll have been delivered and is raised by `poll()` then, with the operation named in a note, several of them as an
ExceptionGroup. Anything else (KeyboardInterrupt) leaves at once; what had not been delivered is delivered by the next
`poll()`.

A delivery is committed by the two statements before the completion function is called (`del in_flight[...]`, state):
a signal handler runs only at calls and jumps, so it cannot come between them and the call.
"""

from __future__ import annotations

import math
import os
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    Capability,
    CapabilityReport,
    CompletionFlags,
    OperationFields,
    OperationFlags,
    Support,
)
from proactor_trio.backends.select import select_backend
from proactor_trio.proactor.chain import Chain, check_batch, split_batch
from proactor_trio.proactor.errors import CANCELED, CancelCause, FailedPrecondition
from proactor_trio.proactor.operation import Operation, OperationState
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.software import EMULATED_KINDS, SoftwareOperations

_MORE: Final = CompletionFlags.MORE
_FINAL: Final = CompletionFlags.NONE
_CLOSING_SECONDS: Final = 10.0

_NEW: Final = OperationState.NEW
_SUBMITTED: Final = OperationState.SUBMITTED
_CANCELLING: Final = OperationState.CANCELLING
_DONE: Final = OperationState.DONE

_live_proactors: weakref.WeakSet[Proactor] = weakref.WeakSet()


class Proactor:
    """The completion-based I/O layer of one thread.

    backend: "auto", "io_uring", "epoll", "poll" or the name of an external one; None asks the environment variable
        PROACTOR_TRIO_BACKEND. A named one is that or BackendUnavailable.
    options: see ProactorOptions.

    Use it as a context manager, or call `close()`.
    """

    def __init__(self, backend: str | None = None, options: ProactorOptions | None = None) -> None:
        options = ProactorOptions() if options is None else options
        options.check()
        self.options = options
        self._in_flight: dict[int, Operation] = {}
        self._next_identifier = 1
        self._remote: deque[tuple[Sequence[Operation] | None, Operation | None]] = deque()
        self._software = SoftwareOperations()
        self._errors: list[Exception] = []
        self._delivered = 0
        self._polling = False
        self._closed = False
        self._inherited = False
        self._owner: int | None = None
        if options.threading_mode is ThreadingMode.SAME_THREAD:
            self._owner = threading.get_ident()
        self._selection = select_backend(backend, self._create_backend)
        self._backend = self._selection.backend
        self._native_kinds = self._backend.native_kinds
        self._bound_affinity = False
        _live_proactors.add(self)

    def _create_backend(self, backend_class: type[Backend]) -> Backend:
        options = BackendOptions(
            in_flight=self._in_flight,
            concurrent_operations=self.options.max_concurrent_operations,
            allowed=self.options.allowed_capabilities,
            created_for_another_thread=self._owner is None,
        )
        return backend_class(self._complete, options)

    # What it is --------------------------------------------------------------------------------------------------

    @property
    def backend_name(self) -> str:
        """The name of the backend that runs."""
        return self._backend.name

    @property
    def backend_variant(self) -> str:
        """What exactly runs, in a few words."""
        return self._backend.variant

    @property
    def selection_reason(self) -> str:
        """Why this backend, and why none of the better ones."""
        return self._selection.reason

    @property
    def capabilities(self) -> Capability:
        """The capabilities that are there, by the kernel or emulated."""
        present = Capability.NONE
        for capability, report in self._backend.capabilities.items():
            if report.support is not Support.MISSING:
                present |= capability
        return present

    @property
    def capability_reports(self) -> Mapping[Capability, CapabilityReport]:
        """Each capability: native, emulated or missing, and why."""
        return self._backend.capabilities

    def statistics(self) -> Mapping[str, int]:
        """Counters since creation. Any thread; approximate while the owner runs."""
        return {
            "submitted": self._next_identifier - 1,
            "delivered": self._delivered,
            "in_flight": len(self._in_flight),
            **self._backend.statistics(),
        }

    # Submitting --------------------------------------------------------------------------------------------------

    def submit(self, *operations: Operation) -> None:
        """Hand operations over. Any thread. Nothing completes in here.

        Several are one batch: LINKED on one makes the next wait for its success. A wrong batch is refused whole:
        TypeError, ValueError, ClosedResourceError or FailedPrecondition, and nothing of it runs.
        """
        if not operations:
            return
        self._check_usable()
        check_batch(operations)
        for operation in operations:
            self._check_idle(operation)
        prepared: list[Operation] = []
        try:
            for operation in operations:
                operation._prepare()
                prepared.append(operation)
        except BaseException:
            for operation in prepared:
                operation.view = None
            raise
        for operation in operations:
            if operation.has_commit:
                operation._commit()
            operation.state = _SUBMITTED
            operation._proactor = self
            operation._cancel_cause = CancelCause.REQUESTED
            operation.unclaimed = operation.completion_fn is None
        if threading.get_ident() == self._owner:
            self._begin_batch(operations)
        else:
            self._remote.append((operations, None))
            self._backend.wake()

    def submit_one(self, operation: Operation) -> None:
        """`submit()` of one operation without LINKED, by the owner thread, which is not checked: for run loops."""
        if operation.state is not _NEW and operation.state is not _DONE:
            self._check_idle(operation)
        operation._prepare()
        if operation.has_commit:
            operation._commit()
        self.submit_prepared(operation)

    def submit_prepared(self, operation: Operation) -> None:
        """`submit_one()` of an operation that was submitted before and of which the caller has checked everything."""
        operation._proactor = self
        operation.state = _SUBMITTED
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation
        if operation.kind in self._native_kinds:
            self._backend.start(operation)
        elif operation.kind in EMULATED_KINDS:
            self._software.start(operation)
        else:
            del self._in_flight[identifier]
            operation.identifier = 0
            operation.state = _NEW
            self._check_idle(operation)

    def _check_idle(self, operation: Operation) -> None:
        if operation.state is not _NEW and operation.state is not _DONE:
            raise FailedPrecondition(f"{operation!r} is in flight already; it can be submitted again when it is done")
        if operation.kind not in self._native_kinds and operation.kind not in EMULATED_KINDS:
            raise FailedPrecondition(f"{type(operation).__name__} does not exist on the backend {self.backend_name}")

    def _begin_batch(self, operations: Sequence[Operation]) -> None:
        for steps in split_batch(operations):
            if len(steps) == 1:
                self._begin(steps[0])
                continue
            for step in steps:
                self._register(step)
            Chain(steps, self._begin_steps, self._complete).start()

    def _register(self, operation: Operation) -> None:
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation

    def _begin(self, operation: Operation) -> None:
        self._register(operation)
        if operation.kind in self._native_kinds:
            self._backend.start(operation)
        else:
            self._software.start(operation)

    def _begin_steps(self, steps: Sequence[Operation]) -> int:
        """Start the longest prefix that can be handed over at once; at least one step."""
        native = 0
        while native < len(steps) and steps[native].kind in self._native_kinds:
            native += 1
        taken = self._backend.start_chain(steps[:native]) if native > 1 else 0
        if taken:
            return taken
        if native:
            self._backend.start(steps[0])
        else:
            self._software.start(steps[0])
        return 1

    # Cancelling --------------------------------------------------------------------------------------------------

    def cancel(self, operation: Operation) -> bool:
        """Ask for an operation to end. Any thread. True: requested; False: it is not pending here.

        Its final completion tells what happened: OperationCancelled, or the result that came first.
        """
        if operation._proactor is not self:
            return False
        if threading.get_ident() != self._owner:
            if operation.state is not _SUBMITTED and operation.state is not _CANCELLING:
                return False
            self._remote.append((None, operation))
            self._backend.wake()
            return True
        state = operation.state
        if state is _CANCELLING:
            return True
        if state is not _SUBMITTED or not operation.identifier:
            return self._cancel_queued(operation)
        operation.state = _CANCELLING
        chain = operation._chain
        if chain is not None and not chain.has_started(operation):
            return True
        if operation.kind in self._native_kinds:
            self._backend.cancel(operation)
        else:
            self._software.cancel(operation)
        return True

    def _cancel_queued(self, operation: Operation) -> bool:
        if operation.state is not _SUBMITTED:
            return False
        self._take_remote()  # submitted by another thread a moment ago
        return bool(operation.identifier) and self.cancel(operation)

    # Polling -----------------------------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> int:
        """Wait for completions and deliver them. Owner thread only. Returns how many were delivered.

        timeout: seconds, None for ever. 0 completions: the time was over, or `wake()` was called, or a signal came.
        """
        if self._polling or self._closed or self._owner != threading.get_ident():
            self._prepare_first_poll()
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must not be negative or NaN, not {timeout}")
        delivered = self._delivered
        self._polling = True
        try:
            if self._remote:
                self._take_remote()
            if self._software:
                self._backend.poll(self._software.limit_wait(timeout))
                self._deliver_software()
            else:
                self._backend.poll(None if timeout == math.inf else timeout)
        finally:
            self._polling = False
        if self._errors:
            self._raise_errors()
        return self._delivered - delivered

    def is_quiet(self) -> bool:
        """Whether `poll(0)` would certainly deliver nothing; costs no system call. Owner thread only."""
        return not self._remote and not self._software and self._backend.is_quiet()

    def _prepare_first_poll(self) -> None:
        self._check_usable()
        if self._polling:
            raise FailedPrecondition("poll() was called inside a completion function of the same proactor")
        if self._owner is None:
            self._owner = threading.get_ident()
            self._backend.enable()
        if self._owner != threading.get_ident():
            raise FailedPrecondition(
                f"poll(): this proactor belongs to thread {self._owner}, not to {threading.get_ident()}"
            )

    def bind_affinity(self) -> None:
        """Bind the calling thread to the processors of `options.affinity`, where that is given."""
        if self.options.affinity is not None:
            os.sched_setaffinity(0, self.options.affinity)

    def wake(self) -> None:
        """End a waiting `poll()`, or the next one at once. Any thread, also from a signal handler; idempotent."""
        self._backend.wake()

    def wakeup_descriptor(self) -> int:
        """A descriptor for `signal.set_wakeup_fd()`: what is written there wakes `poll()`."""
        return self._backend.wakeup_descriptor()

    def _take_remote(self) -> None:
        for _ in range(len(self._remote)):
            operations, cancelled = self._remote[0]
            if operations is not None and not operations[0].identifier:
                self._begin_batch(operations)
            self._remote.popleft()
            if cancelled is not None:
                self.cancel(cancelled)

    def _deliver_software(self) -> None:
        while (due := self._software.first_due()) is not None:
            operation, result = due
            if operation.identifier in self._in_flight:
                self._complete(operation, result, 0)
            self._software.remove_first_due()

    # The completion hook -----------------------------------------------------------------------------------------

    def _complete(self, operation: OperationFields, result: int, flags: int) -> None:
        """One raw completion (contract.py). Everything before the commit may run twice and must not mind."""
        assert isinstance(operation, Operation)
        if operation.flags and (flags or self._is_emulated_multishot(operation, result)):
            self._complete_more(operation, result)
            return
        chain = operation._chain
        succeeded = result >= 0 and not (chain is not None and operation._is_short(result))
        if result >= 0:
            operation.result = operation._finish(result)
            operation.error = None
        else:
            self._set_failure(operation, result)
        waiter = operation.waiter
        completion_fn = operation.completion_fn
        self._delivered += 1
        del self._in_flight[operation.identifier]
        operation.identifier = 0
        operation.view = None
        operation.state = _DONE
        if waiter is not None:
            operation.waiter = None
            waiter.operation_completed(operation)
        if completion_fn is not None:
            self._call(completion_fn, operation, _FINAL)
        if chain is not None:
            operation._chain = None
            chain.step_done(operation, succeeded)

    def _set_failure(self, operation: Operation, result: int) -> None:
        if result == CANCELED or (result == -4 and operation.state is _CANCELLING):
            error: BaseException = operation._cancellation()
        else:
            error = operation._failure(result)
        operation.result = None
        operation.error = error

    def _is_emulated_multishot(self, operation: Operation, result: int) -> bool:
        return (
            bool(operation.flags & OperationFlags.MULTISHOT)
            and result >= 0
            and operation.kind not in self._backend.native_multishot
        )

    def _complete_more(self, operation: Operation, result: int) -> None:
        operation.result = operation._finish(result)
        operation.error = None
        self._delivered += 1
        operation.deliveries += 1
        if operation.completion_fn is not None:
            self._call(operation.completion_fn, operation, _MORE)
        if operation.identifier and operation.kind not in self._backend.native_multishot:
            self._backend.start(operation)
            if operation.state is _CANCELLING:
                self._backend.cancel(operation)

    def _call(self, completion_fn: object, operation: Operation, flags: CompletionFlags) -> None:
        try:
            completion_fn(operation, flags)  # type: ignore[operator]
        except Exception as error:
            error.add_note(f"raised by the completion function of {operation!r}")
            self._errors.append(error)

    def _raise_errors(self) -> None:
        errors = self._errors
        self._errors = []
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup("completion functions raised", errors)

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is in flight, deliver every final completion, then free everything. Owner thread only.

        Idempotent. Completion functions run inside; what they raise is raised at the end. Raises FailedPrecondition
        when operations do not end within 10 seconds; the proactor then stays open and its memory stays alive.
        """
        if self._closed:
            return
        if self._inherited:
            self._closed = True
            return
        if self._owner is None:
            self._owner = threading.get_ident()
            self._backend.enable()
        self._check_owner("close()")
        errors: list[Exception] = []
        deadline = time.monotonic() + _CLOSING_SECONDS
        while self._in_flight or self._remote:
            self._cancel_everything()
            if time.monotonic() >= deadline:
                stuck = ", ".join(repr(operation) for operation in self._in_flight.values())
                raise FailedPrecondition(f"close(): still in flight after {_CLOSING_SECONDS:.0f} s: {stuck}")
            try:
                self.poll(0.1)
            except Exception as error:
                errors.append(error)
        self._closed = True
        _live_proactors.discard(self)
        self._backend.close()
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup("completion functions raised", errors)

    def _cancel_everything(self) -> None:
        self._take_remote()
        for operation in list(self._in_flight.values()):
            if operation.state is _SUBMITTED:
                operation._cancel_cause = CancelCause.PROACTOR_CLOSED
                self.cancel(operation)

    def __enter__(self) -> Proactor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._inherited:
            raise RuntimeError("this proactor was inherited by fork() and belongs to the parent process")
        if self._closed:
            raise FailedPrecondition("this proactor is closed")

    def _check_owner(self, call: str) -> None:
        if self._owner != threading.get_ident():
            raise FailedPrecondition(f"{call}: this proactor belongs to thread {self._owner}")

    def _abandon(self) -> None:
        self._inherited = True
        self._backend.abandon()

    def __del__(self) -> None:
        # Without an owner's poll nothing can be ended here. What is in flight keeps its memory: it leaks on purpose.
        if not getattr(self, "_closed", True) and not self._inherited and hasattr(self, "_backend"):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            if not self._in_flight and self._owner == threading.get_ident():
                self._backend.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_backend"):
            return "<Proactor without a backend>"
        name = f" {self.options.debug_name}" if self.options.debug_name else ""
        return f"<Proactor{name} on {self.backend_name}, {len(self._in_flight)} in flight>"


def _abandon_in_child() -> None:
    for proactor in list(_live_proactors):
        proactor._abandon()


os.register_at_fork(after_in_child=_abandon_in_child)
