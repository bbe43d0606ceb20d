"""Which run and which task this thread is in. Thread-local: every thread may have a run of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run
    from proactor_trio._kernel.task import Task


class _Context(threading.local):
    run: Run | None = None
    task: Task | None = None


CONTEXT = _Context()


def current_run() -> Run:
    """The run of this thread. Raises RuntimeError outside of one."""
    run = CONTEXT.run
    if run is None:
        raise RuntimeError("must be called from async context")
    return run


def current_task() -> Task:
    """The task that is running now. Raises RuntimeError outside of one."""
    task = CONTEXT.task
    if task is None:
        raise RuntimeError("must be called from async context")
    return task


def in_trio_run() -> bool:
    """Whether this thread is inside a run (in a task, an instrument, an abort function, ...)."""
    return CONTEXT.run is not None


def in_trio_task() -> bool:
    """Whether this thread is inside a task right now."""
    return CONTEXT.task is not None
