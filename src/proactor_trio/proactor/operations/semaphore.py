"""Operations on timeline semaphores: SemaphoreWait, SemaphoreSignal.

A wait is timepoints that finish the operation, from whatever thread signals. It results in what the semaphores know
when it completes, so that a later signal, or a message, can carry that on. A signal is made inside `poll()` by the
owner of the proactor when its turn has come, never in `submit()`: timepoint callbacks are the user's code. As the later
step of a chain it has no effect before the step before it has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Unpack

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.dispatching import Attempt, raise_all
from proactor_trio.proactor.errors import CANCELED, OutOfRange, ResourceExhausted
from proactor_trio.proactor.fence import FenceWrite
from proactor_trio.proactor.frontier import Frontier
from proactor_trio.proactor.incoming import Repeatable
from proactor_trio.proactor.joint_wait import (
    SemaphorePart,
    WaitMode,
    check_mode,
    check_semaphores,
    in_sequences,
    semaphore_parts,
)
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation, SoftwareOperation
from proactor_trio.proactor.operations.joint_wait import JointWaitOperation
from proactor_trio.proactor.semaphore_source import SemaphoreSource, check_frontier

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

#: Semaphores of one SemaphoreWait.
LARGEST_WAIT: Final = 255


class SemaphoreWait(JointWaitOperation):
    """Waits until semaphores have their values. Result: for ALL what they know; for ANY the index of one that has its
    value.

    semaphores, values: one of each, or as many of one as of the other, up to 255 (OutOfRange at submission); none at
        all completes at the next poll. They may be semaphores of any kind, used by any thread and any proactor.
    mode: ALL or ANY. Of several that have their values at the beginning ANY reports the lowest index; of none, None.
    satisfied_index: the result for ANY, None before and otherwise.
    frontier: for ALL the merge of the semaphores' frontiers, which is also the result, in their order, without those
        that do not fit into 255 entries any more; for ANY that of the one that was reached. None before and otherwise.

    It ends with the failure of the first of them that has failed, even if its value was reached before, or that fails
    before its value is reached; each wait gets a copy of that exception. What was reached while it waits stays reached,
    whatever becomes of that semaphore. Cancelling it withdraws its timepoints and leaves the semaphores as they are.
    """

    __slots__ = ("frontier", "satisfied_index", "semaphores", "values")

    def __init__(
        self,
        semaphores: SemaphoreSource | Sequence[SemaphoreSource],
        values: int | Sequence[int],
        mode: WaitMode = WaitMode.ALL,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        check_mode(mode)
        super().__init__(mode, completion_fn, user_data, flags, **limits)
        self.semaphores, self.values = in_sequences(semaphores, values)
        self.satisfied_index: int | None = None
        self.frontier: Frontier | None = None

    def _prepare(self) -> None:
        check_semaphores(self.semaphores, self.values)
        if len(self.semaphores) > LARGEST_WAIT:
            raise OutOfRange(f"semaphores must be at most {LARGEST_WAIT}, not {len(self.semaphores)}")
        self.satisfied_index = None
        self.frontier = None

    def _parts(self) -> list[SemaphorePart]:
        return semaphore_parts(self.semaphores, self.values)

    def _finish(self, result: int) -> int | Frontier | None:
        if self.wait_mode is WaitMode.ALL:
            self.frontier = _merged(self.semaphores)
            return self.frontier
        if not self.semaphores:
            self.frontier = Frontier()
            return None
        self.frontier = self.semaphores[result].query_frontier()
        self.satisfied_index = result
        return result


def _merged(semaphores: Sequence[SemaphoreSource]) -> Frontier:
    """What they know. A frontier that does not fit is left out whole, as a semaphore does with that of a signal."""
    merged = Frontier()
    for semaphore in semaphores:
        try:
            merged = merged.merge(semaphore.query_frontier())
        except ResourceExhausted:
            continue
    return merged


class SemaphoreSignal(SoftwareOperation):
    """Signals semaphores, one after the other. Result: None.

    semaphores, values: one of each, or as many of one as of the other. Each value must be greater than the
        semaphore's then.
    frontier: what is known to have come about with these values; given to each signal. It is looked at when its
        turn has come, so the completion function of an earlier step may set it.

    The first signal that is refused ends it with that error (ValueError for a value that is not greater); those before
    it stay made. What timepoint callbacks raise is raised by the `poll()` that makes the signals, and is no error of
    this operation. Cancelling it has an effect only before its turn has come: then none of the signals is made.
    """

    __slots__ = ("_fence_writes", "_signals", "frontier", "semaphores", "values")

    def __init__(
        self,
        semaphores: SemaphoreSource | Sequence[SemaphoreSource],
        values: int | Sequence[int],
        frontier: Frontier | None = None,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.semaphores, self.values = in_sequences(semaphores, values)
        self.frontier = frontier
        self._signals: _Signals | None = None
        #: The identifier of a submission, and its writes to fences.
        self._fence_writes: tuple[int, list[Operation]] | None = None

    def _prepare(self) -> None:
        check_semaphores(self.semaphores, self.values)
        if self.frontier is not None:
            check_frontier(self.frontier)

    def _begin(self, proactor: Proactor) -> None:
        self._fence_writes = None
        if self._begun() is None:
            self._signals = _Signals(self, proactor)
        assert self._signals is not None
        proactor.post(Repeatable(self._signals.make))

    def _kernel_part(self, proactor: Proactor) -> Sequence[Operation]:
        if self._fence_writes is None or self._fence_writes[0] != self.identifier:
            self._fence_writes = self.identifier, self._make_fence_writes()
        return self._fence_writes[1]

    def _make_fence_writes(self) -> list[Operation]:
        """Writes to the fences that these signals are going to make readable."""
        assert self._proactor is not None
        if not self._proactor.links_in_kernel or any(semaphore.error is not None for semaphore in self.semaphores):
            return []
        return [
            FenceWrite(fence)
            for semaphore, value in zip(self.semaphores, self.values, strict=True)
            for fence in semaphore.pending_fences(value)
        ]

    def _cancel(self, proactor: Proactor) -> None:
        signals = self._begun()
        if signals is None or signals.withdraw():
            proactor.finish(self, self.identifier, CANCELED)

    def _begun(self) -> _Signals | None:
        """The signals of this submission."""
        signals = self._signals
        return signals if signals is not None and signals.identifier == self.identifier else None

    def _finish(self, result: int) -> None:
        return None


class _Signals:
    """The signals of one submission, made by a posted call; an interrupted one is made again and goes on."""

    __slots__ = ("_attempts", "_begun", "_operation", "_proactor", "_values", "identifier")

    def __init__(self, operation: SemaphoreSignal, proactor: Proactor) -> None:
        self._operation: SemaphoreSignal | None = operation  # None: it was finished
        self._proactor = proactor
        self._attempts = [Attempt(semaphore) for semaphore in operation.semaphores]
        self._values = tuple(operation.values)
        self._begun = False
        self.identifier = operation.identifier

    def withdraw(self) -> bool:
        """Whether none of the signals was made; none will be."""
        if self._begun:
            return False
        self._operation = None
        return True

    def make(self) -> None:
        """Make those that were not made yet, and finish the operation."""
        operation = self._operation
        if operation is None:
            return
        self._begun = True
        refusal = self._make_all(operation.frontier)
        self._proactor.finish(operation, self.identifier, 0 if refusal is None else refusal)
        self._operation = None
        errors = [error for attempt in self._attempts for error in attempt.errors]
        self._attempts = []
        raise_all(errors)

    def _make_all(self, frontier: Frontier | None) -> Exception | None:
        for attempt, value in zip(self._attempts, self._values, strict=True):
            if attempt.applied:
                continue
            try:
                with attempt:
                    attempt.semaphore.signal(value, frontier)
            except Exception as refusal:  # whatever a source refuses with is the result
                return refusal
        return None
