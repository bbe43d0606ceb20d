"""What this host says of its axes: a feed for each connection, which remembers only what that has not been told yet.

A feed holds numbers of axes, and looks at the tracker for their epochs when it is asked. So however often an axis
advances while a connection is slow, it costs one entry, and what is sent is always the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.frontier_exchange.transport import AXES_PER_UPDATE, FAILURES_PER_UPDATE, Update, UpdateFeed
from proactor_trio.proactor.frontier_tracker import FrontierTracker
from proactor_trio.timeouts import move_on_after

#: A host gives so many signs of life in its lease.
SIGNS_PER_LEASE: Final = 8


class Feeds:
    """All feeds of one host, and its axes.

    failures: why axes have failed, kept up to date by somebody else. lease: seconds.
    """

    __slots__ = ("_open", "axes", "failures", "is_ending", "seconds_between_signs", "tracker")

    def __init__(self, tracker: FrontierTracker, failures: Mapping[int, str], lease: float) -> None:
        self.tracker = tracker
        self.failures = failures
        self.seconds_between_signs = lease / SIGNS_PER_LEASE
        #: The axes of this machine.
        self.axes: dict[int, None] = {}
        self.is_ending = False
        self._open: dict[Feed, None] = {}

    def open(self) -> Feed:
        """One that begins with everything."""
        feed = Feed(self)
        self._open[feed] = None
        return feed

    def changed(self, axes: Iterable[int]) -> None:
        """These axes of this machine are new, or have advanced or failed."""
        changed = dict.fromkeys(axes)
        self.axes |= changed
        for feed in self._open:
            feed.add(changed)

    def end(self) -> None:
        """Let each feed give what it still has, and then None."""
        self.is_ending = True
        for feed in self._open:
            feed.wake()

    def forget(self, feed: Feed) -> None:
        self._open.pop(feed, None)


class Feed(UpdateFeed):
    """See UpdateFeed."""

    __slots__ = ("_feeds", "_is_new", "_pending", "_waiting")

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds
        self._pending = dict(feeds.axes)
        self._is_new = True
        self._waiting = ParkingLot()

    def add(self, axes: dict[int, None]) -> None:
        self._pending |= axes
        self.wake()

    def wake(self) -> None:
        self._waiting.unpark_all()

    def close(self) -> None:
        self._feeds.forget(self)

    async def next_update(self) -> Update | None:
        if self._is_new or self._pending or self._feeds.is_ending:
            await checkpoint()
        else:
            with move_on_after(self._feeds.seconds_between_signs):
                await self._waiting.park()
        self._is_new = False
        if self._feeds.is_ending and not self._pending:
            return None
        return self._take()

    def _take(self) -> Update:
        epochs: dict[int, int] = {}
        failures: dict[int, str] = {}
        for axis in self._pending:
            if len(epochs) == AXES_PER_UPDATE or len(failures) == FAILURES_PER_UPDATE:
                break
            failure = self._feeds.failures.get(axis)  # before the epoch, which was reached before it failed
            if failure is not None:
                failures[axis] = failure
            epochs[axis] = self._feeds.tracker.query_epoch(axis) or 0
        for axis in epochs:
            del self._pending[axis]
        return Update(epochs, failures)
