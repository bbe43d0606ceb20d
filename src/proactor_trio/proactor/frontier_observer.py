"""Observing a frontier tracker: somebody who is told of every axis, as an exchange with other hosts is.

An observer stands where the semaphore of an axis stands: what is told to it is made due by an advance or a failure, and
fired by the thread that advances, without the tracker's lock (`dispatching.py`). So the tracker costs the same without
one, and an observer sees an advance when it has happened, maybe after a later one of another thread: whoever needs the
epoch asks the tracker.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class FrontierObserver(Protocol):
    """Called by the thread that did it, without the tracker's lock; twice after an interruption. Must not raise."""

    def axis_registered(self, axis: int) -> None:
        """There is a new axis, at epoch 0."""
        ...

    def axis_advanced(self, axis: int, epoch: int) -> None:
        """An axis has reached an epoch; it may be further by now."""
        ...

    def axis_failed(self, axis: int, error: BaseException) -> None:
        """An axis has failed or was retired."""
        ...


class AxisState(NamedTuple):
    """How an axis stood at one moment. `error`: what it failed with, None if it has not."""

    axis: int
    epoch: int
    error: BaseException | None


class AxisNotice:
    """Tells an observer of one axis; see Pending."""

    __slots__ = ("_axis", "_epoch", "_observer")

    def __init__(self, observer: FrontierObserver, axis: int, epoch: int) -> None:
        self._observer = observer
        self._axis = axis
        self._epoch = epoch

    def fire(self, error: BaseException | None) -> None:
        """It has come so far, or has failed."""
        if error is None:
            self._observer.axis_advanced(self._axis, self._epoch)
        else:
            self._observer.axis_failed(self._axis, error)

    def __repr__(self) -> str:
        return f"<notice of axis {self._axis:#x} to {self._observer!r}>"
