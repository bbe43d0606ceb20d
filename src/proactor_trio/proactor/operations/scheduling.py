"""Operations on time and readiness: Nop, Timer, HandlePoll."""

from __future__ import annotations

import math
from typing import Any, Final, TypedDict, Unpack

from proactor_trio.backends.contract import POLL_EVENTS, Kind, OperationFlags, PollEvents
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation

#: Seconds; the kernel counts nanoseconds in 63 bits.
_LARGEST_DEADLINE: Final = 9e9
LARGEST_DESCRIPTOR: Final = (1 << 31) - 1
_EITHER_DIRECTION: Final = int(PollEvents.IN | PollEvents.OUT)


class Nop(Operation):
    """Completes at the next poll. A batch of them completes in the order of submission. Result: None."""

    __slots__ = ()
    kind = Kind.NOP

    def _finish(self, result: int) -> None:
        return None


class TimerLimits(TypedDict, total=False):
    """A Timer's `deadline` is what it waits for; only `timeout=` can end it before."""

    timeout: float


class Timer(Operation):
    """Completes at or after a point in time. Result: None.

    deadline: seconds on the clock of `time.monotonic()`. One that has passed completes at the next poll.
    Cancelling it completes it promptly, not at its deadline.
    """

    __slots__ = ()
    kind = Kind.TIMER

    def __init__(
        self,
        deadline: float,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[TimerLimits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.deadline = deadline

    def _prepare(self) -> None:
        if math.isnan(self.deadline):
            raise ValueError("deadline must not be NaN")
        if abs(self.deadline) > _LARGEST_DEADLINE:
            raise ValueError(f"deadline must be a time on time.monotonic(), not {self.deadline}")

    def _finish(self, result: int) -> None:
        return None


class HandlePoll(Operation):
    """Waits once until a descriptor is ready; reads and writes nothing. Result: PollEvents.

    handle: a descriptor or an object with `fileno()`; the caller keeps it open. It is not owned. A Socket (or anything
        with `closed`) that is closed meanwhile ends it as cancelled, cause RESOURCE_CLOSED.
    events: PollEvents.IN, OUT or both. ERR and HUP are always reported.
    """

    __slots__ = ("handle",)
    kind = Kind.HANDLE_POLL

    def __init__(
        self,
        handle: Any,
        events: PollEvents = PollEvents.IN,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.handle = handle
        self.poll_events = events

    def _prepare(self) -> None:
        events = int(self.poll_events)
        if not events & _EITHER_DIRECTION or events >= len(POLL_EVENTS):
            raise ValueError("events must contain PollEvents.IN or PollEvents.OUT")
        if self._resource_is_closed():
            raise ClosedResourceError("HandlePoll: handle was closed")
        if isinstance(self.handle, int):
            descriptor = self.handle
        elif hasattr(self.handle, "fileno"):
            descriptor = self.handle.fileno()
        else:
            raise TypeError(f"handle must be a descriptor or have fileno(), not {type(self.handle).__name__}")
        check_integer(descriptor, "handle", 0, LARGEST_DESCRIPTOR)
        self.descriptor = descriptor

    def _resource_is_closed(self) -> bool:
        return getattr(self.handle, "closed", False)

    def _finish(self, result: int) -> PollEvents:
        return POLL_EVENTS[result]
