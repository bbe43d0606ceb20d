"""ParkingLot: a fair queue of parked tasks that can be cancelled, moved and broken."""

from __future__ import annotations

from math import inf

import pytest

from proactor_trio import BrokenResourceError, CancelScope, lowlevel, open_nursery
from proactor_trio.lowlevel import ParkingLot, Task, add_parking_lot_breaker, remove_parking_lot_breaker
from proactor_trio.testing import wait_all_tasks_blocked


class Scene:
    """Tasks that park in a lot in the order of their numbers, and the order in which they were woken."""

    def __init__(self) -> None:
        self.woken: list[int] = []
        self.broken: list[int] = []
        self.tasks: dict[int, Task] = {}
        self.scopes: dict[int, CancelScope] = {}

    async def parker(self, lot: ParkingLot, number: int) -> None:
        self.tasks[number] = lowlevel.current_task()
        self.scopes[number] = CancelScope()
        with self.scopes[number]:
            try:
                await lot.park()
            except BrokenResourceError:
                self.broken.append(number)
            else:
                self.woken.append(number)


async def park(nursery: object, lot: ParkingLot, count: int) -> Scene:
    scene = Scene()
    for number in range(count):
        nursery.start_soon(scene.parker, lot, number)  # type: ignore[attr-defined]
        await wait_all_tasks_blocked()
    return scene


# ---- parking and waking -----------------------------------------------------------------------------------------


async def test_an_empty_lot_is_empty_and_false() -> None:
    lot = ParkingLot()
    assert len(lot) == 0
    assert not lot
    assert lot.unpark() == []
    assert lot.unpark_all() == []


async def test_a_lot_knows_how_many_tasks_are_parked() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        await park(nursery, lot, 3)
        assert len(lot) == 3
        assert lot
        assert lot.statistics().tasks_waiting == 3
        lot.unpark_all()
        assert len(lot) == 0
        assert lot.statistics().tasks_waiting == 0


async def test_tasks_are_woken_in_the_order_they_came() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 5)
        for number in range(5):
            assert lot.unpark() == [scene.tasks[number]]
            await wait_all_tasks_blocked()
            assert scene.woken == list(range(number + 1))


async def test_several_tasks_may_be_woken_at_once() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 5)
        assert lot.unpark(count=3) == [scene.tasks[number] for number in range(3)]
        await wait_all_tasks_blocked()
        assert sorted(scene.woken) == [0, 1, 2]
        assert len(lot) == 2
        lot.unpark_all()


async def test_waking_more_tasks_than_there_are_wakes_all() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 2)
        assert len(lot.unpark(count=100)) == 2
    assert sorted(scene.woken) == [0, 1]


async def test_the_count_may_be_infinite() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        await park(nursery, lot, 3)
        assert len(lot.unpark(count=inf)) == 3


async def test_the_count_is_a_whole_number() -> None:
    lot = ParkingLot()
    with pytest.raises(ValueError, match="non-integer"):
        lot.unpark(count=1.5)
    with pytest.raises(ValueError, match="non-integer"):
        lot.repark(ParkingLot(), count=1.5)


async def test_a_count_of_zero_wakes_nobody() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        await park(nursery, lot, 1)
        assert lot.unpark(count=0) == []
        assert len(lot) == 1
        lot.unpark()


async def test_a_thousand_tasks_in_one_lot_are_woken_in_their_order() -> None:
    lot = ParkingLot()
    scene = Scene()
    arrivals: list[int] = []

    async def parker(number: int) -> None:
        arrivals.append(number)
        await scene.parker(lot, number)

    async with open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(parker, number)
        await wait_all_tasks_blocked()
        assert len(lot) == 1000
        unparked = lot.unpark_all()
        assert unparked == [scene.tasks[number] for number in arrivals]
    assert sorted(scene.woken) == list(range(1000))


async def test_parking_again_goes_to_the_end_of_the_queue() -> None:
    lot = ParkingLot()
    laps: list[str] = []

    async def walker(name: str) -> None:
        for _ in range(2):
            await lot.park()
            laps.append(name)

    async with open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(walker, name)
            await wait_all_tasks_blocked()
        for _ in range(6):
            lot.unpark()
            await wait_all_tasks_blocked()
    assert "".join(laps) == "abcabc"


# ---- cancelling -------------------------------------------------------------------------------------------------


async def test_a_cancelled_task_leaves_the_lot() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 3)
        scene.scopes[1].cancel()
        assert len(lot) == 2
        await wait_all_tasks_blocked()
        lot.unpark_all()
        await wait_all_tasks_blocked()
    assert sorted(scene.woken) == [0, 2]
    assert scene.scopes[1].cancelled_caught


async def test_parking_in_a_cancelled_scope_leaves_nothing_in_the_lot() -> None:
    lot = ParkingLot()
    with CancelScope() as scope:
        scope.cancel()
        await lot.park()
    assert scope.cancelled_caught
    assert len(lot) == 0


async def test_a_task_that_was_unparked_is_no_longer_cancelled_in_the_lot() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 1)
        lot.unpark()
        scene.scopes[0].cancel()
    assert scene.woken == [0]
    assert not scene.scopes[0].cancelled_caught


# ---- moving -----------------------------------------------------------------------------------------------------


async def test_repark_moves_the_first_task_to_another_lot() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, first, 3)
        first.repark(second)
        assert (len(first), len(second)) == (2, 1)
        assert second.unpark() == [scene.tasks[0]]
        first.unpark_all()


