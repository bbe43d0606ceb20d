"""Waiting for one operation in a task of another library: what the bridges have in common.

A wait begins by submitting the operation, or by joining one that was submitted without a completion function (a step of
a chain). It ends with the operation's final completion and with nothing else: a host that cancels it asks the operation
to end, and the task stays parked until the completion says what became of it.

| final completion                          | the awaiting task gets                                      |
|-------------------------------------------|-------------------------------------------------------------|
| a result                                  | the result, also when the host cancelled meanwhile          |
| CANCELLED, and the host had cancelled     | the host's own cancellation                                 |
| CANCELLED because the resource was closed | ClosedResourceError                                         |
| CANCELLED by anyone or anything else      | OperationCancelled with the cause                           |
| its own deadline ended it                 | DeadlineExceeded                                            |
| an error of the system                    | that OSError                                                |

What a wait returns is noted at the completion: the operation may be submitted anew before the task gets to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proactor_trio.proactor import (
    CancelCause,
    ClosedResourceError,
    FailedPrecondition,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
)


class OperationWait:
    """One await of one operation. `resume` is called inside a turn, when the final completion is in."""

    __slots__ = ("_resume", "error", "operation", "result")

    def __init__(self, operation: Operation, resume: Callable[[], object]) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: BaseException | None = None
        self._resume = resume

    def begin(self, proactor: Proactor) -> bool:
        """Submit the operation or join it; False: it is done already.

        Raises what `Proactor.submit()` raises, ValueError for MULTISHOT, FailedPrecondition where somebody else waits.
        """
        operation = self.operation
        if operation.flags & OperationFlags.MULTISHOT:
            raise ValueError(f"{type(operation).__name__} is MULTISHOT: it has many results and needs a completion_fn")
        if operation.waiter is not None:
            raise FailedPrecondition(f"another task waits for {operation!r} already")
        if not is_submitted(operation, proactor):
            proactor.submit(operation)
        operation.unclaimed = False
        if operation.state is OperationState.DONE:
            self._note(operation)
            return False
        operation.waiter = self
        return True

    def operation_completed(self, operation: Operation) -> None:
        """See Waiter."""
        self._note(operation)
        self._resume()

    def _note(self, operation: Operation) -> None:
        self.result = operation.result
        self.error = operation.error

    @property
    def was_cancelled(self) -> bool:
        """Whether the operation ended without effect because somebody cancelled it."""
        return isinstance(self.error, OperationCancelled)

    def unwrap(self) -> Any:
        """The result, or raise the error."""
        error = self.error
        if error is None:
            return self.result
        try:
            if isinstance(error, OperationCancelled) and error.cause is CancelCause.RESOURCE_CLOSED:
                raise ClosedResourceError("another task closed this while it was in use")
            raise error
        finally:
            self.error = error = None  # its traceback holds this object and this frame: no cycle


def is_submitted(operation: Operation, proactor: Proactor) -> bool:
    """Whether it was given to `Proactor.submit()` without a completion function, and nobody has come for its result.

    Raises FailedPrecondition if it was given to another proactor.
    """
    if operation.unclaimed and operation._proactor is not proactor:
        raise FailedPrecondition(
            f"{operation!r} was submitted to {operation._proactor!r}, not to this bridge's proactor"
        )
    return operation.unclaimed


def errors_of_block(own: BaseException | None, errors: list[Exception]) -> BaseException | None:
    """What the block of a bridge raises: its own exception, or what completion functions raised, or both in a group."""
    raised = [*errors] if own is None else [own, *errors]
    if len(raised) <= 1:
        return raised[0] if raised else None
    return BaseExceptionGroup("completion functions raised, in the block of a bridge", raised)
