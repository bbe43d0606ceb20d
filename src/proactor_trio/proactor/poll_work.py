"""What `poll()` does around the backend's own: the work that waits for it on our side.

Before: what was submitted and asked for by other threads, posted calls, what has to go on or begin again, progress
callbacks. After: messages, timers and operations of our own whose time has come, and the next steps of chains.

All of it stands in containers that stay the same objects, so that a poll with nothing to do here asks them once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, Final

from proactor_trio.backends.contract import Backend
from proactor_trio.proactor.beginning import Beginning
from proactor_trio.proactor.delivery import Delivery
from proactor_trio.proactor.incoming import Batch, CancelRequest, FinishRequest, PostedCalls
from proactor_trio.proactor.messages import Messages
from proactor_trio.proactor.progress import ProgressCallbacks

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

#: Seconds; a longer wait returns early with nothing.
LONGEST_WAIT: Final = 1e6


class PollWork:
    """What waits for the next poll of one proactor. Owner thread only, but for appending to `incoming` and `posted`."""

    __slots__ = (
        "_beginning",
        "_delivery",
        "_errors",
        "_messages",
        "_native_messages",
        "_proactor",
        "_software",
        "_taking",
        "_urgent",
        "incoming",
        "pending",
        "posted",
        "progress",
    )

    def __init__(
        self, proactor: Proactor, backend: Backend, messages: Messages, beginning: Beginning, delivery: Delivery
    ) -> None:
        self._proactor = proactor
        self._messages = messages
        self._native_messages: deque[Any] = backend.messages
        self._beginning = beginning
        self._software = beginning.software
        self._delivery = delivery
        self._errors = delivery.errors
        self._taking = False
        self.incoming: deque[Batch | CancelRequest | FinishRequest] = deque()
        self.posted = PostedCalls()
        self.progress = ProgressCallbacks()
        #: In these there is nothing that could wait.
        self._urgent: tuple[Sized, ...] = (
            self.incoming,
            self.posted.waiting,
            self.progress.entries,
            messages.waiting,
            self._native_messages,
            delivery.unfinished,
        )
        #: Everything that a poll looks at beside the backend.
        self.pending: tuple[Sized, ...] = (*self._urgent, *beginning.pending)

    def take_incoming(self) -> None:
        """Begin, cancel and finish what was asked for, in that order."""
        if self._taking:
            return  # whoever is at it takes this too
        incoming = self.incoming
        self._taking = True
        try:
            while True:  # with a condition here an interrupt would pass by the `finally`: ARCHITECTURE, section 5
                if not incoming:
                    break
                incoming[0].take()
                incoming.popleft()
        finally:
            self._taking = False

    def before(self, timeout: float | None) -> float | None:
        """Before the backend is asked; returns how long it may wait, given the caller's timeout."""
        if self._delivery.unfinished:
            self._delivery.resume()
            timeout = 0
        if self.incoming:
            self.take_incoming()
        if self.posted.waiting:
            self.posted.make(self._errors)
            timeout = 0
        self._beginning.go_on()
        timeout = self._beginning.limit_wait(timeout)
        if self.progress.entries:
            self._delivery.delivered += self.progress.run(self._errors)
            timeout = 0
        if self._messages.waiting or self._native_messages or self._errors.kept:
            return 0  # left over from a poll that was interrupted
        return timeout if timeout is None else min(timeout, LONGEST_WAIT)

    def after(self) -> None:
        """After the backend has reported."""
        if self.incoming:
            self.take_incoming()
        if self.posted.waiting:
            self.posted.make(self._errors)
        if self._native_messages:
            self._messages.take(self._native_messages)
        if self._messages.waiting:
            self._messages.deliver(self._proactor, self._errors)
        self._software.collect_timers()
        beginning = self._beginning
        while True:
            self._deliver_software()
            if not beginning.chain_steps:
                break
            beginning.go_on_with_chains()
        if beginning.held_closes.held:
            beginning.go_on_with_chains()

    def _deliver_software(self) -> None:
        newest = self._software.last_order
        in_flight = self._proactor._in_flight
        while (due := self._software.first_due(in_flight, newest)) is not None:
            self._delivery.complete_by_us(*due)

    def limit_idle_wait(self, limit: float | None) -> float | None:
        """How long a loop that is not ours may wait between two polls, given what the backend says."""
        if limit == 0 or not any(self.pending):
            return limit
        return 0 if any(self._urgent) else self._beginning.limit_idle_wait(limit)
