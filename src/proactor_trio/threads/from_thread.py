"""Calls from threads into a run: from_thread.run(), run_sync() and check_cancelled().

A thread of to_thread.run_sync() has a task that waits for it, and its calls are made in that task: inside the same
cancel scopes, with the same identity. If the task may leave the thread alone (abandon_on_cancel=True), or if the caller
names a run by its token, the call is made for itself: an async function in a system task.

The calling thread waits, so it must not be the thread of that very run. A thread may be inside another run; then that
one stands still meanwhile, as with any other blocking call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple, Unpack

from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.entry_queue import TrioToken
from proactor_trio.threads.calls import AsyncCall, Call, SyncCall
from proactor_trio.threads.host import HOST_OF_THREAD

ResultT = TypeVar("ResultT")
Ts = TypeVarTuple("Ts")


def run(afn: Callable[[Unpack[Ts]], Awaitable[ResultT]], *args: *Ts, trio_token: TrioToken | None = None) -> ResultT:
    """Await `afn(*args)` in the run's thread, and return or raise what it does; the calling thread waits.

    trio_token: of the run; by default that of the to_thread.run_sync() call which this thread belongs to, whose task
        then makes the call: what cancels it raises Cancelled in `afn`, and that comes out here.

    Raises RunFinishedError when the run is over or about to end, RuntimeError in the thread of that run, without a
    token in a thread that nothing is known of, and for a token that is none; TypeError if afn is no async function.
    """
    result: ResultT = _make(AsyncCall(afn, args), trio_token)
    return result


def run_sync(fn: Callable[[Unpack[Ts]], ResultT], *args: *Ts, trio_token: TrioToken | None = None) -> ResultT:
    """Call `fn(*args)` in the run's thread, and return or raise what it does; the calling thread waits.

    trio_token: as of run(). Raises what run() raises, and TypeError if fn is an async function.
    """
    result: ResultT = _make(SyncCall(fn, args), trio_token)
    return result


def check_cancelled() -> None:
    """Raise Cancelled if the task that waits for this thread was to be cancelled since it began to wait.

    Also for a task that has left the thread alone by now. Raises RuntimeError in a thread that is not of
    to_thread.run_sync().
    """
    host = HOST_OF_THREAD.host
    if host is None:
        raise RuntimeError("no task waits for this thread: only a thread of to_thread.run_sync() can be cancelled")
    host.check_cancelled()


def _make(call: Call, token: TrioToken | None) -> Any:
    host = None
    if token is None:
        host = HOST_OF_THREAD.host
        if host is None:
            raise RuntimeError("this thread belongs to no run: say which one is meant with trio_token=")
        token = host.run.token
    elif not isinstance(token, TrioToken):
        raise RuntimeError(f"trio_token must be a TrioToken, not {type(token).__name__}")
    if CONTEXT.run is not None and CONTEXT.run.token is token:
        raise RuntimeError("this would wait for its own thread: call it from another one")
    if host is None or host.abandons:
        token.run_sync_soon(call.make_alone)
    else:
        token.run_sync_soon(host.has_call, call)
    return call.answer.get().unwrap()
