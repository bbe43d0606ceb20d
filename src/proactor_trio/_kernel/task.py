"""Task: one coroutine and where it stands.

A task is running, or runnable (in the run queue), or parked. `waiting` says by what a parked task can be interrupted:
None (it cannot: it runs, or is on its way), CHECKPOINT (it is in the run queue and only passes by), a waiting place
(which forgets it), an operation (which is then cancelled and still decides what happens), or an abort function. Whoever
makes a task runnable sets it to None, so that nobody else does so too.

Whoever lets a parked task go on hands it a value (`resume()`) or an exception (`interrupt()`). The exception is raised
where the task is parked; the value lies in `value`, from where whoever parked takes it. Before that, what the task has
to offer itself may lie there, for the one who lets it go on.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from enum import Enum
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from outcome import Outcome

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.proactor.operation import Operation

if TYPE_CHECKING:
    from proactor_trio._kernel.nursery import Nursery
    from proactor_trio._kernel.parking_lot import ParkingLot
    from proactor_trio._kernel.run import Run


class Abort(Enum):
    """What an abort function says. SUCCEEDED: the task is not waited for any more and gets the exception now.
    FAILED: it stays parked, and whoever parked it calls reschedule() after all."""

    SUCCEEDED = 1
    FAILED = 2


class Message(Enum):
    """What a task yields to the run loop."""

    PARKED = "waits until it is rescheduled"
    CHECKPOINT = "goes on in the next tick, unless it is to be cancelled"
    PASSING = "goes on in the next tick"


class Detached:
    """Yielded in place of a message: the task ends with this outcome, and its coroutine is somebody else's."""

    __slots__ = ("outcome",)

    def __init__(self, outcome: Outcome[Any]) -> None:
        self.outcome = outcome


_ASYNC_GENERATOR_STEPS: Final = frozenset(("async_generator_asend", "async_generator_athrow"))

PARKED: Final = Message.PARKED
CHECKPOINT: Final = Message.CHECKPOINT
PASSING: Final = Message.PASSING

RaiseCancelT = Callable[[], Any]
AbortFunction = Callable[[RaiseCancelT], Abort]


