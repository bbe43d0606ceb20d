"""EventSource: a callback for each time that a descriptor of somebody else's is readable.

The descriptor is watched as long as the source lives, by one HandlePoll that begins again after each callback: what
the callback leaves unread is reported again by the next poll. A report of ERR or HUP without IN is the last: nothing
readable can come any more, and the state would never go away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proactor_trio.backends.contract import CompletionFlags, PollEvents
from proactor_trio.proactor.errors import OperationCancelled
from proactor_trio.proactor.operation import Continuation, Operation, OperationState
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.proactor import Proactor

EventCallback = Callable[["EventSource", PollEvents], object]


class EventSource:
    """Watches a descriptor until `close()`. Owner thread of the proactor only.

    handle: a descriptor or an object with `fileno()`, which outlives the source and is drained by the callback.
    callback: called as `callback(source, events)` inside `poll()`, and counted as one completion; may close the source.
    """

    __slots__ = ("__weakref__", "_callback", "_is_told", "_poll", "_proactor", "error")

    def __init__(self, proactor: Proactor, handle: Any, callback: EventCallback) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self._proactor: Proactor | None = proactor
        self._callback = callback
        #: The callback was called, and the next report was not asked for yet.
        self._is_told = False
        #: Why the kernel stopped watching, if it did.
        self.error: BaseException | None = None
        self._poll = HandlePoll(handle, PollEvents.IN, Continuation(self._completed))
        proactor.check_owner("EventSource")
        proactor.submit(self._poll)
        proactor.attach(self)

    @property
    def is_active(self) -> bool:
        """Whether the descriptor is being watched."""
        return self._proactor is not None

    def _completed(self, operation: Operation, flags: CompletionFlags) -> None:
        proactor = self._proactor
        if operation.error is not None:
            operation._proactor.uncount()  # type: ignore[union-attr]
            if proactor is not None and not isinstance(operation.error, OperationCancelled):
                self.error = operation.error
            self._end()
            return
        if proactor is None:
            operation._proactor.uncount()  # type: ignore[union-attr]
            return
        if operation.state is not OperationState.DONE:  # the callback was interrupted
            self._is_told = False
            return
        events: PollEvents = operation.result
        if not events & PollEvents.IN:
            self._end()
        try:
            if not self._is_told:
                self._is_told = True
                self._callback(self, events)
        finally:
            if self._proactor is not None:
                proactor.submit(operation)
            self._is_told = False

    def close(self) -> None:
        """Watch no more; idempotent. The callback is not called again. May be called by the callback itself."""
        proactor = self._proactor
        if proactor is None:
            return
        proactor.check_owner("EventSource.close()")
        self._end()
        if self._poll.state is OperationState.SUBMITTED:
            proactor.cancel(self._poll)

    def _end(self) -> None:
        if self._proactor is not None:
            self._proactor.detach(self)
            self._proactor = None

    def proactor_closing(self) -> None:
        """See Attachment."""
        self.close()

    def proactor_closed(self) -> None:
        """See Attachment."""

    def __repr__(self) -> str:
        return f"<EventSource {'active' if self.is_active else 'closed'}>"
