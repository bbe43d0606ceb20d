"""Blocking calls in worker threads: to_thread.run_sync().

The task waits for the thread, and meanwhile makes the calls that the thread wants to have made in it (from_thread.py).
A limiter's token is held until the function has ended, also for a thread that its task has left alone.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from itertools import count
from typing import Final, TypeVar, TypeVarTuple, Unpack, cast

import sniffio
from outcome import Error, Outcome, capture

from proactor_trio._kernel.context import current_run, current_task
from proactor_trio._kernel.errors import RunFinishedError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.run_vars import RunVar
from proactor_trio._kernel.spawning import check_synchronous
from proactor_trio._kernel.task import Abort, RaiseCancelT
from proactor_trio._kernel.thread_cache import start_thread_soon
from proactor_trio._kernel.traps import checkpoint_if_cancelled, wait_task_rescheduled
from proactor_trio.sync.capacity_limiter import CapacityLimiter
from proactor_trio.threads.host import HOST_OF_THREAD, Host

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_LIMIT: Final = 40

_limiter: RunVar[CapacityLimiter] = RunVar("default thread limiter")
_borrower_numbers: Final = count()


def current_default_thread_limiter() -> CapacityLimiter:
    """The run's own limiter of worker threads, 40 tokens at first."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(DEFAULT_LIMIT)
        _limiter.set(limiter)
        return limiter


class _Borrower:
    """Who holds a limiter's token on behalf of one thread."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        self._number = next(_borrower_numbers)

    def __repr__(self) -> str:
        return f"<worker thread {self._number}>"


@enable_ki_protection
async def run_sync(
    sync_fn: Callable[[Unpack[Ts]], T],
    *args: *Ts,
    thread_name: str | None = None,
    abandon_on_cancel: bool = False,
    limiter: CapacityLimiter | None = None,
) -> T:
    """Call `sync_fn(*args)` in a worker thread and wait for what it returns or raises.

    thread_name: of the thread while it does this; by default the function's name and the task's.
    abandon_on_cancel: when cancelled, leave at once and let the thread go on alone; its result is dropped. False: a
        cancellation is looked at before the call, and then waits for it to end.
    limiter: whose token is held until the thread is done; by default current_default_thread_limiter().

    The call sees a copy of the task's context variables. Raises TypeError when sync_fn is an async function.
    """
    await checkpoint_if_cancelled()
    abandons = bool(abandon_on_cancel)  # raises early if it has no truth value
    if limiter is None:
        limiter = current_default_thread_limiter()
    run = current_run()
    task = current_task()
    host = Host(run, task, abandons)
    borrower = _Borrower()
    token = run.token
    context = contextvars.copy_context()
    context.run(sniffio.current_async_library_cvar.set, None)
    if thread_name is None:
        function_name = getattr(sync_fn, "__name__", None)
        thread_name = f"{function_name} from {task.name}"

    def call() -> T:
        HOST_OF_THREAD.host = host
        try:
            result: T = check_synchronous(sync_fn, context.run(sync_fn, *args))
            return result
        finally:
            HOST_OF_THREAD.host = None

    def arrive(result: Outcome[T]) -> None:
        run.active_threads -= 1
        released = capture(limiter.release_on_behalf_of, borrower)
        if isinstance(released, Error):
            if isinstance(result, Error):
                released.error.__context__ = result.error
            result = released
        host.has_ended(result)

    def deliver(result: Outcome[T]) -> None:
        try:
            token.run_sync_soon(arrive, result)
        except RunFinishedError:
            return  # it was abandoned, and the run is over

    def abort(raise_cancel: RaiseCancelT) -> Abort:
        host.note_cancellation(raise_cancel)
        if not abandons:
            return Abort.FAILED
        host.task = None
        return Abort.SUCCEEDED

    await limiter.acquire_on_behalf_of(borrower)
    try:
        start_thread_soon(call, deliver, thread_name)
    except BaseException:
        limiter.release_on_behalf_of(borrower)
        raise
    run.active_threads += 1
    run.thread_calls += 1
    try:
        while True:
            await wait_task_rescheduled(abort)
            if host.outcome is not None:
                return cast("T", host.take_outcome().unwrap())
            thread_call, host.call = host.call, None
            assert thread_call is not None
            await thread_call.make_in_host()
            del thread_call
    finally:
        run.thread_call_ended()
