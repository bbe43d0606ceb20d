"""run(): the smallest driver of a run, which has the thread to itself until the main task has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from proactor_trio._kernel.clock import Clock, SystemClock
from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.errors import TrioInternalError
from proactor_trio._kernel.instruments import Instrument
from proactor_trio._kernel.nursery import warn_about_loose_groups
from proactor_trio._kernel.run import Run
from proactor_trio.proactor.affinity import bind_thread
from proactor_trio.proactor.options import ProactorOptions
from proactor_trio.proactor.proactor import Proactor


def make_run(
    clock: Clock | None,
    instruments: Sequence[Instrument],
    only_interrupt_at_checkpoints: bool,
    strict_exception_groups: bool,
    backend: str | None,
    proactor_options: ProactorOptions | None,
) -> Run:
    """A run that is to be started, with a proactor of its own. The arguments are those of run()."""
    if CONTEXT.run is not None:
        raise RuntimeError("Attempted to call run() from inside a run()")
    if not strict_exception_groups:
        warn_about_loose_groups()
    proactor = Proactor(backend, proactor_options)
    try:
        return Run(
            proactor,
            SystemClock() if clock is None else clock,
            instruments,
            only_interrupt_at_checkpoints,
            strict_exception_groups,
        )
    except BaseException:
        proactor.close()
        raise


def run(
    async_fn: Callable[..., Any],
    *args: Any,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
    backend: str | None = None,
    proactor_options: ProactorOptions | None = None,
) -> Any:
    """Run an async function on this thread and return what it returns.

    clock: what time it is; by default the system's monotonic clock.
    instruments: objects that are told what the run does.
    restrict_keyboard_interrupt_to_checkpoints: never raise KeyboardInterrupt between two checkpoints.
    strict_exception_groups: what nurseries do by default; see open_nursery().
    backend: "auto", "io_uring", "epoll", "poll", or an external one's name; wins over PROACTOR_TRIO_BACKEND.
    proactor_options: see ProactorOptions.

    Raises RuntimeError inside of another run on the same thread, BackendUnavailable if no (or not the named) backend
    works, TrioInternalError when a system task crashed.
    """
    this_run = make_run(
        clock,
        instruments,
        restrict_keyboard_interrupt_to_checkpoints,
        strict_exception_groups,
        backend,
        proactor_options,
    )
    try:
        affinity = this_run.proactor.options.affinity
        previous_affinity = None if affinity is None else bind_thread(affinity)
    except BaseException:
        this_run.proactor.close()
        raise
    try:
        _drive(this_run, async_fn, args)
        return this_run.result()
    finally:
        # A run that failed is kept alive by nobody: its tasks' frames are full of references to it.
        this_run.main_outcome = this_run.root_outcome = None
        del this_run
        if previous_affinity is not None:
            os.sched_setaffinity(0, previous_affinity)


def _drive(this_run: Run, async_fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        this_run.start(async_fn, args)
        while True:
            if this_run.finished:
                break
            this_run.collect(this_run.wait_limit())
            this_run.tick()
    except TrioInternalError:
        raise
    except BaseException as error:
        raise TrioInternalError("the run loop failed: a bug, or something outside broke its rules") from error
    finally:
        this_run.finish()
