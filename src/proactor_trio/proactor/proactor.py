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

A delivery is committed by the statements before the completion function is called (`del in_flight[...]`, state): a
signal handler runs only at calls, jumps and function entries, so it cannot come between them and the call. Everything
before the commit, and everything that begins operations, may be interrupted and is done again.
"""

from __future__ import annotations

import errno
import math
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Protocol

from proactor_trio.backends.contract import (
    Backend,
    BackendOptions,
    Capability,
    CapabilityReport,
    CompletionFlags,
    Kind,
    Support,
)
from proactor_trio.backends.select import select_backend
from proactor_trio.proactor import forking
from proactor_trio.proactor.beginning import Beginning
from proactor_trio.proactor.chain import check_batch
from proactor_trio.proactor.errors import CANCELED, CancelCause, CompletionErrors, FailedPrecondition
from proactor_trio.proactor.incoming import Batch, CancelRequest, FinishRequest, PostedCalls
from proactor_trio.proactor.operation import (
    SOFTWARE_FAILURE,
    TRANSITIONS,
    Operation,
    OperationState,
    SoftwareOperation,
)
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.progress import ProgressCallbacks
from proactor_trio.proactor.socket import Socket
from proactor_trio.proactor.software import EMULATED_KINDS

_MORE: Final = CompletionFlags.MORE
_FINAL: Final = CompletionFlags.NONE
_CLOSING_SECONDS: Final = 10.0
#: Seconds; a longer wait returns early with nothing.
_LONGEST_WAIT: Final = 1e6

_NEW: Final = OperationState.NEW
_SUBMITTED: Final = OperationState.SUBMITTED
_CANCELLING: Final = OperationState.CANCELLING
_DONE: Final = OperationState.DONE


#: What is performed above the backend where it does not do it itself.
OUR_KINDS: Final = EMULATED_KINDS | {Kind.SOFTWARE}


class Attachment(Protocol):
    """A resource that lives with a proactor (a relay, a registered region, a subscription)."""

    def proactor_closing(self) -> None:
        """The proactor is about to cancel everything: begin nothing new. Owner thread."""
        ...

    def proactor_closed(self) -> None:
        """Nothing is in flight any more, and the kernel's side is still there: give back what it holds."""
        ...


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
        self._incoming: deque[Batch | CancelRequest | FinishRequest] = deque()
        self._posted = PostedCalls()
        self._progress = ProgressCallbacks()
        self._attached: dict[Attachment, None] = {}
        self._errors = CompletionErrors()
        self._current_time: Callable[[], float] = time.monotonic
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
        self._beginning = Beginning(self, self._backend, self._in_flight, self._register)
        self._software = self._beginning.software
        self._multishot = self._beginning.multishot
        forking.watch(self)

    def _create_backend(self, backend_class: type[Backend]) -> Backend:
        options = BackendOptions(
            in_flight=self._in_flight,
            concurrent_operations=self.options.max_concurrent_operations,
            allowed=self.options.allowed_capabilities,
            created_for_another_thread=self._owner is None,
        )
        # The hook takes Operations, which is all that a backend is ever given.
        return backend_class(self._complete, options)  # type: ignore[arg-type]

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
        self._prepare(operations)
        batch = Batch(operations, self._beginning.begin_chain)
        try:
            for operation in operations:
                operation._proactor = self
                if operation._limits is not None:
                    operation._set_expiry(self._current_time())
            batch.mark_submitted()
            batch.queued = True
            self._incoming.append(batch)
        except BaseException:
            if not batch.queued:
                batch.give_back()
            raise
        if threading.get_ident() == self._owner:
            self._take_incoming()
        else:
            self._backend.wake()

    def submit_one(self, operation: Operation) -> None:
        """`submit()` of one operation without LINKED, by the owner thread, which is not checked: for run loops."""
        if self._inherited or (operation.state is not _NEW and operation.state is not _DONE):
            self._check_usable()
            self._check_idle(operation)
        operation._prepare()
        if operation.is_close:
            operation._proactor = self
            operation.state = _SUBMITTED
            operation.started = False
            self._beginning.begin(operation)
        else:
            self.submit_prepared(operation)

    def submit_prepared(self, operation: Operation) -> None:
        """`submit_one()` of an operation of which the caller has checked and filled everything; no close."""
        operation._proactor = self
        operation.state = _SUBMITTED
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation
        if operation.kind in self._native_kinds:
            self._backend.start(operation)
        elif operation.kind in OUR_KINDS:
            self._beginning.start(operation)
        else:
            del self._in_flight[identifier]
            operation.identifier = 0
            operation.state = _NEW
            self._check_idle(operation)

    def close_unused(self, socket: Socket) -> None:
        """Close a socket at once, without an operation. Owner thread only; the caller knows that nothing is pending."""
        self._backend.forget(socket.descriptor)
        socket.close()

    def _prepare(self, operations: Sequence[Operation]) -> None:
        prepared: list[Operation] = []
        try:
            for operation in operations:
                operation._prepare()
                prepared.append(operation)
        except BaseException:
            for operation in prepared:
                operation._withdraw()
            raise

    def _check_idle(self, operation: Operation) -> None:
        if "submit" not in TRANSITIONS[operation.state]:
            raise FailedPrecondition(f"{operation!r} is in flight already; it can be submitted again when it is done")
        if operation.kind not in self._native_kinds and operation.kind not in OUR_KINDS:
            raise FailedPrecondition(f"{type(operation).__name__} does not exist on the backend {self.backend_name}")

    def _take_incoming(self) -> None:
        incoming = self._incoming
        while incoming:
            item = incoming[0]
            item.take()
            if incoming and incoming[0] is item:
                incoming.popleft()

    def _register(self, operation: Operation) -> None:
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation

    # Cancelling --------------------------------------------------------------------------------------------------

    def cancel(self, operation: Operation) -> bool:
        """Ask for an operation to end. Any thread. True: requested; False: it is not pending here.

        Its final completion tells what happened: OperationCancelled, or the result that came first. A step of a chain
        whose turn has not come ends when it comes: the steps before it go on. A close that has begun goes on.
        """
        state = operation.state
        if self._inherited:
            self._check_usable()
        if operation._proactor is not self or "cancel" not in TRANSITIONS[state]:
            return False
        if threading.get_ident() != self._owner:
            self._incoming.append(CancelRequest(operation, self.cancel))
            self._backend.wake()
            return True
        if state is _CANCELLING:
            return True
        if not operation.identifier:
            self._take_incoming()
        operation.state = _CANCELLING
        chain = operation._chain
        if chain is not None and not chain.has_begun(operation):
            return True
        if operation.is_close and operation.resource().closed_by == operation.identifier:
            return True
        self._beginning.cancel(operation)
        return True

    def cancel_up_to(self, operation: Operation) -> bool:
        """`cancel()`, and of a chain also the steps before it, so that it does not wait for their ends. Owner thread.

        The steps are cancelled in order; one whose result comes first keeps it.
        """
        chain = operation._chain
        if chain is None:
            return self.cancel(operation)
        for step in chain.steps:
            if step._chain is chain and step.state is _SUBMITTED:
                self.cancel(step)
            if step is operation:
                break
        return True

    # Polling -----------------------------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> int:
        """Wait for completions and deliver them. Owner thread only. Returns how many were delivered.

        timeout: seconds, None for ever. 0 completions: the time was over, or `wake()` was called, or a signal came.
        """
        if self._polling or self._closed or self._owner != threading.get_ident():
            self._prepare_first_poll()
        if timeout is not None:
            if not timeout >= 0:
                raise ValueError(f"timeout must not be negative or NaN, not {timeout}")
            if timeout > _LONGEST_WAIT:
                timeout = None if timeout == math.inf else _LONGEST_WAIT
        delivered = self._delivered
        self._polling = True
        try:
            timeout = self._before_backend(timeout)
            self._backend.poll(timeout)
            beginning = self._beginning
            if (
                self._software.due
                or self._software.timers
                or self._incoming
                or self._posted.waiting
                or beginning.chain_steps
                or beginning.held_closes.held
            ):
                self._after_backend()
        finally:
            self._polling = False
        if self._errors.kept:
            self._errors.raise_kept()
        return self._delivered - delivered

    def is_quiet(self) -> bool:
        """Whether `poll(0)` can be left out in this turn of a loop; costs no system call. Owner thread only."""
        return (
            not self._inherited
            and self._backend.is_quiet()
            and not (self._incoming or self._posted.waiting or self._progress.entries)
            and self._beginning.is_idle
        )

    def _before_backend(self, timeout: float | None) -> float | None:
        if self._incoming:
            self._take_incoming()
        if self._posted.waiting:
            self._posted.make(self._errors)
            timeout = 0
        if not self._beginning.is_idle:
            self._beginning.go_on()
            timeout = self._beginning.limit_wait(timeout)
        if self._progress.entries:
            self._delivered += self._progress.run(self._errors)
            timeout = 0
        return timeout

    def _after_backend(self) -> None:
        if self._incoming:
            self._take_incoming()
        if self._posted.waiting:
            self._posted.make(self._errors)
        self._software.collect_timers()
        beginning = self._beginning
        while True:
            self._deliver_software()
            if not beginning.chain_steps:
                break
            beginning.go_on_with_chains()
        if beginning.held_closes.held:
            beginning.go_on_with_chains()

    def _deliver_software(self) -> None:
        newest = self._software.last_order
        while (due := self._software.first_due(self._in_flight, newest)) is not None:
            operation, result = due
            if isinstance(result, BaseException):
                assert isinstance(operation, SoftwareOperation)
                operation.failure = result
                result = SOFTWARE_FAILURE
            self._complete(operation, result, 0)

    def _prepare_first_poll(self) -> None:
        self._check_usable()
        if self._polling:
            raise FailedPrecondition("poll() was called inside a completion function of the same proactor")
        if self._owner is None:
            self._owner = threading.get_ident()
            self._backend.enable()
        self._check_owner("poll()")

    def wake(self) -> None:
        """End a waiting `poll()`, or the next one at once. Any thread, also from a signal handler; idempotent."""
        if self._inherited:
            self._check_usable()
        self._backend.wake()

    def wakeup_descriptor(self) -> int:
        """A descriptor for `signal.set_wakeup_fd()`: what is written there wakes `poll()`."""
        return self._backend.wakeup_descriptor()

    # For those who build on it -----------------------------------------------------------------------------------

    def finish(self, operation: SoftwareOperation, identifier: int, result: int | BaseException) -> None:
        """Complete a software operation inside this or the next `poll()`. Any thread, but not a signal handler.

        identifier: its number when it began; what is finished already, or was submitted again, is left alone.
        result: CANCELED, another `-errno`, a number >= 0 for its `_finish()`, or the exception to be its error.
        """
        if threading.get_ident() == self._owner:
            self._software.end(operation, identifier, result)
        else:
            self._incoming.append(FinishRequest(operation, identifier, result, self._software.end))
            self._backend.wake()

    def post(self, call: Callable[[], object]) -> None:
        """Have `call()` made once inside `poll()`, by the owner. Any thread, also from a signal handler.

        What it raises is raised by that `poll()`, as from a completion function. Calls that are still waiting when the
        proactor is closed are made then.
        """
        if self._inherited or self._closed:
            self._check_usable()
        self._posted.waiting.append(call)
        self._backend.wake()

    def progress_callbacks(self) -> ProgressCallbacks:
        """For ProgressCallback. Owner thread only."""
        self._check_usable()
        self._check_owner("ProgressCallback")
        return self._progress

    def use_clock(self, current_time: Callable[[], float], keep_deadline: Callable[[Operation, float], None]) -> None:
        """For run loops with a clock of their own, which no kernel knows. Owner thread, before any submission.

        current_time: what `deadline=` and `timeout=` are counted on instead of `time.monotonic()`.
        keep_deadline: called as `keep_deadline(operation, expires)` when an operation with a deadline begins; the loop
            calls `expire(operation, operation.identifier)` when that time has come.
        """
        self._current_time = current_time
        self._beginning.keep_deadlines_by(keep_deadline)

    def is_in_flight(self, operation: Operation, identifier: int) -> bool:
        """Whether that submission of an operation has not completed. Owner thread."""
        return self._in_flight.get(identifier) is operation

    def expire(self, operation: Operation, identifier: int) -> None:
        """The deadline of that submission has come: end it, if it has not completed. Owner thread."""
        if self.is_in_flight(operation, identifier) and operation.state is _SUBMITTED:
            operation._cancel_cause = CancelCause.DEADLINE_PASSED
            self.cancel(operation)

    def attach(self, resource: Attachment) -> None:
        """Keep a resource that has to end before its proactor does; see Attachment. Owner thread."""
        self._check_usable()
        self._attached[resource] = None

    def detach(self, resource: Attachment) -> None:
        """The resource has ended. Owner thread."""
        self._attached.pop(resource, None)

    def uncount(self) -> None:
        """In a completion function of an operation of our own: it is none of those that `poll()` counts."""
        self._delivered -= 1

    # The completion hook -----------------------------------------------------------------------------------------

    def _complete(self, operation: Operation, result: int, flags: int) -> None:
        """One raw completion (contract.py). Everything before the commit may run twice and must not mind."""
        if operation.flags and (flags or (result >= 0 and self._multishot.is_emulated(operation))):
            self._complete_more(operation, result)
            return
        if operation._limits is not None and result >= 0:
            result = operation._judge_expired(result)
        chain = operation._chain
        if chain is not None:
            if result < 0 or operation._is_short(result):
                chain.break_at(operation)
            self._beginning.chain_steps.append((chain, operation, operation.identifier))
        if result >= 0:
            operation.result = operation._finish(result)
            operation.error = None
        else:
            self._set_failure(operation, result)
        waiter = operation.waiter
        completion_fn = operation.completion_fn
        # The commit: no call from here to that of the completion function.
        self._delivered += 1
        del self._in_flight[operation.identifier]
        operation.identifier = 0
        operation.view = None
        operation.data = None
        operation._chain = None
        operation.state = _DONE
        if waiter is not None:
            operation.waiter = None
            waiter.operation_completed(operation)
        if completion_fn is not None:
            try:
                completion_fn(operation, _FINAL)
            except Exception as error:
                self._errors.keep(error, operation)

    def _set_failure(self, operation: Operation, result: int) -> None:
        if result == CANCELED or (result == -errno.EINTR and operation.state is _CANCELLING):
            error: BaseException = operation._cancellation()
            if operation._cancel_cause is CancelCause.DEADLINE_PASSED:
                error = operation._expiry()
        elif result == -errno.ETIME and operation._limits is not None:
            operation._failure(result)  # it also lets go of what the operation holds
            error = operation._expiry()
        else:
            error = operation._failure(result)
        operation.result = None
        operation.error = error

    def _complete_more(self, operation: Operation, result: int) -> None:
        operation.result = operation._finish(result)
        operation.error = None
        completion_fn = operation.completion_fn
        if self._multishot.is_emulated(operation):
            self._multishot.add(operation)
        self._delivered += 1
        operation.data = None
        operation.deliveries += 1
        if completion_fn is not None:
            try:
                completion_fn(operation, _MORE)
            except Exception as error:
                self._errors.keep(error, operation)

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
        if self._polling:
            raise FailedPrecondition("close() was called inside a completion function of the same proactor")
        errors = CompletionErrors()
        for resource in reversed(list(self._attached)):
            resource.proactor_closing()
        deadline = time.monotonic() + _CLOSING_SECONDS
        while self._in_flight or self._incoming or self._posted.waiting:
            self._cancel_everything()
            if time.monotonic() >= deadline:
                stuck = ", ".join(repr(operation) for operation in self._in_flight.values())
                raise FailedPrecondition(f"close(): still in flight after {_CLOSING_SECONDS:.0f} s: {stuck}")
            try:
                self.poll(0.1)
            except Exception as error:
                errors.kept.append(error)
        for resource in reversed(list(self._attached)):
            resource.proactor_closed()
        self._attached.clear()
        self._closed = True
        forking.unwatch(self)
        self._backend.close()
        if errors.kept:
            errors.raise_kept()

    def _cancel_everything(self) -> None:
        self._take_incoming()
        for operation in list(self._in_flight.values()):
            if operation.state is _SUBMITTED and not operation.is_close:
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

    def abandon(self) -> None:
        """In a forked child. The owner's checks fail from now on, so that nothing touches what is the parent's."""
        self._inherited = True
        self._owner = None
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
