"""Nurseries: the only way to start a task, and the place that does not end before its tasks have.

Rules:

1. The block waits at its end for all children. Its own body counts as one of them.
2. The first failure cancels the nursery's scope; all failures are raised together as an exception group.
3. Waiting at the end cannot be interrupted by cancellation (the children are cancelled instead); a KeyboardInterrupt
   that arrives there is added to the group and cancels the children.
4. `start()` runs a task below the caller until it says `started()`, then moves it here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, final

from outcome import Error, capture

from proactor_trio._kernel.cancel import (
    LOOSE_GROUP_NOTE,
    CancelReason,
    CancelScope,
    nursery_misnested,
)
from proactor_trio._kernel.context import CONTEXT, current_task
from proactor_trio._kernel.errors import TrioDeprecationWarning
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Abort, RaiseCancelT, Task
from proactor_trio._kernel.traps import cancel_shielded_checkpoint, wait_task_rescheduled

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run

StatusT_contra = TypeVar("StatusT_contra", contravariant=True)


class TaskStatus(Protocol[StatusT_contra]):
    """What a function that is started with `Nursery.start()` gets as `task_status`."""

    def started(self, value: StatusT_contra = ..., /) -> None:
        """Say that the task is ready; `start()` returns `value`."""
        ...


class _IgnoredStatus:
    """The default for `task_status`: nobody waits."""

    __slots__ = ()

    def started(self, value: object = None) -> None:
        return None

    def __repr__(self) -> str:
        return "TASK_STATUS_IGNORED"


TASK_STATUS_IGNORED: Final[TaskStatus[Any]] = _IgnoredStatus()


class _NoValue:
    __slots__ = ()


_NO_VALUE: Final = _NoValue()


class _StartStatus:
    """The `task_status` of one start()."""

    __slots__ = ("_from", "_task", "_to", "value")

    def __init__(self, from_nursery: Nursery, to_nursery: Nursery) -> None:
        self._from = from_nursery
        self._to = to_nursery
        self.value: Any = _NO_VALUE
        self._task: Task | None = None

    def take_task(self, task: Task) -> None:
        """The task was made; it may have called started() while that was done."""
        self._task = task
        if self.value is not _NO_VALUE:
            self._move_task()

    @enable_ki_protection
    def started(self, value: Any = None) -> None:
        if self.value is not _NO_VALUE:
            raise RuntimeError("called 'started' twice on the same task status")
        self.value = value
        if self._task is not None:
            self._move_task()

    def _move_task(self) -> None:
        if self._from.cancel_scope.effective or self._to.closed:
            return  # start() is on its way out with Cancelled; the task stays below it and is cancelled too
        task = self._task
        assert task is not None
        self._from.children.discard(task)
        self._to.children.add(task)
        task.move(self._to)
        self._from.check_closed()


@final
class Nursery:
    """Where tasks run. Made by open_nursery(); the object may be handed to other tasks of the same run.

    cancel_scope: the scope around all of its tasks and its block.
    """

    __slots__ = (
        "__weakref__",
        "_body_is_running",
        "_exceptions",
        "_parent_task",
        "_parent_waits",
        "_pending_starts",
        "_run",
        "_strict",
        "cancel_scope",
        "children",
        "closed",
    )

    _run: Run
    _parent_task: Task
    _strict: bool
    _exceptions: list[BaseException]
    _body_is_running: bool
    _parent_waits: bool
    _pending_starts: int
    cancel_scope: CancelScope
    children: set[Task]
    closed: bool

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("Nursery has no public constructor: use open_nursery()")

    def __init_subclass__(cls) -> None:
        raise TypeError("Nursery does not support subclassing")

    @property
    def child_tasks(self) -> frozenset[Task]:
        """The tasks that run in it now."""
        return frozenset(self.children)

    @property
    def parent_task(self) -> Task:
        """The task that opened it."""
        return self._parent_task

    @property
    def parent_waits(self) -> bool:
        """Whether its block is over, and the task that opened it waits for the tasks in it."""
        return self._parent_waits

    # Starting ----------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def start_soon(self, async_fn: Callable[..., Any], *args: Any, name: object = None) -> None:
        """Start `async_fn(*args)` as a task; it first runs in the next tick.

        name: for reports; by default the function's own. The task gets a copy of the caller's context variables.
        Raises RuntimeError when the nursery is closed or the call comes from outside of its run, and TypeError with
        advice when async_fn is not an async function.
        """
        run = self._run
        if CONTEXT.run is not run:
            raise RuntimeError("a nursery can be used only from inside its own run; see TrioToken.run_sync_soon")
        if self.closed:
            raise RuntimeError("Nursery is closed to new arrivals")
        run.spawn(async_fn, args, self, name)

    @enable_ki_protection
    async def start(self, async_fn: Callable[..., Any], *args: Any, name: object = None) -> Any:
        """Start a task and wait until it calls `task_status.started(value)`; return that value.

        The task runs below the caller until then and in this nursery from then on. If it fails before, its exception
        is raised here as it is. If it returns before, RuntimeError.
        """
        if self.closed:
            raise RuntimeError("Nursery is closed to new arrivals")
        self._pending_starts += 1
        try:
            return await self._start(async_fn, args, name)
        finally:
            self._pending_starts -= 1
            self.check_closed()

    @enable_ki_protection
    async def _start(self, async_fn: Callable[..., Any], args: tuple[Any, ...], name: object) -> Any:
        failure: BaseException | None = None
        try:
            async with open_nursery(strict_exception_groups=True) as below:
                status = _StartStatus(below, self)
                function = partial(async_fn, task_status=status)
                task = self._run.spawn(function, args, below, async_fn if name is None else name)
                task._eventual_parent_nursery = self
                status.take_task(task)
        except BaseExceptionGroup as group:
            if len(group.exceptions) != 1:
                raise
            failure = group.exceptions[0]
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        if status.value is _NO_VALUE:
            raise RuntimeError("child exited without calling task_status.started()")
        return status.value

    # Ending ------------------------------------------------------------------------------------------------------

    def child_failed(self, task: Task | None, error: BaseException) -> None:
        """A child, or the body (None), ended with an exception: keep it and cancel the others."""
        self._exceptions.append(error)
        if self.cancel_scope.effective:
            self.cancel_scope.cancel_because(CancelReason("nursery"))
            return
        who = "the nursery's block" if task is None else "child task"
        reason = f"{who} raised exception {error!r}"
        source = self._parent_task if task is None else task
        self.cancel_scope.cancel_because(CancelReason("nursery", repr(source), reason))

    def child_finished(self, task: Task, error: BaseException | None) -> None:
        """A child has ended."""
        self.children.discard(task)
        if error is not None:
            self.child_failed(task, error)
        if not self.children:
            self.check_closed()

    def check_closed(self) -> None:
        """Close it when nothing is left in it, and let its parent go on."""
        if self.children or self._body_is_running or self._pending_starts:
            return
        self.closed = True
        if self._parent_waits:
            self._parent_waits = False
            self._run.reschedule(self._parent_task)

    @enable_ki_protection
    async def body_finished(self, error: BaseException | None) -> BaseException | None:
        """The end of the block: wait for all children; return what is to be raised."""
        if error is not None:
            self.child_failed(None, error)
        self._body_is_running = False
        self.check_closed()
        if self.closed:
            await cancel_shielded_checkpoint()
        else:
            self._parent_waits = True
            await wait_task_rescheduled(self._refuse_cancellation)
        task = self._parent_task
        if not task.nurseries or task.nurseries[-1] is not self:
            if self in task.nurseries:
                task.nurseries.remove(self)
            self._exceptions.append(nursery_misnested(f"{self!r} was left before a nursery inside of it"))
        else:
            task.nurseries.pop()
        return self._combined_exception()

    def _refuse_cancellation(self, raise_cancel: RaiseCancelT) -> Abort:
        task = self._parent_task
        if self._run.interrupt_pending and task is self._run.main_task:
            interrupt = capture(raise_cancel)
            assert isinstance(interrupt, Error)
            self._exceptions.append(interrupt.error)
            self.cancel_scope.cancel_because(CancelReason("KeyboardInterrupt", repr(task)))
        return Abort.FAILED

    def _combined_exception(self) -> BaseException | None:
        errors = self._exceptions
        if not errors:
            return None
        self._exceptions = []
        if not self._strict and len(errors) == 1:
            return errors[0]
        group = BaseExceptionGroup("Exceptions from proactor_trio nursery", errors)
        if not self._strict:
            group.add_note(LOOSE_GROUP_NOTE)
        return group


def _make_nursery(parent_task: Task, cancel_scope: CancelScope, strict: bool) -> Nursery:
    nursery = object.__new__(Nursery)
    nursery._run = parent_task.run
    nursery._parent_task = parent_task
    nursery._strict = strict
    nursery._exceptions = []
    nursery._body_is_running = True
    nursery._parent_waits = False
    nursery._pending_starts = 0
    nursery.cancel_scope = cancel_scope
    nursery.children = set()
    nursery.closed = False
    return nursery


class NurseryManager:
    """What open_nursery() returns: `async with` gives the nursery."""

    __slots__ = ("_nursery", "_scope", "_strict")

    def __init__(self, strict: bool | None) -> None:
        self._strict = strict

    @enable_ki_protection
    async def __aenter__(self) -> Nursery:
        task = current_task()
        self._scope = CancelScope()
        self._scope.__enter__()
        strict = task.run.strict_exception_groups if self._strict is None else self._strict
        nursery = self._nursery = _make_nursery(task, self._scope, strict)
        task.nurseries.append(nursery)
        return nursery

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        combined = await self._nursery.body_finished(error)
        remaining = self._scope.close(combined)
        if remaining is None:
            return True
        if remaining is error:
            return False
        context = remaining.__context__
        try:
            raise remaining
        finally:
            remaining.__context__ = context
            del remaining, combined, context, error

    def __enter__(self) -> None:
        raise RuntimeError("use 'async with open_nursery(...)', not 'with open_nursery(...)'")

    def __exit__(self, *details: object) -> None:
        raise AssertionError("never entered")


def open_nursery(strict_exception_groups: bool | None = None) -> NurseryManager:
    """A nursery for an `async with` block, which ends when the block and all tasks started in it have ended.

    strict_exception_groups: False raises a single exception bare; None takes what run() was given (True).
    The end of the block is a schedule point, never a source of Cancelled.
    """
    if strict_exception_groups is False:
        warn_about_loose_groups()
    return NurseryManager(strict_exception_groups)


def warn_about_loose_groups() -> None:
    """strict_exception_groups=False is deprecated in Trio, and so it is here."""
    warnings.warn(
        "strict_exception_groups=False is deprecated: a nursery's exceptions always come as a group; use `except*`",
        TrioDeprecationWarning,
        stacklevel=3,
    )
