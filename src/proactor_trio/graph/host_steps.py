"""Host steps: the nodes that are Python. A plain function is called in the loop; an async one runs as a task.

Both are called with the results of the nodes that they come after, in the order of `after=`; for one of `after_any=`
with the node itself, behind these, since it may have no result. An exception is the failure of the node.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.interrupts import disable_ki_protection
from proactor_trio.graph.node import Condition
from proactor_trio.proactor.errors import CancelCause, DeadlineExceeded, OperationCancelled

if TYPE_CHECKING:
    from proactor_trio.graph.node import Node


class HostStep:
    """What a node calls. `is_async`: whether that runs as a task."""

    __slots__ = ("_cancel_called", "function", "is_async", "scope")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.is_async = _is_async(function)
        #: Around the task, while it runs.
        self.scope: CancelScope | None = None
        self._cancel_called = False

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        name: str = getattr(function, "__name__", type(function).__name__)
        return name

    @disable_ki_protection
    def call(self, node: Node) -> Any:
        """Call it; of an async function the result is the coroutine."""
        arguments = [earlier.result for earlier, condition in node.predecessors if condition is Condition.SUCCESS]
        ended = [earlier for earlier, condition in node.predecessors if condition is Condition.END]
        return self.function(*arguments, *ended)

    async def perform(self, node: Node, deadline: float) -> Any:
        """Await an async one until the deadline.

        Raises DeadlineExceeded, OperationCancelled if cancel() ended it, and what it raises.
        """
        self._cancel_called = False
        scope = self.scope = CancelScope(deadline=deadline)
        try:
            with scope:
                return await self.call(node)
        finally:
            self.scope = None
        if self._cancel_called:
            raise OperationCancelled(f"{node.name} was cancelled", CancelCause.REQUESTED)
        raise DeadlineExceeded(f"{node.name} was ended by its deadline")

    def cancel(self) -> None:
        """Ask the task to end."""
        self._cancel_called = True
        if self.scope is not None:
            self.scope.cancel()


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    called = type(function).__call__ if callable(function) else None
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
