"""Lock and StrictFIFOLock: one owner, handed over in order, broken by an owner that ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_cancel_point, is_schedule_point

KINDS = pytest.mark.parametrize("kind", ["Lock", "StrictFIFOLock"])


def lock_of(lib: Any, kind: str) -> Any:
    return getattr(lib, kind)()


@pytest.mark.semantics(25)
@KINDS
async def test_a_lock_has_one_owner_at_a_time(lib: Any, kind: str) -> None:
    lock = lock_of(lib, kind)
    inside = 0

    async def use() -> None:
        nonlocal inside
        for _ in range(5):
            async with lock:
                inside += 1
                assert inside == 1
                await lib.lowlevel.checkpoint()
                inside -= 1

    async with lib.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(use)
    assert not lock.locked()


@pytest.mark.semantics(25)
@KINDS
async def test_a_lock_is_handed_over_in_the_order_of_asking(lib: Any, kind: str) -> None:
    lock = lock_of(lib, kind)
    order: list[int] = []

    async def use(number: int) -> None:
        async with lock:
            order.append(number)

    async with lib.open_nursery() as nursery:
        async with lock:
            for number in range(5):
                nursery.start_soon(use, number)
                await lib.testing.wait_all_tasks_blocked()
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.semantics(25)
async def test_who_releases_and_asks_again_comes_after_those_who_wait(lib: Any) -> None:
    lock = lib.Lock()
    order: list[str] = []

    async def other() -> None:
        async with lock:
            order.append("other")

    async with lib.open_nursery() as nursery:
        await lock.acquire()
        await blocked(lib, nursery, other)
        lock.release()
        async with lock:
            order.append("first again")
    assert order == ["other", "first again"]


@pytest.mark.semantics(25)
async def test_a_lock_belongs_to_who_waits_from_the_moment_it_is_released(lib: Any) -> None:
    lock = lib.Lock()
    async with lib.open_nursery() as nursery:
        await lock.acquire()
        waiting: list[Any] = []

        async def take_and_hold() -> None:
            waiting.append(lib.lowlevel.current_task())
            async with lock:
                await lib.sleep_forever()

        await blocked(lib, nursery, take_and_hold)
        lock.release()
        assert lock.statistics().owner is waiting[0]
        with pytest.raises(lib.WouldBlock):
            lock.acquire_nowait()
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(25)
@KINDS
async def test_an_owner_cannot_acquire_again(lib: Any, kind: str) -> None:
    lock = lock_of(lib, kind)
    async with lock:
        with pytest.raises(RuntimeError):
            await lock.acquire()
        with pytest.raises(RuntimeError):
            lock.acquire_nowait()


@pytest.mark.semantics(25)
async def test_only_the_owner_can_release(lib: Any) -> None:
    lock = lib.Lock()
    with pytest.raises(RuntimeError):
        lock.release()

    async def release() -> None:
        with pytest.raises(RuntimeError):
            lock.release()

    async with lib.open_nursery() as nursery:
        await lock.acquire()
        nursery.start_soon(release)
        await lib.testing.wait_all_tasks_blocked()
        assert lock.locked()
        lock.release()


@pytest.mark.semantics(25)
async def test_acquire_nowait_would_block_on_a_lock_of_another_task(lib: Any) -> None:
    lock = lib.Lock()

    async def try_it() -> None:
        with pytest.raises(lib.WouldBlock):
            lock.acquire_nowait()

    async with lib.open_nursery() as nursery:
        lock.acquire_nowait()
        nursery.start_soon(try_it)
        await lib.testing.wait_all_tasks_blocked()
        lock.release()


@pytest.mark.semantics(25)
async def test_a_cancelled_acquire_leaves_the_queue(lib: Any) -> None:
    lock = lib.Lock()
    async with lib.open_nursery() as nursery:
        await lock.acquire()
        await blocked(lib, nursery, lock.acquire)
        nursery.cancel_scope.cancel()
    assert lock.statistics().tasks_waiting == 0
    lock.release()
    assert not lock.locked()


@pytest.mark.semantics(1, 25)
async def test_an_acquire_in_a_cancelled_scope_takes_nothing(lib: Any) -> None:
    lock = lib.Lock()
    with cancelled_block(lib):
        await lock.acquire()
    assert not lock.locked()


@pytest.mark.semantics(25)
async def test_a_lock_that_was_handed_over_is_kept_in_spite_of_a_cancellation(lib: Any) -> None:
    lock = lib.Lock()
    scopes: list[Any] = []
    taken: list[bool] = []

    async def take() -> None:
        with lib.CancelScope() as scope:
            scopes.append(scope)
            await lock.acquire()
            taken.append(lock.statistics().owner is lib.lowlevel.current_task())
            lock.release()

    async with lib.open_nursery() as nursery:
        await lock.acquire()
        await blocked(lib, nursery, take)
        lock.release()
        scopes[0].cancel()
    assert taken == [True] and not lock.locked()


@pytest.mark.semantics(25)
async def test_an_owner_that_ends_breaks_the_lock_for_those_who_wait(lib: Any) -> None:
    lock = lib.Lock()

    may_end = lib.Event()

    async def take_and_end(task_status: Any) -> None:
        await lock.acquire()
        task_status.started()
        await may_end.wait()

    async with lib.open_nursery() as nursery:
        await nursery.start(take_and_end)
        calls = [await blocked(lib, nursery, lock.acquire) for _ in range(3)]
        may_end.set()
    assert [type(call.error) for call in calls] == [lib.BrokenResourceError] * 3


@pytest.mark.semantics(25)
async def test_a_lock_whose_owner_has_ended_stays_broken(lib: Any) -> None:
    lock = lib.Lock()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lock.acquire)
    for _ in range(2):
        with pytest.raises(lib.BrokenResourceError):
            await lock.acquire()
    with pytest.raises(lib.WouldBlock):
        lock.acquire_nowait()
    assert lock.locked()


@pytest.mark.semantics(25)
async def test_an_owner_that_got_the_lock_by_waiting_breaks_it_too(lib: Any) -> None:
    lock = lib.Lock()
    async with lib.open_nursery() as nursery:
        await lock.acquire()
        await blocked(lib, nursery, lock.acquire)
        lock.release()
    with pytest.raises(lib.BrokenResourceError):
        await lock.acquire()


@pytest.mark.semantics(25)
async def test_an_owner_of_several_locks_breaks_those_that_it_kept(lib: Any) -> None:
    kept, released = lib.Lock(), lib.Lock()

    async def take_both() -> None:
        await kept.acquire()
        await released.acquire()
        released.release()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(take_both)
    await released.acquire()
    released.release()
    with pytest.raises(lib.BrokenResourceError):
        await kept.acquire()


@pytest.mark.semantics(25)
async def test_locks_may_be_released_in_any_order(lib: Any) -> None:
    locks = [lib.Lock() for _ in range(3)]

    async def use() -> None:
        for lock in locks:
            await lock.acquire()
        for lock in locks:
            lock.release()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(use)
    for lock in locks:
        await lock.acquire()
        lock.release()


@pytest.mark.semantics(25)
async def test_the_statistics_of_a_lock_name_its_owner(lib: Any) -> None:
    lock = lib.Lock()
    statistics = lock.statistics()
    assert (statistics.locked, statistics.owner, statistics.tasks_waiting) == (False, None, 0)
    async with lib.open_nursery() as nursery:
        await lock.acquire()
        await blocked(lib, nursery, lock.acquire)
        statistics = lock.statistics()
        assert isinstance(statistics, lib.LockStatistics)
        assert (statistics.locked, statistics.tasks_waiting) == (True, 1)
        assert statistics.owner is lib.lowlevel.current_task()
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(1, 25)
@pytest.mark.parametrize("point", [is_cancel_point, is_schedule_point])
async def test_acquiring_a_free_lock_is_a_checkpoint(lib: Any, point: Callable[..., Any]) -> None:
    assert await point(lib, lib.Lock().acquire)


@pytest.mark.semantics(1, 25)
async def test_the_end_of_a_block_with_a_lock_is_no_checkpoint(lib: Any) -> None:
    lock = lib.Lock()
    await lock.__aenter__()
    with lib.testing.assert_no_checkpoints():
        await lock.__aexit__(None, None, None)
    assert not lock.locked()


@pytest.mark.semantics(25)
async def test_a_block_with_a_lock_releases_it_when_it_raises(lib: Any) -> None:
    lock = lib.Lock()
    with pytest.raises(ValueError, match="inside"):
        async with lock:
            raise ValueError("inside")
    assert not lock.locked()


@pytest.mark.semantics(25)
@KINDS
def test_a_lock_cannot_be_used_outside_of_a_task(lib: Any, kind: str) -> None:
    lock = lock_of(lib, kind)
    assert not lock.locked()
    for call in (lock.acquire_nowait, lock.release):
        with pytest.raises(RuntimeError):
            call()


@pytest.mark.semantics(25)
@pytest.mark.parametrize(
    "name", ["Lock", "StrictFIFOLock", "Semaphore", "Condition", "Event", "CapacityLimiter", "StapledStream"]
)
def test_what_synchronises_is_final(lib: Any, name: str) -> None:
    with pytest.raises(TypeError):
        type("Own", (getattr(lib, name),), {})


@pytest.mark.semantics(25)
def test_a_lock_says_what_it_is(lib: Any) -> None:
    assert "Lock" in repr(lib.Lock()) and "unlocked" in repr(lib.Lock())
