"""task_tree(): the tasks of a run as data, with what each of them waits for.

Everything is taken in one step, in the run's own thread, so that it is one moment. The data refers to nothing of the
run: it can be kept, compared, and written as JSON (`dataclasses.asdict`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.deadlines import Entry
from proactor_trio._kernel.nursery import Nursery
from proactor_trio._kernel.run import Run
from proactor_trio._kernel.task import CHECKPOINT, Task
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.proactor.operation import Operation


@dataclass(frozen=True, slots=True)
class ScopeNode:
    """A cancel scope. deadline: seconds from now, None without one. is_cancelled: whether code inside is cancelled.

    source, source_task, reason: of the cancellation, as in Cancelled; None without one.
    """

    deadline: float | None
    shield: bool
    is_cancelled: bool
    source: str | None
    source_task: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class OperationNode:
    """An operation that a task waits for. kind: its class. state: "submitted" or "cancelling".

    resource: what it works on, in words; None if that is nothing. deadline: seconds from now, None without one.
    """

    kind: str
    state: str
    resource: str | None
    deadline: float | None


@dataclass(frozen=True, slots=True)
class FrameNode:
    """A place in the code: file, line, and the function's name."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class TaskNode:
    """A task. state: "running", "runnable" or "waiting". waits_for: what for, in words; None unless it waits.

    operation: the operation that it waits for, if it is one. scopes: those that it has entered, outermost first.
    frames: where it stands, outermost first. nurseries: those that it has open, outermost first.
    """

    name: str
    state: str
    waits_for: str | None
    operation: OperationNode | None
    scopes: tuple[ScopeNode, ...]
    frames: tuple[FrameNode, ...]
    nurseries: tuple[NurseryNode, ...]


@dataclass(frozen=True, slots=True)
class NurseryNode:
    """A nursery. scope: the one around it. tasks: those that run in it, by name."""

    scope: ScopeNode
    tasks: tuple[TaskNode, ...]


def task_tree() -> TaskNode:
    """The root task of the run that calls, and with it all others. Raises RuntimeError outside of a run."""
    run = current_run()
    assert run.root_task is not None
    return _Taker(run).task(run.root_task)


class _Taker:
    """Takes the state of one run, now."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._now = run.current_time()

    def task(self, task: Task) -> TaskNode:
        waiting = task.waiting
        state = "waiting"
        if task is self._run.task:
            state = "running"
        elif task in self._run.runq:
            state = "runnable"
        is_waiting = state == "waiting"
        return TaskNode(
            name=task.name,
            state=state,
            waits_for=self._reason_of(task) if is_waiting else None,
            operation=self._operation(waiting) if is_waiting and isinstance(waiting, Operation) else None,
            scopes=tuple(self._scope(scope) for scope in reversed(list(_own_scopes(task)))),
            frames=tuple(
                FrameNode(frame.f_code.co_filename, line, frame.f_code.co_qualname)
                for frame, line in task.iter_await_frames()
            ),
            nurseries=tuple(self._nursery(nursery) for nursery in task.nurseries),
        )

    def _nursery(self, nursery: Nursery) -> NurseryNode:
        return NurseryNode(
            scope=self._scope(nursery.cancel_scope),
            tasks=tuple(self.task(child) for child in sorted(nursery.children, key=_name)),
        )

    def _scope(self, scope: CancelScope) -> ScopeNode:
        because = scope.reason_or_unknown() if scope.effective else None
        return ScopeNode(
            deadline=self._seconds(scope.deadline),
            shield=scope.shield,
            is_cancelled=scope.effective,
            source=None if because is None else because.source,
            source_task=None if because is None else because.source_task,
            reason=None if because is None else because.reason,
        )

    def _operation(self, operation: Operation) -> OperationNode:
        resource = operation.resource()
        return OperationNode(
            kind=type(operation).__name__,
            state=operation.state.value,
            resource=None if resource is None else repr(resource),
            deadline=None if operation.expires is None else self._seconds(operation.expires),
        )

    def _reason_of(self, task: Task) -> str:
        waiting = task.waiting
        if isinstance(waiting, Operation):
            operation = self._operation(waiting)
            return operation.kind if operation.resource is None else f"{operation.kind} on {operation.resource}"
        if isinstance(waiting, Entry):
            return "the time at which it wakes up"
        if isinstance(waiting, WaitingPlace):
            return repr(waiting)
        if waiting is CHECKPOINT:
            return "its turn"
        if task.nurseries and task.nurseries[-1].parent_waits:
            return "the tasks of its nursery"
        if waiting is None:
            return "something that cannot be cancelled"
        return str(getattr(waiting, "__qualname__", repr(waiting))).removesuffix(".<locals>.abort")

    def _seconds(self, deadline: float) -> float | None:
        return None if deadline == math.inf else deadline - self._now


def _own_scopes(task: Task) -> Iterator[CancelScope]:
    """Innermost first; those of its nurseries stand with these."""
    of_nurseries = {nursery.cancel_scope for nursery in task.nurseries}
    for scope in task.scopes():
        if scope is task.base_scope:
            return
        if scope not in of_nurseries:
            yield scope


def _name(task: Task) -> str:
    return task.name
