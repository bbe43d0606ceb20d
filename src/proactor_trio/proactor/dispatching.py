"""How callbacks are called by whoever made them due: outside the lock, all of them, whatever some of them raise.

A signal makes things due: timepoints, links, waits on frontiers. They are taken out under the lock of what holds them
and called without it, by the thread that signalled, so a callback may signal anything, the same object too.

Exceptions. An Exception of a callback disturbs neither the others nor what was signalled: it is raised in the thread
that signalled when all of them were called, alone or in an ExceptionGroup. A KeyboardInterrupt, or whatever else a
signal handler raises, also waits until all were called, and goes before the others.

Interruptions lose nothing and do nothing twice. What is due is passed over only after its call has returned, so it may
be called again: whatever calls a function of the user's gives that function away by the statement before the call.

Refusals. `signal()` of any semaphore either refuses and changes nothing, or takes effect and then calls back; both may
raise anything. An Attempt tells one from the other for code that signals on somebody's behalf (SemaphoreSignal, links,
imported fences): it notes that the timeline moved, and keeps what callbacks raise apart from a refusal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from proactor_trio.proactor.agenda import Pending

if TYPE_CHECKING:
    from proactor_trio.proactor.semaphore_source import SemaphoreSource


class Attempt:
    """A signal of one semaphore on somebody's behalf: `with attempt: semaphore.signal(...)`.

    What leaves the block is a refusal. `applied`: the timeline moved; `errors`: what callbacks raised because of that.
    """

    __slots__ = ("_outer", "applied", "errors", "semaphore")

    #: Whether the untainted watermark moves with the timeline.
    is_untainted: ClassVar[bool] = False

    def __init__(self, semaphore: SemaphoreSource) -> None:
        self.semaphore = semaphore
        self.applied = False
        self.errors: list[Exception] = []
        self._outer: Attempt | None = None

    def __enter__(self) -> None:
        self._outer = _thread.attempt
        _thread.attempt = self

    def __exit__(self, *details: object) -> None:
        _thread.attempt = self._outer


class UntaintedAttempt(Attempt):
    """An attempt whose value is to be untainted, if the frontier fits."""

    __slots__ = ()
    is_untainted = True


class _PerThread(threading.local):
    attempt: Attempt | None = None


_thread = _PerThread()


def attempt_at(semaphore: SemaphoreSource) -> Attempt | None:
    """The attempt for which this thread is signalling this semaphore just now."""
    attempt = _thread.attempt
    return attempt if attempt is not None and attempt.semaphore is semaphore else None


def dispatch(
    lock: threading.Lock,
    take: Callable[[list[Pending]], None],
    error: BaseException | None = None,
    kept: list[Exception] | None = None,
) -> None:
    """Take out under the lock what is due, and fire all of it without the lock.

    take: puts what it made due into the list; called again if it was interrupted. An Exception of its own is a refusal
        and leaves at once.
    error: what everything that is due is told; None: it was reached.
    kept: where the Exceptions of callbacks are put; None: they are raised.
    """
    firing = _Firing()
    outer = _thread.attempt
    while not firing.is_done:
        try:
            if not firing.is_taken:
                firing.take(lock, take)
            _thread.attempt = None
            firing.fire(error)
        except BaseException as raised:
            if firing.is_refused:
                raise
            firing.interruption = raised
    _thread.attempt = outer
    firing.raise_interruption()
    if kept is None:
        raise_all(firing.errors)
    else:
        kept += firing.errors


def raise_all(errors: list[Exception]) -> None:
    """Empty the list and raise what was in it: the one Exception, several as a group; nothing: return."""
    if not errors:
        return
    error = errors[0] if len(errors) == 1 else _group(errors)
    errors.clear()
    try:
        raise error
    finally:
        del error  # its traceback holds this frame: no cycle


def _group(errors: list[Exception]) -> ExceptionGroup[Exception]:
    return ExceptionGroup("callbacks raised", errors)


class _Firing:
    """What one signal made due, and how far its calls have come. Whatever interrupts it, it goes on from there."""

    __slots__ = ("due", "errors", "interruption", "is_done", "is_refused", "is_taken", "position")

    def __init__(self) -> None:
        self.due: list[Pending] = []
        self.position = 0
        self.is_taken = False
        self.is_refused = False
        self.is_done = False
        self.errors: list[Exception] = []
        self.interruption: BaseException | None = None

    def take(self, lock: threading.Lock, take: Callable[[list[Pending]], None]) -> None:
        try:
            with lock:
                take(self.due)
                self.is_taken = True
        except Exception:
            self.is_refused = True
            raise

    def fire(self, error: BaseException | None) -> None:
        while self.position < len(self.due):
            self._fire_next(error)
        self.is_done = True

    def _fire_next(self, error: BaseException | None) -> None:
        pending = self.due[self.position]
        try:
            pending.fire(error)
        except Exception as raised:
            raised.add_note(f"raised by the callback of {pending!r}")
            self.errors.append(raised)
        self.position += 1

    def raise_interruption(self) -> None:
        """An interruption goes before the errors, which are shown as its cause."""
        interruption = self.interruption
        if interruption is None:
            return
        self.interruption = None
        if self.errors:
            interruption.__cause__ = _group(self.errors)
            self.errors = []
        try:
            raise interruption
        finally:
            del interruption
