"""wait_all_tasks_blocked(): how a test knows that everything has settled down."""

from __future__ import annotations

import threading
import time

from proactor_trio import CancelScope, Event, current_time, lowlevel, open_nursery, sleep, sleep_forever, to_thread
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


async def test_it_returns_when_every_other_task_is_blocked() -> None:
    steps = 0

    async def busy() -> None:
        nonlocal steps
        for _ in range(50):
            await lowlevel.checkpoint()
            steps += 1
        await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(busy)
        await wait_all_tasks_blocked()
        assert steps == 50
        nursery.cancel_scope.cancel()


async def test_it_returns_at_once_when_there_is_nobody_else() -> None:
    await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()


async def test_it_waits_for_tasks_that_are_started_by_others() -> None:
    finished: list[int] = []

    async def generation(number: int) -> None:
        await lowlevel.checkpoint()
        if number < 5:
            nursery.start_soon(generation, number + 1)
        finished.append(number)

    async with open_nursery() as nursery:
        nursery.start_soon(generation, 0)
        await wait_all_tasks_blocked()
        assert finished == [0, 1, 2, 3, 4, 5]


async def test_it_is_woken_again_for_every_call() -> None:
    steps: list[int] = []

    async def walker(events: list[Event]) -> None:
        for number, event in enumerate(events):
            await event.wait()
            steps.append(number)

    events = [Event() for _ in range(3)]
    async with open_nursery() as nursery:
        nursery.start_soon(walker, events)
        for number, event in enumerate(events):
            await wait_all_tasks_blocked()
            assert steps == list(range(number))
            event.set()


async def test_a_cancelled_wait_is_over() -> None:
    with CancelScope() as scope:
        scope.cancel()
        await wait_all_tasks_blocked()
    assert scope.cancelled_caught
    await wait_all_tasks_blocked()


async def test_a_wait_may_be_cancelled_while_others_are_busy() -> None:
    stop = False

    async def busy() -> None:
        while not stop:
            await lowlevel.checkpoint()

    async def watcher(scope: CancelScope) -> None:
        with scope:
            await wait_all_tasks_blocked()

    scope = CancelScope()
    async with open_nursery() as nursery:
        nursery.start_soon(busy)
        nursery.start_soon(watcher, scope)
        for _ in range(5):
            await lowlevel.checkpoint()
        scope.cancel()
        stop = True
    assert scope.cancelled_caught


async def test_a_cushion_asks_for_a_time_of_quiet() -> None:
    start = time.perf_counter()
    await wait_all_tasks_blocked(cushion=0.02)
    assert time.perf_counter() - start >= 0.02


async def test_activity_starts_the_time_of_quiet_anew() -> None:
    record: list[str] = []

    async def ticker() -> None:
        for _ in range(5):
            await sleep(0.005)
            record.append("tick")
        record.append("quiet")

    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        await wait_all_tasks_blocked(cushion=0.2)
        assert record[-1] == "quiet"


async def test_of_several_waits_the_shortest_cushion_comes_first() -> None:
    order: list[float] = []

    async def watcher(cushion: float) -> None:
        await wait_all_tasks_blocked(cushion=cushion)
        order.append(cushion)

    async with open_nursery() as nursery:
        for cushion in (0.02, 0.0, 0.01):
            nursery.start_soon(watcher, cushion)
    assert order == [0.0, 0.01, 0.02]


async def test_waits_with_equal_cushions_are_woken_together() -> None:
    order: list[str] = []

    async def watcher(name: str) -> None:
        await wait_all_tasks_blocked(cushion=0.005)
        order.append(f"{name} woken")
        await lowlevel.checkpoint()
        await lowlevel.checkpoint()
        order.append(f"{name} gone")

    async with open_nursery() as nursery:
        nursery.start_soon(watcher, "first")
        nursery.start_soon(watcher, "second")
    assert {entry.split()[1] for entry in order[:2]} == {"woken"}


async def test_a_cushion_is_real_time(mock_clock: MockClock) -> None:
    start = time.perf_counter()
    await wait_all_tasks_blocked(cushion=0.01)
    assert time.perf_counter() - start >= 0.01
    assert current_time() == 0


async def test_a_deadline_that_fires_is_activity() -> None:
    woken: list[str] = []

    async def sleeper() -> None:
        await sleep(0.01)
        woken.append("sleeper")

    async with open_nursery() as nursery:
        nursery.start_soon(sleeper)
        await wait_all_tasks_blocked(cushion=0.1)
        assert woken == ["sleeper"]


async def test_sleeping_tasks_are_blocked_tasks(mock_clock: MockClock) -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep, 5)
        await wait_all_tasks_blocked()
        mock_clock.jump(5)


async def test_a_thread_at_work_is_no_activity() -> None:
    release = threading.Event()
    finished: list[str] = []

    async def worker() -> None:
        await to_thread.run_sync(release.wait)
        finished.append("worker")

    async with open_nursery() as nursery:
        nursery.start_soon(worker)
        await wait_all_tasks_blocked()
        assert finished == []
        release.set()
