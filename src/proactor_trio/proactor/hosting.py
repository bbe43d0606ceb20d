"""How a loop that is not ours drives a proactor: for guests of other loops, and for the bridges.

Such a loop cannot call `poll()` and wait in there: it waits in its own way, for many things. So the wait is taken out
of `poll()`. The loop takes a *turn*, which does all that can be done without waiting and says how long nothing else is
going to be due; then it waits for a descriptor as it waits for any other:

    hosting = proactor.host(turn_is_due)
    again and again:
        limit = hosting.turn()            seconds; 0: take the next turn at once; None: no time is due
        wait until hosting.descriptor is readable, or the limit is over, or turn_is_due() was called

The rules:

1. A first turn is due when hosting begins. From then on the descriptor tells of everything that comes from outside
   this thread: completions, `wake()`, submissions of other threads. It is readable until a turn was taken, and nothing
   is missed (contract.py, rule 14).
2. What the loop's own thread leaves to be done between turns tells it by `turn_is_due()`. Nothing of it is begun before
   the next turn, so all that is submitted in one turn of the loop goes to the kernel in one call.
3. Completion functions are called inside `turn()`, as they are inside `poll()`, and what they raise is raised by it
   after everything else was delivered. The next turn is due at once then.
4. Deadlines are on the clock of `time.monotonic()`.

Nothing of this costs anything where it is not used: the descriptor is opened by `Proactor.host()`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from proactor_trio.backends.contract import Backend

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class Hosting:
    """One proactor and the loop that drives it. Owner thread only; made by `Proactor.host()`."""

    __slots__ = (
        "_backend",
        "_direct_between",
        "_limit_wait",
        "_owner",
        "_proactor",
        "_turn_is_due",
        "_turning",
        "descriptor",
        "turns",
    )

    def __init__(
        self,
        proactor: Proactor,
        backend: Backend,
        limit_wait: Callable[[float | None], float | None],
        turn_is_due: Callable[[], None] | None,
    ) -> None:
        self._proactor = proactor
        self._backend = backend
        self._limit_wait = limit_wait
        self._turn_is_due = turn_is_due
        self._turning = False
        self._owner = threading.get_ident()
        #: Whose calls take effect at once between turns: nobody's, if the loop is to be told of them.
        self._direct_between = self._owner if turn_is_due is None else None
        #: Readable when a turn is due.
        self.descriptor = backend.open_wait_handle()
        #: How many were taken.
        self.turns = 0
        proactor.make_direct(self._direct_between, self._call_owner)

    def turn(self) -> float | None:
        """Do all that can be done without waiting; returns how many seconds the loop may wait, None: for ever.

        Raises what completion functions raised, as `Proactor.poll()` does. Wherever it is left by an exception, the
        next turn goes on; it is due at once.
        """
        proactor = self._proactor
        self.turns += 1
        self._turning = True
        proactor.make_direct(self._owner, self._call_owner)
        try:
            proactor.poll(0)
        finally:
            self._turning = False
            proactor.make_direct(self._direct_between, self._call_owner)
        return self._limit_wait(self._backend.prepare_wait())  # contract.py, rule 14

    def close(self) -> None:
        """Drive it no more; idempotent. The descriptor stays open until the proactor is closed."""
        self._turn_is_due = None
        self._proactor.end_hosting()

    def _call_owner(self) -> None:
        """Something was left for the next turn. Any thread, but no signal handler."""
        if threading.get_ident() != self._owner:
            self._backend.wake()
        elif not self._turning and self._turn_is_due is not None:
            self._turn_is_due()
