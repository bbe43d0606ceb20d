"""What is known of the other hosts: who they are, what they have said, and until when they are believed in.

The life of a host that was admitted:

    CONNECTED ⇄ DISCONNECTED → LOST          by its lease
        └───────────┴────────→ LEFT          by its goodbye

LOST and LEFT are final for this incarnation, since its axes have failed and can never be made whole again: a host that
was only out of reach for too long is refused, so that both sides know. A new incarnation may come in its place.

The lease. A host is given up when nothing came from it for its lease and a quarter more. That quarter is for the sign
of life that was due when the line was cut, and for the connection that has to be made anew after it: so a cut that is
shorter than the lease loses nothing. It is measured in quarters of the lease that this process has lived through. When
this process itself stood still (a stopped process, a thread that held the interpreter), what the host sent meanwhile
lies unread in a socket, and such a time is one quarter, however long it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proactor_trio.frontier_exchange.errors import BadFrame, HostLeft, HostLost, HostRefused, RemoteAxisFailed
from proactor_trio.frontier_exchange.touched_axes import PREFIX_SHIFT
from proactor_trio.frontier_exchange.transport import HostIdentity, Update

#: Seconds. A shorter one is no promise that a busy process can keep; a longer one helps nobody who waits.
SHORTEST_LEASE: Final = 0.05
LONGEST_LEASE: Final = 3600.0
#: As long as the silence is counted in.
QUARTERS_OF_A_LEASE: Final = 4
#: Six begun ones are at least five whole ones.
_SILENT_QUARTERS: Final = 6


class HostState(Enum):
    """How another host stands with this one."""

    UNKNOWN = "it has not joined yet"
    CONNECTED = "it is heard"
    DISCONNECTED = "there is no connection, and its lease runs"
    LOST = "its lease is over; its axes have failed"
    LEFT = "it has said goodbye; its axes have failed"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """How another host stood when it was asked for.

    lease: what it asks for, in seconds; 0.0 before it has joined. links: how many connections it is heard on.
    error: what last went wrong with it, or with a connection to it, since it was admitted last.
    """

    machine_index: int
    state: HostState
    lease: float
    links: int
    error: Exception | None


class Member:
    """One incarnation of another host.

    axes_limit: of how many axes it may speak.
    """

    __slots__ = ("_axes_limit", "_quarters", "ends", "epochs", "failures", "gone", "has_spoken", "identity", "state")

    def __init__(self, identity: HostIdentity, axes_limit: int) -> None:
        self.identity = identity
        self.state = HostState.DISCONNECTED
        #: What every axis of it fails with, once it is lost or has left.
        self.gone: HostLost | HostLeft | None = None
        #: Whether its first update has come, by which all its axes are known.
        self.has_spoken = False
        #: The latest that it has said of its axes.
        self.epochs: dict[int, int] = {}
        self.failures: dict[int, RemoteAxisFailed] = {}
        #: What ends each of its links.
        self.ends: dict[object, Callable[[], object]] = {}
        self._axes_limit = axes_limit
        self._quarters = 0

    def link_opened(self, link: object, end: Callable[[], object]) -> None:
        self.ends[link] = end
        self.state = HostState.CONNECTED
        self._quarters = 0

    def link_closed(self, link: object) -> None:
        self.ends.pop(link, None)
        if not self.ends and self.gone is None:
            self.state = HostState.DISCONNECTED

    def quarter_has_passed(self) -> bool:
        """Count a quarter of the lease. Whether its lease is over."""
        self._quarters += 1
        return self._quarters >= _SILENT_QUARTERS

    def take(self, update: Update) -> list[int]:
        """It has said this: the axes of which that was news. Raises BadFrame, and takes nothing."""
        self._check(update)
        self._quarters = 0
        news = [axis for axis, epoch in update.epochs.items() if epoch > self.epochs.get(axis, -1)]
        for axis in news:
            self.epochs[axis] = update.epochs[axis]
        for axis, reason in update.failures.items():
            if axis not in self.failures:
                self.failures[axis] = RemoteAxisFailed(self.identity.machine_index, axis, reason)
                self.epochs.setdefault(axis, 0)
                news.append(axis)
        return news

    def _check(self, update: Update) -> None:
        prefix = self.identity.axis_prefix
        named = update.epochs.keys() | update.failures.keys()
        for axis in named:
            if axis >> PREFIX_SHIFT != prefix:
                raise BadFrame(f"machine {self.identity.machine_index} speaks of axis {axis:#x}, which is not its own")
        if len(named | self.epochs.keys()) > self._axes_limit:
            raise BadFrame(f"machine {self.identity.machine_index} has more than {self._axes_limit} axes")

    def end(self, state: HostState) -> HostLost | HostLeft:
        """It is lost, or has left: nothing of it counts any more. Returns what its axes fail with."""
        machine_index = self.identity.machine_index
        gone = HostLost(machine_index, self.identity.lease) if state is HostState.LOST else HostLeft(machine_index)
        self.gone = gone
        self.state = state
        for end in list(self.ends.values()):
            end()
        return gone


def check_identity(known: Member | None, identity: HostIdentity, own: HostIdentity) -> None:
    """Whether a host that introduces itself may take part. Raises HostRefused.

    known: the last one with that machine index.
    """
    machine_index = identity.machine_index
    if identity.session_epoch != own.session_epoch:
        raise HostRefused(
            f"machine {machine_index} is of session {identity.session_epoch}, "
            f"machine {own.machine_index} of session {own.session_epoch}"
        )
    if machine_index == own.machine_index:
        raise HostRefused(f"machine index {machine_index} is used twice: by both sides of one connection")
    if not SHORTEST_LEASE <= identity.lease <= LONGEST_LEASE:
        raise HostRefused(f"a lease of {identity.lease:g} s; {SHORTEST_LEASE:g} s to {LONGEST_LEASE:g} s are allowed")
    if known is None:
        return
    if known.identity.incarnation != identity.incarnation:
        if known.gone is None:
            raise HostRefused(f"machine index {machine_index} is used twice: another host has it, and its lease runs")
    elif known.gone is not None:
        raise HostRefused(f"{known.gone}, and its axes have failed on machine {own.machine_index}")
