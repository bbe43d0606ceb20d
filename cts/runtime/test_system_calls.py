"""How often the loop enters the kernel, seen from outside by strace(1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

from cts.configurations import Configuration

PROGRAM = """
import os
import proactor_trio
from proactor_trio.lowlevel import checkpoint

async def work():
{work}

async def main():
    await checkpoint()
    os.access("/mark-begin", os.F_OK)
    await work()
    os.access("/mark-end", os.F_OK)

proactor_trio.run(main)
"""

MEMORY_CALLS = ("brk", "mmap", "munmap", "madvise")
"""What the interpreter itself may call when it needs memory."""


@cache
def reason_against_strace() -> str | None:
    """Why system calls cannot be seen here."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


needs_strace = pytest.mark.skipif(reason_against_strace() is not None, reason=reason_against_strace() or "")


def system_calls_of(configuration: Configuration, folder: Path, work: str) -> list[str]:
    """The names of the system calls that the thread of the run makes during `work`, the body of an async function."""
    log = folder / "system calls"
    program = PROGRAM.format(work=textwrap.indent(textwrap.dedent(work), "    "))
    environment = {**os.environ, "PROACTOR_TRIO_BACKEND": configuration.backend}
    subprocess.run(["strace", "-o", str(log), sys.executable, "-c", program], env=environment, timeout=50, check=True)
    names = []
    between = False
    for line in log.read_text().splitlines():
        if "/mark-" in line:
            between = "/mark-begin" in line
        elif between and (call := re.match(r"(\w+)\(", line)):
            names.append(call[1])
    return names


def is_on_io_uring(configuration: Configuration) -> bool:
    return configuration.backend.startswith("io_uring")


@needs_strace
def test_ten_thousand_checkpoints_enter_io_uring_never_and_posix_once_a_tick(
    configuration: Configuration, tmp_path: Path
) -> None:
    calls = system_calls_of(configuration, tmp_path, "for _ in range(10_000): await checkpoint()")
    if is_on_io_uring(configuration):
        assert calls == []
    else:
        assert set(calls) <= {"epoll_wait", "poll"}
        assert len(calls) <= 10_010


@needs_strace
def test_spawning_and_sleeping_zero_enter_io_uring_never(configuration: Configuration, tmp_path: Path) -> None:
    work = """
        for _ in range(500):
            async with proactor_trio.open_nursery() as nursery:
                for _ in range(3): nursery.start_soon(proactor_trio.sleep, 0)
            with proactor_trio.move_on_after(1000): await checkpoint()
    """
    calls = [call for call in system_calls_of(configuration, tmp_path, work) if call not in MEMORY_CALLS]
    if is_on_io_uring(configuration):
        assert calls == []
    else:
        assert set(calls) <= {"epoll_wait", "poll"}


@needs_strace
def test_an_idle_run_makes_one_waiting_call(configuration: Configuration, tmp_path: Path) -> None:
    calls = system_calls_of(configuration, tmp_path, "await proactor_trio.sleep(0.3)")
    waits = {"io_uring_enter", "epoll_wait", "epoll_pwait", "poll"}
    assert [call for call in calls if call in waits] != []
    assert len(calls) <= (1 if is_on_io_uring(configuration) else 2)


@needs_strace
def test_all_submissions_of_a_tick_are_one_call_on_io_uring(configuration: Configuration, tmp_path: Path) -> None:
    if not is_on_io_uring(configuration):
        pytest.skip("posix makes a call for each operation")
    work = """
        from proactor_trio.proactor import Nop
        nops = [Nop() for _ in range(100)]
        proactor_trio.lowlevel.current_proactor().submit(*nops)
        for nop in nops: await nop
    """
    calls = [call for call in system_calls_of(configuration, tmp_path, work) if call == "io_uring_enter"]
    assert len(calls) == 1


@needs_strace
def test_a_round_trip_on_sockets_makes_few_calls(configuration: Configuration, tmp_path: Path) -> None:
    work = """
        import socket
        from proactor_trio.proactor import Socket
        near, far = (proactor_trio.SocketStream(Socket.from_stdlib(end)) for end in socket.socketpair())
        async with near, far:
            for _ in range(100):
                await near.send_all(b'x')
                await far.receive_some()
    """
    calls = [call for call in system_calls_of(configuration, tmp_path, work) if call not in MEMORY_CALLS]
    # A write and an entry; on posix a write, a receive and polls.
    assert len(calls) <= 100 * (3 if is_on_io_uring(configuration) else 5) + 50
