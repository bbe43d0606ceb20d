"""open_process(): how a child is started.

The creation is subprocess.Popen's, in a worker thread: it forks, waits for exec(), and finds out what went wrong, which
may take long in a large process or on a slow file system. Nothing can cancel that half-way, so nothing does; a child
that was started is always handed out.

The pipes are made here and not by Popen, since our ends are to be streams. The child's ends are closed as soon as it
has its copies, so that the end of a stream is seen when the child is gone; and our own too if there is no child.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.readiness import HasFileno
from proactor_trio.processes.process import Command, Process
from proactor_trio.streams.fd_stream import FdStream
from proactor_trio.threads.to_thread import run_sync as run_in_thread

#: Options of subprocess.Popen that are about text and buffers, which there are none of.
REFUSED_OPTIONS: Final = ("universal_newlines", "text", "encoding", "errors", "bufsize")


class ChildPipes:
    """The pipes between this process and a child that is about to be started."""

    __slots__ = ("_ends_of_child", "_streams")

    def __init__(self) -> None:
        self._ends_of_child: list[int] = []
        self._streams: list[FdStream] = []

    def to_child(self) -> tuple[FdStream, int]:
        """A pipe into the child: the stream to send by, and the descriptor for the child."""
        reader, writer = os.pipe()
        self._ends_of_child.append(reader)
        return self._keep(FdStream(writer)), reader

    def from_child(self) -> tuple[FdStream, int]:
        """A pipe out of the child: the stream to receive by, and the descriptor for the child."""
        reader, writer = os.pipe()
        self._ends_of_child.append(writer)
        return self._keep(FdStream(reader)), writer

    def _keep(self, stream: FdStream) -> FdStream:
        self._streams.append(stream)
        return stream

    def close_ends_of_child(self) -> None:
        for descriptor in self._ends_of_child:
            os.close(descriptor)

    def close_streams(self) -> None:
        for stream in self._streams:
            stream.close()


@enable_ki_protection
async def open_process(
    command: Command,
    *,
    stdin: int | HasFileno | None = None,
    stdout: int | HasFileno | None = None,
    stderr: int | HasFileno | None = None,
    **options: Any,
) -> Process:
    """Start a child process and return it. Nobody looks after it: see run_process() for that.

    command: the program and its arguments; with shell=True the text for the shell.
    stdin, stdout, stderr: subprocess.PIPE for a stream, DEVNULL, a descriptor or an object with `fileno()`; None: the
        same as here. stderr may be STDOUT: to where stdout goes.
    options: all others of subprocess.Popen, but for those about text and buffers.

    Raises OSError if it cannot be started, TypeError for options that are refused and for a command that does not fit
    to shell. Cancelled before the start: there is no child. Later: it is returned all the same.
    """
    _check_command(command, options)
    pipes = ChildPipes()
    our_stdin = our_stdout = our_stderr = None
    try:
        if stdin == subprocess.PIPE:
            our_stdin, stdin = pipes.to_child()
        if stdout == subprocess.PIPE:
            our_stdout, stdout = pipes.from_child()
        if stderr == subprocess.PIPE:
            our_stderr, stderr = pipes.from_child()
        elif stderr == subprocess.STDOUT and stdout is not None:
            stderr = stdout
        create: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
        popen = await run_in_thread(partial(create, command, stdin=stdin, stdout=stdout, stderr=stderr, **options))
    except BaseException:
        pipes.close_streams()
        raise
    finally:
        pipes.close_ends_of_child()
    return Process._create(popen, our_stdin, our_stdout, our_stderr)


def _check_command(command: Command, options: dict[str, Any]) -> None:
    for name in REFUSED_OPTIONS:
        if options.get(name):
            raise TypeError(f"{name} is not possible: a process is talked to in unbuffered bytes")
    is_text = isinstance(command, (str, bytes))
    if is_text and not options.get("shell"):
        raise TypeError("command must be a sequence of the program and its arguments, unless shell=True")
    if not is_text and options.get("shell"):
        raise TypeError("command must be a str or bytes, and no sequence, where shell=True")
