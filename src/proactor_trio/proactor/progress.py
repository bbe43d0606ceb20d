"""Progress callbacks: functions that a poll calls instead of waiting, for hardware that is asked and does not tell.

While one is registered `poll()` never waits: it calls each of them once, newest first, before it asks the kernel, and
adds what they return to its number of completions. A function removes itself by calling `remove()` on its own entry; it
takes effect when it returns. What it raises is raised by that `poll()` after everything else was delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proactor_trio.proactor.errors import CompletionErrors

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class ProgressCallback:
    """A function that is called in every `poll()` of a proactor until `remove()`. Owner thread only.

    function: returns how much progress it made (>= 0), which `poll()` adds to its result.
    on_remove: called once after the last call of `function`: what belongs to it can go.
    """

    __slots__ = ("_callbacks", "_proactor", "_running", "function", "on_remove", "remove_requested")

    def __init__(
        self, proactor: Proactor, function: Callable[[], int], on_remove: Callable[[], object] | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, not {type(function).__name__}")
        self.function = function
        self.on_remove = on_remove
        self.remove_requested = False
        self._running = False
        self._proactor = proactor
        self._callbacks = proactor.progress_callbacks()
        self._callbacks.entries.insert(0, self)

    def remove(self) -> None:
        """Call it no more; idempotent. Inside its own function this takes effect when that returns."""
        self._proactor.check_owner("ProgressCallback.remove()")
        self.remove_requested = True
        if not self._running:
            self._callbacks.drop(self)

    def call(self) -> int:
        """Make progress once, and leave if that was asked for meanwhile."""
        self._running = True
        try:
            made = self.function()
            if not isinstance(made, int) or made < 0:
                raise TypeError(f"function must return a number >= 0, not {made!r}")
            return made
        finally:
            self._running = False
            if self.remove_requested:
                self._callbacks.drop(self)


class ProgressCallbacks:
    """The entries of one proactor."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[ProgressCallback] = []

    def run(self, errors: CompletionErrors) -> int:
        """Call each of them once; returns the progress that they made together."""
        made = 0
        for entry in self.entries[:]:
            if entry.remove_requested:
                continue
            try:
                made += entry.call()
            except Exception as error:
                errors.keep_of_call(error, entry.function)
        return made

    def drop_all(self) -> None:
        """The proactor is closed."""
        for entry in self.entries[:]:
            self.drop(entry)

    def drop(self, entry: ProgressCallback) -> None:
        if entry not in self.entries:
            return
        self.entries.remove(entry)
        if entry.on_remove is not None:
            entry.on_remove()
