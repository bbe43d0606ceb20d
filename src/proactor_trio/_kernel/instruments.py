"""Instruments: objects that are told what the run loop does.

An instrument costs nothing where it does not listen: only methods that a class overrides are called, and the run loop
asks one attribute per hook. The proactor tells of operations only while an instrument listens to one of these hooks.
One that raises is removed, and the error is logged; the run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from proactor_trio._kernel.context import current_run

if TYPE_CHECKING:
    from proactor_trio._kernel.task import Task
    from proactor_trio.proactor.operation import Operation
    from proactor_trio.proactor.proactor import Proactor

_LOGGER: Final = logging.getLogger("proactor_trio.abc.Instrument")


class Instrument:
    """Base class: override what you want to hear. All methods are called in the run's thread, between task steps."""

    __slots__ = ()

    def before_run(self) -> None:
        """The run begins."""

    def after_run(self) -> None:
        """The run is about to return."""

    def task_spawned(self, task: Task) -> None:
        """A task was made."""

    def task_scheduled(self, task: Task) -> None:
        """A task became runnable."""

    def before_task_step(self, task: Task) -> None:
        """A task is about to run."""

    def after_task_step(self, task: Task) -> None:
        """A task has given way."""

    def task_exited(self, task: Task) -> None:
        """A task has ended."""

    def before_io_wait(self, timeout: float) -> None:
        """The run is about to wait, at most `timeout` seconds (possibly 0)."""

    def after_io_wait(self, timeout: float) -> None:
        """The wait is over."""

    # Trio has no counterpart of these.

    def operation_submitted(self, operation: Operation) -> None:
        """An operation is in flight from now on."""

    def operation_completed(self, operation: Operation, result: object) -> None:
        """Its final completion was delivered. result: what it gave, or the exception that it failed with."""

    def operation_cancel_requested(self, operation: Operation) -> None:
        """An operation was asked to end; its final completion tells what came of that."""


HOOKS: Final = tuple(name for name in vars(Instrument) if not name.startswith("_"))
_OPERATION_HOOKS: Final = tuple(name for name in HOOKS if name.startswith("operation_"))


class Instruments:
    """The instruments of one run, by hook. `any` is true when there is one."""

    __slots__ = ("_all", "_by_hook", "_proactor", "any")

    def __init__(self, instruments: Sequence[Instrument], proactor: Proactor) -> None:
        self._proactor = proactor
        self._all: dict[Instrument, None] = {}
        self._by_hook: dict[str, list[Instrument]] = {name: [] for name in HOOKS}
        self.any = False
        for instrument in instruments:
            self.add(instrument)

    def add(self, instrument: Instrument) -> None:
        if instrument in self._all:
            return
        for name in HOOKS:
            method = getattr(instrument, name, None)
            if method is not None and getattr(method, "__func__", method) is not getattr(Instrument, name):
                self._by_hook[name].append(instrument)
        self._all[instrument] = None
        self._changed()

    def remove(self, instrument: Instrument) -> None:
        del self._all[instrument]
        for listeners in self._by_hook.values():
            if instrument in listeners:
                listeners.remove(instrument)
        self._changed()

    def _changed(self) -> None:
        self.any = bool(self._all)
        listens = any(self._by_hook[name] for name in _OPERATION_HOOKS)
        self._proactor.loop_access.observe(self if listens else None)

    def operation_submitted(self, operation: Operation) -> None:
        """The proactor's call, see OperationObserver."""
        self.call("operation_submitted", operation)

    def operation_completed(self, operation: Operation, result: object) -> None:
        """The proactor's call, see OperationObserver."""
        self.call("operation_completed", operation, result)

    def operation_cancel_requested(self, operation: Operation) -> None:
        """The proactor's call, see OperationObserver."""
        self.call("operation_cancel_requested", operation)

    def call(self, hook: str, *arguments: Any) -> None:
        """Tell all who listen to `hook`, in the order in which they were added."""
        for instrument in list(self._by_hook[hook]):
            try:
                getattr(instrument, hook)(*arguments)
            except BaseException:
                self.remove(instrument)
                _LOGGER.exception(
                    "Exception raised when calling %r on instrument %r. Instrument has been disabled.", hook, instrument
                )


def add_instrument(instrument: Instrument) -> None:
    """Add an instrument to the current run; no effect if it is there already."""
    current_run().instruments.add(instrument)


def remove_instrument(instrument: Instrument) -> None:
    """Remove an instrument from the current run. Raises KeyError if it is not there."""
    current_run().instruments.remove(instrument)
