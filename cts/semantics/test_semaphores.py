"""Semaphore: a number that never falls below zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_cancel_point, is_schedule_point


@pytest.mark.semantics(25)
async def test_acquiring_takes_one_and_releasing_adds_one(lib: Any) -> None:
    semaphore = lib.Semaphore(2)
    await semaphore.acquire()
    assert semaphore.value == 1
    semaphore.acquire_nowait()
    assert semaphore.value == 0
    semaphore.release()
    assert semaphore.value == 1


@pytest.mark.semantics(25)
async def test_an_acquire_at_zero_would_block(lib: Any) -> None:
    with pytest.raises(lib.WouldBlock):
        lib.Semaphore(0).acquire_nowait()


@pytest.mark.semantics(25)
async def test_a_release_goes_to_who_has_waited_longest(lib: Any) -> None:
    semaphore = lib.Semaphore(0)
    order: list[int] = []

    async def use(number: int) -> None:
        await semaphore.acquire()
        order.append(number)
        semaphore.release()

    async with lib.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(use, number)
            await lib.testing.wait_all_tasks_blocked()
        semaphore.release()
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.semantics(25)
async def test_a_release_for_a_waiting_task_leaves_the_value_at_zero(lib: Any) -> None:
    semaphore = lib.Semaphore(0)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, semaphore.acquire)
        semaphore.release()
        assert semaphore.value == 0
        with pytest.raises(lib.WouldBlock):
            semaphore.acquire_nowait()


@pytest.mark.semantics(25)
async def test_anybody_may_release_a_semaphore(lib: Any) -> None:
    semaphore = lib.Semaphore(0)
    semaphore.release()
    semaphore.release()
    assert semaphore.value == 2


@pytest.mark.semantics(25)
async def test_a_bounded_semaphore_refuses_to_exceed_its_bound(lib: Any) -> None:
    semaphore = lib.Semaphore(1, max_value=2)
    assert semaphore.max_value == 2
    semaphore.release()
    with pytest.raises(ValueError):
        semaphore.release()
    assert semaphore.value == 2


@pytest.mark.semantics(25)
async def test_a_release_for_a_waiting_task_is_within_any_bound(lib: Any) -> None:
    semaphore = lib.Semaphore(0, max_value=0)
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, semaphore.acquire)
        semaphore.release()
    assert call.done
    with pytest.raises(ValueError):
        semaphore.release()


@pytest.mark.semantics(25)
def test_a_semaphore_has_no_bound_unless_it_is_given_one(lib: Any) -> None:
    assert lib.Semaphore(3).max_value is None


@pytest.mark.semantics(25)
@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        ((1.0,), {}, TypeError),
        (("1",), {}, TypeError),
        ((-1,), {}, ValueError),
        ((1,), {"max_value": 1.0}, TypeError),
        ((2,), {"max_value": 1}, ValueError),
        ((1, 2), {}, TypeError),
    ],
)
def test_wrong_values_of_a_semaphore_are_refused(
    lib: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        lib.Semaphore(*arguments, **keywords)


@pytest.mark.semantics(25)
async def test_a_cancelled_acquire_of_a_semaphore_takes_none(lib: Any) -> None:
    semaphore = lib.Semaphore(0)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, semaphore.acquire)
        nursery.cancel_scope.cancel()
    assert semaphore.statistics().tasks_waiting == 0
    semaphore.release()
    with cancelled_block(lib):
        await semaphore.acquire()
    assert semaphore.value == 1


@pytest.mark.semantics(25)
async def test_a_block_with_a_semaphore_acquires_and_releases(lib: Any) -> None:
    semaphore = lib.Semaphore(1)
    async with semaphore:
        assert semaphore.value == 0
    assert semaphore.value == 1


@pytest.mark.semantics(25)
async def test_the_statistics_of_a_semaphore_count_those_who_wait(lib: Any) -> None:
    semaphore = lib.Semaphore(0)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, semaphore.acquire)
        assert semaphore.statistics() == lib.lowlevel.ParkingLotStatistics(tasks_waiting=1)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(1, 25)
@pytest.mark.parametrize("point", [is_cancel_point, is_schedule_point])
async def test_acquiring_a_semaphore_at_once_is_a_checkpoint(lib: Any, point: Callable[..., Any]) -> None:
    assert await point(lib, lib.Semaphore(1).acquire)


@pytest.mark.semantics(25)
def test_a_semaphore_says_its_value_and_bound(lib: Any) -> None:
    described = repr(lib.Semaphore(7, max_value=13))
    assert "Semaphore" in described and "7" in described and "13" in described
