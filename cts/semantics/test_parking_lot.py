"""ParkingLot: tasks that wait in a queue, to be woken, moved, or told that nobody will come."""

from __future__ import annotations

import math
from typing import Any

import pytest


class Parked:
    """Tasks that park in lots, one after the other; `woken` and `broken` in the order it happened."""

    def __init__(self, lib: Any, nursery: Any) -> None:
        self._lib = lib
        self._nursery = nursery
        self.woken: list[int] = []
        self.broken: list[int] = []
        self.errors: list[BaseException] = []

    async def _park(self, lot: Any, number: int) -> None:
        try:
            await lot.park()
        except self._lib.BrokenResourceError as error:
            self.broken.append(number)
            self.errors.append(error)
        else:
            self.woken.append(number)

    async def add(self, lot: Any, *numbers: int) -> None:
        for number in numbers:
            self._nursery.start_soon(self._park, lot, number)
            await self.settle()

    async def settle(self) -> None:
        await self._lib.testing.wait_all_tasks_blocked()


@pytest.mark.semantics(26)
async def test_tasks_are_woken_in_the_order_they_came(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(lot, 0, 1, 2)
        for _ in range(3):
            lot.unpark()
            await parked.settle()
    assert parked.woken == [0, 1, 2]


@pytest.mark.semantics(26)
async def test_it_knows_how_many_are_parked(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()
    assert not lot and len(lot) == 0
    async with lib.open_nursery() as nursery:
        await Parked(lib, nursery).add(lot, 0, 1)
        assert lot and len(lot) == 2
        assert lot.statistics().tasks_waiting == 2
        lot.unpark_all()
    assert not lot


@pytest.mark.semantics(26)
@pytest.mark.parametrize(("count", "woken"), [(0, 0), (2, 2), (5, 3), (math.inf, 3)])
async def test_several_may_be_woken_at_once(lib: Any, count: float, woken: int) -> None:
    lot = lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(lot, 0, 1, 2)
        tasks = lot.unpark(count=count)
        assert len(tasks) == woken
        await parked.settle()
        assert sorted(parked.woken) == list(range(woken))
        lot.unpark_all()


@pytest.mark.semantics(26)
async def test_a_cancelled_task_leaves_the_lot(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        await Parked(lib, nursery).add(lot, 0)
        nursery.cancel_scope.cancel()
    assert len(lot) == 0


@pytest.mark.semantics(26)
async def test_who_was_woken_before_the_cancellation_returns(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(lot, 0)
        lot.unpark()
        nursery.cancel_scope.cancel()
    assert parked.woken == [0]


@pytest.mark.semantics(26)
async def test_repark_moves_tasks_to_the_end_of_another_lot(lib: Any) -> None:
    first, second = lib.lowlevel.ParkingLot(), lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(first, 0, 1, 2)
        await parked.add(second, 3)
        first.repark(second, count=2)
        assert (len(first), len(second)) == (1, 3)
        assert parked.woken == []
        for _ in range(3):
            second.unpark()
            await parked.settle()
        assert parked.woken == [3, 0, 1]
        first.unpark()


@pytest.mark.semantics(26)
async def test_repark_all_moves_everybody_and_a_moved_task_can_be_cancelled(lib: Any) -> None:
    first, second = lib.lowlevel.ParkingLot(), lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        await Parked(lib, nursery).add(first, 0, 1)
        first.repark_all(second)
        assert (len(first), len(second)) == (0, 2)
        nursery.cancel_scope.cancel()
    assert len(second) == 0


@pytest.mark.semantics(26)
async def test_repark_needs_a_lot(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.lowlevel.ParkingLot().repark(None)


@pytest.mark.semantics(26)
async def test_a_broken_lot_raises_in_all_who_are_parked_and_in_all_who_come(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()
    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(lot, 0, 1)
        lot.break_lot()
        await parked.settle()
        assert sorted(parked.broken) == [0, 1]
        with pytest.raises(lib.BrokenResourceError):
            await lot.park()
    assert lot.broken_by == [lib.lowlevel.current_task()]


@pytest.mark.semantics(26)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_lot_breaks_when_its_breaker_ends(lib: Any, fails: bool) -> None:
    lot = lib.lowlevel.ParkingLot()
    breakers: list[Any] = []

    async def breaker() -> None:
        breakers.append(lib.lowlevel.current_task())
        lib.lowlevel.add_parking_lot_breaker(breakers[0], lot)
        if fails:
            raise KeyError

    async with lib.open_nursery() as nursery:
        parked = Parked(lib, nursery)
        await parked.add(lot, 0)
        try:
            async with lib.open_nursery() as inner:
                inner.start_soon(breaker)
        except* KeyError:
            assert fails
        await parked.settle()
    assert parked.broken == [0]
    assert lot.broken_by == breakers


@pytest.mark.semantics(26)
async def test_a_removed_breaker_breaks_nothing(lib: Any) -> None:
    lot = lib.lowlevel.ParkingLot()

    async def breaker() -> None:
        task = lib.lowlevel.current_task()
        lib.lowlevel.add_parking_lot_breaker(task, lot)
        lib.lowlevel.remove_parking_lot_breaker(task, lot)
        with pytest.raises(RuntimeError):
            lib.lowlevel.remove_parking_lot_breaker(task, lot)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(breaker)
    assert lot.broken_by == []


@pytest.mark.semantics(26)
async def test_a_task_that_has_ended_breaks_no_lot(lib: Any) -> None:
    tasks: list[Any] = []

    async def child() -> None:
        tasks.append(lib.lowlevel.current_task())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
    with pytest.raises(lib.BrokenResourceError):
        lib.lowlevel.add_parking_lot_breaker(tasks[0], lib.lowlevel.ParkingLot())
