"""Proactor: submit operations, poll, and each is delivered exactly once.

Composition: it owns one backend and gives it the completion hook. What is the same for all backends stands around it:
validation and threads here, how operations begin in beginning.py, how results are delivered in delivery.py, what a poll
does beside the backend in poll_work.py, how everything ends in ending.py.

Threads: `submit()`, `cancel()` and `wake()` may be called from any thread, everything else by the owner: the thread
that created it, or with ThreadingMode.CROSS_THREAD the first that polls. Another thread's submissions wait in a queue
that the owner empties at the start of its poll.
"""

from __future__ import annotations

import functools
import math
import operator
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized
from types import TracebackType
from typing import Final

from proactor_trio.backends.contract import Backend, BackendOptions, Capability, CapabilityReport, Kind, Support
from proactor_trio.backends.select import select_backend
from proactor_trio.proactor import forking
from proactor_trio.proactor.attachments import Attachment, Attachments
from proactor_trio.proactor.beginning import Beginning
from proactor_trio.proactor.chain import Chain, check_batch
from proactor_trio.proactor.delivery import Delivery
from proactor_trio.proactor.ending import CLOSING_SECONDS, Ending
from proactor_trio.proactor.errors import CancelCause, FailedPrecondition, Unimplemented
from proactor_trio.proactor.hosting import Hosting
from proactor_trio.proactor.incoming import Batch, CancelRequest, FinishRequest
from proactor_trio.proactor.loop_access import LoopAccess
from proactor_trio.proactor.messages import MessageCallback, Messages
from proactor_trio.proactor.operation import TRANSITIONS, Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.ownership import check_owner_thread
from proactor_trio.proactor.poll_work import LONGEST_WAIT, PollWork
from proactor_trio.proactor.progress import ProgressCallbacks
from proactor_trio.proactor.software import EMULATED_KINDS

_NEW: Final = OperationState.NEW
_SUBMITTED: Final = OperationState.SUBMITTED
_CANCELLING: Final = OperationState.CANCELLING
_DONE: Final = OperationState.DONE

