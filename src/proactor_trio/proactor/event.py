"""Event: a signal that any thread or signal handler gives and one waiting operation takes; and a pool of them.

On Linux it is an eventfd, elsewhere a pipe; both ends are CLOEXEC and non-blocking. A wait reads it empty: so one
signal satisfies one wait, signals that nobody has taken yet are one, and a signal before the wait counts.

`set()` is a single write and takes no lock. An event that is full has been set, so EAGAIN means nothing is to be done.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from types import TracebackType
from typing import Any, Final

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError, FailedPrecondition

#: How many bytes a wait reads at most: what an eventfd gives at a time, or so many signals of a pipe.
EVENT_BYTES: Final = 8
_ONE: Final = (1).to_bytes(EVENT_BYTES, "little")
_CLEAR_BYTES: Final = 1 << 16
_LARGEST_POOL: Final = 1 << 20


class Event:
    """An auto-reset event. `set()` and `fileno()` from any thread, `close()` by whoever owns it."""

    __slots__ = ("__weakref__", "_reader", "_writer", "users")

    def __init__(self) -> None:
        self._reader = self._writer = -1
        #: The waits that are in flight.
        self.users: set[object] = set()
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._reader < 0

    def fileno(self) -> int:
        """The descriptor that is readable while the event is set. Raises ClosedResourceError once it is closed."""
        if self._reader < 0:
            raise ClosedResourceError("this event was closed")
        return self._reader

    def set(self) -> None:
        """Give the signal. Any thread, also a signal handler; several that nobody has taken are one."""
        if self._writer < 0:
            raise ClosedResourceError("this event was closed")
        try:
            os.write(self._writer, _ONE)
        except BlockingIOError:
            pass  # full, therefore set

    def clear(self) -> None:
        """Take the signal, if there is one, without waiting. Any thread."""
        try:
            os.read(self.fileno(), _CLEAR_BYTES)
        except BlockingIOError:
            pass  # it was not set

    def close(self) -> None:
        """Close it; idempotent. Raises FailedPrecondition while somebody waits for it by an operation."""
        if self.users:
            raise FailedPrecondition(f"{len(self.users)} operations wait for this event; cancel them first")
        reader, writer = self._reader, self._writer
        self._reader = self._writer = -1
        if reader >= 0:
            os.close(reader)
        if writer >= 0 and writer != reader:
            os.close(writer)

    def __enter__(self) -> Event:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Event {'closed' if self.closed else self._reader}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_reader", -1) >= 0:
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                self.close()


class EventPool:
    """Events that are used again: one wait for each `acquire()`, after which the event is not set.

    initial_capacity: how many are made at once; the pool grows by one whenever none is free.
    `acquire()` and `release()` from any thread.
    """

    __slots__ = ("__weakref__", "_all", "_closed", "_free")

    def __init__(self, initial_capacity: int = 0) -> None:
        check_integer(initial_capacity, "initial_capacity", 0, _LARGEST_POOL)
        self._closed = False
        self._all: list[Event] = []
        self._free: deque[Event] = deque()
        try:
            for _ in range(initial_capacity):
                self._free.append(self._grow())
        except OSError:
            self._free.extend(event for event in self._all if event not in self._free)
            self.close()
            raise

    def _grow(self) -> Event:
        event = Event()
        self._all.append(event)
        return event

    @property
    def capacity(self) -> int:
        """How many events there are, free and in use."""
        return len(self._all)

    @property
    def available(self) -> int:
        """How many are free."""
        return len(self._free)

    def acquire(self) -> Event:
        """An event that is not set. Raises OSError when none is free and none can be made."""
        try:
            return self._free.popleft()
        except IndexError:
            if self._closed:
                raise ClosedResourceError("this event pool was closed") from None
            return self._grow()

    def release(self, event: Event) -> None:
        """Give an event back whose one wait is over. The caller uses it no more."""
        self._free.append(event)

    def close(self) -> None:
        """Close all events; idempotent. Raises FailedPrecondition while some are not given back."""
        missing = len(self._all) - len(self._free)
        if missing:
            raise FailedPrecondition(f"{missing} events of this pool were not released")
        self.close_all()

    def close_all(self) -> None:
        """`close()`, when nobody uses them any more: also what was not given back (an interruption can lose one)."""
        self._closed = True
        self._free.clear()
        while self._all:
            event = self._all[-1]
            event.users.clear()
            event.close()
            self._all.pop()

    def __enter__(self) -> EventPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EventPool, {self.available} of {self.capacity} free>"
