"""How a task gives way: checkpoints, and parking until somebody reschedules it.

A trap is an awaitable that hands one message to the run loop. The loop interprets nothing else: what is to happen
while the task is parked was arranged before.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.context import current_task
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import CHECKPOINT, PARKED, PASSING, AbortFunction, Message


class _Trap(tuple[Message, ...]):
    """An awaitable that hands its messages over. One object serves all tasks: the iterator keeps the state."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, None]: ...

    else:
        __await__ = tuple.__iter__  # awaiting costs no Python frame


PARK: Final = _Trap((PARKED,))
YIELD: Final = _Trap((CHECKPOINT,))
PASS: Final = _Trap((PASSING,))
#: What a plain function returns that has to be awaitable and has nothing to wait for.
DONE: Final = _Trap(())


async def checkpoint() -> None:
    """Give other tasks a turn; raise Cancelled if the calling task is to be cancelled."""
    await YIELD


@enable_ki_protection
async def checkpoint_if_cancelled() -> None:
    """A checkpoint only if the calling task is to be cancelled; otherwise do nothing and do not give way."""
    task = current_task()
    if task.cancel_pending:
        await YIELD


async def cancel_shielded_checkpoint() -> None:
    """Give other tasks a turn, but do not look at cancellation."""
    await PASS


@enable_ki_protection
async def wait_task_rescheduled(abort_func: AbortFunction) -> Any:
    """Park the calling task until reschedule() is called for it; return or raise what that was given.

    abort_func: called as `abort_func(raise_cancel)` when the task is to be cancelled, also at once if it is already,
        and once at most. It returns Abort.SUCCEEDED if nobody will reschedule the task any more: Cancelled is then
        raised here. Or Abort.FAILED: the task stays parked, and reschedule() must still come; the exception to raise
        can then be had by calling `raise_cancel`.
    """
    task = current_task()
    task.waiting = abort_func  # asked by the run loop at once, if the task is to be cancelled already
    await PARK
    value, task.value = task.value, None
    return value
