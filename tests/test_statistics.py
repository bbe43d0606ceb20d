"""current_statistics(): what a run says about itself."""

from __future__ import annotations

import math

import pytest

from proactor_trio import move_on_after, open_nursery, run, sleep_forever
from proactor_trio.lowlevel import checkpoint, current_statistics, current_trio_token
from proactor_trio.proactor import Nop
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


def test_outside_of_a_run_there_are_none() -> None:
    with pytest.raises(RuntimeError):
        current_statistics()


async def test_living_tasks_are_counted_from_their_start_to_their_end() -> None:
    before = current_statistics().tasks_living
    async with open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(sleep_forever)
        assert current_statistics().tasks_living == before + 3
        nursery.cancel_scope.cancel()
    assert current_statistics().tasks_living == before


async def test_runnable_tasks_are_those_of_the_next_batch() -> None:
    async with open_nursery() as nursery:
        assert current_statistics().tasks_runnable == 0
        for _ in range(3):
            nursery.start_soon(checkpoint)
        assert current_statistics().tasks_runnable == 3


async def test_blocked_tasks_are_not_runnable() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep_forever)
        await wait_all_tasks_blocked()
        assert current_statistics().tasks_runnable == 0
        nursery.cancel_scope.cancel()


async def test_without_a_deadline_the_next_one_is_never() -> None:
    assert current_statistics().seconds_to_next_deadline == math.inf


async def test_the_next_deadline_is_the_earliest_of_all(mock_clock: MockClock) -> None:
    with move_on_after(10), move_on_after(3), move_on_after(5):
        assert current_statistics().seconds_to_next_deadline == pytest.approx(3)
        mock_clock.jump(1)
        assert current_statistics().seconds_to_next_deadline == pytest.approx(2)
    assert current_statistics().seconds_to_next_deadline == math.inf


async def test_calls_that_wait_are_counted() -> None:
    token = current_trio_token()
    for _ in range(3):
        token.run_sync_soon(lambda: None)
    token.run_sync_soon(len, "", idempotent=True)
    token.run_sync_soon(len, "", idempotent=True)
    assert current_statistics().run_sync_soon_queue_size == 4
    await checkpoint()
    assert current_statistics().run_sync_soon_queue_size == 0


async def test_operations_are_counted() -> None:
    before = current_statistics().io_statistics.counters
    await Nop()
    after = current_statistics().io_statistics.counters
    assert after["submitted"] == before["submitted"] + 1
    assert after["delivered"] == before["delivered"] + 1
    assert after["in_flight"] == 0


@pytest.mark.parametrize("backend", ["epoll", "poll"])
def test_the_backend_is_named_with_its_reason(backend: str) -> None:
    async def main() -> None:
        statistics = current_statistics().io_statistics
        assert statistics.backend == backend
        assert backend in statistics.variant
        assert statistics.reason == f"{backend} was named by the backend argument"

    run(main, backend=backend)


async def test_statistics_do_not_change_afterwards() -> None:
    statistics = current_statistics()
    with pytest.raises(AttributeError):
        statistics.tasks_living = 0  # type: ignore[misc]
