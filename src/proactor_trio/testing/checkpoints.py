"""assert_checkpoints() and assert_no_checkpoints(): whether a block gave way and could have been cancelled.

The scheduler counts neither: a checkpoint is too cheap for that. So the task is watched, for the length of the block
only. An instrument sees when it gives way. And a cancel point that does not give way does one thing, it looks at
`task.cancel_pending`: the task is made an instance of a subclass meanwhile, which has no data of its own and a property
in place of that attribute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.instruments import Instrument, add_instrument, remove_instrument
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import CHECKPOINT, Task

_CANCEL_PENDING: Final[Any] = Task.__dict__["cancel_pending"]


class _Watch(Instrument):
    """How often a task gave way, and how often it could have been cancelled, since it is watched."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.blocks = 0
        self.schedule_points = 0
        self.cancel_points = 0

    def after_task_step(self, task: Task) -> None:
        if task is self._task:
            self.schedule_points += 1
            if task.waiting is CHECKPOINT or task.next_exception is not None:
                self.cancel_points += 1


_watches: Final[dict[Task, _Watch]] = {}


class _WatchedTask(Task):
    __slots__ = ()

    @property
    def cancel_pending(self) -> bool:
        # The run loop looks too, after a step: a cancel point if the task is parked so that it can be interrupted.
        if self.waiting is not None or getattr(self.coro, "cr_running", True):
            _watches[self].cancel_points += 1
        pending: bool = _CANCEL_PENDING.__get__(self)
        return pending

    @cancel_pending.setter
    def cancel_pending(self, pending: bool) -> None:
        _CANCEL_PENDING.__set__(self, pending)


@enable_ki_protection
def _begin_watching(task: Task) -> _Watch:
    watch = _watches.get(task)
    if watch is None:
        watch = _watches[task] = _Watch(task)
        task.__class__ = _WatchedTask
        add_instrument(watch)
    watch.blocks += 1
    return watch


@enable_ki_protection
def _end_watching(task: Task, watch: _Watch) -> None:
    watch.blocks -= 1
    if not watch.blocks:
        remove_instrument(watch)
        task.__class__ = Task
        del _watches[task]


@contextmanager
def assert_checkpoints() -> Iterator[None]:
    """The block must be a checkpoint: give way, and have a point at which it could be cancelled; or else raise.

    Raises AssertionError if it ends normally and was not.
    """
    task = current_task()
    watch = _begin_watching(task)
    try:
        schedule_points, cancel_points = watch.schedule_points, watch.cancel_points
        yield
        gave_way = watch.schedule_points > schedule_points
        could_be_cancelled = watch.cancel_points > cancel_points
    finally:
        _end_watching(task, watch)
    if not gave_way:
        raise AssertionError("the block of assert_checkpoints() never gave way to other tasks")
    if not could_be_cancelled:
        raise AssertionError("the block of assert_checkpoints() could not be cancelled at any point")


@contextmanager
def assert_no_checkpoints() -> Iterator[None]:
    """The block must not give way, and have no point at which it could be cancelled, also if it raises.

    Raises AssertionError if it did or had.
    """
    task = current_task()
    watch = _begin_watching(task)
    schedule_points, cancel_points = watch.schedule_points, watch.cancel_points
    try:
        yield
    finally:
        _end_watching(task, watch)
        if watch.schedule_points > schedule_points:
            raise AssertionError("the block of assert_no_checkpoints() gave way to other tasks")
        if watch.cancel_points > cancel_points:
            raise AssertionError("the block of assert_no_checkpoints() had a point at which it could be cancelled")
