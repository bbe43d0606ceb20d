"""MockClock: time that stands still, runs or leaps as the test likes."""

from __future__ import annotations

import time
from math import inf

import pytest

from proactor_trio import (
    CancelScope,
    Event,
    abc,
    current_time,
    lowlevel,
    move_on_after,
    open_nursery,
    run,
    sleep,
    sleep_forever,
    to_thread,
)
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- by hand ----------------------------------------------------------------------------------------------------


def test_a_mock_clock_is_a_clock() -> None:
    assert isinstance(MockClock(), abc.Clock)


def test_a_mock_clock_starts_at_zero_and_stands_still() -> None:
    clock = MockClock()
    assert clock.current_time() == 0
    assert clock.rate == 0
    assert clock.autojump_threshold == inf
    time.sleep(0.001)
    assert clock.current_time() == 0


def test_a_jump_moves_the_clock_forward() -> None:
    clock = MockClock()
    clock.jump(1.5)
    clock.jump(2)
    clock.jump(0)
    assert clock.current_time() == 3.5


def test_time_does_not_go_backwards() -> None:
    clock = MockClock()
    with pytest.raises(ValueError, match="backwards"):
        clock.jump(-1)
    with pytest.raises(ValueError, match="rate"):
        clock.rate = -1
    with pytest.raises(ValueError, match="rate"):
        MockClock(rate=-1)


def test_a_still_clock_is_as_far_from_every_deadline_as_can_be() -> None:
    clock = MockClock()
    assert clock.deadline_to_sleep_time(1) > 10**8
    assert clock.deadline_to_sleep_time(0) == 0
    assert clock.deadline_to_sleep_time(-1) == 0
    clock.jump(5)
    assert clock.deadline_to_sleep_time(4) == 0


def test_a_running_clock_knows_how_far_a_deadline_is_in_real_time() -> None:
    clock = MockClock(rate=10)
    deadline = clock.current_time() + 100
    assert clock.deadline_to_sleep_time(deadline) == pytest.approx(10, abs=1)
    clock.rate = 0.5
    assert clock.deadline_to_sleep_time(clock.current_time() + 100) == pytest.approx(200, abs=1)


def test_a_running_clock_runs_at_its_rate() -> None:
    clock = MockClock(rate=1000)
    start = time.perf_counter(), clock.current_time()
    time.sleep(0.005)
    assert clock.current_time() - start[1] >= 5
    clock.rate = 0
    stopped = clock.current_time()
    time.sleep(0.001)
    assert clock.current_time() == stopped


def test_the_repr_of_a_mock_clock_tells_time_and_rate() -> None:
    clock = MockClock()
    clock.jump(12)
    assert "12.0" in repr(clock)
    assert "rate=0" in repr(clock)


async def test_a_sleep_on_a_still_clock_ends_with_a_jump(mock_clock: MockClock) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await sleep(seconds)
        woken.append(seconds)

    async with open_nursery() as nursery:
        nursery.start_soon(sleeper, 5)
        nursery.start_soon(sleeper, 10)
        await wait_all_tasks_blocked()
        mock_clock.jump(4)
        await wait_all_tasks_blocked()
        assert woken == []
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert woken == [5]
        mock_clock.jump(5)
    assert woken == [5, 10]
    assert current_time() == 10


async def test_a_jump_over_several_deadlines_wakes_them_all(mock_clock: MockClock) -> None:
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await sleep(seconds)
        woken.append(seconds)

    async with open_nursery() as nursery:
        for seconds in range(1, 6):
            nursery.start_soon(sleeper, seconds)
        await wait_all_tasks_blocked()
        mock_clock.jump(100)
    assert sorted(woken) == [1, 2, 3, 4, 5]


def test_a_fast_clock_makes_long_sleeps_short() -> None:
    start = time.perf_counter()
    clock = MockClock(rate=1000)
    run(sleep, 5, clock=clock)
    assert clock.current_time() >= 5
    assert time.perf_counter() - start < 4


def test_a_clock_goes_on_where_it_was_in_the_next_run() -> None:
    clock = MockClock(autojump_threshold=0)
    run(sleep, 5, clock=clock)
    assert clock.current_time() == 5


# ---- by itself --------------------------------------------------------------------------------------------------


async def test_an_autojump_clock_leaps_when_everybody_is_blocked(autojump_clock: MockClock) -> None:
    start = time.perf_counter()
    await sleep(10**6)
    assert current_time() == 10**6
    assert time.perf_counter() - start < 5


