"""A thread that waits with poll(2) for a loop which is not ours, and makes a descriptor readable when it is over.

poll(2) has no object that another loop could watch: what to wait for is an argument of each call. So one thread makes
the call, and rings a doorbell whose reader the loop watches.

The rules:

* The owner gives an *order*: a poll object of its own, made from what the event set watches at that moment. The thread
  makes one call for it and reports once. As poll(2) looks at the state, nothing that was ready before is missed, and
  nothing is taken away from the owner, who asks the kernel himself afterwards.
* When other things are watched than in the last order, the owner gives a new one and interrupts the thread, which drops
  the old one without a report. Orders are numbered, so that a report of an old one is never taken for one of the new.
* The thread lets go of a descriptor that was closed meanwhile with the next order. Until then the kernel keeps the
  file open, and waits for that file although its number means another one by now. So an order must come after each
  turn that takes a descriptor out, whether the loop is going to wait or not: in the next turn the same number may be
  watched again, and that would look like the old order.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from proactor_trio.backends.doorbell import Doorbell
from proactor_trio.backends.posix.event_set import IN

_CLOSING_PATIENCE_SECONDS: Final = 5.0


class _Order(NamedTuple):
    number: int
    poll: select.poll


class WaitThread:
    """One helper thread and its two doorbells: to the loop, and from the owner. Owner thread only."""

    __slots__ = ("_interrupt", "_number", "_orders", "_report", "_reported", "_thread", "_watched")

    def __init__(self, name: str) -> None:
        self._report = Doorbell()
        try:
            self._interrupt = Doorbell()
        except BaseException:
            self._report.close()
            raise
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        self._number = 0
        self._reported = 0  # the thread's: the last order that it reported
        self._watched: Mapping[int, int] = {}
        self._thread = threading.Thread(target=self._work, name=f"{name} waiting thread", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self.close()
            raise

    @property
    def descriptor(self) -> int:
        """Readable when a wait is over."""
        return self._report.reader()

    def take_report(self) -> None:
        """Make the descriptor unreadable."""
        self._report.answer()

    @property
    def is_waiting(self) -> bool:
        """Whether the last order was not reported."""
        return self._reported != self._number

    def watch(self, interest: Mapping[int, int]) -> None:
        """Have the thread wait for these descriptors, if it does not do just that already."""
        is_waiting = self.is_waiting
        if is_waiting and interest == self._watched:
            return
        order = select.poll()
        order.register(self._interrupt.reader(), IN)
        for descriptor, events in interest.items():
            order.register(descriptor, events)
        self._watched = interest
        self._number += 1
        self._orders.put(_Order(self._number, order))
        if is_waiting:
            self._interrupt.ring()

    def end(self) -> None:
        """End the thread."""
        self._orders.put(None)
        self._interrupt.ring()
        self._thread.join(_CLOSING_PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the descriptors. The thread has ended, or belongs to the parent of this process."""
        self._report.close()
        self._interrupt.close()

    # The thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        order = self._newest(self._orders.get())
        while order is not None:
            if self._is_over(order):
                self._reported = order.number
                self._report.ring()
                order = self._orders.get()
            order = self._newest(order)

    def _is_over(self, order: _Order) -> bool:
        """Wait once; whether something else than an interruption has happened, and the order still counts."""
        ready = order.poll.poll()
        interrupted = any(descriptor == self._interrupt.reader() for descriptor, _ in ready)
        if interrupted:
            self._interrupt.answer()
        return len(ready) > interrupted and self._orders.empty()

    def _newest(self, order: _Order | None) -> _Order | None:
        """The last order that was given. One interruption may stand for several, so none of them may stay behind."""
        while order is not None:
            try:
                order = self._orders.get_nowait()
            except Empty:
                break
        return order
