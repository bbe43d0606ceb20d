"""What has changed on a tracker, told to the run once per batch, whichever threads it was.

An advance leaves the number of its axis in a dict and, if the run does not know yet that there is something, a call in
the run's entry queue. So a thousand advances between two turns of the loop are one call, and no lock is taken.

The hazards. An exception of a signal handler may come between any two statements here, and the tracker tells it again
then; and the run may take what there is at any moment. So the call is queued before it is noted that it was, and what
is noted is for which delivery it is: if the run delivered in between, the note says nothing about the next one. At
worst there is a call too many.
"""

from __future__ import annotations

from collections.abc import Callable

from proactor_trio._kernel.entry_queue import TrioToken
from proactor_trio._kernel.errors import RunFinishedError
from proactor_trio.proactor.frontier_tracker import FrontierTracker

#: Above the ordinal and the domain of an axis: its session and its machine.
PREFIX_SHIFT = 48


class TouchedAxes:
    """A FrontierObserver for one run.

    own_prefix: of the axes whose advances and failures matter. Of the others it matters only that they are registered.
    deliver: is called in the run with the axes that were touched since the last time.
    """

    __slots__ = ("_announced_for", "_deliver", "_deliveries", "_own_prefix", "_token", "_touched", "failures")

    def __init__(self, own_prefix: int, token: TrioToken, deliver: Callable[[list[int]], None]) -> None:
        self._own_prefix = own_prefix
        self._token = token
        self._deliver = deliver
        self._touched: dict[int, None] = {}
        self._deliveries = 0
        self._announced_for = -1
        #: Why axes of this machine have failed.
        self.failures: dict[int, str] = {}

    def observe(self, tracker: FrontierTracker) -> list[int]:
        """Begin, and return the axes that there are."""
        states = tracker.add_observer(self)
        for axis, _, error in states:
            if error is not None:
                self._note_failure(axis, error)
        return [state.axis for state in states]

    def axis_registered(self, axis: int) -> None:
        self._touch(axis)

    def axis_advanced(self, axis: int, epoch: int) -> None:
        if axis >> PREFIX_SHIFT == self._own_prefix:
            self._touch(axis)

    def axis_failed(self, axis: int, error: BaseException) -> None:
        if axis >> PREFIX_SHIFT == self._own_prefix:
            self._note_failure(axis, error)
            self._touch(axis)

    def _note_failure(self, axis: int, error: BaseException) -> None:
        text = str(error)
        self.failures[axis] = f"{type(error).__name__}: {text}" if text else type(error).__name__

    def _touch(self, axis: int) -> None:
        self._touched[axis] = None
        deliveries = self._deliveries
        if self._announced_for == deliveries:
            return
        try:
            self._token.run_sync_soon(self.deliver_now)
        except RunFinishedError:
            return  # nobody is left to be told
        self._announced_for = deliveries

    def deliver_now(self) -> None:
        """Hand over what there is. In the run."""
        self._deliveries += 1
        axes = []
        while self._touched:
            axis, _ = self._touched.popitem()
            axes.append(axis)
        if axes:
            self._deliver(axes)
