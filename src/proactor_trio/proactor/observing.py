"""Observing a proactor: somebody who is told of each operation. Without one it costs a look at an attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proactor_trio.proactor.operation import Operation


class OperationObserver(Protocol):
    """Called by the owner thread. It must not raise, and must not submit, cancel or change anything."""

    def operation_submitted(self, operation: Operation) -> None:
        """An operation is in flight from now on; of a chain all steps are, each when its turn in the batch comes."""
        ...

    def operation_completed(self, operation: Operation, result: object) -> None:
        """Its final completion was delivered. result: what it gave, or the exception that it failed with."""
        ...

    def operation_cancel_requested(self, operation: Operation) -> None:
        """It was asked to end; its final completion tells what came of that."""
        ...
