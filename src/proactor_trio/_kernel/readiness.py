"""Waiting until a descriptor is ready, by an operation that moves no bytes: for those who then do that themselves.

Rules:

1. One task may wait for each direction of a descriptor at a time. Descriptors are told apart by their numbers.
2. notify_closing() ends the waits on a number at once: from then on the number is free for others, and who waited gets
   ClosedResourceError, also if the descriptor became ready in the same moment. The kernel may see a wait that was begun
   in this very tick only after the descriptor was closed and its number given away. That does no harm: such a wait
   reads nothing, and what it reports is not looked at.
3. It ends nothing else. A stream or socket of ours owns its descriptor, and its own close ends what is pending there.
4. What is ready already is waited for by an operation as well, so that each wait is a checkpoint.
"""

from __future__ import annotations

from typing import Final, Protocol

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.run_vars import RunVar
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError, OperationCancelled
from proactor_trio.proactor.operations.scheduling import LARGEST_DESCRIPTOR, HandlePoll


class HasFileno(Protocol):
    """Anything that has a descriptor."""

    def fileno(self) -> int:
        """The number of the descriptor."""
        ...


class Waits:
    """The waits of one run, by the number of the descriptor."""

    __slots__ = ("readers", "writers")

    def __init__(self) -> None:
        self.readers: dict[int, HandlePoll] = {}
        self.writers: dict[int, HandlePoll] = {}


_waits_of_run: Final[RunVar[Waits]] = RunVar("waits for readiness")


@enable_ki_protection
async def wait_readable(fd: int | HasFileno) -> None:
    """Wait until a descriptor is readable: there is something to read, the end, or an error.

    fd: a descriptor, or an object with `fileno()`: a socket, a pipe, a terminal, anything that can be polled.

    Raises BusyResourceError if another task waits for the same, ClosedResourceError if notify_closing() is called
    meanwhile, TypeError, ValueError or OSError for what is no open descriptor. Cancelled: it had no effect.
    """
    await _wait(_waits().readers, fd, PollEvents.IN)


@enable_ki_protection
async def wait_writable(fd: int | HasFileno) -> None:
    """Wait until a descriptor is writable: there is room for something, or an error. As wait_readable()."""
    await _wait(_waits().writers, fd, PollEvents.OUT)


async def _wait(waits: dict[int, HandlePoll], fd: int | HasFileno, events: PollEvents) -> None:
    descriptor = _number_of(fd)
    if descriptor in waits:
        direction = "readable" if events is PollEvents.IN else "writable"
        raise BusyResourceError(f"another task waits for descriptor {descriptor} to be {direction}")
    poll = waits[descriptor] = HandlePoll(descriptor, events)
    try:
        await poll
    except (OperationCancelled, OSError):
        if waits.get(descriptor) is poll:
            raise
    finally:
        is_closing = waits.get(descriptor) is not poll
        if not is_closing:
            del waits[descriptor]
    if is_closing:
        raise ClosedResourceError(f"another task is closing descriptor {descriptor}")


@enable_ki_protection
def notify_closing(fd: int | HasFileno) -> None:
    """Say that a descriptor is about to be closed: who waits for it to be ready gets ClosedResourceError.

    Call it before the descriptor is closed, with no checkpoint in between. It closes nothing itself.
    """
    descriptor = _number_of(fd)
    run = current_run()
    waits = _waits()
    for waits_in_direction in (waits.readers, waits.writers):
        poll = waits_in_direction.pop(descriptor, None)
        if poll is not None:
            run.proactor.cancel(poll)


def _number_of(fd: int | HasFileno) -> int:
    if isinstance(fd, int):
        number = fd
    elif hasattr(fd, "fileno"):
        number = fd.fileno()
    else:
        raise TypeError(f"fd must be a descriptor or have fileno(), not {type(fd).__name__}")
    check_integer(number, "fd", 0, LARGEST_DESCRIPTOR)
    return number


def _waits() -> Waits:
    try:
        return _waits_of_run.get()
    except LookupError:
        waits = Waits()
        _waits_of_run.set(waits)
        return waits
