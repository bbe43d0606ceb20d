"""Notification: an epoch that signals advance; whoever waits goes on when it has moved past the epoch it knows.

A waiter takes the epoch as its token, looks at whatever the notification is about, and waits for the token: a signal in
between is not lost. Signals coalesce; a waiter that misses some finds the epoch advanced and goes on at once. So nobody
who waits by an operation is left behind, and `wake_count` limits only how many blocked threads are woken.

`signal()` takes no lock and may come from a signal handler: the epoch is drawn from a counter in one C call, and each
waiter is taken in one C call. A blocked thread waits for a lock of its own, which the signal releases.

For processes that share memory there is SharedNotification.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from itertools import count
from operator import call, methodcaller
from typing import TYPE_CHECKING, Final, TypeAlias

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import FailedPrecondition

if TYPE_CHECKING:
    from proactor_trio.proactor.operations.notification import NotificationWait
    from proactor_trio.proactor.proactor import Proactor

#: An operation that waits, the number of its submission, and its proactor.
Waiter: TypeAlias = "tuple[NotificationWait, int, Proactor]"

_release: Final = methodcaller("release")
#: Wakes all blocked threads.
ALL_WAITERS: Final = 0x7FFFFFFF
EPOCH_MASK: Final = 0xFFFFFFFF


class NotificationSource(ABC):
    """What NotificationWait, NotificationSignal and relays need of a notification; Notification is the usual one."""

    __slots__ = ()

    @abstractmethod
    def query_epoch(self) -> int:
        """The epoch now, 32 bits."""

    @abstractmethod
    def signal(self, wake_count: int = ALL_WAITERS) -> int:
        """Advance the epoch and wake; returns how many were woken."""

    def check_can_wait(self) -> None:
        """Raise FailedPrecondition if operations cannot wait for it."""
        return

    @abstractmethod
    def add_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """Finish this submission with the epoch as soon as that is not its token; at once if it is not now."""

    @abstractmethod
    def remove_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """Forget this submission of the operation."""


class Notification(NotificationSource):
    """A notification for the threads and proactors of one process. All methods from any thread.

    `signal()` and `signal_if_observed()` may also be called by a signal handler.
    """

    __slots__ = ("__weakref__", "_blocked", "_epoch", "_numbers", "_observers", "_waiters")

    def __init__(self) -> None:
        self._numbers = count(1)
        self._epoch = 0
        self._observers: list[None] = []
        self._blocked: deque[threading.Lock] = deque()
        self._waiters: dict[Waiter, None] = {}

    def query_epoch(self) -> int:
        """The epoch now: 32 bits, which wrap."""
        return self._epoch & EPOCH_MASK

    def signal(self, wake_count: int = ALL_WAITERS) -> int:
        """Advance the epoch; wake waiting operations and at most so many blocked threads. Returns how many it woke."""
        check_integer(wake_count, "wake_count", 1, ALL_WAITERS)
        self._advance()
        return self._wake(wake_count)

    def signal_if_observed(self, wake_count: int = ALL_WAITERS) -> bool:
        """Advance the epoch, and wake only if somebody observes or waits. Returns whether somebody did.

        Only for hints: who begins to observe at this moment may not be woken, but finds the epoch advanced.
        """
        check_integer(wake_count, "wake_count", 1, ALL_WAITERS)
        self._advance()
        if not (self._observers or self._waiters or self._blocked):
            return False
        self._wake(wake_count)
        return True

    def _advance(self) -> None:
        number = next(self._numbers)
        if number > self._epoch:  # a signal that came in between has drawn a higher one
            self._epoch = number

    def _wake(self, wake_count: int) -> int:
        woken = 0
        for waiter in list(self._waiters):
            if waiter in self._waiters:
                operation, identifier, proactor = waiter
                proactor.finish_from_anywhere(operation, identifier, self.query_epoch())
                self._waiters.pop(waiter, None)  # afterwards: an interruption before this leaves it to the next signal
                woken += 1
        return woken + self._wake_blocked(wake_count)

    def _wake_blocked(self, wake_count: int) -> int:
        woken = 0
        for _ in range(min(wake_count, len(self._blocked))):
            try:
                # One C call: nobody is taken out and then not woken.
                list(map(_release, map(call, (self._blocked.popleft,))))
            except IndexError:
                break  # it gave up waiting meanwhile
            woken += 1
        return woken

    # Observing ---------------------------------------------------------------------------------------------------

    def begin_observe(self) -> int:
        """Say that somebody is looking, and get the token to wait for. To be followed by `end_observe()`."""
        self._observers.append(None)
        return self.query_epoch()

    def end_observe(self) -> None:
        """The end of what `begin_observe()` began. Raises FailedPrecondition if nobody did."""
        try:
            self._observers.pop()
        except IndexError:
            raise FailedPrecondition("end_observe() without begin_observe()") from None

    # Blocking, for worker threads --------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread, which must not be a polling one, until the next signal. False: the time was over first."""
        return self.wait_for_token(self.query_epoch(), timeout)

    def wait_for_token(self, token: int, timeout: float | None = None) -> bool:
        """Block this thread while the epoch is `token`, for `timeout` seconds at most. False: it still is."""
        check_integer(token, "token", 0, EPOCH_MASK)
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.query_epoch() == token:
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and left <= 0:
                return False
            self._block(token, left)
        return True

    def _block(self, token: int, seconds: float) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._blocked.append(lock)
        has_blocked = False
        try:
            if self.query_epoch() == token:
                has_blocked = True
                lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        finally:
            try:
                self._blocked.remove(lock)
            except ValueError:  # a signal has taken it
                if not has_blocked:
                    self._wake_blocked(1)  # it was meant for a thread that is blocked

    # Operations --------------------------------------------------------------------------------------------------

    def add_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """For NotificationWait. Any thread."""
        entry = waiter, identifier, proactor
        self._waiters[entry] = None
        epoch = self.query_epoch()
        if epoch != waiter.token:
            proactor.finish_from_anywhere(waiter, identifier, epoch)
            self._waiters.pop(entry, None)

    def remove_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """For NotificationWait. Any thread."""
        self._waiters.pop((waiter, identifier, proactor), None)

    def __repr__(self) -> str:
        return f"<Notification, epoch {self.query_epoch()}, {len(self._waiters) + len(self._blocked)} waiting>"
