"""The host itself: what the exchange does with what comes from its transport and from its tracker.

1. An axis of another host is registered here as soon as that host speaks of it, as long as the tracker has room. What
   finds no room is kept, and counts as soon as the axis is registered.
2. Epochs are merged by maximum, so nothing that comes twice, late or out of order moves an axis back or too far.
3. An axis that can never move again fails: on its own host, by a lost or departed host, or because this host leaves.
4. What the users' callbacks raise while an axis is moved ends the exchange, as it ends a run: no connection is to
   blame.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec

from proactor_trio._kernel.entry_queue import current_trio_token
from proactor_trio._kernel.nursery import Nursery
from proactor_trio._kernel.parking_lot import ParkingLot
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.frontier_exchange.errors import ExchangeClosed, HostRefused
from proactor_trio.frontier_exchange.feeds import Feeds
from proactor_trio.frontier_exchange.members import (
    QUARTERS_OF_A_LEASE,
    HostState,
    Member,
    PeerStatus,
    check_identity,
)
from proactor_trio.frontier_exchange.touched_axes import PREFIX_SHIFT, TouchedAxes
from proactor_trio.frontier_exchange.transport import (
    INCARNATION_BYTES,
    HostIdentity,
    Link,
    LocalHost,
    Update,
    UpdateFeed,
)
from proactor_trio.proactor.dispatching import raise_all
from proactor_trio.proactor.errors import AlreadyExists, FailedPrecondition, ResourceExhausted
from proactor_trio.proactor.frontier_tracker import FrontierTracker
from proactor_trio.timeouts import sleep

#: So many errors of connections are kept for those who ask.
ERRORS_KEPT: Final = 64
_BYTE: Final = 0xFF

P = ParamSpec("P")

_LOGGER: Final = logging.getLogger("proactor_trio.frontier_exchange")


class Membership(LocalHost):
    """This host among the others.

    nursery: where its tasks run; ends with the exchange. axes_per_host: of how many axes each other host may speak.
    """

    def __init__(self, tracker: FrontierTracker, nursery: Nursery, lease: float, axes_per_host: int) -> None:
        incarnation = os.urandom(INCARNATION_BYTES)
        self._identity = HostIdentity(tracker.session_epoch, tracker.machine_index, incarnation, lease)
        self._tracker = tracker
        self._nursery = nursery
        self._axes_per_host = axes_per_host
        self._members: dict[int, Member] = {}
        self._is_leaving = False
        self._changed = ParkingLot()
        #: The axes of other hosts that the tracker has, by machine.
        self._foreign: dict[int, dict[int, None]] = {}
        #: What last went wrong, by machine; None: with those who are none of the others, as far as is known.
        self._troubles: dict[int | None, Exception] = {}
        self.recent_errors: deque[Exception] = deque(maxlen=ERRORS_KEPT)
        self._touched = TouchedAxes(self._identity.axis_prefix, current_trio_token(), self._axes_touched)
        self._feeds = Feeds(tracker, self._touched.failures, lease)
        self._axes_touched(self._touched.observe(tracker))

    @property
    def identity(self) -> HostIdentity:
        return self._identity

    def open_feed(self) -> UpdateFeed:
        return self._feeds.open()

    # The tracker -------------------------------------------------------------------------------------------------

    def _axes_touched(self, axes: list[int]) -> None:
        """Axes of this host have changed, axes of others were registered."""
        own_prefix = self._identity.axis_prefix
        own = []
        for axis in axes:
            prefix = axis >> PREFIX_SHIFT
            if prefix == own_prefix:
                own.append(axis)
            elif prefix >> 8 == self._identity.session_epoch:
                machine_index = prefix & _BYTE
                self._foreign.setdefault(machine_index, {})[axis] = None
                member = self._members.get(machine_index)
                if member is not None:
                    self._apply(member, [axis])
        if own:
            self._feeds.changed(own)

    def _apply(self, member: Member, axes: Iterable[int]) -> None:
        """Bring the tracker to what a host has said of these axes, or to its end."""
        tracked = [axis for axis in axes if self._is_tracked(member, axis)]
        self._make(self._advance_all, member, tracked)
        if member.gone is not None:
            self._make(self._tracker.fail_axes, tracked, member.gone)
        elif member.failures:
            for axis in member.failures.keys() & tracked:
                self._make(self._tracker.fail_axis, axis, member.failures[axis])

    def _advance_all(self, member: Member, axes: list[int]) -> None:
        errors = []
        for axis in axes:
            try:
                self._tracker.advance(axis, member.epochs.get(axis, 0))
            except Exception as error:  # of a callback of the users'
                errors.append(error)
        raise_all(errors)

    def _make(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Make a call that raises what callbacks of the users' raise, which ends the exchange."""
        try:
            call(*args, **kwargs)
        except Exception as error:
            self._nursery.start_soon(_raise, error)

    def _is_tracked(self, member: Member, axis: int) -> bool:
        """Whether the tracker knows an axis now; one that it does not know yet is registered."""
        machine_index = member.identity.machine_index
        if self._tracker.query_epoch(axis) is None:
            try:
                self._tracker.register_axis(axis)
            except AlreadyExists:
                pass  # another thread was faster
            except ResourceExhausted as error:
                self.report(error, machine_index, "the tracker")
                return False
            except FailedPrecondition:
                return False  # the tracker was closed: nobody waits any more
        self._foreign.setdefault(machine_index, {})[axis] = None
        return True

    def expect(self, axes: Iterable[int]) -> None:
        """See FrontierExchange.expect()."""
        for axis in axes:
            if self._tracker.query_epoch(axis) is None:
                self._tracker.register_axis(axis)
        self._touched.deliver_now()

    # Other hosts -------------------------------------------------------------------------------------------------

    def admit(self, identity: HostIdentity, end: Callable[[], object]) -> Link:
        if self._is_leaving:
            raise HostRefused(f"machine {self._identity.machine_index} is leaving the exchange")
        member = self._members.get(identity.machine_index)
        check_identity(member, identity, self._identity)
        if member is None or member.identity.incarnation != identity.incarnation:
            member = Member(identity, self._axes_per_host)
            self._members[identity.machine_index] = member
            self._nursery.start_soon(self._watch_lease, member, name=f"lease of machine {identity.machine_index}")
        return MemberLink(self, member, end)

    async def _watch_lease(self, member: Member) -> None:
        while member.gone is None:
            await sleep(member.identity.lease / QUARTERS_OF_A_LEASE)
            if member.gone is None and member.quarter_has_passed():
                self.end(member, HostState.LOST)

    def receive(self, member: Member, update: Update) -> None:
        """A host has said this. Raises BadFrame."""
        if member.gone is not None:
            return  # its link is ending
        self._apply(member, member.take(update))
        if not member.has_spoken:
            member.has_spoken = True
            self.wake_waiting()

    def end(self, member: Member, state: HostState) -> None:
        """A host is lost, or has left."""
        if member.gone is not None:
            return
        self._touched.deliver_now()
        machine_index = member.identity.machine_index
        gone = member.end(state)
        if state is HostState.LOST:
            self.report(gone, machine_index, "the exchange")
        else:
            self._troubles[machine_index] = gone
        self._apply(member, list(self._foreign.get(machine_index, ())))

    def wake_waiting(self) -> None:
        """Something has changed that somebody may wait for."""
        self._changed.unpark_all()

    def report(self, error: Exception, machine_index: int | None, place: str) -> None:
        former = self._troubles.get(machine_index)
        self._troubles[machine_index] = error
        if former is not None and str(former) == str(error):
            return  # one that is out of reach is so time and again
        error.add_note(f"seen on {place}")
        self.recent_errors.append(error)
        _LOGGER.warning("%s: %s: %s", place, type(error).__name__, error)

    def joined(self, machine_index: int) -> None:
        """What went wrong with it is over, and would be worth telling again."""
        self._troubles.pop(machine_index, None)

    # Asking ------------------------------------------------------------------------------------------------------

    def peers(self) -> dict[int, PeerStatus]:
        """See FrontierExchange.peers."""
        in_trouble = {index for index in self._troubles if index is not None}
        return {index: self._status(index) for index in sorted(self._members.keys() | in_trouble)}

    def _status(self, machine_index: int) -> PeerStatus:
        member = self._members.get(machine_index)
        error = self._troubles.get(machine_index)
        if member is None:
            return PeerStatus(machine_index, HostState.UNKNOWN, 0.0, 0, error)
        return PeerStatus(machine_index, member.state, member.identity.lease, len(member.ends), error)

    async def wait_for(self, machine_index: int) -> None:
        """See FrontierExchange.wait_for_peer()."""
        if self._is_present(machine_index):
            await checkpoint()
            return
        while not self._is_present(machine_index):
            await self._changed.park()

    def _is_present(self, machine_index: int) -> bool:
        member = self._members.get(machine_index)
        return member is not None and member.has_spoken and member.gone is None

    # The end -----------------------------------------------------------------------------------------------------

    async def say_goodbye(self) -> None:
        """Tell all that are connected, and wait until they have closed their links."""
        self._is_leaving = True
        self._touched.deliver_now()
        self._feeds.end()
        await checkpoint()
        while any(member.ends for member in self._members.values()):
            await self._changed.park()

    def close(self) -> None:
        """Hear no more; the axes of the others fail. Raises what callbacks of the users' raise."""
        self._is_leaving = True
        self._tracker.remove_observer(self._touched)
        self._touched.deliver_now()
        machine_index = self._identity.machine_index
        error = ExchangeClosed(f"machine {machine_index} has left the exchange, and hears of the others no more")
        self._tracker.fail_axes([axis for axes in self._foreign.values() for axis in axes], error)


class MemberLink(Link):
    """See Link."""

    __slots__ = ("_host", "_member")

    def __init__(self, host: Membership, member: Member, end: Callable[[], object]) -> None:
        self._host = host
        self._member = member
        member.link_opened(self, end)
        host.joined(member.identity.machine_index)

    def receive(self, update: Update) -> None:
        self._host.receive(self._member, update)

    def leave(self) -> None:
        self._host.end(self._member, HostState.LEFT)

    def close(self, error: BaseException | None) -> None:
        self._member.link_closed(self)
        self._host.wake_waiting()


async def _raise(error: Exception) -> None:
    raise error
