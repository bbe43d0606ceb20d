"""SemaphoreSource: what every timeline semaphore is, whoever keeps its value.

A timeline semaphore is a number that only grows, and work that waits for its values. The value may be kept by us
(`TimelineSemaphore`) or by a device runtime, which derives a class of its own from this one. The class keeps what is
alike for all: timepoints, failure, the accumulated frontier, the untainted watermark, links and fences.

A derived class says two things, and is then accepted wherever a TimelineSemaphore is:

* `query()`: the value now, wherever it is kept; it may be ahead of what was dispatched.
* `signal(value, frontier)`: the host moves the timeline. It calls `advance_timeline()`, which refuses what is not
  greater, tells the device, and calls `dispatch_timepoints()`.

It may also say what happens to the device when the semaphore fails, `on_fail()`. For a value that the device has
written already, whatever thread learns of it calls `advance_timeline()` and `dispatch_timepoints()`.

The rules:

1. The timeline moves forward only. A signal for what is not greater than the current value is refused and changes
   nothing.
2. A failure is for ever, and the first one counts. It goes before the value everywhere: who waits for a value that was
   reached before the failure gets the failure. The value of a failed semaphore may still move; nobody waits for it.
3. Callbacks are called without a lock; see `dispatching.py` for the thread and for what they raise. One signal calls
   them in the order of their values, those of one value in the order of their acquisition.
4. A frontier that does not fit leaves the accumulated frontier exactly as it was: it stays true, it says less.
5. A value is tainted when it is above the untainted watermark: it came from somewhere else, and its frontier does not
   tell all. `signal()` leaves the watermark where it is.

All threads may use a semaphore at the same time. It takes a lock for a moment, so signal handlers and finalizers must
not use it: they may have interrupted the very thread that holds it. They use `Proactor.post()`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from proactor_trio.proactor.agenda import Agenda, Pending, PendingValue
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.dispatching import Attempt, UntaintedAttempt, attempt_at, dispatch, raise_all
from proactor_trio.proactor.errors import CancelCause, OperationCancelled, ResourceExhausted
from proactor_trio.proactor.failures import copy_of_failure
from proactor_trio.proactor.fence import ExportedFence, ImportedFence
from proactor_trio.proactor.frontier import LARGEST_FRONTIER, Frontier
from proactor_trio.proactor.semaphore_link import SemaphoreLink
from proactor_trio.proactor.timepoint import Timepoint, TimepointCallback

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

LARGEST_VALUE: Final = (1 << 64) - 1
DEFAULT_FRONTIER_CAPACITY: Final = 16


class SemaphoreSource(ABC):
    """Base of all timeline semaphores.

    initial_value: 0 to 2**64 - 1; where the timeline starts. It counts as untainted.
    frontier_capacity: how many axes the accumulated frontier may have, up to 255.

    Use it as a context manager, or call `close()`, where somebody may still wait for it at the end.
    """

    __slots__ = (
        "__weakref__",
        "_agenda",
        "_error",
        "_frontier",
        "_frontier_capacity",
        "_lock",
        "_timeline",
        "_untainted",
    )

    def __init__(self, initial_value: int = 0, frontier_capacity: int = DEFAULT_FRONTIER_CAPACITY) -> None:
        check_integer(initial_value, "initial_value", 0, LARGEST_VALUE)
        check_integer(frontier_capacity, "frontier_capacity", 0, LARGEST_FRONTIER)
        self._lock = threading.Lock()
        self._agenda: Agenda[PendingValue] = Agenda()
        self._timeline = initial_value
        self._untainted = initial_value
        self._frontier = Frontier()
        self._frontier_capacity = frontier_capacity
        self._error: BaseException | None = None

    # What a source says ------------------------------------------------------------------------------------------

    @abstractmethod
    def query(self) -> int:
        """The value now. It may be old when the caller looks at it; it is never too great."""

    @abstractmethod
    def signal(self, value: int, frontier: Frontier | None = None) -> None:
        """Move the timeline to `value` and call what waits for it, on this thread.

        value: greater than the current one, up to 2**64 - 1; else ValueError, and nothing has changed.
        frontier: what is known to have come about with this value; merged into the accumulated frontier if it fits.

        Raises what timepoint callbacks raise, after all of them were called; the signal has taken effect then.
        """

    def on_fail(self, error: BaseException) -> None:  # noqa: B027 - most sources have nothing to do here
        """The semaphore has failed, and everybody who waited was told. Called once, by the thread that failed it."""

    # Moving the timeline -----------------------------------------------------------------------------------------

    def advance_timeline(self, value: int, frontier: Frontier | None = None) -> None:
        """Move the timeline and merge the frontier, but call nobody yet. Raises as `signal()` refuses."""
        check_signal(value, frontier)
        with self._lock:
            self._advance(value, frontier, attempt_at(self))

    def advance_timeline_untainted(self, value: int, frontier: Frontier | None = None) -> None:
        """`advance_timeline()`, and `value` is untainted if the frontier fits."""
        check_signal(value, frontier)
        with self._lock:
            self._advance(value, frontier, UntaintedAttempt(self))

    def dispatch_timepoints(self, value: int) -> None:
        """Call what waits for at most `value`, on this thread. Raises what that raises, as `signal()` does."""
        check_integer(value, "value", 0, LARGEST_VALUE)
        attempt = attempt_at(self)
        kept = None if attempt is None else attempt.errors
        dispatch(self._lock, lambda due: self._move_reached(value, due), kept=kept)

    def signal_untainted(self, value: int, frontier: Frontier | None = None) -> None:
        """`signal()`, and `value` and all below it are untainted, unless the frontier does not fit.

        Callbacks see the watermark as it is afterwards, where `signal()` advances the timeline on the calling thread.
        """
        attempt = UntaintedAttempt(self)
        with attempt:
            self.signal(value, frontier)
        raise_all(attempt.errors)

    def publish_untainted(self, value: int, frontier: Frontier | None = None) -> None:
        """`signal_untainted()` for a value that may have been reached already: it does nothing then.

        Raises the failure of a failed semaphore, whatever its value.
        """
        check_signal(value, frontier)
        self.raise_failure()
        if self.query() >= value:
            return
        attempt = UntaintedAttempt(self)
        try:
            with attempt:
                self.signal(value, frontier)
        except ValueError:
            if attempt.applied or self.query() < value:  # else another thread has signalled it meanwhile
                raise
        raise_all(attempt.errors)

    def _advance(self, value: int, frontier: Frontier | None, attempt: Attempt | None) -> None:
        """Under the lock; refuses, or commits all of it at the end."""
        if value <= self._timeline:
            raise ValueError(f"value must be greater than the current one, {self._timeline}, not {value}")
        merged = self._merged(frontier)
        self._timeline = value
        if merged is not None:
            self._frontier = merged
        if attempt is not None:
            attempt.applied = True
            if merged is not None and attempt.is_untainted:
                self._untainted = value

    def _move_reached(self, value: int, due: list[Pending]) -> None:
        """Under the lock: take out what waits for at most `value`, and put it behind what is due."""
        reached = self._agenda.waiting_for(value)
        due += reached
        del self._agenda.entries[: len(reached)]

    def _merged(self, frontier: Frontier | None) -> Frontier | None:
        """The accumulated frontier with this one; None if it does not fit."""
        if frontier is None:
            return self._frontier
        try:
            return self._frontier.merge(frontier, self._frontier_capacity)
        except ResourceExhausted:
            return None

    # Waiting -----------------------------------------------------------------------------------------------------

    def acquire_timepoint(self, value: int, callback: TimepointCallback) -> Timepoint:
        """Have `callback(error)` called once: with None when `value` is reached, or with the failure.

        At once, inside this call, if the semaphore has failed or has the value already; what it raises is raised here
        then. `Timepoint.cancel()` withdraws it. It should be short: the thread that signals waits for it.
        """
        check_integer(value, "value", 0, LARGEST_VALUE)
        timepoint = Timepoint(self, value, callback)
        self._acquire(timepoint)
        return timepoint

    def resolve(self, value: int, callback: TimepointCallback) -> None:
        """`acquire_timepoint()` that cannot be withdrawn: nothing has to be kept."""
        self.acquire_timepoint(value, callback)

    def link(self, value: int, target: SemaphoreSource, target_value: int) -> SemaphoreLink:
        """When this one reaches `value`, signal `target` to `target_value`, with what is known here by then.

        A target that has come so far already is left alone. If this one fails, or is closed before, the target fails
        with the same error. Links compose; `SemaphoreLink.unlink()` withdraws one. It may happen inside this call.
        """
        check_integer(value, "value", 0, LARGEST_VALUE)
        check_semaphore(target, "target")
        check_integer(target_value, "target_value", 0, LARGEST_VALUE)
        link = SemaphoreLink(self, value, target, target_value)
        self._acquire(link)
        return link

    def _acquire(self, timepoint: PendingValue) -> None:
        """Let it wait, or fire it at once. May be called again after an interruption."""
        error = self._error
        if error is None and self.query() < timepoint.value:
            timepoint.keep()
            with self._lock:
                error = self._error
                if error is None:
                    self._agenda.add(timepoint)
            if error is None and (self.query() < timepoint.value or not self._withdraw(timepoint)):
                return
        timepoint.fire(error)

    def _withdraw(self, timepoint: PendingValue) -> bool:
        """Whether it still waited. It does no longer."""
        with self._lock:
            return self._agenda.remove(timepoint)

    # Failing -----------------------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Fail for ever: what waits is told now, on this thread, and what comes to wait later at once.

        A semaphore that has failed already keeps its first error. Callbacks get `error` itself; whoever raises it on
        behalf of a waiter raises a copy. Raises what callbacks raise.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {type(error).__name__}")
        self._end(error, [_FailureHook(self)])

    def close(self) -> None:
        """End the waiting: it is as if the semaphore failed with OperationCancelled. `on_fail()` is not called.

        Idempotent, and without effect on a semaphore that has failed. All threads.
        """
        text = f"{type(self).__name__} was closed while it was waited for"
        self._end(OperationCancelled(text, CancelCause.RESOURCE_CLOSED), [])

    def _end(self, error: BaseException, afterwards: list[Pending]) -> None:
        def take(due: list[Pending]) -> None:
            if self._error is None:
                everything = self._agenda.waiting_for(LARGEST_VALUE)
                due += everything
                due += afterwards
                self._agenda.entries = []
                self._error = error

        dispatch(self._lock, take, error)

    @property
    def error(self) -> BaseException | None:
        """The failure; None while there is none."""
        return self._error

    def raise_failure(self) -> None:
        """Raise a copy of the failure, if there is one."""
        if self._error is not None:
            raise copy_of_failure(self._error)

    # What is known -----------------------------------------------------------------------------------------------

    def query_frontier(self) -> Frontier:
        """What is known to have come about with the values so far: the merge of all frontiers that fitted."""
        return self._frontier

    def merge_frontier(self, frontier: Frontier) -> None:
        """Merge a frontier without a signal. Raises ResourceExhausted, and changes nothing, if it does not fit."""
        check_frontier(frontier)
        with self._lock:
            self._frontier = self._frontier.merge(frontier, self._frontier_capacity)

    def query_untainted_value(self) -> int:
        """The untainted watermark."""
        return self._untainted

    def is_value_tainted(self, value: int) -> bool:
        """Whether `value` is above the untainted watermark."""
        return value > self._untainted

    def mark_tainted_above(self, value: int) -> None:
        """Lower the untainted watermark to `value`; it is never raised by this."""
        check_integer(value, "value", 0, LARGEST_VALUE)
        with self._lock:
            if value < self._untainted:
                self._untainted = value

    # Fences ------------------------------------------------------------------------------------------------------

    def import_fence(self, proactor: Proactor, fd: int, value: int) -> None:
        """When the descriptor becomes readable, signal `value`. Any thread; there is nothing to wait for.

        proactor: watches it, and owns it from now on: it is closed when it has spoken, or with the proactor.

        A signal that is refused, an error of the descriptor (DataLoss), of the system (OSError), and the end of the
        proactor (OperationCancelled) fail the semaphore. Raises ValueError, TypeError, or OSError for a number that is
        not open; the descriptor stays the caller's then.
        """
        check_integer(value, "value", 0, LARGEST_VALUE)
        ImportedFence(proactor, fd, self, value).begin()

    def export_fence(self, value: int) -> int:
        """A new eventfd, the caller's to close, that becomes readable when `value` is reached and stays so.

        Any thread. If the semaphore fails, is closed, or is dropped before, it never becomes readable: a fence that is
        pending does not keep the semaphore alive. Raises OSError (EMFILE).
        """
        check_integer(value, "value", 0, LARGEST_VALUE)
        fence, descriptor = ExportedFence.create(value)
        self._acquire(fence)
        return descriptor

    def pending_fences(self, value: int) -> list[ExportedFence]:
        """The exported fences that `value` will make readable. For chains in which the kernel does that."""
        with self._lock:
            waiting = self._agenda.waiting_for(value)
        return [pending for pending in waiting if isinstance(pending, ExportedFence)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        failed = "" if self._error is None else f", failed with {self._error!r}"
        return f"<{type(self).__name__} at {self._timeline}{failed}>"


class _FailureHook:
    """Calls `on_fail()` behind everything else that a failure makes due."""

    __slots__ = ("_semaphore",)

    def __init__(self, semaphore: SemaphoreSource) -> None:
        self._semaphore: SemaphoreSource | None = semaphore

    def fire(self, error: BaseException | None) -> None:
        semaphore = self._semaphore
        assert error is not None
        if semaphore is not None:
            self._semaphore = None
            semaphore.on_fail(error)

    def __repr__(self) -> str:
        return "on_fail()"


def check_signal(value: int, frontier: Frontier | None) -> None:
    """Raise TypeError or ValueError naming the argument unless this can be signalled."""
    check_integer(value, "value", 0, LARGEST_VALUE)
    if frontier is not None:
        check_frontier(frontier)


def check_frontier(frontier: object, argument: str = "frontier") -> None:
    """Raise TypeError naming the argument unless it is a Frontier."""
    if not isinstance(frontier, Frontier):
        raise TypeError(f"{argument} must be a Frontier, not {type(frontier).__name__}")


def check_semaphore(semaphore: object, argument: str) -> None:
    """Raise TypeError naming the argument unless it is a semaphore."""
    if not isinstance(semaphore, SemaphoreSource):
        raise TypeError(
            f"{argument} must be a TimelineSemaphore or another SemaphoreSource, not {type(semaphore).__name__}"
        )
