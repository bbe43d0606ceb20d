"""MockClock, clocks of the user's own, and what they have to do with idleness."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.semantics(30)
async def test_it_stands_still_until_it_is_told(lib: Any, mock_clock: Any) -> None:
    assert lib.current_time() == mock_clock.current_time() == 0
    mock_clock.jump(1.5)
    assert lib.current_time() == 1.5
    mock_clock.jump(0)
    with pytest.raises(ValueError):
        mock_clock.jump(-1)


@pytest.mark.semantics(30)
async def test_a_jump_fires_the_deadlines_it_passes(lib: Any, mock_clock: Any) -> None:
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await lib.sleep(seconds)
        woken.append(seconds)

    async with lib.open_nursery() as nursery:
        for seconds in (1, 2, 3):
            nursery.start_soon(sleep, seconds)
        await lib.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
        await lib.testing.wait_all_tasks_blocked()
        assert sorted(woken) == [1, 2]
        mock_clock.jump(1)
    assert sorted(woken) == [1, 2, 3]


@pytest.mark.semantics(30)
async def test_with_a_rate_its_time_passes_by_itself(lib: Any, mock_clock: Any) -> None:
    mock_clock.rate = 1_000_000
    begun = time.monotonic()
    await lib.sleep(1000)
    assert time.monotonic() - begun < 100
    assert lib.current_time() >= 1000
    with pytest.raises(ValueError):
        mock_clock.rate = -1


@pytest.mark.semantics(30)
async def test_an_autojump_clock_leaps_to_the_next_deadline(lib: Any, autojump_clock: Any) -> None:
    times: list[float] = []

    async def sleep(seconds: float) -> None:
        await lib.sleep(seconds)
        times.append(lib.current_time())

    async with lib.open_nursery() as nursery:
        for seconds in (100, 10, 1000):
            nursery.start_soon(sleep, seconds)
    assert times == [10, 100, 1000]


@pytest.mark.semantics(30)
async def test_an_autojump_clock_does_not_jump_while_something_runs(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 10)
        for _ in range(20):
            await lib.lowlevel.checkpoint()
            assert lib.current_time() == 0


@pytest.mark.semantics(30)
async def test_idleness_is_told_before_the_clock_jumps(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 10)
        for _ in range(3):
            await lib.testing.wait_all_tasks_blocked()
            assert lib.current_time() == 0
    assert lib.current_time() == 10


@pytest.mark.semantics(30)
async def test_a_cushion_is_real_time(lib: Any, mock_clock: Any) -> None:
    begun = time.monotonic()
    await lib.testing.wait_all_tasks_blocked(0.01)
    assert time.monotonic() - begun >= 0.01
    assert lib.current_time() == 0


@pytest.mark.semantics(30)
async def test_a_longer_cushion_than_the_threshold_lets_the_clock_jump_first(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 10)
        await lib.testing.wait_all_tasks_blocked(0.01)
    assert lib.current_time() == 10


@pytest.mark.semantics(30)
async def test_the_threshold_may_be_changed_during_the_run(lib: Any, mock_clock: Any) -> None:
    assert mock_clock.autojump_threshold == math.inf
    mock_clock.autojump_threshold = 0
    await lib.sleep(100_000)
    assert lib.current_time() == 100_000


@pytest.mark.semantics(30)
def test_a_clock_goes_on_in_the_next_run_where_it_stood(lib: Any, run: Callable[..., Any]) -> None:
    clock = lib.testing.MockClock(autojump_threshold=0)
    run(lib.sleep, 5, clock=clock)
    run(lib.sleep, 5, clock=clock)
    assert clock.current_time() == 10


@pytest.mark.semantics(30)
def test_a_clock_with_a_rate_runs_before_its_run(lib: Any) -> None:
    clock = lib.testing.MockClock(rate=1_000_000)
    before = clock.current_time()
    while clock.current_time() == before:
        pass
    assert clock.current_time() > before >= 0


@pytest.mark.semantics(30)
def test_a_clock_of_the_users_own_drives_the_deadlines(lib: Any, run: Callable[..., Any]) -> None:
    class Leaping(lib.abc.Clock):  # type: ignore[misc, name-defined]
        now = 0.0

        def start_clock(self) -> None:
            self.now = 100.0

        def current_time(self) -> float:
            return self.now

        def deadline_to_sleep_time(self, deadline: float) -> float:
            self.now = max(self.now, deadline)  # nobody needs to sleep
            return 0.0

    async def main() -> tuple[float, bool]:
        begun = lib.current_time()
        await lib.sleep(50)
        return lib.current_time() - begun, lib.lowlevel.current_clock() is clock

    clock = Leaping()
    assert run(main, clock=clock) == (50, True)


@pytest.mark.semantics(30)
async def test_the_default_clock_is_monotonic_and_ours_is_that_of_the_system(lib: Any) -> None:
    before = time.monotonic()
    now = lib.current_time()
    assert lib.current_time() >= now
    is_that_of_the_system = before <= now <= time.monotonic()
    assert is_that_of_the_system is (not lib.is_trio)