async def test_repark_keeps_the_order() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, first, 5)
        first.repark(second, count=3)
        assert second.unpark_all() == [scene.tasks[number] for number in range(3)]
        assert first.unpark_all() == [scene.tasks[number] for number in (3, 4)]


async def test_repark_puts_the_newcomers_behind_those_who_are_there() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        newcomers = await park(nursery, first, 2)
        residents = await park(nursery, second, 2)
        first.repark_all(second)
        expected = [residents.tasks[0], residents.tasks[1], newcomers.tasks[0], newcomers.tasks[1]]
        assert second.unpark_all() == expected


async def test_repark_all_moves_everybody() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        await park(nursery, first, 4)
        first.repark_all(second)
        assert (len(first), len(second)) == (0, 4)
        second.unpark_all()


async def test_repark_takes_an_infinite_count() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        await park(nursery, first, 4)
        first.repark(second, count=inf)
        assert len(second) == 4
        second.unpark_all()


async def test_a_moved_task_is_cancelled_out_of_its_new_lot() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, first, 2)
        first.repark_all(second)
        scene.scopes[0].cancel()
        assert len(second) == 1
        assert second.unpark() == [scene.tasks[1]]


async def test_repark_wakes_nobody() -> None:
    first, second = ParkingLot(), ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, first, 2)
        first.repark_all(second)
        await wait_all_tasks_blocked()
        assert scene.woken == []
        second.unpark_all()


async def test_repark_needs_a_lot() -> None:
    with pytest.raises(TypeError, match="ParkingLot"):
        ParkingLot().repark(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ParkingLot"):
        ParkingLot().repark_all(None)  # type: ignore[arg-type]


# ---- breaking ---------------------------------------------------------------------------------------------------


async def test_breaking_a_lot_raises_in_everybody_who_is_parked() -> None:
    lot = ParkingLot()
    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 3)
        lot.break_lot()
        assert len(lot) == 0
    assert sorted(scene.broken) == [0, 1, 2]
    assert scene.woken == []


async def test_a_broken_lot_names_who_broke_it() -> None:
    lot = ParkingLot()
    assert lot.broken_by == []
    lot.break_lot()
    assert lot.broken_by == [lowlevel.current_task()]


async def test_a_lot_may_be_broken_in_the_name_of_another_task() -> None:
    lot = ParkingLot()
    other = lowlevel.current_root_task()
    assert other is not None
    lot.break_lot(other)
    assert lot.broken_by == [other]


async def test_a_lot_may_be_broken_several_times() -> None:
    lot = ParkingLot()
    task = lowlevel.current_task()
    lot.break_lot(task)
    lot.break_lot(task)
    assert lot.broken_by == [task, task]


async def test_nobody_parks_in_a_broken_lot() -> None:
    lot = ParkingLot()
    lot.break_lot()
    with pytest.raises(BrokenResourceError, match="broken"):
        await lot.park()
    assert lot.unpark_all() == []


async def test_a_lot_breaks_when_its_breaker_ends() -> None:
    lot = ParkingLot()
    breakers: list[Task] = []

    async def breaker() -> None:
        breakers.append(lowlevel.current_task())
        add_parking_lot_breaker(breakers[0], lot)
        await lowlevel.checkpoint()

    async with open_nursery() as nursery:
        scene = await park(nursery, lot, 2)
        nursery.start_soon(breaker)
    assert sorted(scene.broken) == [0, 1]
    assert lot.broken_by == breakers


async def test_a_lot_breaks_when_its_breaker_fails() -> None:
    lot = ParkingLot()

    async def breaker() -> None:
        add_parking_lot_breaker(lowlevel.current_task(), lot)
        raise ValueError

    with pytest.raises(ExceptionGroup):
        async with open_nursery() as nursery:
            nursery.start_soon(breaker)
    assert len(lot.broken_by) == 1


async def test_a_removed_breaker_breaks_nothing() -> None:
    lot = ParkingLot()

    async def breaker() -> None:
        add_parking_lot_breaker(lowlevel.current_task(), lot)
        await lowlevel.checkpoint()
        remove_parking_lot_breaker(lowlevel.current_task(), lot)

    async with open_nursery() as nursery:
        nursery.start_soon(breaker)
    assert lot.broken_by == []


async def test_a_breaker_breaks_every_lot_it_is_registered_for() -> None:
    lots = [ParkingLot() for _ in range(3)]

    async def breaker() -> None:
        for lot in lots:
            add_parking_lot_breaker(lowlevel.current_task(), lot)
        remove_parking_lot_breaker(lowlevel.current_task(), lots[1])

    async with open_nursery() as nursery:
        nursery.start_soon(breaker)
    assert [len(lot.broken_by) for lot in lots] == [1, 0, 1]


async def test_a_breaker_that_was_never_registered_cannot_be_removed() -> None:
    lot = ParkingLot()
    with pytest.raises(RuntimeError, match="not registered"):
        remove_parking_lot_breaker(lowlevel.current_task(), lot)
    add_parking_lot_breaker(lowlevel.current_task(), lot)
    with pytest.raises(RuntimeError, match="not registered"):
        remove_parking_lot_breaker(lowlevel.current_task(), ParkingLot())
    remove_parking_lot_breaker(lowlevel.current_task(), lot)


async def test_a_task_that_has_ended_cannot_become_a_breaker() -> None:
    tasks: list[Task] = []

    async def child() -> None:
        tasks.append(lowlevel.current_task())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
    with pytest.raises(BrokenResourceError, match="already exited"):
        add_parking_lot_breaker(tasks[0], ParkingLot())


def test_a_parking_lot_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Subclass", (ParkingLot,), {})
