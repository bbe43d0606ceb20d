"""SemaphoreLink: one semaphore signals another; and the rule by which such signals are made on somebody's behalf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proactor_trio.proactor.dispatching import Attempt, raise_all
from proactor_trio.proactor.timepoint import Timepoint

if TYPE_CHECKING:
    from proactor_trio.proactor.frontier import Frontier
    from proactor_trio.proactor.semaphore_source import SemaphoreSource


class SemaphoreLink(Timepoint):
    """A pending signal from one semaphore to another, made by `SemaphoreSource.link()`. All threads."""

    __slots__ = ("target", "target_value")

    def __init__(self, source: SemaphoreSource, value: int, target: SemaphoreSource, target_value: int) -> None:
        super().__init__(source, value, None)
        self.target = target
        self.target_value = target_value

    def unlink(self) -> bool:
        """True: it was pending and will never signal the target. False: it has done so, or is just doing it."""
        return self.cancel()

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending. Doing it again changes nothing."""
        super().fire(error)
        if error is None:
            signal_or_fail(self.target, self.target_value, self.semaphore.query_frontier())
        else:
            self.target.fail(error)


def signal_or_fail(target: SemaphoreSource, value: int, frontier: Frontier) -> None:
    """Bring a semaphore to `value` at least. One that cannot get there fails with the reason. Raises what callbacks do.

    A semaphore that is further already is left alone.
    """
    if target.query() >= value:
        return
    attempt = Attempt(target)
    try:
        with attempt:
            target.signal(value, frontier)
    except Exception as refusal:  # whatever a source refuses with: who waits for the target has to know
        if target.query() < value:
            target.fail(refusal)
    raise_all(attempt.errors)
