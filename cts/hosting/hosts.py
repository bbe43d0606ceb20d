"""Two hosts with one face, for the tests that are the same for both: Trio and asyncio.

Each runs `async_fn(bridge, host)` in a run of its own, with a bridge open around it, and fails after a while instead of
hanging. `host.start()` makes a task of the host's own kind, whose end is kept as an `Ending`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from cts.configurations import Configuration
from cts.hosting.support import MOST_SECONDS
from proactor_trio.integrations import asyncio_bridge, trio_bridge
from proactor_trio.proactor import Operation, OperationState, ProactorOptions

Bridge = trio_bridge.Bridge | asyncio_bridge.Bridge
AsyncFunction = Callable[..., Awaitable[Any]]


class Ending:
    """A task that was started, and what became of it."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.was_cancelled = False
        self.is_over = False
        #: Cancels the task by the host's own means.
        self.cancel: Callable[[], object] = lambda: None

    @property
    def word(self) -> str:
        """ "cancelled", the error's type, or "ok"."""
        if self.was_cancelled:
            return "cancelled"
        return "ok" if self.error is None else type(self.error).__name__


class Host(ABC):
    """One of the two; made for one test."""

    name: str

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def options(self) -> ProactorOptions:
        return self._configuration.restrict()

    @property
    def backend(self) -> str:
        return self._configuration.backend

    @abstractmethod
    def run(self, async_fn: AsyncFunction, *args: Any) -> Any:
        """`async_fn(bridge, host, *args)` in a run of its own."""

    @abstractmethod
    def run_bare(self, async_fn: AsyncFunction, *args: Any) -> Any:
        """`async_fn(host, *args)` in a run of its own, without a bridge."""

    @abstractmethod
    def open_bridge(self) -> Any:
        """A bridge on the configuration."""

    @abstractmethod
    async def checkpoint(self) -> None:
        """Let the others run once."""

    @abstractmethod
    def start(self, async_fn: AsyncFunction, *args: Any) -> Any:
        """A task for the length of a block: `async with host.start(...) as ending`; leaving the block waits for it."""

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run until the condition holds."""
        while not condition():
            await self.checkpoint()


class TrioHost(Host):
    name = "trio"

    def run(self, async_fn: AsyncFunction, *args: Any) -> Any:
        async def with_bridge(host: Host) -> Any:
            async with self.open_bridge() as bridge:
                return await async_fn(bridge, host, *args)

        return self.run_bare(with_bridge)

    def run_bare(self, async_fn: AsyncFunction, *args: Any) -> Any:
        async def bounded() -> Any:
            with trio.fail_after(MOST_SECONDS):
                return await async_fn(self, *args)

        return trio.run(bounded, strict_exception_groups=True)

    def open_bridge(self) -> trio_bridge.Bridge:
        return trio_bridge.open_bridge(self.backend, self.options())

    async def checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def start(self, async_fn: AsyncFunction, *args: Any) -> AsyncIterator[Ending]:
        ending = Ending()

        async def task() -> None:
            with trio.CancelScope() as scope:
                ending.cancel = scope.cancel
                try:
                    ending.value = await async_fn(*args)
                except Exception as error:
                    ending.error = error
            ending.was_cancelled = scope.cancelled_caught
            ending.is_over = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()
            yield ending


class AsyncioHost(Host):
    name = "asyncio"

    def run(self, async_fn: AsyncFunction, *args: Any) -> Any:
        async def with_bridge(host: Host) -> Any:
            async with self.open_bridge() as bridge:
                return await async_fn(bridge, host, *args)

        return self.run_bare(with_bridge)

    def run_bare(self, async_fn: AsyncFunction, *args: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(MOST_SECONDS):
                return await async_fn(self, *args)

        return asyncio.run(bounded())

    def open_bridge(self) -> asyncio_bridge.Bridge:
        return asyncio_bridge.open_bridge(self.backend, self.options())

    async def checkpoint(self) -> None:
        await asyncio.sleep(0)

    @asynccontextmanager
    async def start(self, async_fn: AsyncFunction, *args: Any) -> AsyncIterator[Ending]:
        ending = Ending()

        async def guarded() -> None:
            try:
                ending.value = await async_fn(*args)
            except asyncio.CancelledError:
                ending.was_cancelled = True
            except Exception as error:
                ending.error = error
            finally:
                ending.is_over = True

        task = asyncio.create_task(guarded())
        ending.cancel = task.cancel
        for _ in range(5):
            await asyncio.sleep(0)
        yield ending
        await task


HOSTS: Final[tuple[type[Host], ...]] = (TrioHost, AsyncioHost)


def is_in_flight(operation: Operation) -> bool:
    """Whether the backend has it."""
    return operation.state is OperationState.SUBMITTED and operation.identifier != 0
