"""MULTISHOT where a backend has it not: delivered with MORE, the operation is started again after the same poll.

It keeps its identifier and its place among the operations in flight. What fails or is cancelled is final and is not
started again. Everything here may be interrupted and done again.
"""

from __future__ import annotations

from collections import deque

from proactor_trio.backends.contract import Backend, OperationFlags
from proactor_trio.proactor.operation import Operation, OperationState


class EmulatedMultishot:
    """The operations of one proactor that are to be started again: `waiting`. Owner thread only."""

    __slots__ = ("_backend", "waiting")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.waiting: deque[Operation] = deque()

    def is_emulated(self, operation: Operation) -> bool:
        """Whether it has MULTISHOT and the backend gives each result as if it were the last."""
        return bool(operation.flags & OperationFlags.MULTISHOT) and (
            operation.kind not in self._backend.native_multishot
        )

    def add(self, operation: Operation) -> None:
        """It is about to be delivered with MORE."""
        operation.started = False
        self.waiting.append(operation)

    def start_again(self) -> None:
        """Start all that were delivered and are still in flight."""
        waiting = self.waiting
        while waiting:
            operation = waiting[0]
            if operation.identifier and not operation.started:
                self._backend.start(operation)
                if operation.state is OperationState.CANCELLING:
                    self._backend.cancel(operation)
            waiting.popleft()
