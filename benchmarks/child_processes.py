"""Child processes of the benchmarks: started fresh for each measurement, bounded in time, always reaped.

A child writes JSON lines on its standard output (see child.py and load_generator.py) and sets itself an
alarm, so it ends even if this process is killed. Children have a process group of their own: Ctrl-C
reaches only this process, which then ends them on its way out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

TIME_LIMIT_S = 90
"""The most that one measurement may take."""

_PROJECT = Path(__file__).resolve().parent.parent


class ChildFailed(Exception):
    """A measurement could not be taken; the text says why."""


class Child:
    """A running child process; made by `start_child`."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors

    @property
    def process_id(self) -> int:
        """The id under which its CPU clock is read."""
        return self._process.pid

    def next_message(self) -> dict[str, Any]:
        """The next line that the child writes; its alarm bounds the wait."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(self._why_it_ended())
        message: dict[str, Any] = json.loads(line)
        if "failed" in message:
            raise ChildFailed(message["failed"])
        return message

    def last_words(self) -> str | None:
        """Why the child ended, if it ends within a second; None if it goes on."""
        try:
            self._process.wait(1)
            self.next_message()
        except subprocess.TimeoutExpired:
            return None
        except ChildFailed as error:
            return str(error)
        return None

    def end(self) -> None:
        """Kill the child if it still runs, and reap it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _why_it_ended(self) -> str:
        status = self._process.wait()
        if status == -signal.SIGALRM:
            return f"did not end within {TIME_LIMIT_S} s"
        cause = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f"{cause}: {lines[-1]}" if lines else cause


@contextmanager
def start_child(module: str, *arguments: str, parameters: Mapping[str, Any]) -> Iterator[Child]:
    """Start ``python -m benchmarks.<module> <arguments> <parameters as JSON>``; ended with the block."""
    errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by Child.end)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments, json.dumps(dict(parameters))],
            cwd=_PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            process_group=0,
        )
    except BaseException:
        errors.close()
        raise
    child = Child(process, errors)
    try:
        yield child
    finally:
        child.end()


def begin_child(parameters: Mapping[str, Any]) -> None:
    """First thing in a child: bound its life, and pin it to the CPU in `parameters` if there is one."""
    signal.alarm(TIME_LIMIT_S)
    if parameters.get("cpu") is not None:
        os.sched_setaffinity(0, {parameters["cpu"]})


def send_message(message: Mapping[str, Any]) -> None:
    """Tell the parent something."""
    print(json.dumps(dict(message)), flush=True)


def describe(error: BaseException) -> str:
    """One line for an error; a group of one is named by the error within."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return traceback.format_exception_only(error)[0].strip()


def choose_cpus() -> tuple[int | None, int | None]:
    """A CPU for the measured process and one for the load generator; None where there is no choice.

    Two hardware threads of one core slow each other down, so they come from different cores if possible.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return None, None
    measured = available.pop()
    siblings = _hardware_threads_beside(measured)
    return measured, next((cpu for cpu in available if cpu not in siblings), available[0])


def _hardware_threads_beside(cpu: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return set()
    siblings: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        siblings.update(range(int(first), int(last or first) + 1))
    return siblings
