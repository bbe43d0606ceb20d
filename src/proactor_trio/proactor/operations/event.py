"""EventWait: wait for an Event, and take its signal."""

from __future__ import annotations

from typing import Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.errors import OperationCancelled
from proactor_trio.proactor.event import EVENT_BYTES, Event
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation


class EventWait(Operation):
    """Waits until an event is set, and takes the signal: the event is not set afterwards. Result: None.

    A signal that was given before counts. Cancelling it leaves the event as it is.
    """

    __slots__ = ("_counter", "event")
    kind = Kind.STREAM_READ

    def __init__(
        self,
        event: Event,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(event, Event):
            raise TypeError(f"event must be a proactor_trio.proactor.Event, not {type(event).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.event = event
        self._counter = bytearray(EVENT_BYTES)

    def _prepare(self) -> None:
        self.descriptor = self.event.fileno()
        self.view = memoryview(self._counter)
        self.event.users.add(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self.event.users.discard(self)

    def _finish(self, result: int) -> None:
        self.event.users.discard(self)

    def _failure(self, result: int) -> BaseException:
        self.event.users.discard(self)
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self.event.users.discard(self)
        return super()._cancellation()
