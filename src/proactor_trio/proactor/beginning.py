"""How operations begin: alone, as chains, as closes that have to wait, and again where MULTISHOT is emulated.

The proactor says what is in flight and delivers what is done; in between stands this file, which decides for each
operation who performs it: the backend, our own timers and nops, or the operation itself (SoftwareOperation).

Everything here may be called again after an interruption (a signal handler that raised). `Operation.started` tells what
was begun already; a chain knows how far it has got; a close that waits is known by name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proactor_trio.backends.contract import Backend, Kind, OperationFlags
from proactor_trio.proactor.chain import Chain
from proactor_trio.proactor.closing import HeldCloses, operations_before
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.expiries import Expiries
from proactor_trio.proactor.multishot import EmulatedMultishot
from proactor_trio.proactor.operation import Operation, SoftwareOperation
from proactor_trio.proactor.software import EMULATED_KINDS, SoftwareOperations

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class Beginning:
    """Begins the operations of one proactor. Owner thread only."""

    __slots__ = (
        "_backend",
        "_in_flight",
        "_keep_deadline",
        "_native_deadlines",
        "_native_kinds",
        "_proactor",
        "_register",
        "chain_steps",
        "chains",
        "expiries",
        "held_closes",
        "multishot",
        "software",
    )

    def __init__(
        self,
        proactor: Proactor,
        backend: Backend,
        in_flight: dict[int, Operation],
        register: Callable[[Operation], None],
    ) -> None:
        """register: gives an operation its identifier and its place in flight."""
        self._proactor = proactor
        self._backend = backend
        self._native_kinds = backend.native_kinds
        self._in_flight = in_flight
        self._register = register
        self.software = SoftwareOperations()
        self.expiries = Expiries(in_flight)
        self._keep_deadline: Callable[[Operation, float], None] = self.expiries.add
        self._native_deadlines = backend.native_deadlines
        self.multishot = EmulatedMultishot(backend)
        self.held_closes = HeldCloses()
        self.chains: dict[Chain, None] = {}
        #: Completed steps whose chains have to go on: chain, step, its identifier.
        self.chain_steps: deque[tuple[Chain, Operation, int]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nothing here waits for the next poll."""
        software = self.software
        return not (
            self.multishot.waiting
            or software.due
            or software.timers
            or self.expiries.heap
            or self.chain_steps
            or self.held_closes.held
        )

    def begin_chain(self, steps: list[Operation]) -> None:
        """Begin one operation, or a chain of several."""
        if len(steps) == 1:
            self.begin(steps[0])
            return
        for step in steps:
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
        elif operation._resource_is_closed():
            self.software.end(operation, operation.identifier, CANCELED)
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
            and not operation.flags & OperationFlags.MULTISHOT
        )

    def _begin_close(self, operation: Operation) -> None:
        resource = operation.resource()
        if resource.closed and resource.closed_by != operation.identifier:
            self.software.end(operation, operation.identifier, CANCELED)
            return
        before = operations_before(operation, self.chains)
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
        usable = 0
        for step in steps:
            if step.kind not in self._native_kinds or step._resource_is_closed():
                break
            if step.expires is not None and not self._native_deadlines:
                break
            usable += 1
        length = self._backend.linkable(steps[:usable]) if usable > 1 else 0
        if not length:
            self.begin(steps[0])
            return 1
        if not steps[0].started:
            self._backend.start_chain(steps[:length])
        return length

    def end_cancelled(self, operation: Operation) -> None:
        """Complete an operation that was not begun as cancelled."""
        self.software.end(operation, operation.identifier, CANCELED)

    # What goes on by itself --------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Before a poll: start again what is MULTISHOT by emulation, and end what has expired."""
        self.go_on_with_chains()
        if self.multishot.waiting:
            self.multishot.start_again()
        if self.expiries.heap:
            self._end_expired()

    def _end_expired(self) -> None:
        for operation in self.expiries.expired():
            self._proactor.expire(operation, operation.identifier)

    def limit_wait(self, timeout: float | None) -> float | None:
        """The wait that may not be exceeded, given the caller's."""
        timeout = self.software.limit_wait(timeout)
        return self.expiries.limit_wait(timeout) if self.expiries.heap else timeout

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
        if operation.kind in self._native_kinds:
            self._backend.cancel(operation)
        elif operation.kind is Kind.SOFTWARE:
            assert isinstance(operation, SoftwareOperation)
            operation._cancel(self._proactor)
        else:
            self.software.cancel(operation)
