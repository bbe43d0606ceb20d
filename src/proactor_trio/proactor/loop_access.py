"""What a run loop of ours needs of the proactor that it drives, beside `poll()`: its clock, and who is told of what.

A run may have a clock that is not the system's, for tests. No kernel knows it, so the loop keeps the deadlines of
operations then, among its own; what it lets expire ends as if the kernel had done so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from proactor_trio.backends.contract import Backend
from proactor_trio.proactor.beginning import Beginning
from proactor_trio.proactor.delivery import Delivery
from proactor_trio.proactor.errors import CancelCause
from proactor_trio.proactor.observing import OperationObserver
from proactor_trio.proactor.operation import Operation, OperationState
from proactor_trio.proactor.socket import Socket

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class LoopAccess:
    """One proactor as its run loop sees it: `Proactor.loop_access`. Owner thread only."""

    __slots__ = ("_backend", "_beginning", "_delivery", "_in_flight", "_proactor")

    def __init__(
        self,
        proactor: Proactor,
        backend: Backend,
        in_flight: Mapping[int, Operation],
        beginning: Beginning,
        delivery: Delivery,
    ) -> None:
        self._proactor = proactor
        self._backend = backend
        self._in_flight = in_flight
        self._beginning = beginning
        self._delivery = delivery

    def use_clock(self, current_time: Callable[[], float], keep_deadline: Callable[[Operation, float], None]) -> None:
        """Have a clock of its own, which no kernel knows. Before any submission.

        current_time: what `deadline=` and `timeout=` are counted on instead of `time.monotonic()`.
        keep_deadline: called as `keep_deadline(operation, expires)` when an operation with a deadline begins; the loop
            calls `expire(operation, operation.identifier)` when that time has come.
        """
        self._proactor._current_time = current_time
        self._beginning.keep_deadlines_by(keep_deadline)

    def submit(self, operation: Operation) -> None:
        """Begin an operation now, also if another loop drives the proactor and is between two turns."""
        proactor = self._proactor
        proactor.submit_one(operation)
        if proactor._hosting is not None:
            proactor._call_owner()

    def close_unused(self, socket: Socket) -> None:
        """Close a socket at once, without an operation; the caller knows that nothing is pending on it."""
        self._backend.forget(socket.descriptor)
        socket.close()

    def release_unused(self, socket: Socket) -> int:
        """Give up a socket's descriptor and return it; the caller knows that nothing is pending on it."""
        self._backend.forget(socket.descriptor)
        return socket.detach()

    def is_in_flight(self, operation: Operation, identifier: int) -> bool:
        """Whether that submission of an operation has not completed."""
        return self._in_flight.get(identifier) is operation

    def expire(self, operation: Operation, identifier: int) -> None:
        """The deadline of that submission has come: end it, if it has not completed."""
        if self.is_in_flight(operation, identifier) and operation.state is OperationState.SUBMITTED:
            operation._cancel_cause = CancelCause.DEADLINE_PASSED
            self._proactor.cancel(operation)

    def delivered(self) -> int:
        """How many completions were delivered since the proactor was made."""
        return self._delivery.delivered

    def observe(self, observer: OperationObserver | None) -> None:
        """Have somebody told of each operation; None: nobody."""
        self._delivery.observer = observer
