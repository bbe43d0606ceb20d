"""The door into a run for other threads and signal handlers: TrioToken.run_sync_soon().

No lock: a signal handler may interrupt a call of the same thread at any place. A deque's append and popleft are atomic,
and whoever appends wakes the proactor afterwards, so that either the run sees the new entry or is woken once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.errors import RunFinishedError

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run

Call = tuple[Callable[..., object], tuple[Any, ...]]

_FINISHED: Final = "this run has finished"


class _Entry:
    """One call that waits. Compared by identity, so that searching the queue runs no code of others."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call


class EntryQueue:
    """The calls that wait to be made in the run's thread.

    An entry is added first and `closed` is looked at afterwards, while the run sets `closed` first and takes what is
    there afterwards. So each call is either made, or taken back and refused.
    """

    __slots__ = ("_run", "closed", "idempotent", "waiting")

    def __init__(self, run: Run) -> None:
        self._run = run
        self.waiting: deque[_Entry] = deque()
        self.idempotent: dict[Call, None] = {}
        self.closed = False

    def __len__(self) -> int:
        return len(self.waiting) + len(self.idempotent)

    def add(self, call: Call) -> None:
        """Any thread, any signal handler."""
        if self.closed:
            raise RunFinishedError(_FINISHED)
        entry = _Entry(call)
        self.waiting.append(entry)
        if self.closed:
            try:
                self.waiting.remove(entry)
            except ValueError:
                return  # it was made at the last moment
            raise RunFinishedError(_FINISHED)
        self._run.proactor.wake()

    def add_idempotent(self, call: Call) -> None:
        """Any thread, any signal handler. A call that waits already is not added again."""
        if self.closed:
            raise RunFinishedError(_FINISHED)
        self.idempotent[call] = None
        if self.closed and self.idempotent.pop(call, False) is None:
            raise RunFinishedError(_FINISHED)
        self._run.proactor.wake()

    def close(self) -> None:
        """Take no more calls, and make those that wait."""
        self.closed = True
        self.run_all()

    def run_all(self) -> None:
        """Make the calls that wait now, in order. What one raises leaves the others waiting."""
        for _ in range(len(self.waiting)):
            function, arguments = self.waiting.popleft().call
            function(*arguments)
        while self.idempotent:
            function, arguments = next(iter(self.idempotent))
            del self.idempotent[function, arguments]
            function(*arguments)


class TrioToken:
    """A handle of a run that is safe to use from other threads and from signal handlers."""

    __slots__ = ("__weakref__", "_queue")

    def __init__(self, queue: EntryQueue) -> None:
        self._queue = queue

    def run_sync_soon(self, sync_fn: Callable[..., object], *args: Any, idempotent: bool = False) -> None:
        """Call `sync_fn(*args)` in the run's thread soon, between two task steps. Any thread, signal-safe, in order.

        idempotent: calls with the same function and arguments that wait at the same time are made once; they must be
            hashable. What the call raises ends the run with TrioInternalError. Raises RunFinishedError afterwards.
        """
        if idempotent:
            self._queue.add_idempotent((sync_fn, args))
        else:
            self._queue.add((sync_fn, args))


def current_trio_token() -> TrioToken:
    """The token of the run that calls."""
    return current_run().token
