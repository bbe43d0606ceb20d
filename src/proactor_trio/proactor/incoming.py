"""What was handed to a proactor and not begun yet: batches to submit, and what other threads ask for.

Batches, cancellations and the ends of software operations wait in one queue, in order. The owner takes an item by doing
it and removes it afterwards; an item knows how far it has got, so that one whose taking was interrupted is taken up
where it stopped. None of this calls anything of the user's, so it may be done at any time.

Posted calls do, and therefore wait in a queue of their own for `poll()`. One that was begun is not begun again, unless
it is one of ours that says it may be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from proactor_trio.proactor.chain import split_batch
from proactor_trio.proactor.errors import CancelCause, CompletionErrors
from proactor_trio.proactor.operation import Operation, OperationState


class Batch:
    """Operations of one `submit()`. `queued`: whether it has become the proactor's."""

    __slots__ = ("_begin", "_chains", "_operations", "_position", "_previous_states", "queued")

    def __init__(self, operations: Sequence[Operation], begin: Callable[[list[Operation]], None]) -> None:
        """begin: begins a chain (of one or more steps) of the batch; may be called again after an interruption."""
        self._operations = operations
        self._previous_states = [operation.state for operation in operations]
        self._chains = split_batch(operations)
        self._begin = begin
        self._position = 0
        self.queued = False

    def mark_submitted(self) -> None:
        """The operations are the proactor's from now on."""
        for operation in self._operations:
            operation.state = OperationState.SUBMITTED
            operation.started = False
            operation._cancel_cause = CancelCause.REQUESTED
            operation.unclaimed = operation.completion_fn is None

    def give_back(self) -> None:
        """The submission failed before the batch was queued."""
        for operation, state in zip(self._operations, self._previous_states, strict=True):
            operation.state = state
            operation.unclaimed = False
            operation._withdraw()

    def take(self) -> None:
        while self._position < len(self._chains):
            self._begin(self._chains[self._position])
            self._position += 1


class CancelRequest:
    """A `cancel()` that came from another thread. It is for the submission that was in flight then."""

    __slots__ = ("_cancel", "_identifier", "_operation")

    def __init__(self, operation: Operation, cancel: Callable[[Operation], bool]) -> None:
        self._operation = operation
        self._identifier = operation.identifier  # 0: it has not begun
        self._cancel = cancel

    def take(self) -> None:
        if self._identifier in (0, self._operation.identifier):
            self._cancel(self._operation)


class FinishRequest:
    """A software operation that another thread has finished."""

    __slots__ = ("_end", "_identifier", "_operation", "_result")

    def __init__(
        self,
        operation: Operation,
        identifier: int,
        result: int | BaseException,
        end: Callable[[Operation, int, int | BaseException], None],
    ) -> None:
        self._operation = operation
        self._identifier = identifier
        self._result = result
        self._end = end

    def take(self) -> None:
        self._end(self._operation, self._identifier, self._result)


class Repeatable:
    """A posted call of our own, which something else depends on: if it is interrupted, it is made again.

    function: has to notice by itself how far it had got.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def __call__(self) -> None:
        self._function()


class PostedCalls:
    """Calls that are to be made inside `poll()`: `waiting`. Appending is for any thread and for signal handlers."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()

    def make(self, errors: CompletionErrors) -> None:
        """Make those that wait now; what they post themselves waits for the next poll."""
        for _ in range(len(self.waiting)):
            call = self.waiting[0]
            del self.waiting[0]  # by no call: an interruption between this and the call would lose it
            try:
                call()
            except Exception as error:
                errors.keep_of_call(error, call)
            except BaseException:
                if type(call) is Repeatable:
                    self.waiting.appendleft(call)
                raise
