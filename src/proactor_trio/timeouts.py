"""Sleeping, and scopes with a deadline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK, YIELD
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.proactor.errors import TooSlowError as TooSlowError


def move_on_at(deadline: float, *, shield: bool = False) -> CancelScope:
    """A cancel scope with an absolute deadline: its block is left silently then."""
    if deadline != deadline:
        raise ValueError("deadline must not be NaN")
    return CancelScope(deadline=deadline, shield=shield)


def move_on_after(seconds: float, *, shield: bool = False) -> CancelScope:
    """A cancel scope with a deadline `seconds` after it is entered: its block is left silently then."""
    if seconds < 0:
        raise ValueError("`seconds` must be non-negative")
    if seconds != seconds:
        raise ValueError("`seconds` must not be NaN")
    return CancelScope(shield=shield, relative_deadline=seconds)


@contextmanager
def fail_at(deadline: float, *, shield: bool = False) -> Iterator[CancelScope]:
    """Like move_on_at(), but raises TooSlowError when the block was cut off by the deadline."""
    with move_on_at(deadline, shield=shield) as scope:
        yield scope
    if scope.cancelled_caught:
        raise TooSlowError


@contextmanager
def fail_after(seconds: float, *, shield: bool = False) -> Iterator[CancelScope]:
    """Like move_on_after(), but raises TooSlowError when the block was cut off by the deadline."""
    with move_on_after(seconds, shield=shield) as scope:
        yield scope
    if scope.cancelled_caught:
        raise TooSlowError


class _Nowhere(WaitingPlace):
    """Where tasks wait that only a cancellation lets go on."""

    __slots__ = ()

    def withdraw(self, task: Task) -> None:
        return None

    def __repr__(self) -> str:
        return "a cancellation"


_NOWHERE: Final = _Nowhere()


@enable_ki_protection
async def sleep_forever() -> None:
    """Wait until cancelled; never returns."""
    current_task().waiting = _NOWHERE
    await PARK
    raise RuntimeError("sleep_forever() was rescheduled")


# A sleeping task waits in the heap of deadlines itself, without a cancel scope around it. What a scope would do is left
# in one place: a task that is to be cancelled at the moment at which it awakes is cancelled, as if the deadline of the
# sleep and that of a scope around it, at the same time, had both been scopes.


@enable_ki_protection
async def sleep_until(deadline: float) -> None:
    """Sleep until a time of `current_time()`; a checkpoint also when that has passed."""
    if deadline != deadline:
        raise ValueError("deadline must not be NaN")
    if deadline == math.inf:
        await sleep_forever()
    task = current_task()
    run = task.run
    if task.cancel_pending or deadline <= run.current_time():
        await YIELD
        return
    task.waiting = run.deadlines.add(deadline, task)
    await PARK
    if task.cancel_pending:
        raise task.pending_exception()


@enable_ki_protection
async def sleep(seconds: float) -> None:
    """Sleep for `seconds`, at least 0; 0 is a plain checkpoint."""
    if seconds == 0:
        await YIELD
        return
    if seconds < 0:
        raise ValueError("`seconds` must be non-negative")
    if seconds != seconds:
        raise ValueError("`seconds` must not be NaN")
    if seconds == math.inf:
        await sleep_forever()
    task = current_task()
    run = task.run
    if task.cancel_pending:
        await YIELD
    task.waiting = run.deadlines.add(run.current_time() + seconds, task)
    await PARK
    if task.cancel_pending:
        raise task.pending_exception()
