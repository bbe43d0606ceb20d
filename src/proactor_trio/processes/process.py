"""Process: a child process that runs, or has ended.

It is reaped by subprocess.Popen alone, when somebody asks for its returncode: by `returncode`, `poll()`, `wait()`, or
one of the calls that send a signal, which never reach a number that belongs to somebody else by then.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from os import PathLike
from typing import Final, final

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.traps import checkpoint
from proactor_trio.abc import ReceiveStream, SendStream
from proactor_trio.processes.exit_wait import ExitWait, exit_wait_for
from proactor_trio.streams.stapled import StapledStream

StrOrBytesPath = str | bytes | PathLike[str] | PathLike[bytes]
Command = StrOrBytesPath | Sequence[StrOrBytesPath]


@final
class Process:
    """A child process. Made by lowlevel.open_process(), or by `await nursery.start(run_process, ...)`.

    args: the command it was started with. pid: its number.
    stdin, stdout, stderr: streams to and from it, as far as they were asked for with PIPE; else None.
    stdio: both of the first two as one stream, if there are both; else None.

    Dropping it leaves the child running. Not thread-safe.
    """

    __slots__ = ("__weakref__", "_exit", "_popen", "args", "pid", "stderr", "stdin", "stdio", "stdout")

    _exit: ExitWait
    _popen: subprocess.Popen[bytes]
    args: Command
    pid: int
    stdin: SendStream | None
    stdout: ReceiveStream | None
    stderr: ReceiveStream | None
    stdio: StapledStream[SendStream, ReceiveStream] | None

    # Bytes, always; these have the names of subprocess.Popen.
    universal_newlines: Final = False
    encoding: Final = None
    errors: Final = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("Process has no public constructor: use run_process() or lowlevel.open_process()")

    def __init_subclass__(cls) -> None:
        raise TypeError("Process does not support subclassing")

    @classmethod
    def _create(
        cls,
        popen: subprocess.Popen[bytes],
        stdin: SendStream | None,
        stdout: ReceiveStream | None,
        stderr: ReceiveStream | None,
    ) -> Process:
        process = cls.__new__(cls)
        process._popen = popen
        process.args = popen.args
        process.pid = popen.pid
        process.stdin = stdin
        process.stdout = stdout
        process.stderr = stderr
        process.stdio = None
        if stdin is not None and stdout is not None:
            process.stdio = StapledStream(stdin, stdout)
        process._exit = exit_wait_for(popen.pid)
        return process

    @property
    def returncode(self) -> int | None:
        """How it has ended: its exit status, or minus the number of the signal that ended it. None while it runs."""
        code = self._popen.poll()
        if code is not None:
            self._exit.close()
        return code

    def poll(self) -> int | None:
        """The same as `returncode`, under the name that subprocess.Popen has for it."""
        return self.returncode

    @enable_ki_protection
    async def wait(self) -> int:
        """Wait until it has ended; its returncode. Several tasks may wait. Cancelled: it goes on running."""
        code = self.returncode
        if code is not None:
            await checkpoint()
            return code
        while code is None:
            await self._exit.wait()
            code = self.returncode
        return code

    def send_signal(self, sig: signal.Signals | int) -> None:
        """Send it a signal; nothing if it has ended. Raises OSError if that is not allowed."""
        self._popen.send_signal(sig)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), which it may refuse; nothing if it has ended."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it (SIGKILL), which takes a moment: `wait()` for it. Nothing if it has ended."""
        self._popen.kill()

    def __repr__(self) -> str:
        code = self.returncode
        if code is None:
            state = f"running with PID {self.pid}"
        elif code < 0:
            state = f"exited with signal {-code}"
        else:
            state = f"exited with status {code}"
        return f"<proactor_trio.Process {self.args!r}: {state}>"
