"""run_process(): a child process as a call, or as a task of a nursery.

It does not return, whatever happens, before the child has ended and was reaped: when it is cancelled or fails, the
child is ended by `deliver_cancel`, in a task of its own that is cancelled when it is no longer needed. What is fed and
captured has tasks, too, in the same nursery. So an error in one of them ends the child; and a child that is gone while
others hold its pipes is waited for as with subprocess.run(): until the last of them lets go, or somebody cancels.
"""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio._kernel.readiness import HasFileno
from proactor_trio.abc import ReceiveStream, SendStream
from proactor_trio.processes.opening import open_process
from proactor_trio.processes.process import Command, Process
from proactor_trio.processes.termination import terminate_then_kill

Bytes = bytes | bytearray | memoryview


@enable_ki_protection
async def run_process(
    command: Command,
    *,
    stdin: Bytes | int | HasFileno | None = b"",
    capture_stdout: bool = False,
    capture_stderr: bool = False,
    check: bool = True,
    deliver_cancel: Callable[[Process], Awaitable[object]] | None = None,
    task_status: TaskStatus[Process] = TASK_STATUS_IGNORED,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run a child process until it ends.

    command: the program and its arguments; with shell=True the text for the shell.
    stdin: bytes that it is to read, and then the end; or what open_process() takes. None: the same as here.
    capture_stdout, capture_stderr: keep what it writes there, for the result; by default it goes where ours goes.
    check: raise subprocess.CalledProcessError, with what was captured, if it ends with another status than 0.
    deliver_cancel: an async function that is given the process and makes it end, when this is cancelled or fails; it is
        cancelled when that has happened. By default SIGTERM and, after five seconds, SIGKILL with a RuntimeWarning.
    task_status: for `await nursery.start(run_process, ...)`, which returns the Process while it runs here. Then streams
        may be asked for with PIPE.
    options: others of subprocess.Popen; see open_process().

    Returns a subprocess.CompletedProcess. Raises UnicodeError if stdin is a str; ValueError if a stream is to go two
    ways, or is a PIPE that nobody could get at; what open_process() raises; and an exception group of what went wrong
    in deliver_cancel or with the pipes. Cancelled: the child has ended, too. A KeyboardInterrupt while it is being
    ended kills it.
    """
    if isinstance(stdin, str):
        raise UnicodeError("stdin must be bytes, not str: encode it")
    if task_status is TASK_STATUS_IGNORED:
        _refuse_pipes(stdin=stdin, stdout=options.get("stdout"), stderr=options.get("stderr"))
    for name, is_captured in (("stdout", capture_stdout), ("stderr", capture_stderr)):
        if is_captured:
            if name in options:
                raise ValueError(f"{name} and capture_{name} exclude each other")
            options[name] = subprocess.PIPE
    fed = stdin if isinstance(stdin, (bytes, bytearray, memoryview)) else None
    options["stdin"] = stdin if fed is None else subprocess.PIPE

    process = await open_process(command, **options)
    captured = _Captured()
    async with open_nursery() as nursery:
        try:
            if fed is not None:
                assert process.stdin is not None
                nursery.start_soon(_feed, process.stdin, fed)
                process.stdin = process.stdio = None
            if capture_stdout:
                assert process.stdout is not None
                nursery.start_soon(_capture, process.stdout, captured.stdout)
                process.stdout = process.stdio = None
            if capture_stderr:
                assert process.stderr is not None
                nursery.start_soon(_capture, process.stderr, captured.stderr)
                process.stderr = None
            task_status.started(process)
            code = await process.wait()
        except BaseException:
            await _end(process, deliver_cancel or terminate_then_kill, nursery)
            raise
    stdout = bytes(captured.stdout) if capture_stdout else None
    stderr = bytes(captured.stderr) if capture_stderr else None
    if check and code:
        raise subprocess.CalledProcessError(code, process.args, output=stdout, stderr=stderr)
    return subprocess.CompletedProcess(process.args, code, stdout, stderr)


class _Captured:
    """What a child has written."""

    __slots__ = ("stderr", "stdout")

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()


def _refuse_pipes(**streams: object) -> None:
    for name, value in streams.items():
        if value is subprocess.PIPE:
            raise ValueError(f"{name}=PIPE: only who calls nursery.start(run_process, ...) gets at the stream")


async def _feed(stream: SendStream, data: Bytes) -> None:
    async with stream:
        try:
            await stream.send_all(data)
        except BrokenResourceError:
            return  # it does not have to read everything


async def _capture(stream: ReceiveStream, into: bytearray) -> None:
    async with stream:
        async for piece in stream:
            into += piece


async def _end(process: Process, deliver_cancel: Callable[[Process], Awaitable[object]], nursery: Nursery) -> None:
    """Have the child ended, and wait for that, however cancelled the caller is."""
    delivery = CancelScope(shield=True)

    async def deliver() -> None:
        with delivery:
            await deliver_cancel(process)

    with CancelScope(shield=True):
        nursery.start_soon(deliver)
        try:
            await process.wait()
        except KeyboardInterrupt:  # for those who do not want to wait for a child that takes its time
            process.kill()
            await process.wait()
            raise
        finally:
            delivery.cancel("the process has ended")
