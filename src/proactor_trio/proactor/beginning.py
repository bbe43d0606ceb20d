"""How operations begin: alone, as chains, as closes that have to wait, and again where MULTISHOT is emulated.

The proactor says what is in flight and delivers what is done; in between stands this file, which decides for each
operation who performs it: the backend, our own timers and nops, or the operation itself (SoftwareOperation).

Everything here may be called again after an interruption (a signal handler that raised). `Operation.started` tells what
was begun already; a chain knows how far it has got; a close that waits is known by name.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from proactor_trio.backends.contract import Backend, Capability, Kind, OperationFlags, Support
from proactor_trio.proactor.chain import Chain
from proactor_trio.proactor.closing import HeldCloses, operations_before
from proactor_trio.proactor.delivery import Delivery
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.expiries import Expiries
from proactor_trio.proactor.operation import Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.software import EMULATED_KINDS, SoftwareOperations

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


#: Steps of a chain that are looked at together; what a ring takes at a time is less.
_LONGEST_PREFIX: Final = 512


class Beginning:
    """Begins the operations of one proactor. Owner thread only."""

    __slots__ = (
        "_backend",
        "_in_flight",
        "_keep_deadline",
        "_links",
        "_native_deadlines",
        "_native_kinds",
        "_proactor",
        "_register",
        "chain_steps",
        "chains",
        "expiries",
        "held_closes",
        "longest_prefix",
        "multishot",
        "pending",
        "software",
    )

    def __init__(
        self,
        proactor: Proactor,
        backend: Backend,
        in_flight: dict[int, Operation],
        delivery: Delivery,
    ) -> None:
        self._proactor = proactor
        self._backend = backend
        self._native_kinds = backend.native_kinds
        self._in_flight = in_flight
        self._register = proactor.register
        self.software = SoftwareOperations()
        self.expiries = Expiries(in_flight)
        self._keep_deadline: Callable[[Operation, float], None] = self.expiries.add
        self._native_deadlines = backend.native_deadlines
        self._links = backend.capabilities[Capability.LINKED_OPERATIONS].support is Support.NATIVE
        self.longest_prefix = _LONGEST_PREFIX if self._links else 1
        self.multishot = delivery.multishot
        self.held_closes = HeldCloses()
        self.chains: dict[Chain, None] = {}
        self.chain_steps = delivery.chain_steps
        #: What waits here for the next poll: containers that stay the same objects.
        self.pending = (
            self.multishot.waiting,
            self.multishot.paused,
            self.software.due,
            self.software.timers,
            self.expiries.heap,
            self.chain_steps,
            self.held_closes.held,
        )

    def begin_chain(self, steps: list[Operation]) -> None:
        """Begin one operation, or a chain of several."""
        if len(steps) == 1:
            self.begin(steps[0])
            return
        for step in steps:
            step.zero_copy = False  # see operations/net.py
            if not step.identifier:
                self._register(step)
        chain = steps[0]._chain
        if chain is None:
            chain = Chain(steps, self)
        self.chains[chain] = None
        if not chain.started:
            chain.begin()

    def begin(self, operation: Operation) -> None:
        """Begin an operation whose turn has come."""
        if not operation.identifier:
            self._register(operation)
        if operation.started:
            return
        if operation.is_close:
            self._begin_close(operation)
        elif operation._resource_is_closed() or operation.state is OperationState.CANCELLING:
            self.software.end(operation, operation.identifier, CANCELED)
        elif refusal := operation._refusal():
            if refusal == -errno.EAGAIN:
                self.multishot.wait_in_line(operation)
            else:
                self.software.end(operation, operation.identifier, refusal)
        elif operation.expires is not None:
            self._begin_with_deadline(operation)
        else:
            self.start(operation)

    def start(self, operation: Operation) -> None:
        """Hand an operation, which is in flight, to whoever performs it."""
        if operation.kind in self._native_kinds:
            self._backend.start(operation)
        elif operation.kind in EMULATED_KINDS:
            self.software.start(operation)
        else:
            self._start_software(operation)

    def _start_software(self, operation: Operation) -> None:
        assert isinstance(operation, SoftwareOperation)
        operation._begin(self._proactor)
        operation.started = True

    def keep_deadlines_by(self, keep_deadline: Callable[[Operation, float], None]) -> None:
        """Have deadlines kept by the run loop: they are on a clock that no kernel knows."""
        self._keep_deadline = keep_deadline
        self._native_deadlines = False

    def _begin_with_deadline(self, operation: Operation) -> None:
        expires = operation.expires
        assert expires is not None
        if self._is_for_backend(operation):
            self._backend.start_chain((operation,))
            return
        self._keep_deadline(operation, expires)
        self.start(operation)
        operation.expires = None  # no backend is to look at it: last, since this may be called again

    def _is_for_backend(self, operation: Operation) -> bool:
        return (
            self._native_deadlines
            and operation.kind in self._native_kinds
            and not operation.has_inner_steps
            and not operation.flags & OperationFlags.MULTISHOT
        )

    def _begin_close(self, operation: Operation) -> None:
        resource = operation.resource()
        if resource.closed and resource.closed_by != operation.identifier:
            self.software.end(operation, operation.identifier, CANCELED)
            return
        before = operations_before(operation, self.chains) + self.multishot.held(resource)
        resource.closed_by = operation.identifier
        resource._detach()
        if before:
            self.held_closes.hold(operation, before)
            for waited_for in before:
                self._proactor.cancel_up_to(waited_for)
        elif not self.held_closes.is_held(operation):
            self._backend.start(operation)

    # For chains --------------------------------------------------------------------------------------------------

    def begin_prefix(self, steps: Sequence[Operation]) -> int:
        """Begin the longest prefix that can be handed over at once, at least one step."""
        first = steps[0]
        if not self._links:
            self.begin(first)
            return 1
        if isinstance(first, SoftwareOperation) and self._is_ready(first):
            following = self._native_prefix(steps[1:])
            begun = first._begin_ahead_of(self._proactor, following) if following else 0
            if begun:
                first.started = True
                return 1 + begun
        native = self._native_prefix(steps)
        if self._begin_ahead_of_software(native, steps[len(native) :]):
            return len(native)
        length = self._backend.linkable(native) if len(native) > 1 else 0
        if not length:
            self.begin(first)
            return 1
        if not first.started:
            self._backend.start_chain(steps[:length])
        return length

    def chain_behind(self, operation: Operation) -> Chain | None:
        """The chain that goes on behind a step that has completed; None: there is none."""
        return next((chain for chain in self.chains if operation in chain.steps[: chain.started]), None)

    def link_obstacle(self, earlier: Operation, later: Operation, leads: bool) -> str:
        """In words, why `begin_prefix()` does not hand these over together; "" if it does."""
        if not self._links:
            return f"the backend {self._backend.name} links nothing"
        if isinstance(earlier, SoftwareOperation):
            if not earlier.leads_in_kernel:
                return f"{type(earlier).__name__} is made by the proactor"
            if not leads:
                return f"{type(earlier).__name__} waits in the kernel at the head of a chain only"
            if earlier._limits is not None or later._limits is not None:
                return "a chain that a semaphore leads has no deadlines in the kernel"
        elif reason := self._not_native(earlier) or self._backend.link_obstacle(earlier):
            return reason
        return self._not_native(later)

    def _not_native(self, operation: Operation) -> str:
        name = type(operation).__name__
        if operation.kind not in self._native_kinds:
            return f"{name} is made by the proactor"
        if operation.has_inner_steps:
            return f"{name} is several steps by itself"
        if operation._limits is not None and not self._native_deadlines:
            return f"the deadline of {name} is kept by the run"
        return ""

    def _begin_ahead_of_software(self, native: Sequence[Operation], rest: Sequence[Operation]) -> bool:
        """Begin native steps together with what the kernel can already do of the software step behind them, if any."""
        following = rest[0] if rest else None
        if not native or not isinstance(following, SoftwareOperation) or not self._is_ready(following):
            return False
        ahead = following._kernel_part(self._proactor)
        if not ahead or self._backend.linkable((*native, *ahead)) < len(native) + len(ahead):
            return False
        if not native[0].started:
            for operation in ahead:
                operation._proactor = self._proactor
                operation.state = OperationState.SUBMITTED
                if not operation.identifier:
                    self._register(operation)
            self._backend.start_chain((*native, *ahead))
        return True

    def _native_prefix(self, steps: Sequence[Operation]) -> Sequence[Operation]:
        usable = 0
        for step in steps:
            if step.kind not in self._native_kinds or step.has_inner_steps or not self._is_ready(step):
                break
            if step.expires is not None and not self._native_deadlines:
                break
            usable += 1
        return steps[:usable]

    def _is_ready(self, step: Operation) -> bool:
        return not (step._resource_is_closed() or step.state is OperationState.CANCELLING or step._refusal())

    def begin_behind(self, head: Operation, following: Sequence[Operation]) -> int:
        """Hand over an operation of our own with steps of a chain linked behind it; returns how many, 0: none of it.

        May be called again for the same head.
        """
        steps = (head, *following)
        if not head.identifier:
            if self._backend.linkable(steps) < len(steps):
                return 0
            self._register(head)
        if not head.started:
            self._backend.start_chain(steps)
        return len(following)

    def end_cancelled(self, operation: Operation) -> None:
        """Complete an operation that was not begun as cancelled."""
        self.software.end(operation, operation.identifier, CANCELED)

    # What goes on by itself --------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Before a poll: begin again what is MULTISHOT by our own doing, and end what has expired."""
        self.go_on_with_chains()
        if self.multishot.waiting or self.multishot.paused:
            while (operation := self.multishot.first_due()) is not None:
                self._begin_again(operation)
        if self.expiries.heap:
            self._end_expired()

    def _begin_again(self, operation: Operation) -> None:
        if operation.state is OperationState.CANCELLING or operation._resource_is_closed():
            self.software.end(operation, operation.identifier, CANCELED)
        elif operation.expires is None:
            self.start(operation)
        elif operation.expires <= time.monotonic():
            self.software.end(operation, operation.identifier, -errno.ETIME)
        else:
            self._begin_with_deadline(operation)

    def _end_expired(self) -> None:
        for operation in self.expiries.expired():
            self._proactor.loop_access.expire(operation, operation.identifier)

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        timeout = self.software.limit_wait(timeout)
        if self.multishot.paused:
            timeout = self.multishot.limit_wait(timeout)
        return self.expiries.limit_wait(timeout) if self.expiries.heap else timeout

    def limit_idle_wait(self, timeout: float | None) -> float | None:
        """`limit_wait()` for a loop that is not ours: 0 as long as the next poll has something to begin."""
        if self.chain_steps or any(entry.is_valid for entry in self.multishot.waiting):
            return 0
        return self.limit_wait(timeout)

    def go_on_with_chains(self) -> None:
        """Let the chains go on whose steps have completed, and the closes for which nothing is left to wait."""
        steps = self.chain_steps
        while steps:
            chain, step, identifier = steps[0]
            if identifier not in self._in_flight:  # else it was interrupted before it was delivered, and comes again
                chain.step_done(step)
                if chain.is_over:
                    self.chains.pop(chain, None)
            steps.popleft()
        if self.held_closes.held:
            for close in self.held_closes.ready(self._in_flight):
                if not close.started:
                    self._backend.start(close)

    def cancel(self, operation: Operation) -> None:
        """Ask whoever performs an operation that has begun to end it."""
        if (self.multishot.waiting or self.multishot.paused) and self.multishot.holds(operation):
            self.software.end(operation, operation.identifier, CANCELED)
            self.multishot.forget(operation)
        elif operation.kind in self._native_kinds:
            self._backend.cancel(operation)
        elif operation.kind is Kind.SOFTWARE:
            assert isinstance(operation, SoftwareOperation)
            operation._cancel(self._proactor)
        else:
            self.software.cancel(operation)
