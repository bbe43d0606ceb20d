"""AxisTable: how far the axes have come, and what waits for a frontier. It is what FrontierTracker is made of.

Each axis has an epoch that only grows, an agenda of what waits for its epochs, and maybe what follows it: a semaphore,
observers of the whole tracker. A wait stands on the agenda of every axis that it still misses, so that an advance looks
only at what it reaches.

A failed axis goes before everything: a wait that names one fails at once, whatever epochs were reached and whatever its
other axes do, and whether it comes before or after the failure. (The reference lets one that comes later wait for an
earlier axis first.) The semaphore of an axis is signalled and failed without the table's lock, and one that is
further already is left alone, since two threads that advance may come to it in either order.

All threads may use a table. It takes a lock for a moment: neither signal handlers nor finalizers. Callbacks are
called without the lock, by the thread that advances, fails or closes; `dispatching.py` says what becomes of what they
raise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from proactor_trio.proactor.agenda import Agenda, Pending
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.axis import LARGEST_AXIS
from proactor_trio.proactor.dispatching import dispatch, raise_all
from proactor_trio.proactor.errors import (
    AlreadyExists,
    CancelCause,
    FailedPrecondition,
    NotFound,
    OperationCancelled,
    ResourceExhausted,
)
from proactor_trio.proactor.frontier import LARGEST_EPOCH, Frontier
from proactor_trio.proactor.frontier_observer import AxisNotice, AxisState, FrontierObserver
from proactor_trio.proactor.semaphore_link import signal_or_fail
from proactor_trio.proactor.semaphore_source import SemaphoreSource, check_frontier, check_semaphore

FrontierCallback = Callable[[BaseException | None], object]


class AxisAdvance:
    """One advance of an axis and what came of it. Making it again after an interruption goes on where it stopped."""

    __slots__ = ("axis", "ended", "epoch", "errors")

    def __init__(self, axis: int, epoch: int) -> None:
        self.axis = axis
        self.epoch = epoch
        #: How many waits have ended by it.
        self.ended = 0
        #: What callbacks raised.
        self.errors: list[Exception] = []


class AxisTable:
    """The epochs of a set of axes, and what waits for frontiers of them.

    capacity: how many axes may be registered.
    """

    __slots__ = ("__weakref__", "_axes", "_capacity", "_closed", "_lock", "_observers")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._axes: dict[int, _TrackedAxis] = {}
        self._observers: tuple[FrontierObserver, ...] = ()
        self._closed: OperationCancelled | None = None

    def register_axis(self, axis: int, semaphore: SemaphoreSource | None = None) -> None:
        """Track an axis from epoch 0 on; its number is never free again.

        semaphore: is signalled to each epoch that the axis reaches, and fails with it.

        Raises AlreadyExists, also when the table is full, and ResourceExhausted when it is.
        """
        check_integer(axis, "axis", 0, LARGEST_AXIS)
        if semaphore is not None:
            check_semaphore(semaphore, "semaphore")
        with self._lock:
            self._check_open()
            if axis in self._axes:
                raise AlreadyExists(f"axis {axis:#x} is registered already")
            if len(self._axes) >= self._capacity:
                raise ResourceExhausted(f"axis_table_capacity: all {self._capacity} axes are registered")
            self._axes[axis] = _TrackedAxis(axis, semaphore, self._observers)
            observers = self._observers
        for observer in observers:
            observer.axis_registered(axis)

    # Moving ------------------------------------------------------------------------------------------------------

    def advance(self, axis: int, epoch: int) -> int:
        """An axis has reached an epoch: signal its semaphore, then call what waited for that and misses nothing more.

        Returns how many waits ended. An axis that is not registered, and an epoch that is not later than the current
        one, change nothing: 0. Raises what callbacks raise, after all of them were called.
        """
        check_integer(epoch, "epoch", 0, LARGEST_EPOCH)
        advance = AxisAdvance(axis, epoch)
        self._make(advance)
        raise_all(advance.errors)
        return advance.ended

    def _make(self, advance: AxisAdvance) -> None:
        """`advance()` that raises interruptions only; may be called again after one."""
        tracked = self._axes.get(advance.axis)
        epoch = advance.epoch
        if tracked is None or epoch <= tracked.epoch:
            return

        def take(due: list[Pending]) -> None:
            if tracked.epoch < epoch:
                bridge = tracked.bridge(epoch)
                due += bridge
                tracked.epoch = epoch
            reached = tracked.agenda.waiting_for(epoch)
            complete = _completed_by(reached)
            count, ended = len(reached), advance.ended + len(complete)
            due += complete
            advance.ended = ended
            del tracked.agenda.entries[:count]

        dispatch(self._lock, take, kept=advance.errors)

    def fail_axis(self, axis: int, error: BaseException) -> None:
        """An axis will never move again: what waits for it ends with `error` now, what comes later at once.

        Its semaphore fails too. An axis that has failed keeps its first error; one that is not registered is ignored.
        Raises what callbacks raise.
        """
        self.fail_axes((axis,), error)

    def fail_axes(self, axes: Iterable[int], error: BaseException) -> None:
        """`fail_axis()` for many at once, as those of a host that is gone: the waits are looked through once."""
        failing = [tracked for axis in axes if (tracked := self._failing(axis, error)) is not None]
        if failing:
            self._end({tracked: tracked.bridge(tracked.epoch) for tracked in failing}, error)

    def retire_axis(self, axis: int, error: BaseException) -> None:
        """`fail_axis()` that leaves the semaphore alone and lets go of it. Nobody may advance the axis meanwhile."""
        tracked = self._failing(axis, error)
        if tracked is not None:
            tracked.let_go_of_semaphore()
            self._end({tracked: tracked.bridge(tracked.epoch)}, error)

    def _failing(self, axis: int, error: BaseException) -> _TrackedAxis | None:
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {type(error).__name__}")
        return self._axes.get(axis)

    def _end(self, failing: dict[_TrackedAxis, list[Pending]], error: BaseException) -> None:
        """Let axes fail, and then what follows each."""

        def take(due: list[Pending]) -> None:
            new = [tracked for tracked in failing if tracked.error is None]
            if new:
                waits = self._waits_naming(new)
                due += waits
                for tracked in new:
                    due += failing[tracked]
                for tracked in new:
                    tracked.error = error
            for pending in due:
                if isinstance(pending, FrontierTimepoint):
                    pending.end()

        dispatch(self._lock, take, error)

    def _waits_naming(self, failed: list[_TrackedAxis]) -> list[FrontierTimepoint]:
        """Under the lock: the pending waits that name one of these, also if that has come far enough for them."""
        named = {tracked.axis for tracked in failed}
        waits = [entry[2].wait for tracked in self._axes.values() for entry in tracked.agenda.entries]
        return [wait for wait in dict.fromkeys(waits) if not named.isdisjoint(wait.frontier)]

    # Waiting -----------------------------------------------------------------------------------------------------

    def acquire_timepoint(self, frontier: Frontier, callback: FrontierCallback) -> FrontierTimepoint:
        """Have `callback(error)` called once: with None when all axes have come so far, or with the first failure.

        At once, inside this call, if an axis has failed or the frontier is reached already; an empty one always is.
        `FrontierTimepoint.cancel()` withdraws it. It should be short: the thread that advances waits for it.

        Raises NotFound for an axis that is not registered, and FailedPrecondition when the tracker is closed.
        """
        self._check_frontier(frontier, "frontier")
        timepoint = FrontierTimepoint(self, frontier, callback)
        self._acquire(timepoint)
        return timepoint

    def _acquire(self, timepoint: FrontierTimepoint) -> None:
        """Let it wait, or fire it at once. May be called again after an interruption."""
        with self._lock:
            error = self._failure_of(timepoint.frontier)
            if error is None:
                timepoint.begin([self._axes[axis] for axis in timepoint.frontier])
            is_over = not timepoint.missing
        if is_over:
            timepoint.fire(error)

    def _withdraw(self, timepoint: FrontierTimepoint) -> bool:
        """Whether it still waited. It does no longer."""
        with self._lock:
            return timepoint.end()

    def _failure_of(self, frontier: Frontier) -> BaseException | None:
        """What ends a wait for it at once: that the table was closed, or the failure of an axis."""
        if self._closed is not None:
            return self._closed
        return next((error for axis in frontier if (error := self._axes[axis].error) is not None), None)

    def _check_frontier(self, frontier: Frontier, argument: str) -> None:
        """Raise TypeError, NotFound naming the argument, or FailedPrecondition unless it can be waited for."""
        check_frontier(frontier, argument)
        self._check_open()
        for axis in frontier:
            if axis not in self._axes:
                raise NotFound(f"{argument}: axis {axis:#x} is not registered")

    # What is known -----------------------------------------------------------------------------------------------

    def query_epoch(self, axis: int) -> int | None:
        """How far an axis has come, whether it has failed or not; None if it is not registered."""
        tracked = self._axes.get(axis)
        return None if tracked is None else tracked.epoch

    def query_frontier(self, axes: Iterable[int]) -> Frontier:
        """How far these axes have come at one moment. One that has not moved, or is not registered, is left out.

        Raises ValueError for more axes than a frontier has entries, 255.
        """
        wanted = tuple(axes)
        with self._lock:
            epochs = {axis: self._axes[axis].epoch for axis in wanted if axis in self._axes}
        return Frontier.from_epochs(epochs)

    # Observing ---------------------------------------------------------------------------------------------------

    def add_observer(self, observer: FrontierObserver) -> list[AxisState]:
        """Tell somebody of each axis that is registered, advances or fails from now on; returns how all stand now.

        One that is there already is not added again. Without an observer an advance costs what it did. Any thread.
        """
        with self._lock:
            if observer not in self._observers:
                self._observe((*self._observers, observer))
            return [AxisState(tracked.axis, tracked.epoch, tracked.error) for tracked in self._axes.values()]

    def remove_observer(self, observer: FrontierObserver) -> None:
        """The end of that; idempotent. Another thread may be telling it something at this moment."""
        with self._lock:
            self._observe(tuple(other for other in self._observers if other is not observer))

    def _observe(self, observers: tuple[FrontierObserver, ...]) -> None:
        self._observers = observers
        for tracked in self._axes.values():
            tracked.observe_by(observers)

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all waits with OperationCancelled. Idempotent; afterwards nothing can be registered or waited for."""

        error = OperationCancelled("the frontier tracker was closed", CancelCause.RESOURCE_CLOSED)

        def take(due: list[Pending]) -> None:
            self._closed = error
            for tracked in self._axes.values():
                waits = tracked.waits()
                due += waits
                tracked.agenda.entries = []

        dispatch(self._lock, take, error)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise FailedPrecondition("this frontier tracker is closed")

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed is not None


