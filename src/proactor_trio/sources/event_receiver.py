"""open_event_receiver(): when somebody else's descriptor is readable, or an Event was set, as an async iterator.

Between two steps nothing is watched: whoever iterates reads the descriptor empty, and what he leaves unread is told
again by the next step. So nobody is called over and over for what he does not get round to.
"""

from __future__ import annotations

from typing import Any

from proactor_trio._kernel.context import current_run
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.errors import ClosedResourceError, OperationCancelled
from proactor_trio.proactor.event import Event
from proactor_trio.proactor.operations.event import EventWait
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.sources.iteration import Source


class EventReceiver(Source[PollEvents]):
    """What happens to one descriptor or Event, while its block lasts."""

    __slots__ = ("_is_event", "_proactor", "_wait")

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._proactor = current_run().proactor
        self._is_event = isinstance(source, Event)
        self._wait: EventWait | HandlePoll = EventWait(source) if self._is_event else HandlePoll(source, PollEvents.IN)

    async def _next(self) -> PollEvents:
        try:
            result = await self._wait
        except OperationCancelled:
            if self.is_closed:
                raise ClosedResourceError("the block of this EventReceiver has ended") from None
            raise
        if self._is_event:
            return PollEvents.IN
        events: PollEvents = result
        if not events & PollEvents.IN:
            raise StopAsyncIteration  # nothing readable can come any more
        return events

    def close(self) -> None:
        """Watch no more; the descriptor or event is left as it is. Who waits gets ClosedResourceError. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._proactor.cancel(self._wait)


def open_event_receiver(source: Any) -> EventReceiver:
    """Watch a descriptor or a proactor's Event: `with open_event_receiver(source) as events: async for _ in events`.

    source: a descriptor or an object with `fileno()`, which gives PollEvents each time that it is readable, and ends
        when only an error or a hang-up is left; or a proactor_trio.proactor.Event, of which each step takes the signal.

    Raises RuntimeError outside of a run. The steps raise TypeError or ValueError for a source that is neither, and
    OSError for a descriptor that cannot be watched.
    """
    return EventReceiver(source)
