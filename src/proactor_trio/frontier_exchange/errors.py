"""What goes wrong between hosts. An axis that cannot move any more fails with one of these, which names its host."""

from __future__ import annotations

from typing import ClassVar

from proactor_trio.proactor.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    ProactorError,
    StatusCode,
    Unavailable,
)


class HostLost(DataLoss):
    """A host has vanished: nothing came from it for longer than its lease. Its axes fail with this.

    machine_index: which host. lease: seconds.
    """

    def __init__(self, machine_index: int, lease: float) -> None:
        super().__init__(f"machine {machine_index} has vanished: nothing was heard of it for its lease of {lease:g} s")
        self.machine_index = machine_index
        self.lease = lease

    def __reduce__(self) -> tuple[type[HostLost], tuple[int, float]]:
        return type(self), (self.machine_index, self.lease)


class HostLeft(Unavailable):
    """A host has left the exchange and said so; its axes fail with this. machine_index: which host."""

    def __init__(self, machine_index: int) -> None:
        super().__init__(f"machine {machine_index} has left the exchange")
        self.machine_index = machine_index

    def __reduce__(self) -> tuple[type[HostLeft], tuple[int]]:
        return type(self), (self.machine_index,)


class RemoteAxisFailed(Aborted):
    """An axis has failed on its own host. machine_index: which host; axis: its number; reason: what that host says."""

    def __init__(self, machine_index: int, axis: int, reason: str) -> None:
        super().__init__(f"axis {axis:#x} has failed on machine {machine_index}: {reason}")
        self.machine_index = machine_index
        self.axis = axis
        self.reason = reason

    def __reduce__(self) -> tuple[type[RemoteAxisFailed], tuple[int, int, str]]:
        return type(self), (self.machine_index, self.axis, self.reason)


class ExchangeClosed(FailedPrecondition):
    """This host has left the exchange, so it hears of the axes of others no more; they fail with this."""


class HostRefused(ProactorError):
    """A host may not take part, or not any more: another session, a machine index used twice, a lease that has ended.

    Raised by nothing that users call; it stands in the state of a peer, on both sides of the connection.
    """

    status: ClassVar[StatusCode] = StatusCode.PERMISSION_DENIED


class BadFrame(ProactorError):
    """What came over a connection is not what the protocol allows. The connection is closed, and nothing else."""

    status: ClassVar[StatusCode] = StatusCode.INVALID_ARGUMENT
