"""Async generators that are not exhausted: their `finally` blocks run inside the run, or are reported.

CPython calls two hooks: one when an async generator is first used, one when it is dropped unfinished. The first notes
generators of our tasks; the second closes such a generator in a system task with a cancelled scope around it, so that
its clean-up may run but may not block. Generators of other frameworks in this thread are left to their own hooks. At
the end of the run those which are left are closed in the same way, round after round until none is.
"""

from __future__ import annotations

import logging
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.cancel import CancelReason, CancelScope
from proactor_trio._kernel.context import CONTEXT, running_task
from proactor_trio._kernel.errors import RunFinishedError

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run

_LOGGER: Final = logging.getLogger("proactor_trio.async_generator_errors")

Generator = AsyncGenerator[Any, Any]


class AsyncGenerators:
    """The async generators of one run."""

    __slots__ = ("_alive", "_finalizing_all", "_foreign", "_previous", "_run", "_trailing")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._alive: weakref.WeakSet[Generator] = weakref.WeakSet()
        self._foreign: set[int] = set()  # identities: weak references are gone when a generator is finalised
        self._trailing: set[Generator] = set()
        self._finalizing_all = False
        self._previous = sys.get_asyncgen_hooks()

    def install_hooks(self) -> None:
        self._previous = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._first_use, finalizer=self._dropped)

    def remove_hooks(self) -> None:
        sys.set_asyncgen_hooks(*self._previous)

    def _first_use(self, generator: Generator) -> None:
        if running_task() is not None:
            self._foreign.discard(id(generator))
            if self._finalizing_all:
                self._trailing.add(generator)  # made by the clean-up of another one; gets its own round
            else:
                self._alive.add(generator)
            return
        self._foreign.add(id(generator))
        if self._previous.firstiter is not None:
            self._previous.firstiter(generator)

    def _dropped(self, generator: Generator) -> None:
        if id(generator) in self._foreign:
            self._foreign.discard(id(generator))
            if self._previous.finalizer is not None:
                self._previous.finalizer(generator)
            else:
                _close_by_hand(generator)
            return
        name = getattr(generator, "__qualname__", repr(generator))
        try:
            warnings.warn(
                f"Async generator {name!r} was garbage collected before it had been exhausted. Surround its use in "
                "'async with aclosing(...):' to raise exceptions from its clean-up where it is used",
                ResourceWarning,
                stacklevel=2,
                source=generator,
            )
        finally:  # where warnings are errors, too
            self._close_dropped(generator, name)

    def _close_dropped(self, generator: Generator, name: str) -> None:
        if CONTEXT.run is self._run and not self._finalizing_all:
            self._close_soon(generator, name)
            return
        try:
            self._run.token.run_sync_soon(self._close_soon, generator, name)
        except RunFinishedError:
            self._trailing.add(generator)

    def _close_soon(self, generator: Generator, name: str) -> None:
        self._run.spawn_system_task(self._close_one, generator, name, name=f"close asyncgen {name} (abandoned)")

    async def close_remaining(self) -> None:
        """At the end of the run: close all that are left, also those that appear meanwhile."""
        self._finalizing_all = True
        batch = set(self._alive) | self._trailing
        self._alive.clear()
        while batch:
            self._trailing = set()
            for generator in batch:
                await self._close_one(generator, getattr(generator, "__qualname__", repr(generator)))
            batch = self._trailing

    async def _close_one(self, generator: Generator, name: object) -> None:
        try:
            with CancelScope(shield=True) as scope:
                scope.cancel_because(CancelReason("shutdown", None, "the async generator was not exhausted"))
                await generator.aclose()
        except BaseException:
            _LOGGER.exception(
                "Exception ignored during finalization of async generator %r; surround its use in 'async with "
                "aclosing(...):' to raise it where it is used",
                name,
            )


def _close_by_hand(generator: Generator) -> None:
    """What the interpreter does without hooks: run the clean-up as far as it goes without waiting."""
    closer = generator.aclose()
    try:
        closer.send(None)
    except StopIteration:
        return
    finally:
        closer.close()
    raise RuntimeError(f"Non-proactor_trio async generator {generator!r} awaited something during finalization")
