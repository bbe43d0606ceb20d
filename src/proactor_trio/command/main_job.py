"""The main job: says what runs here and why, then three jobs through the public interface, each checked.

Ends in a line `ok` and exit status 0, or says what failed in words and returns 1. What is a bug of the library itself
(an error that no job expects) is not caught: its traceback is worth more than any words.
"""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Awaitable, Callable
from typing import Final

from proactor_trio import (
    BrokenResourceError,
    ClosedResourceError,
    TooSlowError,
    __version__,
    fail_after,
    lowlevel,
    run,
)
from proactor_trio.command.copy_job import run_copy_job
from proactor_trio.command.deadline_job import run_deadline_job
from proactor_trio.command.echo_job import run_echo_job
from proactor_trio.command.job_report import LABEL_WIDTH, JobFailed, JobReport, format_report, labelled
from proactor_trio.proactor import BackendUnavailable, ProactorError

Job = Callable[[], Awaitable[JobReport]]

JOBS: Final[dict[str, Job]] = {"echo": run_echo_job, "copy": run_copy_job, "deadline": run_deadline_job}
#: Far more than any of them needs: a job that takes longer hangs.
JOB_SECONDS: Final = 60.0
_LINE_WIDTH: Final = 110

_EXPLAINED: Final = (JobFailed, TooSlowError, OSError, BrokenResourceError, ClosedResourceError, ProactorError)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_WIDTH - LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)


def _say(text: str) -> None:
    print(text, flush=True)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside of groups, in order."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def _in_words(error: BaseException) -> str:
    if isinstance(error, JobFailed):
        return str(error)
    if isinstance(error, TooSlowError):
        return f"not done after {JOB_SECONDS:g} seconds"
    return f"{type(error).__name__}: {error}"


async def _run_jobs(failures: list[str]) -> None:
    io = lowlevel.current_statistics().io_statistics
    _say(labelled("backend", [f"{io.backend}: {io.variant}", *_wrapped(io.reason)]))
    for name, job in JOBS.items():
        _say("")
        try:
            with fail_after(JOB_SECONDS):
                report = await job()
        except* _EXPLAINED as group:
            words = list(dict.fromkeys(map(_in_words, leaves(group))))
            failures.append(name)
            _say(labelled(name, [f"FAILED: {text}" for text in words]))
        else:
            _say(format_report(report))


def run_main_job(backend: str | None) -> int:
    """Do it all, print it, and return the exit status. backend: as that of run()."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    _say(f"proactor_trio {__version__}, {platform.python_implementation()} {platform.python_version()}, {system}\n")
    failures: list[str] = []
    try:
        run(_run_jobs, failures, backend=backend)
    except BackendUnavailable as error:
        _say(labelled("backend", ["FAILED: no backend", *_wrapped(error.reason)]))
        failures.append("backend")
    _say("")
    _say(f"failed: {', '.join(failures)}" if failures else "ok")
    return 1 if failures else 0