async def test_an_autojump_leaps_to_the_next_deadline_and_not_beyond(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def sleeper(seconds: float) -> None:
        await sleep(seconds)
        times.append(current_time())

    async with open_nursery() as nursery:
        for seconds in (3, 1, 2):
            nursery.start_soon(sleeper, seconds)
    assert times == [1, 2, 3]


async def test_no_time_passes_while_a_task_can_run(autojump_clock: MockClock) -> None:
    async def busy() -> None:
        for _ in range(100):
            await lowlevel.checkpoint()
            assert current_time() == 0

    async with open_nursery() as nursery:
        nursery.start_soon(sleep, 1)
        nursery.start_soon(busy)
    assert current_time() == 1


async def test_a_day_of_minutes_passes_at_once(autojump_clock: MockClock) -> None:
    for _ in range(24 * 60):
        await sleep(60)
    assert current_time() == 24 * 60 * 60


async def test_the_threshold_may_be_set_while_the_clock_is_in_use(mock_clock: MockClock) -> None:
    async with open_nursery() as nursery:
        with move_on_after(10):
            nursery.start_soon(sleep, 5)
            await wait_all_tasks_blocked()
            assert current_time() == 0
            mock_clock.autojump_threshold = 0
            await sleep_forever()
    assert current_time() == 10


async def test_the_threshold_may_be_taken_away_while_the_clock_is_in_use(autojump_clock: MockClock) -> None:
    await sleep(1)
    autojump_clock.autojump_threshold = inf
    with move_on_after(100) as scope:
        event = Event()
        with CancelScope():
            await to_thread.run_sync(time.sleep, 0.005)
            lowlevel.current_trio_token().run_sync_soon(event.set)
            await event.wait()
    assert current_time() == 1
    assert not scope.cancel_called


async def test_setting_the_threshold_of_a_clock_that_is_not_in_use_changes_nothing(mock_clock: MockClock) -> None:
    other = MockClock()
    other.autojump_threshold = 0
    with move_on_after(100) as scope:
        await to_thread.run_sync(time.sleep, 0.005)
    assert not scope.cancel_called
    assert current_time() == 0


def test_the_threshold_is_real_time() -> None:
    """As long as somebody stirs more often than the threshold says, the clock does not leap."""
    clock = MockClock(autojump_threshold=0.5)

    async def main() -> None:
        with move_on_after(100) as scope:
            await to_thread.run_sync(time.sleep, 0.005)
        assert not scope.cancel_called
        assert current_time() == 0
        clock.autojump_threshold = 0.001
        await sleep(100)
        assert current_time() == 100

    run(main, clock=clock)


async def test_wait_all_tasks_blocked_comes_before_the_leap(autojump_clock: MockClock) -> None:
    order: list[str] = []

    async def sleeper() -> None:
        await sleep(1)
        order.append("sleeper")

    async def watcher() -> None:
        await wait_all_tasks_blocked()
        assert current_time() == 0
        order.append("watcher")

    async with open_nursery() as nursery:
        nursery.start_soon(sleeper)
        nursery.start_soon(watcher)
    assert order == ["watcher", "sleeper"]


async def test_a_cushion_holds_the_leap_back(autojump_clock: MockClock) -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep, 100)
        await wait_all_tasks_blocked(cushion=0.01)
        assert current_time() == 0
    assert current_time() == 100


async def test_the_whole_history_is_the_same_every_time() -> None:
    """What an autojump clock shows does not depend on how fast the machine is."""

    async def scene() -> list[tuple[float, str]]:
        history: list[tuple[float, str]] = []

        async def ticker(name: str, seconds: float, count: int) -> None:
            for _ in range(count):
                await sleep(seconds)
                history.append((current_time(), name))

        with move_on_after(50):
            async with open_nursery() as nursery:
                nursery.start_soon(ticker, "a", 3.0, 100)
                nursery.start_soon(ticker, "b", 7.5, 100)
                nursery.start_soon(ticker, "c", 11.25, 2)
        history.append((current_time(), "end"))
        return sorted(history)

    def one_run() -> list[tuple[float, str]]:
        return run(scene, clock=MockClock(autojump_threshold=0))

    first = await to_thread.run_sync(one_run)
    assert first[-1] == (50, "end")
    assert await to_thread.run_sync(one_run) == first


def test_a_mock_clock_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Subclass", (MockClock,), {})
