"""How the end of a child is noticed.

Some facts. An exit status can be had once, by whoever reaps the child first; subprocess.Popen wants to be that one, and
reports 0 when somebody else was. Until it is reaped the child is a zombie, and its number is nobody else's. A pidfd
(Linux 5.3) is readable from the moment at which the child can be reaped, also afterwards, and reading or polling it
reaps nothing; WAITID as an operation does, unless it is told WNOWAIT. SIGCHLD belongs to the program.

So a wait is a HandlePoll on a pidfd: an operation without a thread, one for each task that waits. Where there is no
pidfd to be had, one thread for each child waits in waitid(WNOWAIT), which cannot be interrupted; tasks come and go.
Both say only that it is time to ask Popen.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod

from proactor_trio._kernel.context import current_run
from proactor_trio.backends.contract import PollEvents
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.sync.capacity_limiter import CapacityLimiter
from proactor_trio.sync.event import Event
from proactor_trio.threads.to_thread import run_sync as run_in_thread


class ExitWait(ABC):
    """The end of one child, which several tasks may wait for. It may be waited for again after that."""

    __slots__ = ()

    @abstractmethod
    async def wait(self) -> None:
        """Wait until the child can be reaped, or somebody has reaped it. May return too early."""

    @abstractmethod
    def close(self) -> None:
        """The child is known to have ended: let go what is held. Idempotent; who waits goes on."""


class PidfdWait(ExitWait):
    """By a pidfd, which this owns."""

    __slots__ = ("_descriptor", "_is_over", "_waiting")

    def __init__(self, pid: int) -> None:
        self._descriptor = -1
        self._waiting = 0
        self._is_over = False
        self._descriptor = os.pidfd_open(pid)

    async def wait(self) -> None:
        self._waiting += 1
        try:
            await HandlePoll(self._descriptor, PollEvents.IN)
        finally:
            self._waiting -= 1
            self._close_if_unused()

    def close(self) -> None:
        # Never under an operation: the kernel might see the operation only after the number has become another file's.
        self._is_over = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_over and not self._waiting and self._descriptor != -1:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self._waiting = 0
        self.close()


class ThreadWait(ExitWait):
    """By a thread that waits in waitid()."""

    __slots__ = ("_over", "_pid")

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over: Event | None = None

    async def wait(self) -> None:
        if self._over is None or self._over.is_set():
            self._over = Event()
            current_run().spawn_system_task(self._wait_in_thread, self._over, name=f"<end of process {self._pid}>")
        await self._over.wait()

    async def _wait_in_thread(self, over: Event) -> None:
        unlimited = CapacityLimiter(math.inf)  # it sleeps, and must not keep other work from having a thread
        try:
            await run_in_thread(self._wait_for_exit, abandon_on_cancel=True, limiter=unlimited)
        finally:
            over.set()

    def _wait_for_exit(self) -> None:
        try:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            return  # somebody else has reaped it, or SIGCHLD is ignored: Popen knows what to make of that

    def close(self) -> None:
        return


def exit_wait_for(pid: int) -> ExitWait:
    """The best way that there is, for a child that was not reaped yet."""
    if hasattr(os, "pidfd_open"):
        try:
            return PidfdWait(pid)
        except OSError:
            pass  # an old kernel, a sandbox, no descriptor left, or a child that is reaped by the system
    return ThreadWait(pid)
