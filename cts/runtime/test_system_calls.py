"""How often the loop enters the kernel, seen from outside by strace(1).

Starting a traced interpreter takes seconds, so all programs of a configuration run in one, each in a run of its own
between two calls that mark it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from functools import cache
from pathlib import Path

import pytest

from cts.configurations import Configuration

HEAD = """
import os, socket
import proactor_trio
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import Capability, Nop, ProactorOptions, Socket

OPTIONS = ProactorOptions(allowed_capabilities=Capability({allowed}))

def traced(name, work):
    async def main():
        await checkpoint()
        os.access("/mark/" + name, os.F_OK)
        await work()
        os.access("/mark/", os.F_OK)

    proactor_trio.run(main, backend={backend!r}, proactor_options=OPTIONS)
"""

PROGRAMS = {
    "checkpoints": """
        for _ in range(10_000): await checkpoint()
    """,
    "spawning": """
        for _ in range(500):
            async with proactor_trio.open_nursery() as nursery:
                for _ in range(3): nursery.start_soon(proactor_trio.sleep, 0)
            with proactor_trio.move_on_after(1000): await checkpoint()
    """,
    "idle": """
        await proactor_trio.sleep(0.3)  # what a run does while nothing happens is what is counted
    """,
    "batch": """
        nops = [Nop() for _ in range(100)]
        current_proactor().submit(*nops)
        for nop in nops: await nop
    """,
    "round_trips": """
        near, far = (proactor_trio.SocketStream(Socket.from_stdlib(end)) for end in socket.socketpair())
        async with near, far:
            for _ in range(100):
                await near.send_all(b'x')
                await far.receive_some()
    """,
}

MEMORY_CALLS = ("brk", "mmap", "munmap", "madvise")
"""What the interpreter itself may call when it needs memory."""


@cache
def reason_against_strace() -> str | None:
    """Why system calls cannot be seen here."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


pytestmark = pytest.mark.skipif(reason_against_strace() is not None, reason=reason_against_strace() or "")


@cache
def traced(configuration: Configuration) -> dict[str, list[str]]:
    """For each program the names of the system calls that the thread of the run makes during it."""
    text = HEAD.format(backend=configuration.backend, allowed=int(configuration.allowed))
    for name, work in PROGRAMS.items():
        body = textwrap.indent(textwrap.dedent(work), "    ")
        text += f"\nasync def {name}():{body}\ntraced({name!r}, {name})\n"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "system calls")
        subprocess.run(["strace", "-o", str(log), sys.executable, "-c", text], timeout=50, check=True)
        return _between_marks(log.read_text().splitlines())


def _between_marks(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if mark := re.search(r'"/mark/(\w*)"', line):
            name = mark[1]
            found.setdefault(name, [])
        elif name and (call := re.match(r"(\w+)\(", line)):
            found[name].append(call[1])
    return found


def calls_of(configuration: Configuration, program: str) -> list[str]:
    """The system calls of a program, without those that are for memory."""
    return [call for call in traced(configuration)[program] if call not in MEMORY_CALLS]


@pytest.mark.needs("one_entry")
def test_ten_thousand_checkpoints_never_enter_the_kernel(configuration: Configuration) -> None:
    assert calls_of(configuration, "checkpoints") == []


@pytest.mark.lacks("one_entry")
def test_ten_thousand_checkpoints_ask_for_events_at_most_once_a_tick(configuration: Configuration) -> None:
    calls = calls_of(configuration, "checkpoints")
    assert set(calls) <= {"epoll_wait", "poll"}
    assert len(calls) <= 10_010


@pytest.mark.needs("one_entry")
def test_spawning_and_sleeping_zero_never_enter_the_kernel(configuration: Configuration) -> None:
    assert calls_of(configuration, "spawning") == []


@pytest.mark.lacks("one_entry")
def test_spawning_and_sleeping_zero_only_ask_for_events(configuration: Configuration) -> None:
    assert set(calls_of(configuration, "spawning")) <= {"epoll_wait", "poll"}


def test_an_idle_run_makes_one_waiting_call(configuration: Configuration) -> None:
    calls = traced(configuration)["idle"]
    waits = {"io_uring_enter", "epoll_wait", "epoll_pwait", "poll"}
    assert [call for call in calls if call in waits] != []
    assert len(calls) <= (1 if configuration.reason_against("one_entry") is None else 2)


@pytest.mark.needs("one_entry")
def test_all_submissions_of_a_tick_are_one_call(configuration: Configuration) -> None:
    assert calls_of(configuration, "batch").count("io_uring_enter") == 1


def test_a_round_trip_on_sockets_makes_few_calls(configuration: Configuration) -> None:
    # A write and an entry; elsewhere a write, a receive and polls.
    most = 3 if configuration.reason_against("one_entry") is None else 5
    assert len(calls_of(configuration, "round_trips")) <= 100 * most + 50
