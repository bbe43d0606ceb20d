"""Condition: waiting without the lock, and going on with it in any case."""

from __future__ import annotations

from typing import Any

import pytest

from cts.semantics.support import blocked


async def wait_under(condition: Any) -> None:
    async with condition:
        await condition.wait()


@pytest.mark.semantics(25)
async def test_a_notification_lets_the_longest_waiting_task_go_on(lib: Any) -> None:
    condition = lib.Condition()
    order: list[int] = []

    async def wait(number: int) -> None:
        async with condition:
            await condition.wait()
            order.append(number)

    async with lib.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(wait, number)
            await lib.testing.wait_all_tasks_blocked()
        async with condition:
            condition.notify()
        await lib.testing.wait_all_tasks_blocked()
        assert order == [0]
        async with condition:
            condition.notify(2)
        await lib.testing.wait_all_tasks_blocked()
        assert order == [0, 1, 2]
        async with condition:
            condition.notify_all()
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.semantics(25)
async def test_a_task_that_waits_has_let_go_of_the_lock(lib: Any) -> None:
    condition = lib.Condition()
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, wait_under, condition)
        assert not condition.locked()
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(25)
async def test_a_task_that_was_notified_owns_the_lock(lib: Any) -> None:
    condition = lib.Condition()
    owns: list[bool] = []

    async def wait() -> None:
        async with condition:
            await condition.wait()
            owns.append(condition.statistics().lock_statistics.owner is lib.lowlevel.current_task())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(wait)
        await lib.testing.wait_all_tasks_blocked()
        async with condition:
            condition.notify()
    assert owns == [True]


@pytest.mark.semantics(25)
async def test_a_notified_task_waits_for_the_lock(lib: Any) -> None:
    condition = lib.Condition()
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, wait_under, condition)
        async with condition:
            condition.notify()
            await lib.testing.wait_all_tasks_blocked()
            assert not call.done
            assert condition.statistics().tasks_waiting == 0
            assert condition.statistics().lock_statistics.tasks_waiting == 1


@pytest.mark.semantics(25)
async def test_a_notification_with_nobody_waiting_is_lost(lib: Any) -> None:
    condition = lib.Condition()
    async with condition:
        condition.notify()
        condition.notify_all()
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, wait_under, condition)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(25)
async def test_a_cancelled_wait_takes_the_lock_again_first(lib: Any) -> None:
    condition = lib.Condition()
    ended: list[bool] = []

    async def wait() -> None:
        async with condition:
            with lib.CancelScope() as scope:
                scopes.append(scope)
                await condition.wait()
            ended.append(condition.statistics().lock_statistics.owner is lib.lowlevel.current_task())

    scopes: list[Any] = []
    async with lib.open_nursery() as nursery:
        nursery.start_soon(wait)
        await lib.testing.wait_all_tasks_blocked()
        async with condition:
            scopes[0].cancel()
            await lib.testing.wait_all_tasks_blocked()
            assert ended == []
    assert ended == [True] and scopes[0].cancelled_caught and not condition.locked()


@pytest.mark.semantics(25)
async def test_a_wait_in_a_cancelled_scope_keeps_the_lock(lib: Any) -> None:
    condition = lib.Condition()
    async with condition:
        with lib.CancelScope() as scope:
            scope.cancel()
            await condition.wait()
        assert scope.cancelled_caught
        assert condition.statistics().lock_statistics.owner is lib.lowlevel.current_task()


@pytest.mark.semantics(25)
async def test_a_wait_that_is_cancelled_after_its_notification_takes_the_lock_again(lib: Any) -> None:
    condition = lib.Condition()
    scopes: list[Any] = []
    ended: list[bool] = []

    async def wait() -> None:
        async with condition:
            with lib.CancelScope() as scope:
                scopes.append(scope)
                await condition.wait()
            ended.append(condition.statistics().lock_statistics.owner is lib.lowlevel.current_task())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(wait)
        await lib.testing.wait_all_tasks_blocked()
        async with condition:
            condition.notify()
            scopes[0].cancel()
            await lib.testing.wait_all_tasks_blocked()
            assert ended == []
    assert ended == [True] and scopes[0].cancelled_caught


@pytest.mark.semantics(25)
async def test_a_notified_task_gets_an_error_if_the_lock_is_broken_meanwhile(lib: Any) -> None:
    condition = lib.Condition()

    async def notify_and_end() -> None:
        await condition.acquire()
        condition.notify()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(expect_broken, lib, condition)
        await lib.testing.wait_all_tasks_blocked()
        nursery.start_soon(notify_and_end)


async def expect_broken(lib: Any, condition: Any) -> None:
    await condition.acquire()
    with pytest.raises(lib.BrokenResourceError):
        await condition.wait()


@pytest.mark.semantics(25)
async def test_who_does_not_own_the_lock_can_neither_wait_nor_notify(lib: Any) -> None:
    condition = lib.Condition()
    with pytest.raises(RuntimeError):
        await condition.wait()
    for call in (condition.notify, condition.notify_all, condition.release):
        with pytest.raises(RuntimeError):
            call()


@pytest.mark.semantics(25)
async def test_conditions_may_share_a_lock(lib: Any) -> None:
    lock = lib.Lock()
    full, empty = lib.Condition(lock), lib.Condition(lock)
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, wait_under, full)
        second = await blocked(lib, nursery, wait_under, empty)
        async with lock:
            full.notify()
        await lib.testing.wait_all_tasks_blocked()
        assert first.done and not second.done
        async with lock:
            empty.notify()


@pytest.mark.semantics(25)
@pytest.mark.parametrize("wrong", ["Semaphore", "StrictFIFOLock"])
def test_a_condition_takes_nothing_but_a_lock(lib: Any, wrong: str) -> None:
    other = lib.Semaphore(1) if wrong == "Semaphore" else lib.StrictFIFOLock()
    with pytest.raises(TypeError):
        lib.Condition(other)


@pytest.mark.semantics(25)
async def test_acquiring_a_condition_acquires_its_lock(lib: Any) -> None:
    lock = lib.Lock()
    condition = lib.Condition(lock)
    condition.acquire_nowait()
    assert lock.locked() and condition.locked()
    condition.release()
    await condition.acquire()
    assert lock.locked()
    condition.release()


@pytest.mark.semantics(25)
async def test_the_statistics_of_a_condition_hold_those_of_its_lock(lib: Any) -> None:
    condition = lib.Condition()
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, wait_under, condition)
        statistics = condition.statistics()
        assert isinstance(statistics, lib.ConditionStatistics)
        assert statistics.tasks_waiting == 1
        assert statistics.lock_statistics == lib.LockStatistics(locked=False, owner=None, tasks_waiting=0)
        nursery.cancel_scope.cancel()
    assert condition.statistics().tasks_waiting == 0


@pytest.mark.semantics(25)
async def test_a_number_of_notifications_that_is_no_number_is_refused(lib: Any) -> None:
    condition = lib.Condition()
    async with condition:
        with pytest.raises(ValueError):
            condition.notify(1.5)