#: What is performed above the backend where it does not do it itself.
OUR_KINDS: Final = EMULATED_KINDS | {Kind.SOFTWARE}


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
        self._attached = Attachments()
        self._delivery = Delivery(self._in_flight)
        self._errors = self._delivery.errors
        self._current_time: Callable[[], float] = time.monotonic
        self._polling = False
        self._closed = False
        self._inherited = False
        self._owner: int | None = None
        if options.threading_mode is ThreadingMode.SAME_THREAD:
            self._owner = threading.get_ident()
        #: Whose calls take effect at once: the owner's, unless a loop that is not ours has to be told (hosting.py).
        self._direct_thread = self._owner
        self._hosting: Hosting | None = None
        self._selection = select_backend(backend, self._create_backend)
        self._backend = self._selection.backend
        #: Tells whoever polls that something was left for him in `_incoming`. Not for signal handlers.
        self._call_owner = self._backend.wake
        self._native_kinds = self._backend.native_kinds
        self._messages = Messages(options.message_pool_capacity, self._backend.decode_message)
        self._beginning = Beginning(self, self._backend, self._in_flight, self._delivery)
        self._software = self._beginning.software
        work = PollWork(self, self._backend, self._messages, self._beginning, self._delivery)
        self._incoming = work.incoming
        self._posted = work.posted
        self._progress = work.progress
        self._pending = work.pending
        self._take_incoming = work.take_incoming
        self._before_backend = work.before
        self._after_backend = work.after
        self._limit_idle_wait = work.limit_idle_wait
        #: For the run loop that drives it.
        self.loop_access = LoopAccess(self, self._backend, self._in_flight, self._beginning, self._delivery)
        self._ending = Ending(self, work, self._delivery, self._attached)
        forking.watch(self)

    def _create_backend(self, backend_class: type[Backend]) -> Backend:
        options = BackendOptions(
            in_flight=self._in_flight,
            concurrent_operations=self.options.max_concurrent_operations,
            allowed=self.options.allowed_capabilities,
            created_for_another_thread=self._owner is None,
        )
        # The hook takes Operations, which is all that a backend is ever given.
        return backend_class(self._delivery.complete, options)  # type: ignore[arg-type]

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
        reports = self._backend.capabilities.items()
        present = [capability for capability, report in reports if report.support is not Support.MISSING]
        return functools.reduce(operator.or_, present, Capability.NONE)

    @property
    def capability_reports(self) -> Mapping[Capability, CapabilityReport]:
        """Each capability: native, emulated or missing, and why."""
        return self._backend.capabilities

    def statistics(self) -> Mapping[str, int]:
        """Counters since creation. Any thread; approximate while the owner runs."""
        return {
            "submitted": self._next_identifier - 1,
            "delivered": self._delivery.delivered,
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
        self.prepare(operations)
        self.submit_batch(operations)

    def submit_batch(self, operations: Sequence[Operation]) -> None:
        """The second half of `submit()`, for those who have called `prepare()`."""
        batch = Batch(operations, self._beginning.begin_chain)
        try:
            for operation in operations:
                if operation._limits is not None:
                    operation._set_expiry(self._current_time())
            batch.mark_submitted()
            batch.queued = True
            self._incoming.append(batch)
        except BaseException:
            if not batch.queued:
                batch.give_back()
            raise
        if threading.get_ident() == self._direct_thread:
            self._take_incoming()
        else:
            self._call_owner()

    def submit_one(self, operation: Operation) -> None:
        """`submit()` of one operation without LINKED, by the owner thread, which is not checked: for run loops."""
        if self._inherited or (operation.state is not _NEW and operation.state is not _DONE):
            self._check_usable()
            self._check_idle(operation)
        operation._proactor = self
        operation._prepare()
        if operation.is_close or (operation.can_be_refused and operation._refusal()):
            operation.state = _SUBMITTED
            operation.started = False
            self._beginning.begin(operation)
        else:
            self.submit_prepared(operation)

    def submit_chain(self, operations: list[Operation]) -> None:
        """`submit()` of one chain, by the owner thread, which is not checked: for those who have linked it themselves.

        Refused whole, like any batch, if one of them is in flight or refuses its arguments.
        """
        prepared = 0
        try:
            for operation in operations:
                if operation.state is not _NEW and operation.state is not _DONE:
                    self._check_idle(operation)
                operation._proactor = self
                operation._prepare()
                prepared += 1
        except BaseException:
            for operation in operations[:prepared]:
                operation._withdraw()
            raise
        for operation in operations:
            operation.state = _SUBMITTED
            operation.started = False
            operation._cancel_cause = CancelCause.REQUESTED
            if operation._limits is not None:
                operation._set_expiry(self._current_time())
        self._beginning.begin_chain(operations)

    def submit_prepared(self, operation: Operation) -> None:
        """`submit_one()` of an operation of which the caller has checked and filled everything; no close."""
        operation._proactor = self
        operation.state = _SUBMITTED
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation
        if self._delivery.observer is not None:
            self._delivery.observer.operation_submitted(operation)
        if operation.kind in self._native_kinds:
            self._backend.start(operation)
        elif operation.kind in OUR_KINDS:
            self._beginning.start(operation)
        else:
            del self._in_flight[identifier]
            operation.identifier = 0
            operation.state = _NEW
            operation._withdraw()
            self._check_kind(operation)

    def prepare(self, operations: Sequence[Operation]) -> None:
        """The first half of `submit()`: refuse a wrong batch whole. What it has prepared can still be withdrawn."""
        self._check_usable()
        check_batch(operations)
        for operation in operations:
            self._check_idle(operation)
        prepared: list[Operation] = []
        try:
            for operation in operations:
                operation._proactor = self
                operation._prepare()
                prepared.append(operation)
                self._check_kind(operation)
        except BaseException:
            for operation in prepared:
                operation._withdraw()
            raise

    def _check_idle(self, operation: Operation) -> None:
        if operation.state is OperationState.BORROWING:
            name, owner = type(operation).__name__, type(operation.lender).__name__
            raise FailedPrecondition(f"{name}: {owner} lends what it owns to nodes of a graph only (open_graph())")
        if "submit" not in TRANSITIONS[operation.state]:
            raise FailedPrecondition(f"{operation!r} is in flight already; it can be submitted again when it is done")

    def _check_kind(self, operation: Operation) -> None:
        if operation.kind not in self._native_kinds and operation.kind not in OUR_KINDS:
            raise Unimplemented(f"{type(operation).__name__} does not exist on the backend {self.backend_name}")

    def register(self, operation: Operation) -> None:
        """Give an operation that is about to begin its identifier and its place in flight. For Beginning."""
        operation.identifier = identifier = self._next_identifier
        self._next_identifier = identifier + 1
        self._in_flight[identifier] = operation
        if self._delivery.observer is not None:
            self._delivery.observer.operation_submitted(operation)

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
        if threading.get_ident() != self._direct_thread:
            self._incoming.append(CancelRequest(operation, self._cancel_directly))
            self._call_owner()
            return True
        if state is _CANCELLING:
            return True
        if not operation.identifier:
            self._take_incoming()
        if self._delivery.observer is not None:
            self._delivery.observer.operation_cancel_requested(operation)
        if self._has_begun(operation) and not self._is_closing(operation):
            self._beginning.cancel(operation)
        operation.state = _CANCELLING  # last: it is not asked to end again
        return True

    def _cancel_directly(self, operation: Operation) -> bool:
        """`cancel()` by the owner, for a request that was queued: not to be queued again."""
        direct_thread, self._direct_thread = self._direct_thread, self._owner
        try:
            return self.cancel(operation)
        finally:
            self._direct_thread = direct_thread

    @staticmethod
    def _has_begun(operation: Operation) -> bool:
        """False: it is in a queue that is being taken, or its turn in a chain has not come; it ends when it does."""
        chain = operation._chain
        return operation.identifier != 0 and (chain is None or chain.has_begun(operation))

    @staticmethod
    def _is_closing(operation: Operation) -> bool:
        """Whether it is a close that has begun."""
        return operation.is_close and operation.resource().closed_by == operation.identifier

    def cancel_up_to(self, operation: Operation) -> bool:
        """`cancel()`, and of a chain also the steps before it, so that it does not wait for their ends. Owner thread.

        The steps are cancelled in order; one whose result comes first keeps it.
        """
        if not operation.identifier:
            self._take_incoming()  # it becomes a part of its chain by that
        chain = operation._chain
        if chain is None:
            return self.cancel(operation)
        self._cancel_steps(chain, chain.steps[: chain.steps.index(operation) + 1])
        return True

    def cancel_chain(self, operation: Operation) -> bool:
        """`cancel()`, and of a chain all steps that have not ended, before and behind it. Owner thread.

        So whoever gives up one step gives up the rest of its chain, also when the step itself has completed, or is just
        completing with its result. The steps are cancelled in order; one whose result comes first keeps it.
        """
        if not operation.identifier:
            self._take_incoming()
        chain = operation._chain or self._beginning.chain_behind(operation)
        if chain is None:
            return self.cancel(operation)
        self._cancel_steps(chain, chain.steps)
        return True

    def _cancel_steps(self, chain: Chain, steps: Sequence[Operation]) -> None:
        for step in steps:
            if step._chain is chain and step.state is _SUBMITTED:
                self.cancel(step)

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
            if timeout > LONGEST_WAIT:
                timeout = None if timeout == math.inf else LONGEST_WAIT
        delivered = self._delivery.delivered
        self._polling = True
        try:
            if any(self._pending):
                timeout = self._before_backend(timeout)
            self._backend.poll(timeout)
            if any(self._pending):
                self._after_backend()
        finally:
            self._polling = False
        if self._errors.kept:
            self._errors.raise_kept()
        return self._delivery.delivered - delivered

    def is_quiet(self) -> bool:
        """Whether `poll(0)` can be left out in this turn of a loop; costs no system call. Owner thread only."""
        return not self._inherited and self._backend.is_quiet() and not any(self._pending)

    def _prepare_first_poll(self) -> None:
        self._check_usable()
        self.own("poll()")
        if self._polling:
            raise FailedPrecondition("poll() was called inside a completion function of the same proactor")

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
        if threading.get_ident() == self._direct_thread:
            self._software.end(operation, identifier, result)
        else:
            self._incoming.append(FinishRequest(operation, identifier, result, self._software.end))
            self._call_owner()

    def finish_from_anywhere(self, operation: SoftwareOperation, identifier: int, result: int | BaseException) -> None:
        """`finish()` for signal handlers too: it always wakes, since the handler may have come in between."""
        self._incoming.append(FinishRequest(operation, identifier, result, self._software.end))
        self._backend.wake()

    def deliver(self, operation: SoftwareOperation, identifier: int, result: int | BaseException) -> None:
        """Complete a software operation now, inside a completion function of ours: for the order of a chain."""
        if self._in_flight.get(identifier) is operation:
            self._delivery.complete_by_us(operation, result)

    def begin_behind(self, head: Operation, following: Sequence[Operation]) -> int:
        """See Beginning. Owner thread."""
        head._proactor = self
        head.state = _SUBMITTED
        return self._beginning.begin_behind(head, following)

    def post(self, call: Callable[[], object]) -> None:
        """Have `call()` made once inside `poll()`, by the owner. Any thread, also from a signal handler.

        What it raises is raised by that `poll()`, as from a completion function. Calls that are still waiting when the
        proactor is closed are made then.
        """
        if self._inherited or self._closed:
            self._check_usable()
        self._posted.waiting.append(call)
        self._backend.wake()

    def send_message(self, data: int) -> None:
        """Leave 64 bits for this proactor's message callback. Any thread; returns at once.

        Raises ResourceExhausted while too many wait (ProactorOptions.message_pool_capacity): send again after a poll.
        """
        if self._inherited or self._closed:
            self._check_usable()
        self._messages.put(data)
        self._backend.wake()

    @property
    def has_message_callback(self) -> bool:
        """Whether somebody takes the messages."""
        return self._messages.callback is not None

    def set_message_callback(self, callback: MessageCallback | None, untaken: Sized = ()) -> None:
        """Have `callback(proactor, data)` called inside `poll()` for each message; None drops them. Owner thread.

        untaken: where the callback puts messages for later; they count among those that wait.
        """
        self._check_usable()
        if self._owner is not None:
            self.check_owner("set_message_callback()")
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
        self._messages.callback = callback
        self._messages.untaken = untaken

    def message_handle(self) -> int | None:
        """Where another proactor's kernel can leave messages for this one; None: only through `send_message()`.

        A ring that nobody has polled yet takes none.
        """
        self._check_usable()
        return None if self._owner is None else self._backend.message_handle

    @property
    def links_in_kernel(self) -> bool:
        """Whether the kernel goes from step to step of a chain by itself."""
        return self._backend.capabilities[Capability.LINKED_OPERATIONS].support is Support.NATIVE

    def link_obstacle(self, earlier: Operation, later: Operation, *, leads: bool) -> str:
        """Why the kernel does not go from one operation of a chain to the next by itself, in words; "" if it does.

        leads: whether `earlier` is the first of its chain.
        """
        return self._beginning.link_obstacle(earlier, later, leads)

    def has_native(self, kind: Kind) -> bool:
        """Whether the backend performs operations of this kind."""
        return kind in self._native_kinds

    def has_native_multishot(self, kind: Kind) -> bool:
        """Whether the backend performs the MULTISHOT form of this kind by itself."""
        return kind in self._backend.native_multishot

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a forked child of the one that made it."""
        return self._inherited

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def progress_callbacks(self) -> ProgressCallbacks:
        """For ProgressCallback. Owner thread only."""
        self._check_usable()
        self.check_owner("ProgressCallback")
        if self._hosting is not None:
            self._call_owner()
        return self._progress

    def host(self, turn_is_due: Callable[[], None] | None = None) -> Hosting:
        """Have a loop that is not ours drive this proactor instead of `poll()`; see Hosting. Owner thread.

        turn_is_due: called by the owner thread, outside `Hosting.turn()`, when it has left something to do. None: the
            loop takes a turn after everything that could have.
        """
        self._check_usable()
        self.own("host()")
        if self._hosting is not None:
            raise FailedPrecondition("host(): this proactor is driven by another loop already")
        self._hosting = Hosting(self, self._backend, self._limit_idle_wait, turn_is_due)
        return self._hosting

    def make_direct(self, thread: int | None, call_owner: Callable[[], None]) -> None:
        """For Hosting: whose calls take effect at once from now on, and how the owner hears of the others."""
        self._direct_thread = thread
        self._call_owner = call_owner

    def end_hosting(self) -> None:
        """No other loop drives this proactor any more: it can be polled again. Owner thread; idempotent."""
        self._hosting = None
        self.make_direct(self._owner, self._backend.wake)

    def attach(self, resource: Attachment) -> None:
        """Keep a resource that has to end before its proactor does; see Attachment. Owner thread."""
        self._check_usable()
        self._attached.add(resource)

    def detach(self, resource: Attachment) -> None:
        """The resource has ended. Owner thread."""
        self._attached.remove(resource)

    def uncount(self) -> None:
        """In a completion function of an operation of our own: it is none of those that `poll()` counts."""
        self._delivery.delivered -= 1

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is in flight, deliver every final completion, then free everything. Owner thread only.

        Idempotent. Completion functions run inside; what they raise is raised at the end. Raises FailedPrecondition
        when operations do not end within 10 seconds; the proactor then stays open and its memory stays alive.
        """
        self.close_within(CLOSING_SECONDS)

    def close_within(self, seconds: float) -> None:
        """`close()` with another patience, for those who have waited for `end_everything()` already."""
        if self._closed:
            return
        if self._inherited:
            self._closed = True
            return
        self.own("close()")
        if self._polling:
            raise FailedPrecondition("close() was called inside a completion function of the same proactor")
        if self._hosting is not None:
            raise FailedPrecondition("close(): another loop drives this proactor and has to let go of it first")
        errors = self._ending.wait(seconds)
        self._attached.closed()
        self._progress.drop_all()
        self._closed = True
        forking.unwatch(self)
        self._backend.close()
        if errors.kept:
            errors.raise_kept()

    def end_now(self, operation: Operation) -> None:
        """Cancel an operation that ends when it is told to, and see to its end, without waiting. Owner thread."""
        self._ending.end_now(operation)

    def end_everything(self) -> bool:
        """Ask all that is in flight to end; True: nothing is, and `close()` has nothing to wait for. Owner thread.

        For loops that must not be blocked by `close()`: they call this once a turn until it returns True.
        """
        return self._ending.ask()

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

    def own(self, call: str) -> None:
        """Make this thread the owner, if there is none yet. Raises FailedPrecondition naming `call` if there is."""
        thread = threading.get_ident()
        if self._owner is None:
            self._owner = self._direct_thread = thread
            self._backend.enable()
        self.check_owner(call)

    def check_owner(self, call: str) -> None:
        """Raise FailedPrecondition naming `call` and the owner thread unless this is it."""
        check_owner_thread(self._owner, call)

    def abandon(self) -> None:
        """In a forked child. The owner's checks fail from now on, so that nothing touches what is the parent's."""
        self._inherited = True
        self._owner = self._direct_thread = None
        self._backend.abandon()

    def __del__(self) -> None:
        # Without an owner's poll nothing can be ended here. What is in flight keeps its memory: it leaks on purpose.
        if not getattr(self, "_closed", True) and not self._inherited and hasattr(self, "_backend"):
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            finally:  # where warnings are errors, too
                if not self._in_flight and self._owner == threading.get_ident():
                    self._backend.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_backend"):
            return "<Proactor without a backend>"
        name = f" {self.options.debug_name}" if self.options.debug_name else ""
        return f"<Proactor{name} on {self.backend_name}, {len(self._in_flight)} in flight>"
