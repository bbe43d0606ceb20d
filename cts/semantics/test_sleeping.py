"""Sleeping among deadlines: who wins at the same moment, and that a sleep which was cancelled leaves nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cts.semantics.support import blocked


@pytest.mark.semantics(5, 30)
async def test_a_scope_and_a_sleep_that_end_at_the_same_moment_are_a_timeout(lib: Any, autojump_clock: Any) -> None:
    with lib.move_on_after(1) as scope:
        await lib.sleep(1)
    assert scope.cancelled_caught
    with lib.move_on_at(lib.current_time() + 1) as scope:
        await lib.sleep_until(lib.current_time() + 1)
    assert scope.cancelled_caught


@pytest.mark.semantics(5, 30)
async def test_a_task_that_is_cancelled_when_its_sleep_is_over_is_cancelled(lib: Any, mock_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 1)
        scopes: list[Any] = []

        async def sleep() -> None:
            with lib.CancelScope() as scope:
                scopes.append(scope)
                await lib.sleep(1)

        await blocked(lib, nursery, sleep)
        mock_clock.jump(1)
        scopes[0].cancel()
    assert scopes[0].cancelled_caught


@pytest.mark.semantics(5)
async def test_a_cancelled_sleep_leaves_no_deadline(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        for seconds in range(100, 200):
            nursery.start_soon(lib.sleep, seconds)
        await lib.testing.wait_all_tasks_blocked()
        assert lib.lowlevel.current_statistics().seconds_to_next_deadline <= 100
        nursery.cancel_scope.cancel()
    assert lib.lowlevel.current_statistics().seconds_to_next_deadline == math.inf


@pytest.mark.semantics(5, 30)
async def test_sleeping_tasks_awake_in_the_order_of_their_times(lib: Any, autojump_clock: Any) -> None:
    awoken: list[int] = []

    async def sleep(seconds: int) -> None:
        await lib.sleep(seconds)
        awoken.append(seconds)

    async with lib.open_nursery() as nursery:
        for seconds in (5, 1, 4, 2, 3):
            nursery.start_soon(sleep, seconds)
    assert awoken == [1, 2, 3, 4, 5]
    assert lib.current_time() == 5


@pytest.mark.semantics(5)
@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_sleeping_until_now_or_earlier_is_a_checkpoint(lib: Any, seconds: float) -> None:
    with lib.testing.assert_checkpoints():
        await lib.sleep_until(lib.current_time() + seconds)


@pytest.mark.semantics(3, 5)
async def test_a_sleep_in_a_cancelled_scope_does_not_begin(lib: Any, mock_clock: Any) -> None:
    for call in (lambda: lib.sleep(1), lambda: lib.sleep(math.inf), lambda: lib.sleep_until(1), lib.sleep_forever):
        with lib.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert lib.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