class FrontierTimepoint:
    """One callback that waits for a frontier, made by `FrontierTracker.acquire_timepoint()`. All threads.

    frontier: what it waits for.
    """

    __slots__ = ("_callback", "_table", "frontier", "missing")

    def __init__(self, table: AxisTable, frontier: Frontier, callback: FrontierCallback | None) -> None:
        self._table = table
        self.frontier = frontier
        #: What it stands for on the agendas of the axes that have not come so far.
        self.missing: set[_AxisWait] = set()
        self._callback = callback

    def cancel(self) -> bool:
        """True: it was pending and will never be called. False: it was called, or is being called just now."""
        if not self._table._withdraw(self):
            return False
        self._callback = None
        return True

    def begin(self, tracked_axes: list[_TrackedAxis]) -> None:
        """Under the lock: stand on the agenda of each axis that has to move; once."""
        if self.missing:
            return
        try:
            for tracked, epoch in zip(tracked_axes, self.frontier.values(), strict=True):
                if tracked.epoch < epoch:
                    part = _AxisWait(self, tracked, epoch)
                    self.missing.add(part)
                    tracked.agenda.add(part)
        except BaseException:  # a signal handler; nobody may ever hold this
            self.end()
            raise

    def end(self) -> bool:
        """Under the lock: leave all agendas. Whether it stood on one."""
        stood = False
        for part in self.missing:
            if part.tracked.agenda.remove(part):
                stood = True
        self.missing = set()
        return stood

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending. It stands on no agenda any more."""
        self.missing = set()
        callback = self._callback
        if callback is not None:
            self._callback = None
            callback(error)

    def __repr__(self) -> str:
        return f"<FrontierTimepoint for {self.frontier!r}>"


class _AxisWait:
    """The part of a wait that one axis has to bring."""

    __slots__ = ("arrival", "tracked", "value", "wait")

    def __init__(self, wait: FrontierTimepoint, tracked: _TrackedAxis, epoch: int) -> None:
        self.wait = wait
        self.tracked = tracked
        self.value = epoch
        self.arrival = 0


class _TrackedAxis:
    """One axis: its epoch, what waits for it, its semaphore and its failure. The table's lock guards it."""

    __slots__ = ("_semaphore", "agenda", "axis", "epoch", "error", "followers")

    def __init__(self, axis: int, semaphore: SemaphoreSource | None, observers: tuple[FrontierObserver, ...]) -> None:
        self.axis = axis
        self.epoch = 0
        self.agenda: Agenda[_AxisWait] = Agenda()
        self.error: BaseException | None = None
        #: The semaphore and the observers: one look tells whether there is anything to take along.
        self.followers: tuple[_Follower, ...] = ()
        self._semaphore = semaphore
        self.observe_by(observers)

    def observe_by(self, observers: tuple[FrontierObserver, ...]) -> None:
        """These and no others are told of this axis."""
        of_semaphore = () if self._semaphore is None else (_SemaphoreFollower(self._semaphore),)
        self.followers = (*of_semaphore, *(_ObserverFollower(observer) for observer in observers))

    def let_go_of_semaphore(self) -> None:
        """It does not follow any more."""
        if self._semaphore is not None:
            self._semaphore = None
            self.followers = self.followers[1:]

    def bridge(self, epoch: int) -> list[Pending]:
        """What brings the followers to an epoch, or tells them of the failure; nothing without any."""
        return [follower.bridge(self.axis, epoch) for follower in self.followers] if self.followers else []

    def waits(self) -> list[FrontierTimepoint]:
        """The waits that it keeps from their end; they leave the agendas of all other axes."""
        waits = [entry[2].wait for entry in self.agenda.entries]
        for wait in waits:
            for part in wait.missing:
                if part.tracked is not self:
                    part.tracked.agenda.remove(part)
        return waits


