"""What a worker thread knows of the task that waits for it in to_thread.run_sync().

The thread and the task take turns: while the thread makes a call into the run it waits, and the task makes the call;
otherwise the task waits. So one place for a call is enough, and no lock: the places are written by whoever has the turn
and read by the other one after it was told to go on.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from outcome import Outcome

from proactor_trio._kernel.cancel import CancelReason
from proactor_trio._kernel.run import Run
from proactor_trio._kernel.task import RaiseCancelT, Task

if TYPE_CHECKING:
    from proactor_trio.threads.calls import Call


class Host:
    """A task that waits for a thread. abandons: whether it leaves the thread alone when it is cancelled."""

    __slots__ = ("_raise_cancel", "abandons", "call", "outcome", "run", "task")

    def __init__(self, run: Run, task: Task, abandons: bool) -> None:
        self.run = run
        #: None once it has left the thread alone.
        self.task: Task | None = task
        self.abandons = abandons
        #: What the thread wants to have called in the task.
        self.call: Call | None = None
        #: How the thread's function has ended.
        self.outcome: Outcome[Any] | None = None
        self._raise_cancel: RaiseCancelT | None = None

    def has_call(self, call: Call) -> None:
        """In the run: let the task make this call."""
        assert self.task is not None, "the thread of a task that may leave it does not call into the task"
        self.call = call
        self.run.reschedule(self.task)

    def has_ended(self, outcome: Outcome[Any]) -> None:
        """In the run: the thread's function is over. A task that has left is not told."""
        if self.task is not None:
            self.outcome = outcome
            self.run.reschedule(self.task)

    def take_outcome(self) -> Outcome[Any]:
        """In the task: the outcome, which nothing refers to from now on; an exception's traceback leads to this."""
        outcome, self.outcome = self.outcome, None
        assert outcome is not None
        return outcome

    def note_cancellation(self, raise_cancel: RaiseCancelT) -> None:
        """In the run: the task is to be cancelled, or interrupted, while it waits for the thread.

        Why is noted now: the task may be somewhere else when the thread asks.
        """
        task = self.task
        assert task is not None and task.scope is not None
        if self.run.interrupt_pending and task is self.run.main_task:
            self._raise_cancel = raise_cancel  # whoever raises the KeyboardInterrupt first has it
        else:
            self._raise_cancel = partial(_raise, task.scope.reason_or_unknown())

    def check_cancelled(self) -> None:
        """In the thread: raise what the task was to be given while it waited."""
        if self._raise_cancel is not None:
            self._raise_cancel()


def _raise(reason: CancelReason) -> NoReturn:
    raise reason.exception()


class _HostOfThread(threading.local):
    host: Host | None = None


#: Which task waits for this thread.
HOST_OF_THREAD = _HostOfThread()
