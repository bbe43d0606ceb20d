"""A call from a thread into a run: made in the task that waits for the thread, or for itself.

Whoever makes it puts an outcome into `answer`, for which the thread waits; an exception goes to the thread and to
nobody else. User code in a call can be interrupted by KeyboardInterrupt like that of any task, and the code around it
cannot, so that an answer always comes.
"""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from outcome import Error, Outcome, acapture, capture

from proactor_trio._kernel.context import current_run, current_task
from proactor_trio._kernel.errors import RunFinishedError
from proactor_trio._kernel.interrupts import disable_ki_protection, enable_ki_protection
from proactor_trio._kernel.spawning import check_synchronous, coroutine_here
from proactor_trio._kernel.traps import cancel_shielded_checkpoint


class Call(ABC):
    """A function, its arguments, and the context variables of the thread."""

    __slots__ = ("answer", "args", "context", "function")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.context = contextvars.copy_context()
        self.answer: SimpleQueue[Outcome[Any]] = SimpleQueue()

    @abstractmethod
    async def make_in_host(self) -> None:
        """Make it in the calling task, which is the one that waits for the thread."""

    @abstractmethod
    def make_alone(self) -> None:
        """Make it outside of that task. Called by the run loop, between two task steps."""


class SyncCall(Call):
    """Of a plain function."""

    __slots__ = ()

    @disable_ki_protection
    def _call(self) -> Any:
        return check_synchronous(self.function, self.context.run(self.function, *self.args))

    @enable_ki_protection
    async def make_in_host(self) -> None:
        self.make_alone()

    @enable_ki_protection
    def make_alone(self) -> None:
        self.answer.put(capture(self._call))


class AsyncCall(Call):
    """Of an async function."""

    __slots__ = ()

    @disable_ki_protection
    async def _call(self) -> Any:
        awaitable: Awaitable[Any] = coroutine_here(self.function, self.args)
        return await awaitable

    @enable_ki_protection
    async def make_in_host(self) -> None:
        # A task's context counts from its next step on, so there is a step before and one after.
        task = current_task()
        context, task.context = task.context, self.context
        await cancel_shielded_checkpoint()
        outcome = await acapture(self._call)
        task.context = context
        await cancel_shielded_checkpoint()
        self.answer.put(outcome)

    @enable_ki_protection
    async def _make_in_system_task(self) -> None:
        self.answer.put(await acapture(self._call))

    @enable_ki_protection
    def make_alone(self) -> None:
        try:
            current_run().spawn_system_task(self._make_in_system_task, name=self.function, context=self.context)
        except RunFinishedError as error:
            self.answer.put(Error(error))
