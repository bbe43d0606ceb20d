"""Which run this thread is in, and which task that run is stepping. Every thread may have a run of its own.

Only the run is thread-local; the task is an attribute of the run, which the run loop sets without a look-up.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run
    from proactor_trio._kernel.task import Task


class _Context(threading.local):
    run: Run | None = None


CONTEXT = _Context()


def current_run() -> Run:
    """The run of this thread. Raises RuntimeError outside of one."""
    run = CONTEXT.run
    if run is None:
        raise RuntimeError("must be called from async context")
    return run


def current_task() -> Task:
    """The task that is running now. Raises RuntimeError outside of one."""
    run = CONTEXT.run
    if run is None or run.task is None:
        raise RuntimeError("must be called from async context")
    return run.task


def running_task() -> Task | None:
    """The task that is running now, None outside of one."""
    run = CONTEXT.run
    return None if run is None else run.task


def in_trio_run() -> bool:
    """Whether this thread is inside a run (in a task, an instrument, an abort function, ...)."""
    return CONTEXT.run is not None


def in_trio_task() -> bool:
    """Whether this thread is inside a task right now."""
    return running_task() is not None
