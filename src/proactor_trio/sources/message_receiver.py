"""open_message_receiver(): the messages of the run's proactor as an async iterator.

Messages are numbers of 64 bits, which any thread and any other proactor may send. They are taken off the proactor as it
polls, and lie here until they are taken; they still count then, so that `send_message()` is refused
(ResourceExhausted) when too many lie here as when the proactor does not poll. What other proactors' kernels leave is
not held back by anybody.
"""

from __future__ import annotations

from collections import deque

from proactor_trio._kernel.context import current_run, current_task
from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK, YIELD
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.sources.iteration import Source


class MessageReceiver(Source[int], WaitingPlace):
    """The messages that arrive while its block lasts, in order."""

    __slots__ = ("_proactor", "_task", "_untaken")

    def __init__(self, proactor: Proactor) -> None:
        super().__init__()
        self._proactor = proactor
        self._task: Task | None = None
        self._untaken: deque[int] = deque()
        proactor.set_message_callback(self._arrived, self._untaken)

    def _arrived(self, proactor: Proactor, message: int) -> None:
        self._untaken.append(message)
        task, self._task = self._task, None
        if task is not None:
            task.resume()

    async def _next(self) -> int:
        if self._untaken:
            await YIELD
        else:
            task = self._task = current_task()
            task.waiting = self
            await PARK
        return self._untaken.popleft()

    def withdraw(self, task: Task) -> None:
        """A task that waits was cancelled."""
        self._task = None

    def close(self) -> None:
        """Take no more; messages that nobody has taken are dropped. Who waits gets ClosedResourceError. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._proactor.set_message_callback(None)
        task, self._task = self._task, None
        if task is not None:
            task.interrupt(ClosedResourceError("the block of this MessageReceiver has ended"))


def open_message_receiver() -> MessageReceiver:
    """The messages to the run's proactor: `with open_message_receiver() as messages: async for message in messages`.

    Messages that come before it is opened, or after its block, are dropped. Raises BusyResourceError where somebody
    takes them already, RuntimeError outside of a run.
    """
    proactor = current_run().proactor
    if proactor.has_message_callback:
        raise BusyResourceError("somebody takes the messages of this proactor already")
    return MessageReceiver(proactor)
