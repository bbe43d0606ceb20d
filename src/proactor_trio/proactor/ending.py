"""How everything ends that a proactor has in flight, before it is closed.

It is asked to end, and then each final completion is waited for: closing a ring does not end its operations in time,
and memory that the kernel may still write to is not freed. Closes go on to their own end. Completion functions run
meanwhile, and may submit again, so the question is asked anew in each turn.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from proactor_trio.proactor.attachments import Attachments
from proactor_trio.proactor.delivery import Delivery
from proactor_trio.proactor.errors import CancelCause, CompletionErrors, FailedPrecondition
from proactor_trio.proactor.operation import Operation, OperationState
from proactor_trio.proactor.poll_work import PollWork

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

#: How long `close()` waits for what it has cancelled.
CLOSING_SECONDS: Final = 10.0

#: How often `end_now()` polls; a cancelled receive has ended after the first or the second time.
MOST_POLLS: Final = 100


class Ending:
    """Ends what one proactor has in flight. Owner thread only."""

    __slots__ = ("_attached", "_delivery", "_proactor", "_work")

    def __init__(self, proactor: Proactor, work: PollWork, delivery: Delivery, attached: Attachments) -> None:
        self._proactor = proactor
        self._work = work
        self._delivery = delivery
        self._attached = attached

    def ask(self) -> bool:
        """Ask all that is in flight to end; True: nothing is, and nothing waits for a poll."""
        self._attached.closing()
        work = self._work
        if not (self._proactor._in_flight or work.incoming or work.posted.waiting or self._delivery.unfinished):
            return True
        work.take_incoming()
        for operation in list(self._proactor._in_flight.values()):
            if operation.state is OperationState.SUBMITTED and not operation.is_close:
                operation._cancel_cause = CancelCause.PROACTOR_CLOSED
                self._proactor.cancel(operation)
        return False

    def end_now(self, operation: Operation) -> None:
        """Cancel one operation and poll, without waiting, until it has ended. What others raise, the next poll does.

        Raises FailedPrecondition if it has not ended after MOST_POLLS: some operations end when they like.
        """
        self._proactor.cancel(operation)
        for _ in range(MOST_POLLS):
            if operation.state is OperationState.DONE:
                return
            try:
                self._proactor.poll(0)
            except Exception as error:
                self._delivery.errors.kept.append(error)
        raise FailedPrecondition(f"{operation!r} does not end at once")

    def wait(self, seconds: float) -> CompletionErrors:
        """Poll until everything has ended; returns what completion functions raised.

        Raises FailedPrecondition that names what is still in flight after so long.
        """
        errors = CompletionErrors()
        deadline = time.monotonic() + seconds
        while not self.ask():
            left = deadline - time.monotonic()
            if left < 0:
                stuck = ", ".join(repr(operation) for operation in self._proactor._in_flight.values())
                raise FailedPrecondition(f"close(): still in flight: {stuck}")
            try:
                self._proactor.poll(min(left, 0.1))
            except Exception as error:
                errors.kept.append(error)
        return errors
