"""A test that hangs fails, and says where everything stands: threads, tasks, operations in flight.

It takes the place of pytest-timeout's own timer (its hooks, its `timeout` setting), which would show threads only: in
a program of tasks the thread always waits in the same place. The limit comes by SIGALRM, so it ends whatever the main
thread waits for. Where another thread runs the tests, or there is no SIGALRM, pytest-timeout's timer stays.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from proactor_trio._kernel.run import Run
from proactor_trio._kernel.task import Task
from proactor_trio.proactor import Proactor, forking


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Begin to count. None: left to pytest-timeout."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return None

    def give_up(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        pytest.fail(f"{item.name}: not over after {settings.timeout:g} s\n{state_of_everything(frame)}", pytrace=False)

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    """The test is over."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return True


def state_of_everything(interrupted: FrameType | None = None) -> str:
    """Threads with their stacks, runs with their tasks, proactors with their operations in flight.

    interrupted: the frame of the calling thread that is of interest; None: the caller's.
    """
    return "\n".join([*_threads(interrupted), *_runs(), *_proactors()])


def _threads(interrupted: FrameType | None) -> Iterator[str]:
    here = threading.get_ident()
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.ident is None or thread.ident not in frames:
            continue
        frame = interrupted if thread.ident == here and interrupted is not None else frames[thread.ident]
        yield f"--- thread {thread.name}"
        yield "".join(traceback.format_stack(frame)).rstrip()


def _runs() -> Iterator[str]:
    tasks = [found for found in gc.get_objects() if isinstance(found, Task)]
    runs = [found for found in gc.get_objects() if isinstance(found, Run) and found.root_task and not found.finished]
    for run in runs:
        yield f"--- run with {run.task_count} tasks"
        for task in tasks:
            if task.run is run:
                yield from _task(task)


def _task(task: Task) -> Iterator[str]:
    summary = traceback.StackSummary.extract(task.iter_await_frames())
    if not summary:
        return  # it has ended
    yield f"task {task.name}, waiting: {task.waiting!r}{', to be cancelled' if task.cancel_pending else ''}"
    yield "".join(summary.format()).rstrip()


def _proactors() -> Iterator[str]:
    for proactor in forking.open_now():
        if isinstance(proactor, Proactor):
            yield f"--- {proactor!r}, {dict(proactor.statistics())}"
            yield from (f"{operation!r}" for operation in list(proactor._in_flight.values()))