class Task:
    """One task of a run. Attributes for users: `name`, `coro`, `context`, `parent_nursery`,
    `eventual_parent_nursery`, `child_nurseries`, `custom_sleep_data`."""

    __slots__ = (
        "__weakref__",
        "_async_fn",
        "_eventual_parent_nursery",
        "_name",
        "_parent_nursery",
        "base_scope",
        "breaks",
        "cancel_pending",
        "context",
        "coro",
        "custom_sleep_data",
        "ki_protected",
        "next_exception",
        "nurseries",
        "run",
        "scope",
        "send",
        "value",
        "waiting",
    )

    def __init__(
        self,
        run: Run,
        coro: Coroutine[Any, Any, Any],
        async_fn: Callable[..., Any],
        name: object,
        parent_nursery: Nursery | None,
        scope: CancelScope | None,
        context: Context,
        ki_protected: bool,
    ) -> None:
        self.run = run
        self.coro = coro
        self.send = coro.send
        self.context = context
        self._async_fn = async_fn
        self._name = name
        self._parent_nursery = parent_nursery
        self._eventual_parent_nursery: Nursery | None = None
        self.nurseries: list[Nursery] = []
        self.scope = self.base_scope = scope
        self.cancel_pending = scope is not None and scope.effective
        self.waiting: Message | WaitingPlace | Operation | AbortFunction | None = None
        self.next_exception: BaseException | None = None
        self.value: Any = None
        #: The parking lots that break when this task ends.
        self.breaks: list[ParkingLot] | None = None
        self.custom_sleep_data: Any = None
        self.ki_protected = ki_protected

    # For users ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name: what start_soon() was given, or the module and qualified name of its function."""
        if not isinstance(self._name, str):
            self._name = _name_of(self._async_fn if self._name is None else self._name)
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def parent_nursery(self) -> Nursery | None:
        """The nursery it runs in; None for the root task."""
        return self._parent_nursery

    @property
    def child_nurseries(self) -> list[Nursery]:
        """The nurseries that it has open, outermost first."""
        return list(self.nurseries)

    @property
    def eventual_parent_nursery(self) -> Nursery | None:
        """While it is inside `Nursery.start()`: the nursery that it will move to; else None."""
        return self._eventual_parent_nursery

    def iter_await_frames(self) -> Iterator[tuple[FrameType, int]]:
        """The frames of a parked task from the outermost on, with their line numbers."""
        awaiting: Any = self.coro
        while awaiting is not None:
            if hasattr(awaiting, "cr_frame"):
                frame, following = awaiting.cr_frame, awaiting.cr_await
            elif hasattr(awaiting, "gi_frame"):
                frame, following = awaiting.gi_frame, awaiting.gi_yieldfrom
            elif hasattr(awaiting, "ag_frame"):
                frame, following = awaiting.ag_frame, awaiting.ag_await
            elif type(awaiting).__name__ in _ASYNC_GENERATOR_STEPS:
                # asend() and athrow() objects do not name their generator; it is the first thing that they refer to.
                awaiting = gc.get_referents(awaiting)[0]
                continue
            else:
                return
            if frame is not None:
                yield frame, frame.f_lineno
            awaiting = following

    def __repr__(self) -> str:
        return f"<Task {self.name!r} at {id(self):#x}>"

    # Scopes ------------------------------------------------------------------------------------------------------

    def scopes(self) -> Iterator[CancelScope]:
        """The scopes around the task, innermost first."""
        scope = self.scope
        while scope is not None:
            yield scope
            scope = scope.parent

    def scopes_up_to(self, top: CancelScope) -> Iterator[CancelScope]:
        """The scopes around the task, innermost first, up to and with `top`."""
        for scope in self.scopes():
            yield scope
            if scope is top:
                return

    def move(self, nursery: Nursery) -> None:
        """Become a child of another nursery, with all scopes that were entered since the task began."""
        old_base = self.base_scope
        new_base = nursery.cancel_scope
        outermost: CancelScope | None = None
        for scope in self.scopes():
            if scope is old_base:
                break
            outermost = scope
        self._parent_nursery = nursery
        self._eventual_parent_nursery = None
        self.base_scope = new_base
        if outermost is None:
            self.scope = new_base
            self.update_cancel_pending()
        else:
            outermost.adopt(new_base)

    # Cancellation ------------------------------------------------------------------------------------------------

    def update_cancel_pending(self) -> None:
        """Bring `cancel_pending` up to date with the innermost scope."""
        self.cancel_pending = (self.scope is not None and self.scope.effective) or (
            self.run.interrupt_pending and self is self.run.main_task
        )

    def pending_exception(self) -> BaseException:
        """The exception that is due at this task's next checkpoint. `cancel_pending` is set."""
        run = self.run
        if run.interrupt_pending and self is run.main_task:
            run.interrupt_pending = False
            self.update_cancel_pending()
            return KeyboardInterrupt()
        assert self.scope is not None
        return self.scope.reason_or_unknown().exception()

    def deliver_cancellation(self) -> None:
        """`cancel_pending` is set: interrupt the task if it is parked where that can be done."""
        waiting = self.waiting
        if waiting is None:
            return
        if waiting is CHECKPOINT:
            self.waiting = None
            self.next_exception = self.pending_exception()
        elif isinstance(waiting, WaitingPlace):
            waiting.withdraw(self)
            self.interrupt(self.pending_exception())
        elif isinstance(waiting, Operation):
            self.run.proactor.cancel_chain(waiting)
        else:
            assert callable(waiting)
            self.waiting = None
            result = waiting(self._raise_cancel)
            if not isinstance(result, Abort):
                raise TypeError(f"the abort function must return Abort.SUCCEEDED or Abort.FAILED, not {result!r}")
            if result is Abort.SUCCEEDED:
                self.custom_sleep_data = None
                self.interrupt(self.pending_exception())

    def _raise_cancel(self) -> None:
        raise self.pending_exception()

    # Going on ----------------------------------------------------------------------------------------------------

    def resume(self, value: object = None) -> None:
        """Let it go on from where it is parked, with a value."""
        self.value = value
        self.waiting = None
        run = self.run
        run.runq.append(self)
        if run.instruments.any:
            run.instruments.call("task_scheduled", self)

    def interrupt(self, error: BaseException) -> None:
        """Let it go on from where it is parked, with an exception that is raised there."""
        self.value = None
        self.next_exception = error
        self.waiting = None
        run = self.run
        run.runq.append(self)
        if run.instruments.any:
            run.instruments.call("task_scheduled", self)

    def expire(self) -> None:
        """For the heap of deadlines: the time that it sleeps for is over."""
        if self.waiting is not None:
            self.resume()

    def is_over(self) -> bool:
        """For the heap of deadlines: a sleep that is cancelled takes its entry with it."""
        return False

    def operation_completed(self, operation: Operation) -> None:
        """The proactor's call when the operation that this task awaits has its final completion."""
        self.waiting = None
        run = self.run
        run.runq.append(self)
        if run.instruments.any:
            run.instruments.call("task_scheduled", self)


def _name_of(function: object) -> str:
    while isinstance(function, partial):
        function = function.func
    try:
        return f"{function.__module__}.{function.__qualname__}"  # type: ignore[attr-defined]
    except AttributeError:
        return repr(function)


def reschedule(task: Task, next_send: Outcome[Any] | None = None) -> None:
    """Make a task that is parked in wait_task_rescheduled() go on.

    next_send: an outcome, which wait_task_rescheduled() returns or raises; None returns None. Exactly once for each
    parking; only from the task's own run.
    """
    run = CONTEXT.run
    if run is None:
        raise RuntimeError("must be called from async context")
    run.reschedule(task, next_send)
