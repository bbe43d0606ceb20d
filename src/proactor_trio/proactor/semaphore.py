"""TimelineSemaphore: the timeline semaphore whose value we keep ourselves; its rules stand in `semaphore_source.py`."""

from __future__ import annotations

from proactor_trio.proactor.agenda import Pending
from proactor_trio.proactor.dispatching import Attempt, attempt_at, dispatch
from proactor_trio.proactor.frontier import Frontier
from proactor_trio.proactor.semaphore_source import SemaphoreSource, check_signal


class TimelineSemaphore(SemaphoreSource):
    """A number that only grows, and work that waits for its values.

    It belongs to no proactor: operations of any may wait for it and signal it. All threads, but neither signal handlers
    nor finalizers. See SemaphoreSource for the arguments.
    """

    __slots__ = ()

    def query(self) -> int:
        return self._timeline

    def signal(self, value: int, frontier: Frontier | None = None) -> None:
        check_signal(value, frontier)
        attempt = attempt_at(self)
        with self._lock:
            if not self._agenda.is_due(value):
                self._advance(value, frontier, attempt)
                return
        progress = Attempt(self) if attempt is None else attempt

        def take(due: list[Pending]) -> None:
            if not progress.applied:
                self._advance(value, frontier, progress)
            self._move_reached(value, due)

        dispatch(self._lock, take, kept=None if attempt is None else attempt.errors)
