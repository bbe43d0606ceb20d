"""Handing the coroutine of a task to another coroutine runner, for good or for a while.

For those who join two frameworks in one coroutine, and for nobody else. A coroutine goes on where its last `yield` is
answered, whoever answers it; so a task is detached by yielding and leaving the answer to the other runner, and comes
back by yielding to that one and being made runnable here.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any

from outcome import Outcome

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.task import PARKED, AbortFunction, Detached, Task


@types.coroutine
def _yield(message: object) -> Generator[Any, Any, Any]:
    return (yield message)


async def permanently_detach_coroutine_object(final_outcome: Outcome[Any]) -> Any:
    """End the calling task with an outcome, although its coroutine goes on under another runner.

    final_outcome: an outcome.Outcome, what the task returns or raises as far as its nursery is concerned.

    Returns or raises what the other runner goes on with. The coroutine must hold nothing of the run any more; raises
    RuntimeError if it has a nursery open.
    """
    if current_task().nurseries:
        raise RuntimeError("a coroutine with open nurseries cannot be detached for good")
    return await _yield(Detached(final_outcome))


async def temporarily_detach_coroutine_object(abort_func: AbortFunction) -> Any:
    """Park the calling task, and leave its coroutine to another runner until reattach_detached_coroutine_object().

    abort_func: called when the task is to be cancelled, as in wait_task_rescheduled(). It must return Abort.FAILED: the
        coroutine is elsewhere, and nothing can be raised in it here.

    Returns or raises what the other runner goes on with.
    """
    current_task().waiting = abort_func
    return await _yield(PARKED)


async def reattach_detached_coroutine_object(task: Task, yield_value: object) -> None:
    """Let the run go on with a coroutine that was detached for a while. Called inside of that coroutine.

    task: the one that it was detached from. yield_value: given to the other runner, which should go on with it no more.

    Raises RuntimeError if the coroutine is not that of the task.
    """
    if not getattr(task.coro, "cr_running", False):
        raise RuntimeError("the given task is not that of the calling coroutine")
    task.run.reschedule(task)
    await _yield(yield_value)
    task.value = None
