"""perform(): where a task waits for an operation; the seam between the scheduler and the proactor.

submit → park → completion → go on. Nothing else in the library parks a task on the proactor.

Cancellation: if the task is to be cancelled already, nothing is submitted. Otherwise the operation is asked to end and
the task stays parked until the final completion, which decides. A result that came first is returned, so cancelled
means that there was no effect; and no memory is let go while the kernel can still write to it. Of a step of a chain the
whole rest of the chain is asked to end, the steps before it and behind it: who awaits one step awaits the chain.

| final completion                          | the awaiting task gets                                       |
|-------------------------------------------|--------------------------------------------------------------|
| a result                                  | the result, also when its scope was cancelled meanwhile       |
| CANCELLED, and its scope is cancelled     | Cancelled (or the KeyboardInterrupt that waited)              |
| CANCELLED because the resource was closed | ClosedResourceError                                          |
| CANCELLED by anyone or anything else      | OperationCancelled with the cause                            |
| its own deadline ended it                 | DeadlineExceeded                                             |
| an error of the system                    | that OSError                                                 |
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

from proactor_trio._kernel.cancel import current_effective_deadline
from proactor_trio._kernel.context import CONTEXT, current_task
from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import CHECKPOINT, PARKED, Message, Task
from proactor_trio._kernel.traps import PARK, YIELD, checkpoint_if_cancelled
from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.errors import CancelCause, ClosedResourceError, DeadlineExceeded, OperationCancelled
from proactor_trio.proactor.operation import Operation, OperationState, set_performer
from proactor_trio.proactor.proactor import Proactor


@enable_ki_protection
def perform(operation: Operation) -> Generator[Message, None, Any]:
    """Submit an operation, or join one that was submitted already, and wait for its result in the calling task."""
    run = CONTEXT.run
    if run is None or run.task is None:
        raise RuntimeError("an operation can be awaited only in a task of proactor_trio.run()")
    task = run.task
    if operation.flags or operation.unclaimed or operation._limits is not None:
        yield from _join(task, operation)
    else:
        if task.cancel_pending:
            raise task.pending_exception()
        if operation.waiter is not None:
            raise BusyResourceError(f"another task waits for {operation!r} already")
        run.proactor.submit_one(operation)
        operation.waiter = task
        task.waiting = operation
        yield PARKED
    if operation.error is None:
        return operation.result
    try:
        raise exception_for(task, operation.error)
    finally:
        del operation  # the exception's traceback holds this frame: no cycle


@enable_ki_protection
async def perform_uncancellable(operation: Operation) -> Any:
    """Submit an operation that is never cancelled (a close) and wait for it in any case; then a cancellation point."""
    task = current_task()
    task.run.proactor.submit_one(operation)
    operation.waiter = task
    await PARK  # nothing is waited for in a way that could be interrupted
    await checkpoint_if_cancelled()
    if operation.error is not None:
        raise operation.error
    return operation.result


@enable_ki_protection
async def perform_by_deadline(operation: Operation) -> Any:
    """`await operation`, with the deadline of the task's scopes handed to the proactor, and on io_uring to the kernel.

    So it ends in time also while the run's thread does something else. That is then the cancellation of the scope whose
    deadline has come: Cancelled. Without a deadline it is `await operation`. What the operation's own limits were is
    lost. Raises FailedPrecondition for one that is in flight already.
    """
    deadline = current_effective_deadline()
    if not math.isinf(deadline):
        operation.set_limits(deadline=deadline)
    try:
        return await operation
    except DeadlineExceeded:
        await YIELD  # by then the run has seen the deadline, too
        raise
    finally:
        operation.set_limits()


def _join(task: Task, operation: Operation) -> Generator[Message, None, None]:
    """Wait for an operation that `Proactor.submit()` was given, or submit one that has flags or a deadline."""
    if operation.flags & OperationFlags.MULTISHOT:
        raise ValueError(f"{type(operation).__name__} is MULTISHOT: it has many results and needs a completion_fn")
    if not operation.unclaimed:
        if task.cancel_pending:
            raise task.pending_exception()
        task.run.proactor.submit(operation)
    if operation.waiter is not None:
        raise BusyResourceError(f"another task waits for {operation!r} already")
    if operation.state is OperationState.DONE:
        operation.unclaimed = False
        try:
            yield CHECKPOINT
        except BaseException:
            task.run.proactor.cancel_chain(operation)  # what is behind it in a chain goes on
            raise
        return
    operation.waiter = task
    task.waiting = operation
    yield PARKED
    operation.unclaimed = False


def exception_for(task: Task, error: BaseException) -> BaseException:
    """What the task that awaited an operation gets for the operation's error; the table above."""
    if not isinstance(error, OperationCancelled):
        return error
    if task.cancel_pending:
        return task.pending_exception()
    if error.cause is CancelCause.RESOURCE_CLOSED:
        return ClosedResourceError("another task closed this while it was in use")
    return error


set_performer(perform)

# What users call on a proactor from inside a task; marked from here, since the proactor knows no scheduler.
for _method in (Proactor.submit, Proactor.submit_one, Proactor.cancel, Proactor.wake):
    enable_ki_protection(_method)
