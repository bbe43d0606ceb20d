"""Cancels that found nothing, and are made again until the operation has ended.

Facts (measured on Linux 6.18): IORING_OP_ASYNC_CANCEL reports -ENOENT for an operation that is finished, but also for
one that is between two states, and for a link of a chain that has not started. With silent steps in front of it nobody
can tell whether a link has started.

What that means for us: -ENOENT says "try again" and never "done". A link whose predecessor is in flight waits for that
one's end. What can be cancelled is cancelled again in each turn, and the turn is short. Where nobody can tell, it is
tried now and then, at first soon and then more rarely: the answer to a cancel ends a wait, so a try in each turn would
make the loop spin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from proactor_trio.backends.contract import OperationFields
from proactor_trio.backends.io_uring.silent_chains import SilentChains

#: Seconds; the longest turn while something is being cancelled, and between two tries where nobody can tell.
_LONGEST_TURN: Final = 0.001
_LONGEST_INTERVAL: Final = 0.02


class RepeatedCancels:
    """The cancels of one ring that have to be made again. Owner thread only."""

    __slots__ = ("_in_flight", "_interval", "_next_try", "_silent_chains", "waiting")

    def __init__(self, in_flight: Mapping[int, OperationFields], silent_chains: SilentChains) -> None:
        self._in_flight = in_flight
        self._silent_chains = silent_chains
        #: The operations, and their identifiers when they were to be cancelled. Stays the same list.
        self.waiting: list[tuple[OperationFields, int]] = []
        self._next_try = 0.0
        self._interval = _LONGEST_TURN

    def add(self, operation: OperationFields) -> None:
        """Its cancel found nothing, or found no room."""
        self.waiting.append((operation, operation.identifier))

    def repeat(self, cancel: Callable[[OperationFields], None]) -> float | None:
        """Make those again whose time has come. Returns how long to wait at most until this is to be done again."""
        waiting = self.waiting[:]
        kept: list[tuple[OperationFields, int]] = []
        waits: list[float] = []
        has_tried = False
        now = monotonic()
        for operation, identifier in waiting:
            if operation.identifier != identifier:
                continue  # it has ended
            wait = self._wait(operation, identifier, now)
            if wait is None or wait > 0:
                kept.append((operation, identifier))
            else:
                cancel(operation)
                is_tentative = operation.after in self._in_flight
                has_tried = has_tried or is_tentative
                wait = _LONGEST_INTERVAL if is_tentative else _LONGEST_TURN
            if wait is not None:
                waits.append(wait)
        self.waiting[: len(waiting)] = kept  # what cancel() had no room for stands behind
        if has_tried:
            self._next_try = now + self._interval
            self._interval = min(2 * self._interval, _LONGEST_INTERVAL)
        elif not waits:
            self._interval = _LONGEST_TURN
        return min(waits, default=None)

    def patience(self) -> float | None:
        """How long may be waited until `repeat()` has something to do; None: until something has happened."""
        now = monotonic()
        waits = (
            self._wait(operation, identifier, now)
            for operation, identifier in self.waiting
            if operation.identifier == identifier
        )
        # Not at once: an answer that is on its way would find the next one asked already.
        return min((max(wait, _LONGEST_TURN) for wait in waits if wait is not None), default=None)

    def _wait(self, operation: OperationFields, identifier: int, now: float) -> float | None:
        """Seconds until it can be cancelled again, 0: now; None: not before its predecessor has ended."""
        if operation.after not in self._in_flight:
            return 0.0
        return max(0.0, self._next_try - now) if self._silent_chains.may_have_started(identifier) else None
