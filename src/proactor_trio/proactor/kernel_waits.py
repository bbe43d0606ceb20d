"""Waits for semaphores and frontiers that lead a chain of the kernel: each has an event of its own.

The chain is READ(eventfd) → the steps behind it, linked. Whoever signals the semaphore or advances the axis, on
whatever thread, writes to the eventfd; the kernel goes on from there inside the system call in which the owner waits,
and where nobody watches the wait itself (SILENT) without coming back to Python in between.

Facts, and what we make of them:

* A cancelled wait must never let the chain go on. A cancelled READ breaks a soft link. A cancelled FUTEX_WAIT does not
  (measured on Linux 6.18: the kernel does not mark it as failed), and one whose word was set before the kernel began
  to wait breaks it. So the head is no futex, though that would need no descriptor; an event that is set already is
  simply read.
* A failure of the semaphore must not let the chain go on either: it never sets the event. It is remembered, and the
  owner is asked to cancel the wait.
* An event that is used again while somebody is still about to set it would let a strange chain go on. So it is set and
  given back under one lock; it is given back only after the wait has completed in the kernel, and is read empty then.
* A forked child has the same eventfds. What it does to a semaphore that it inherited must not move its parent's
  chains: it sets none.
* A ring runs its chains inside system calls of its own thread only: while that thread runs Python, a chain stands
  still. Who needs the kernel's latency gives the proactor a thread of its own (ProactorThread).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from proactor_trio.backends.contract import CompletionFlags, OperationFlags
from proactor_trio.proactor.errors import CANCELED
from proactor_trio.proactor.event import Event, EventPool
from proactor_trio.proactor.incoming import Repeatable
from proactor_trio.proactor.joint_wait import JointWait, Part, WaitMode
from proactor_trio.proactor.operation import Continuation, Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.operations.event import EventWait

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

#: Waits that one proactor has in the kernel at a time; more are made in user space.
LARGEST_COUNT: Final = 256


class WaitEvents:
    """The events of one proactor's kernel waits. Owner thread only."""

    __slots__ = ("_pool", "process")

    def __init__(self) -> None:
        self._pool = EventPool()
        self.process = os.getpid()

    def acquire(self) -> Event | None:
        """An event that is not set; None when there are too many, or no descriptor is left."""
        if not self._pool.available and self._pool.capacity >= LARGEST_COUNT:
            return None
        try:
            return self._pool.acquire()
        except OSError:
            return None

    def release(self, event: Event) -> None:
        """Give back an event that nobody waits for any more and nobody is going to set."""
        event.clear()
        self._pool.release(event)

    def proactor_closing(self) -> None:
        """See Attachment."""

    def proactor_closed(self) -> None:
        """See Attachment."""
        self._pool.close_all()


_events: Final[WeakKeyDictionary[Proactor, WaitEvents]] = WeakKeyDictionary()


def _events_of(proactor: Proactor) -> WaitEvents:
    events = _events.get(proactor)
    if events is None:
        events = _events[proactor] = WaitEvents()
        proactor.attach(events)
    return events


class KernelWait:
    """One submission of a wait that leads a chain in the kernel."""

    __slots__ = (
        "_event",
        "_events",
        "_joint",
        "_lock",
        "_operation",
        "_proactor",
        "_result",
        "begun",
        "head",
        "identifier",
    )

    def __init__(
        self,
        operation: SoftwareOperation,
        proactor: Proactor,
        event: Event,
        parts: Sequence[Part],
        mode: WaitMode,
    ) -> None:
        self.identifier = operation.identifier
        #: How many steps were begun behind it.
        self.begun = 0
        self._operation = operation
        self._proactor = proactor
        self._events = _events_of(proactor)
        self._event: Event | None = event
        self._lock = threading.Lock()
        self._result: int | BaseException | None = None
        silent = operation.flags & OperationFlags.SILENT
        self.head = EventWait(event, Continuation(self._head_done), flags=OperationFlags.LINKED | silent)
        self.head._prepare()
        self._joint = JointWait(parts, mode, self._ended)

    def begin(self, following: Sequence[Operation]) -> int:
        """Wait for the semaphores, with these steps behind; returns how many were begun. May be called again."""
        if self.begun:
            return self.begun
        self._joint.begin()
        if self._result is None or self.head.identifier:
            self.begun = self._proactor.begin_behind(self.head, following)
        if not self.begun:  # it is over already, or cannot be linked: it is made in user space
            self.head._withdraw()
            self._let_go()
        return self.begun

    def _ended(self, result: int | BaseException) -> None:
        """The wait is over: any thread, perhaps more than once."""
        if os.getpid() != self._events.process:
            return
        with self._lock:
            if self._result is None:
                self._result = result
            if not isinstance(self._result, BaseException):
                if self._event is not None:
                    self._event.set()
                return
        self._proactor.post(Repeatable(self._cancel_head))

    def _cancel_head(self) -> None:
        if self.head.state is OperationState.SUBMITTED:
            self._proactor.cancel(self.head)

    def cancel(self) -> None:
        """Withdraw it. One whose semaphores have their values goes on. Owner thread."""
        self._joint.withdraw()
        if self._result is None:
            self._cancel_head()

    def _head_done(self, head: Operation, flags: CompletionFlags) -> None:
        self._proactor.uncount()
        self._let_go()
        result = self._result
        if result is None or (head.error is not None and not isinstance(result, BaseException)):
            result = CANCELED
        self._proactor.deliver(self._operation, self.identifier, result)

    def _let_go(self) -> None:
        self._joint.withdraw()
        with self._lock:
            event = self._event
            self._event = None
        if event is not None:
            self._events.release(event)


def lead(
    operation: SoftwareOperation,
    proactor: Proactor,
    parts: Callable[[], Sequence[Part]],
    mode: WaitMode,
) -> KernelWait | None:
    """A wait that can lead a chain in the kernel; None where the kernel links nothing, or has too many of them."""
    if not proactor.links_in_kernel:
        return None
    event = _events_of(proactor).acquire()
    return None if event is None else KernelWait(operation, proactor, event, parts(), mode)
