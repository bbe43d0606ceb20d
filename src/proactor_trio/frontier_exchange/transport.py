"""The seam between an exchange and what carries its updates: Transport below, LocalHost above.

The exchange knows hosts, epochs and leases, and no connection. A transport knows how to reach hosts, and nothing of
trackers. What a transport is asked for fits peers that talk to each other as well as a store with channels (Redis,
NATS) in the middle:

1. It joins as `host.identity`, and `run()` says when that is done.
2. Outwards it takes updates from feeds. A feed gives all epochs first and afterwards what has changed, merged per axis;
   an empty update, after a while without changes, says that this host lives. Whoever cannot deliver an update opens
   another feed, which begins with everything again. So nothing needs an acknowledgement. Between peers there is a feed
   for each connection; for a store there is one.
3. Inwards it says who is there (`admit()`), and hands what that host says to the Link that it got. Updates may come
   twice, late and in any order: they are merged by maximum.
4. It says when a link has ended. It does not judge hosts: who is lost, and when, is the exchange's to say, by the lease
   that each host states for itself.

Everything here is called in the run's thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, TaskStatus

INCARNATION_BYTES: Final = 16
#: A feed's updates have at most so many axes, and of these so many that have failed. A frame holds any update.
AXES_PER_UPDATE: Final = 2048
FAILURES_PER_UPDATE: Final = 16
#: Of the text of a failure so many bytes of UTF-8 are carried.
LARGEST_REASON: Final = 1000


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """Who a host is.

    session_epoch, machine_index: those of its tracker. incarnation: 16 random bytes, which tell this stay in the
    exchange from any other of the same machine. lease: for how many seconds others believe in it without a sign.
    """

    session_epoch: int
    machine_index: int
    incarnation: bytes
    lease: float

    @property
    def axis_prefix(self) -> int:
        """The upper 16 bits of its axes."""
        return self.session_epoch << 8 | self.machine_index


@dataclass(frozen=True, slots=True)
class Update:
    """What a host says of its axes. epochs: how far they are; failures: why those that have failed did."""

    epochs: Mapping[int, int]
    failures: Mapping[int, str]


class UpdateFeed(ABC):
    """What this host has to say, for one connection or store: a context manager that ends with its block."""

    __slots__ = ()

    @abstractmethod
    async def next_update(self) -> Update | None:
        """Wait for the next update: first everything, then changes, or an empty one as a sign of life.

        None: this host leaves; say so to the other side, and end. Cancelled: nothing was taken.
        """

    @abstractmethod
    def close(self) -> None:
        """It is not asked any more. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Link(ABC):
    """One way on which a host that was admitted is heard."""

    __slots__ = ()

    @abstractmethod
    def receive(self, update: Update) -> None:
        """It has said this; an empty update is a sign of life.

        Raises BadFrame, and takes nothing of it, if these are not its own axes or too many of them.
        """

    @abstractmethod
    def leave(self) -> None:
        """It has said that it leaves."""

    @abstractmethod
    def close(self, error: BaseException | None) -> None:
        """The link has ended. error: why, if that is worth knowing. The host may come back while its lease runs."""


class LocalHost(ABC):
    """The exchange, as a transport sees it."""

    __slots__ = ()

    @property
    @abstractmethod
    def identity(self) -> HostIdentity:
        """Who this host is."""

    @abstractmethod
    def open_feed(self) -> UpdateFeed:
        """What this host has to say, from the beginning."""

    @abstractmethod
    def admit(self, identity: HostIdentity, end: Callable[[], object]) -> Link:
        """A host has introduced itself. Raises HostRefused, with the words for the other side.

        end: is called when the exchange wants no more of this link: the host has left, or is lost. Must not raise.
        """

    @abstractmethod
    def report(self, error: Exception, machine_index: int | None, place: str) -> None:
        """Something went wrong that concerns one connection. machine_index: with whom, if that is known."""


class Transport(ABC):
    """How the hosts of a session reach each other. Serves one exchange at a time."""

    __slots__ = ()

    @abstractmethod
    async def run(self, host: LocalHost, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Join the session and carry updates until it is cancelled; `task_status.started()` when others can reach it.

        Raises OSError, before that, if this host cannot be reached as it was told to be. A failure of one connection
        is reported, and raises nothing.
        """
