"""Where this library deliberately differs from Trio. Real Trio passes every other test of this directory."""

from __future__ import annotations

import time

import sniffio

from proactor_trio import current_time, run, sleep


def test_sniffio_knows_this_library_by_its_own_name() -> None:
    async def main() -> str:
        return sniffio.current_async_library()

    assert run(main) == "proactor_trio"


async def test_the_default_clock_is_the_monotonic_clock_of_the_system() -> None:
    """Deadlines are the kernel's own, so that an operation may carry one unchanged. Trio adds a random offset."""
    before = time.monotonic()
    now = current_time()
    assert before <= now <= time.monotonic()


def test_two_runs_read_the_same_clock() -> None:
    async def main() -> float:
        await sleep(0)
        return current_time()

    first = run(main)
    assert first <= run(main) < first + 60
