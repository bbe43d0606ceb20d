"""Each test here leaves something behind, and nothing else is wrong with it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

import proactor_trio
from proactor_trio._kernel.run import Run
from proactor_trio.proactor import Proactor, Timer

#: What is left stays until the process ends.
_kept: list[object] = []


def test_a_descriptor() -> None:
    _kept.append(os.pipe())


def test_a_proactor() -> None:
    _kept.append(Proactor("poll"))


def test_an_operation_in_flight(proactor: Proactor) -> None:
    proactor.submit(Timer(time.monotonic() + 1000))


def test_a_thread() -> None:
    _kept.append(release := threading.Event())
    threading.Thread(target=release.wait, args=(0.5,), name="left behind").start()


def test_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: Callable[..., None] = Run._task_ended

    def not_counted(run: Run, *arguments: object) -> None:
        ended(run, *arguments)
        run.task_count += 1

    async def main() -> None:
        pass

    monkeypatch.setattr(Run, "_task_ended", not_counted)
    proactor_trio.run(main)
