"""open_exchange(): a tracker's axes, and those of other hosts, for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from proactor_trio._kernel.cancel import Cancelled
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.frontier_exchange.members import LONGEST_LEASE, SHORTEST_LEASE, PeerStatus
from proactor_trio.frontier_exchange.membership import Membership
from proactor_trio.frontier_exchange.transport import Transport
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.frontier_tracker import FrontierTracker
from proactor_trio.timeouts import move_on_after

DEFAULT_LEASE: Final = 5.0
DEFAULT_AXES_PER_HOST: Final = 4096
_MOST_AXES_PER_HOST: Final = 1 << 24
#: For so many seconds at most the end of a block waits for the others to have heard the goodbye.
GOODBYE_SECONDS: Final = 1.0


class FrontierExchange:
    """A host that takes part in an exchange; open_exchange() makes one."""

    __slots__ = ("__weakref__", "_membership")

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def __init_subclass__(cls) -> None:
        raise TypeError("FrontierExchange does not support subclassing")

    @property
    def machine_index(self) -> int:
        """Of this host."""
        return self._membership.identity.machine_index

    @property
    def peers(self) -> dict[int, PeerStatus]:
        """How the other hosts stand now, by machine index: all that have joined, or should have."""
        return self._membership.peers()

    @property
    def recent_errors(self) -> tuple[Exception, ...]:
        """What went wrong with connections and hosts lately, the oldest first; each has a note that says where.

        They are logged, too, by the logger `proactor_trio.frontier_exchange`.
        """
        return tuple(self._membership.recent_errors)

    async def wait_for_peer(self, machine_index: int) -> None:
        """Wait until a host takes part and its axes are known here: all that it had when it was connected.

        One that was lost or has left is waited for anew. Cancelled: nothing has changed.
        """
        check_integer(machine_index, "machine_index", 0, 255)
        await self._membership.wait_for(machine_index)

    def expect(self, *axes: int) -> None:
        """Have the tracker know these axes, of whatever host, so that a frontier that names them can be waited for.

        Those that it knows are left as they are. Raises what `FrontierTracker.register_axis()` raises.
        """
        self._membership.expect(axes)

    def __repr__(self) -> str:
        identity = self._membership.identity
        return f"<FrontierExchange of machine {identity.machine_index}, session {identity.session_epoch}>"


@asynccontextmanager
async def open_exchange(
    tracker: FrontierTracker,
    transport: Transport,
    *,
    lease: float = DEFAULT_LEASE,
    axes_per_host: int = DEFAULT_AXES_PER_HOST,
) -> AsyncIterator[FrontierExchange]:
    """Share the axes of `tracker` with other hosts for the length of a block:

        async with open_exchange(tracker, TcpTransport({1: ("10.0.0.2", 7000)}, port=7000)) as exchange:
            await exchange.wait_for_peer(1)

    tracker: its session_epoch and machine_index say who this host is. Axes with these two in their number are told to
        the others, whichever thread advances or fails them; axes of the others are registered here when they are heard
        of, advance, and fail when their host fails them, vanishes or leaves.
    transport: how the others are reached. It is this exchange's until the block ends.
    lease: for how many seconds without a sign the others are to believe in this host; 0.05 to 3600. They give it up
        when it was silent for 1.25 to 1.5 times as long. An interruption that is shorter than the lease loses nothing.
    axes_per_host: of how many axes each other host may speak.

    Raises ValueError or TypeError for bad arguments, and what the transport raises when it cannot begin (OSError). What
    the users' callbacks raise while axes of other hosts move cancels the block, and is raised by it in an
    ExceptionGroup.

    The end of the block says goodbye: on other hosts this one's axes fail at once with HostLeft, and here the axes of
    the others fail with ExchangeClosed. A block that is cancelled says nothing, and the others see its lease end.
    """
    if not SHORTEST_LEASE <= lease <= LONGEST_LEASE:
        raise ValueError(f"lease must be {SHORTEST_LEASE:g} to {LONGEST_LEASE:g} seconds, not {lease!r}")
    check_integer(axes_per_host, "axes_per_host", 1, _MOST_AXES_PER_HOST)
    if not isinstance(tracker, FrontierTracker):
        raise TypeError(f"tracker must be a FrontierTracker, not {type(tracker).__name__}")
    if not isinstance(transport, Transport):
        raise TypeError(f"transport must be a Transport, not {type(transport).__name__}")
    failure: BaseException | None = None
    try:
        async with open_nursery(strict_exception_groups=True) as nursery:
            membership = Membership(tracker, nursery, lease, axes_per_host)
            try:
                try:
                    await nursery.start(transport.run, membership)
                    yield FrontierExchange(membership)
                except BaseException as error:
                    failure = error
                    raise
                finally:
                    if not isinstance(failure, Cancelled | GeneratorExit):
                        with move_on_after(min(GOODBYE_SECONDS, lease)):
                            await membership.say_goodbye()
            finally:
                nursery.cancel_scope.cancel("the block around a frontier exchange has ended")
                membership.close()
    except BaseExceptionGroup as group:
        if failure is None or group.exceptions != (failure,):
            raise
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context
            del failure, context, group
