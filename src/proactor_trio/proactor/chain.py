"""LINKED chains: each step starts only after the one before it succeeded; the first that does not ends the chain.

The backend takes the longest prefix that its kernel links; the rest is started from here, step after step. Whoever
does it, the later steps of a broken chain complete as cancelled, once each, in chain order, after the one that broke
it, and have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.errors import CANCELED, CancelCause
from proactor_trio.proactor.operation import Operation, OperationState

if TYPE_CHECKING:
    from collections.abc import Callable


def check_batch(operations: Sequence[Operation]) -> None:
    """Refuse a wrong batch whole, before anything of it runs. Raises TypeError or ValueError naming the operation."""
    for operation in operations:
        if not isinstance(operation, Operation):
            raise TypeError(f"operations must be proactor operations, not {type(operation).__name__}")
        name = type(operation).__name__
        if operation.flags & OperationFlags.MULTISHOT and not operation.can_be_multishot:
            raise ValueError(f"flags: {name} has no MULTISHOT form")
        if operation.flags & OperationFlags.LINKED:
            if not operation.can_be_linked:
                raise ValueError(f"flags: {name} cannot have a successor in a chain")
            if operation.flags & OperationFlags.MULTISHOT:
                raise ValueError(f"flags: {name} cannot be both MULTISHOT and LINKED")
    if operations[-1].flags & OperationFlags.LINKED:
        raise ValueError(f"flags: {type(operations[-1]).__name__} is LINKED but is the last of its batch")
    if len(set(map(id, operations))) != len(operations):
        raise ValueError("operations: the same operation stands in this batch twice")


def split_batch(operations: Sequence[Operation]) -> list[list[Operation]]:
    """The chains of a batch; an operation that is linked to nothing is a chain of one."""
    chains: list[list[Operation]] = [[]]
    for operation in operations:
        chains[-1].append(operation)
        if not operation.flags & OperationFlags.LINKED:
            chains.append([])
    return chains[:-1]


class Chain:
    """A chain in flight. `started`: how many steps have been handed to the backend."""

    __slots__ = ("_begin", "_complete", "started", "steps")

    def __init__(
        self,
        steps: list[Operation],
        begin: Callable[[Sequence[Operation]], int],
        complete: Callable[[Operation, int, int], None],
    ) -> None:
        """begin: starts a prefix of the steps and returns its length, at least 1; complete: the proactor's hook."""
        self.steps = steps
        self._begin = begin
        self._complete = complete
        self.started = 0
        for step in steps:
            step._chain = self

    def start(self) -> None:
        """Hand over the first steps."""
        self.started = self._begin(self.steps)

    def has_started(self, step: Operation) -> bool:
        return self.steps.index(step) < self.started

    def step_done(self, step: Operation, succeeded: bool) -> None:
        """Called when a step has completed, after its own completion was delivered: go on, or end the rest."""
        if step is not self.steps[self.started - 1]:
            if not succeeded:
                self._blame(self.steps.index(step) + 1, self.started)
            return
        if self.started == len(self.steps):
            return
        following = self.steps[self.started]
        if succeeded and following.state is not OperationState.CANCELLING:
            self.started += self._begin(self.steps[self.started :])
            return
        if not succeeded:
            self._blame(self.started, len(self.steps))
        remaining = self.steps[self.started :]
        self.started = len(self.steps)
        for later in remaining:
            self._complete(later, CANCELED, 0)

    def _blame(self, first: int, end: int) -> None:
        for later in self.steps[first:end]:
            if later.state is OperationState.SUBMITTED:
                later._cancel_cause = CancelCause.EARLIER_STEP_FAILED
