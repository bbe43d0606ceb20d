"""FrontierTracker: how far the axes have come, and who waits for a frontier.

Each axis has an epoch that only grows, an agenda of what waits for its epochs, and maybe what follows it: a semaphore,
observers of the whole tracker. A wait stands on the agenda of every axis that it still misses, so that an advance looks
only at what it reaches.

A failed axis goes before everything: a wait that names one fails at once, whatever epochs were reached and whatever its
other axes do, and whether it comes before or after the failure. (The reference lets one that comes later wait for an
earlier axis first.) The semaphore of an axis is signalled and failed without the tracker's lock, and one that is
further already is left alone, since two threads that advance may come to it in either order.

All threads may use a tracker. It takes a lock for a moment: neither signal handlers nor finalizers. Callbacks are
called without the lock, by the thread that advances, fails or closes; `dispatching.py` says what becomes of what they
raise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

from proactor_trio.proactor.agenda import Agenda, Pending
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.axis import LARGEST_AXIS
from proactor_trio.proactor.dispatching import dispatch
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

DEFAULT_AXIS_CAPACITY: Final = 256
_LARGEST_CAPACITY: Final = ((1 << 32) - 1) >> 2
_BYTE: Final = 0xFF

FrontierCallback = Callable[[BaseException | None], object]


class FrontierTracker:
    """The epochs of a set of axes, and waits for frontiers of them.

    axis_table_capacity: how many axes may be registered.
    session_epoch, machine_index: 0 to 255; who this is, for those who make axes.

    Use it as a context manager, or call `close()`, where somebody may still wait at the end.
    """

    __slots__ = (
        "__weakref__",
        "_axes",
        "_capacity",
        "_closed",
        "_lock",
        "_observers",
        "machine_index",
        "session_epoch",
    )

    def __init__(
        self, axis_table_capacity: int = DEFAULT_AXIS_CAPACITY, session_epoch: int = 1, machine_index: int = 0
    ) -> None:
        check_integer(axis_table_capacity, "axis_table_capacity", 0, _LARGEST_CAPACITY)
        check_integer(session_epoch, "session_epoch", 0, _BYTE)
        check_integer(machine_index, "machine_index", 0, _BYTE)
        self._capacity = axis_table_capacity
        self.session_epoch = session_epoch
        self.machine_index = machine_index
        self._lock = threading.Lock()
        self._axes: dict[int, _TrackedAxis] = {}
        self._observers: tuple[FrontierObserver, ...] = ()
        self._closed = False

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
        tracked = self._axes.get(axis)
        if tracked is None or epoch <= tracked.epoch:
            return 0
        ended = 0

        def take(due: list[Pending]) -> None:
            nonlocal ended
            if tracked.epoch < epoch:
                bridge = tracked.bridge(epoch)
                due += bridge
                tracked.epoch = epoch
            reached = tracked.agenda.waiting_for(epoch)
            complete = _completed_by(reached)
            count = ended + len(complete)
            due += complete
            ended = count
            del tracked.agenda.entries[: len(reached)]

        dispatch(self._lock, take)
        return ended

    def fail_axis(self, axis: int, error: BaseException) -> None:
        """An axis will never move again: what waits for it ends with `error` now, what comes later at once.

        Its semaphore fails too. An axis that has failed keeps its first error; one that is not registered is ignored.
        Raises what callbacks raise.
        """
        tracked = self._failing(axis, error)
        if tracked is not None:
            self._end(tracked, error, tracked.bridge(tracked.epoch))

    def retire_axis(self, axis: int, error: BaseException) -> None:
        """`fail_axis()` that leaves the semaphore alone and lets go of it. Nobody may advance the axis meanwhile."""
        tracked = self._failing(axis, error)
        if tracked is not None:
            tracked.let_go_of_semaphore()
            self._end(tracked, error, tracked.bridge(tracked.epoch))

    def _failing(self, axis: int, error: BaseException) -> _TrackedAxis | None:
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {type(error).__name__}")
        return self._axes.get(axis)

    def _end(self, tracked: _TrackedAxis, error: BaseException, afterwards: list[Pending]) -> None:
        def take(due: list[Pending]) -> None:
            if tracked.error is None:
                waits = self._waits_naming(tracked)
                due += waits
                due += afterwards
                tracked.error = error
            for pending in due:
                if isinstance(pending, FrontierWait):
                    pending.end()

        dispatch(self._lock, take, error)

    def _waits_naming(self, failed: _TrackedAxis) -> list[FrontierWait]:
        """Under the lock: the pending waits that name an axis, also those for which it has come far enough."""
        waits = dict.fromkeys(entry[2].wait for entry in failed.agenda.entries)
        for tracked in self._axes.values():
            if tracked is not failed:
                of_another = (entry[2].wait for entry in tracked.agenda.entries)
                waits |= dict.fromkeys(wait for wait in of_another if failed.axis in wait.frontier)
        return list(waits)

    # Waiting -----------------------------------------------------------------------------------------------------

    def wait(self, frontier: Frontier, callback: FrontierCallback) -> FrontierWait:
        """Have `callback(error)` called once: with None when all axes have come so far, or with the first failure.

        At once, inside this call, if an axis has failed or the frontier is reached already; an empty one always is.
        Raises NotFound for an axis that is not registered, and FailedPrecondition when the tracker is closed.
        """
        check_frontier(frontier)
        wait = FrontierWait(self, frontier, callback)
        with self._lock:
            self._check_open()
            tracked_axes = [self._tracked(axis) for axis in frontier]
            error = next((tracked.error for tracked in tracked_axes if tracked.error is not None), None)
            if error is None:
                wait.begin(tracked_axes)
            is_over = not wait.missing
        if is_over:
            wait.fire(error)
        return wait

    def cancel_wait(self, wait: FrontierWait) -> bool:
        """True: it was pending and will never be called. False: it was called, or is being called just now."""
        if wait.tracker is not self:
            raise ValueError("wait belongs to another FrontierTracker")
        with self._lock:
            return wait.end()

    def query_epoch(self, axis: int) -> int | None:
        """How far an axis has come, whether it has failed or not; None if it is not registered."""
        tracked = self._axes.get(axis)
        return None if tracked is None else tracked.epoch

    def _tracked(self, axis: int) -> _TrackedAxis:
        try:
            return self._axes[axis]
        except KeyError:
            raise NotFound(f"frontier: axis {axis:#x} is not registered") from None

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

        def take(due: list[Pending]) -> None:
            self._closed = True
            for tracked in self._axes.values():
                waits = tracked.waits()
                due += waits
                tracked.agenda.entries = []

        error = OperationCancelled("the frontier tracker was closed", CancelCause.RESOURCE_CLOSED)
        dispatch(self._lock, take, error)

    def _check_open(self) -> None:
        if self._closed:
            raise FailedPrecondition("this frontier tracker is closed")

    def __enter__(self) -> FrontierTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class FrontierWait:
    """A wait made by `FrontierTracker.wait()`; for `cancel_wait()`. `frontier`: what it waits for."""

    __slots__ = ("_callback", "frontier", "missing", "tracker")

    def __init__(self, tracker: FrontierTracker, frontier: Frontier, callback: FrontierCallback) -> None:
        self.tracker = tracker
        self.frontier = frontier
        #: What it stands for on the agendas of the axes that have not come so far.
        self.missing: set[_AxisWait] = set()
        self._callback: FrontierCallback | None = callback

    def begin(self, tracked_axes: list[_TrackedAxis]) -> None:
        """Under the lock: stand on the agenda of each axis that has to move."""
        try:
            for tracked, epoch in zip(tracked_axes, self.frontier.values(), strict=True):
                if tracked.epoch < epoch:
                    part = _AxisWait(self, tracked, epoch)
                    self.missing.add(part)
                    tracked.agenda.add(part)
        except BaseException:  # a signal handler; nobody will ever hold this wait
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
        return f"<FrontierWait for {self.frontier!r}>"


class _AxisWait:
    """The part of a wait that one axis has to bring."""

    __slots__ = ("arrival", "tracked", "value", "wait")

    def __init__(self, wait: FrontierWait, tracked: _TrackedAxis, epoch: int) -> None:
        self.wait = wait
        self.tracked = tracked
        self.value = epoch
        self.arrival = 0


class _TrackedAxis:
    """One axis: its epoch, what waits for it, its semaphore and its failure. The tracker's lock guards it."""

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

    def waits(self) -> list[FrontierWait]:
        """The waits that it keeps from their end; they leave the agendas of all other axes."""
        waits = [entry[2].wait for entry in self.agenda.entries]
        for wait in waits:
            for part in wait.missing:
                if part.tracked is not self:
                    part.tracked.agenda.remove(part)
        return waits


def _completed_by(reached: list[_AxisWait]) -> list[FrontierWait]:
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
