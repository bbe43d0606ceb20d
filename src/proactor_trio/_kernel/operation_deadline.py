"""The deadline of an operation in a run whose clock is not the system's: no kernel can keep it, so the run loop does.

It stands in the same heap as the deadlines of cancel scopes, so that a test clock jumps to it like to any other.
"""

from __future__ import annotations

from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.proactor import Proactor


class OperationDeadline:
    """One submission of one operation; see `deadlines.Expiring`."""

    __slots__ = ("_identifier", "_operation", "_proactor")

    def __init__(self, proactor: Proactor, operation: Operation) -> None:
        self._proactor = proactor
        self._operation = operation
        self._identifier = operation.identifier

    def expire(self) -> None:
        """The time has come. The operation says DeadlineExceeded."""
        self._proactor.loop_access.expire(self._operation, self._identifier)

    def is_over(self) -> bool:
        """Whether the operation has completed."""
        return not self._proactor.loop_access.is_in_flight(self._operation, self._identifier)