def _completed_by(reached: list[_AxisWait]) -> list[FrontierTimepoint]:
    """The waits that miss nothing when these parts are there. May be asked again."""
    complete = []
    for part in reached:
        part.wait.missing.discard(part)
        if not part.wait.missing:
            complete.append(part.wait)
    return complete


class _SemaphoreFollower:
    """The semaphore of an axis."""

    __slots__ = ("_semaphore",)

    def __init__(self, semaphore: SemaphoreSource) -> None:
        self._semaphore = semaphore

    def bridge(self, axis: int, epoch: int) -> Pending:
        return _Bridge(self._semaphore, axis, epoch)


class _ObserverFollower:
    """An observer, at one axis."""

    __slots__ = ("_observer",)

    def __init__(self, observer: FrontierObserver) -> None:
        self._observer = observer

    def bridge(self, axis: int, epoch: int) -> Pending:
        return AxisNotice(self._observer, axis, epoch)


_Follower = _SemaphoreFollower | _ObserverFollower


class _Bridge:
    """Takes the semaphore of an axis along."""

    __slots__ = ("_axis", "_epoch", "_semaphore")

    def __init__(self, semaphore: SemaphoreSource, axis: int, epoch: int) -> None:
        self._semaphore = semaphore
        self._axis = axis
        self._epoch = epoch

    def fire(self, error: BaseException | None) -> None:
        """See Pending. Doing it again changes nothing."""
        if error is None:
            signal_or_fail(self._semaphore, self._epoch, Frontier([(self._axis, self._epoch)]))
        else:
            self._semaphore.fail(error)

    def __repr__(self) -> str:
        return f"<bridge to {self._semaphore!r}>"
