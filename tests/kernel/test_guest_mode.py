"""A guest whose host stops too early: tried in a process of its own, since it leaves tasks behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

import proactor_trio

ABANDON = """
import gc, sys, warnings
import proactor_trio

async def many_steps():
    for _ in range(1000):
        await proactor_trio.lowlevel.checkpoint()

calls = []
proactor_trio.lowlevel.start_guest_run(many_steps, run_sync_soon_threadsafe=calls.append, done_callback=print)
for _ in range(3):
    calls.pop(0)()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    calls.clear()
    gc.collect()
"""


def output_of(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_abandoned_guest_says_so() -> None:
    said = output_of(ABANDON + "print([warning.category.__name__ for warning in caught])")
    assert "RuntimeWarning" in said


def test_after_an_abandoned_guest_another_run_can_begin() -> None:
    assert output_of(ABANDON + "proactor_trio.run(many_steps)\nprint('another')") == "another\n"


async def do_nothing() -> None:
    return


def test_a_clock_that_is_none_leaves_nothing_behind() -> None:
    with pytest.raises(AttributeError):
        proactor_trio.lowlevel.start_guest_run(
            do_nothing,
            run_sync_soon_threadsafe=lambda _: None,
            done_callback=lambda _: None,
            clock=object(),  # type: ignore[arg-type]
        )
    proactor_trio.run(do_nothing)
