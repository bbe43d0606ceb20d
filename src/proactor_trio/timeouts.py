"""Sleeping, and scopes with a deadline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.run import current_time
from proactor_trio._kernel.task import Abort, RaiseCancelT
from proactor_trio._kernel.traps import YIELD, wait_task_rescheduled


class TooSlowError(Exception):
    """Raised by fail_after() and fail_at() when the time is over."""


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


async def sleep_forever() -> None:
    """Wait until cancelled; never returns."""

    def abort(_: RaiseCancelT) -> Abort:
        return Abort.SUCCEEDED

    await wait_task_rescheduled(abort)
    raise RuntimeError("sleep_forever() was rescheduled")


async def sleep_until(deadline: float) -> None:
    """Sleep until a time of `current_time()`; a checkpoint also when that has passed."""
    if deadline != deadline:
        raise ValueError("deadline must not be NaN")
    with CancelScope(deadline=deadline):
        await sleep_forever()


async def sleep(seconds: float) -> None:
    """Sleep for `seconds`, at least 0; 0 is a plain checkpoint."""
    if seconds == 0:
        await YIELD
        return
    if seconds < 0:
        raise ValueError("`seconds` must be non-negative")
    if seconds != seconds:
        raise ValueError("`seconds` must not be NaN")
    await sleep_until(current_time() + seconds if seconds != math.inf else math.inf)
