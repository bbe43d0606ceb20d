"""LINKED chains: each step starts only after the one before it succeeded; the first that does not ends the chain.

The backend takes the longest prefix that its kernel links; the rest is started from here, step after step. Whoever
does it, the later steps of a broken chain complete as cancelled, once each, in chain order, after the one that broke
it, and have no effect.

Everything here may be interrupted (a signal handler that raises) and done again: what was begun is known by
`Operation.started`, and `started` and `finished` of the chain move last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.errors import CancelCause, ClosedResourceError
from proactor_trio.proactor.operation import Operation, OperationState


def check_batch(operations: Sequence[Operation]) -> None:
    """Refuse a wrong batch whole, before anything of it runs. Raises an error that names the operation."""
    for operation in operations:
        if not isinstance(operation, Operation):
            raise TypeError(f"operations must be proactor operations, not {type(operation).__name__}")
        _check_flags(operation)
    if operations[-1].flags and operations[-1].flags & OperationFlags.LINKED:
        raise ValueError(f"flags: {type(operations[-1]).__name__} is LINKED but is the last of its batch")
    if len(set(map(id, operations))) != len(operations):
        raise ValueError("operations: the same operation stands in this batch twice")
    closed: list[object] = []
    for operation in operations:
        if any(operation.resource() is resource for resource in closed):
            raise ClosedResourceError(f"{type(operation).__name__} comes after the close of its resource in this batch")
        if operation.is_close:
            closed.append(operation.resource())


def _check_flags(operation: Operation) -> None:
    if not operation.flags:
        return
    name = type(operation).__name__
    if operation.flags & OperationFlags.MULTISHOT and not operation.can_be_multishot:
        raise ValueError(f"flags: {name} has no MULTISHOT form")
    if operation.flags & OperationFlags.LINKED:
        if not operation.can_be_linked:
            raise ValueError(f"flags: {name} cannot have a successor in a chain")
        if operation.flags & OperationFlags.MULTISHOT:
            raise ValueError(f"flags: {name} cannot be both MULTISHOT and LINKED")
    elif operation.flags & OperationFlags.SILENT:
        raise ValueError(f"flags: {name} is SILENT but not LINKED: nobody would learn of its end")


def split_batch(operations: Sequence[Operation]) -> list[list[Operation]]:
    """The chains of a batch; an operation that is linked to nothing is a chain of one."""
    chains: list[list[Operation]] = [[]]
    for operation in operations:
        chains[-1].append(operation)
        if not operation.flags or not operation.flags & OperationFlags.LINKED:
            chains.append([])
    return chains[:-1]


class ChainOwner(Protocol):
    """What a chain asks of the proactor. `longest_prefix`: more steps than these are never begun at once."""

    longest_prefix: int

    def begin_prefix(self, steps: Sequence[Operation]) -> int:
        """Begin as many of the first steps as can be handed over at once, at least one; may be called again."""
        ...

    def end_cancelled(self, operation: Operation) -> None:
        """Complete an operation that was not begun as cancelled, in this poll or the next; may be called again."""
        ...


class Chain:
    """A chain in flight. `started`: how many steps were begun; `last_started`: the last of them; `finished`: how many
    are known to have completed: of steps that were handed over together and succeeded, only the last one tells."""

    __slots__ = ("_broken", "_head", "_owner", "_positions", "finished", "last_started", "started", "steps")

    def __init__(self, steps: list[Operation], owner: ChainOwner) -> None:
        self.steps = steps
        self._owner = owner
        self._broken = False
        self._positions: dict[Operation, int] | None = None  # made when it is needed: most chains just succeed
        self._head = 0  # the first of the steps that were handed over together last
        self.started = 0
        self.finished = 0
        self.last_started = steps[0]
        for step in reversed(steps):  # the first one last: it says that this is done
            step._chain = self

    def begin(self) -> None:
        """Begin what can begin now."""
        first = self.started
        self._head = first
        count = self._owner.begin_prefix(self.steps[first : first + self._owner.longest_prefix])
        self.last_started = self.steps[first + count - 1]
        self.started = first + count

    def has_begun(self, step: Operation) -> bool:
        """Whether the step was handed over, be it as a link that the kernel has not started."""
        return self.started == len(self.steps) or self._index_of(step) < self.started

    def waiting_links(self, resource: object) -> list[Operation]:
        """The steps on a resource that the kernel may look up only when it comes to them.

        Also the step whose predecessor has just completed: a deferred ring begins it in the next system call. What was
        handed over by itself was looked up then.
        """
        return [
            step
            for step in self.steps[max(self.finished, self._head + 1) : self.started]
            if step.identifier and (step.resource() is resource or step in getattr(resource, "users", ()))
        ]

    @property
    def is_over(self) -> bool:
        """Whether all steps have completed."""
        return self.finished == len(self.steps)

    def break_at(self, step: Operation) -> None:
        """A step did not succeed: the later ones are going to be cancelled because of it. May be called again."""
        if not self._broken:
            self._blame(self._index_of(step) + 1)
            self._broken = True

    def step_done(self, step: Operation) -> None:
        """A step has completed and was delivered: go on, or end the rest if the chain is broken."""
        index = self._index_of(step)
        if index < self.finished:
            return  # it was dealt with already
        following = self.steps[index + 1] if index + 1 < len(self.steps) else None
        if following is not None and index + 1 == self.started:
            if not self._broken and following.state is OperationState.CANCELLING:
                self._blame(index + 2)
                self._broken = True
            if self._broken:
                self._end_from(index + 1)
            else:
                self.begin()
        self.finished = index + 1

    def _index_of(self, step: Operation) -> int:
        if step is self.last_started:  # which most are that are asked for
            return self.started - 1
        if self._positions is None:
            self._positions = {step: index for index, step in enumerate(self.steps)}
        return self._positions[step]

    def _blame(self, first: int) -> None:
        for later in self.steps[first:]:
            if later.state is OperationState.SUBMITTED:
                later._cancel_cause = CancelCause.EARLIER_STEP_FAILED

    def _end_from(self, first: int) -> None:
        for later in self.steps[first:]:
            self._owner.end_cancelled(later)
        self.last_started = self.steps[-1]
        self.started = len(self.steps)
