"""Operations on frontier trackers: FrontierWait, FrontierWaitAny, FrontierAdvance.

A wait is timepoints of the tracker that finish the operation, from whatever thread advances. Where the kernel links, a
wait that leads a chain is made there (kernel_waits.py). An advance is made inside `poll()` by the owner of the proactor
when its turn has come, never in `submit()`: it calls what waits, which may be the user's code. As the later step of a
chain it has no effect before the step before it has succeeded.

A wait results in what is known when it completes: how far its axes have come by then, which is at least what it waited
for. Handed to a signal or sent to a peer, that carries on what came before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.axis import LARGEST_AXIS
from proactor_trio.proactor.axis_table import AxisAdvance, AxisTable, FrontierTimepoint
from proactor_trio.proactor.dispatching import raise_all
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.frontier import LARGEST_EPOCH, Frontier
from proactor_trio.proactor.incoming import Repeatable
from proactor_trio.proactor.joint_wait import JointWait, WaitMode
from proactor_trio.proactor.operation import CompletionFunction, Limits, SoftwareOperation
from proactor_trio.proactor.operations.joint_wait import JointWaitOperation

if TYPE_CHECKING:
    from proactor_trio.proactor.frontier_tracker import FrontierTracker
    from proactor_trio.proactor.proactor import Proactor


class FrontierWait(JointWaitOperation):
    """Waits until all axes of a frontier have come so far. Result: a Frontier, how far these axes have come by then.

    tracker: a FrontierTracker, used by any thread and any proactor.
    frontier: what to wait for; an empty one completes at the next poll. An axis that is not registered raises NotFound
        at submission, a tracker that is closed FailedPrecondition.

    It ends with the failure of the first of its axes that has failed, or that fails while it waits, even if that axis
    has come far enough; each wait gets a copy of that exception. Cancelling it withdraws it and leaves the tracker as
    it is. Closing the tracker cancels it: a task that awaits it gets ClosedResourceError.
    """

    __slots__ = ("frontier", "tracker")

    def __init__(
        self,
        tracker: FrontierTracker,
        frontier: Frontier,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        _check_tracker(tracker)
        super().__init__(WaitMode.ALL, completion_fn, user_data, flags, **limits)
        self.tracker = tracker
        self.frontier = frontier

    def _prepare(self) -> None:
        self.tracker._check_frontier(self.frontier, "frontier")

    def _parts(self) -> list[_FrontierPart]:
        return [_FrontierPart(self.tracker, self.frontier, None)]

    def _resource_is_closed(self) -> bool:
        return self.tracker.is_closed

    def _finish(self, result: int) -> Frontier:
        return self.tracker.query_frontier(self.frontier)


class FrontierWaitAny(JointWaitOperation):
    """Waits until one of several frontiers is reached. Result: its index, the lowest of those reached at the beginning.

    frontiers: at least one, else ValueError at submission; also NotFound and FailedPrecondition as for FrontierWait.
    frontier: how far the axes of the one that was reached have come by then; None before and otherwise.

    An axis that has failed, or fails while it waits, ends it as it ends a FrontierWait, whichever frontier names it.
    Cancelling and closing are as there.
    """

    __slots__ = ("frontier", "frontiers", "tracker")

    def __init__(
        self,
        tracker: FrontierTracker,
        frontiers: Sequence[Frontier],
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        _check_tracker(tracker)
        super().__init__(WaitMode.ANY, completion_fn, user_data, flags, **limits)
        self.tracker = tracker
        self.frontiers = frontiers
        self.frontier: Frontier | None = None

    def _prepare(self) -> None:
        if isinstance(self.frontiers, Frontier):  # a mapping, which looks like a sequence of its axes
            raise TypeError("frontiers must be a sequence of Frontiers, not a Frontier")
        if not self.frontiers:
            raise ValueError("frontiers must be at least one")
        for frontier in self.frontiers:
            self.tracker._check_frontier(frontier, "frontiers")
        self.frontier = None

    def _parts(self) -> list[_FrontierPart]:
        return [_FrontierPart(self.tracker, frontier, None) for frontier in self.frontiers]

    def _resource_is_closed(self) -> bool:
        return self.tracker.is_closed

    def _finish(self, result: int) -> int:
        self.frontier = self.tracker.query_frontier(self.frontiers[result])
        return result


class _FrontierPart(FrontierTimepoint):
    """What waits for one frontier as a part of a joint wait; see Part."""

    __slots__ = ("_index", "_wait")

    def join(self, wait: JointWait, index: int) -> None:
        self._wait = wait
        self._index = index

    def failure(self) -> BaseException | None:
        return self._table._failure_of(self.frontier)

    def acquire(self) -> None:
        self._table._acquire(self)

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending. Doing it again changes nothing."""
        super().fire(error)
        self._wait.reached(self._index, error)


class FrontierAdvance(SoftwareOperation):
    """Advances an axis when its turn has come. Result: how many waits ended by that.

    tracker: a FrontierTracker. axis, epoch: as for `FrontierTracker.advance()`: an axis that is not registered, and an
        epoch that is not later than the current one, change nothing.

    What callbacks raise is raised by the `poll()` that makes the advance, and is no error of this operation. Cancelling
    it has an effect only before its turn has come: then the axis stays where it is.
    """

    __slots__ = ("_advancing", "axis", "epoch", "tracker")

    def __init__(
        self,
        tracker: FrontierTracker,
        axis: int,
        epoch: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        _check_tracker(tracker)
        super().__init__(completion_fn, user_data, flags, **limits)
        self.tracker = tracker
        self.axis = axis
        self.epoch = epoch
        self._advancing: _Advancing | None = None

    def _prepare(self) -> None:
        check_integer(self.axis, "axis", 0, LARGEST_AXIS)
        check_integer(self.epoch, "epoch", 0, LARGEST_EPOCH)

    def _begin(self, proactor: Proactor) -> None:
        advancing = self._begun()
        if advancing is None:
            advancing = self._advancing = _Advancing(self, proactor)
        proactor.post(Repeatable(advancing.make))

    def _cancel(self, proactor: Proactor) -> None:
        advancing = self._begun()
        if advancing is None or advancing.withdraw():
            proactor.finish(self, self.identifier, CANCELED)

    def _begun(self) -> _Advancing | None:
        """The advance of this submission."""
        advancing = self._advancing
        return advancing if advancing is not None and advancing.identifier == self.identifier else None


class _Advancing:
    """The advance of one submission, made by a posted call; an interrupted one is made again and goes on."""

    __slots__ = ("_advance", "_begun", "_operation", "_proactor", "_table", "identifier")

    def __init__(self, operation: FrontierAdvance, proactor: Proactor) -> None:
        self._operation: FrontierAdvance | None = operation  # None: it was finished
        self._proactor = proactor
        self._table = operation.tracker
        self._advance = AxisAdvance(operation.axis, operation.epoch)
        self._begun = False
        self.identifier = operation.identifier

    def withdraw(self) -> bool:
        """Whether it was not made; it never will be."""
        if self._begun:
            return False
        self._operation = None
        return True

    def make(self) -> None:
        """Advance the axis if that was not done yet, and finish the operation."""
        operation = self._operation
        if operation is None:
            return
        self._begun = True
        self._table._make(self._advance)
        self._proactor.finish(operation, self.identifier, self._advance.ended)
        self._operation = None
        raise_all(self._advance.errors)


def _check_tracker(tracker: object) -> None:
    """Raise TypeError unless it is a tracker."""
    if not isinstance(tracker, AxisTable):
        raise TypeError(f"tracker must be a FrontierTracker, not {type(tracker).__name__}")
