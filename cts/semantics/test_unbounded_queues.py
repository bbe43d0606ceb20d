"""UnboundedQueue: always room, and everything at a time for one getter. Deprecated, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_cancel_point, is_schedule_point


def new_queue(lib: Any) -> Any:
    with pytest.warns(lib.TrioDeprecationWarning):
        return lib.lowlevel.UnboundedQueue()


async def test_a_batch_is_everything_in_order(lib: Any) -> None:
    queue = new_queue(lib)
    for number in range(3):
        queue.put_nowait(number)
    assert (queue.qsize(), queue.empty()) == (3, False)
    assert await queue.get_batch() == [0, 1, 2]
    assert (queue.qsize(), queue.empty()) == (0, True)


async def test_get_batch_nowait_would_block_on_an_empty_queue(lib: Any) -> None:
    queue = new_queue(lib)
    with pytest.raises(lib.WouldBlock):
        queue.get_batch_nowait()
    queue.put_nowait(1)
    assert queue.get_batch_nowait() == [1]


async def test_one_of_those_who_wait_gets_all_that_was_put_in_before_it_runs(lib: Any) -> None:
    queue = new_queue(lib)
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, queue.get_batch)
        second = await blocked(lib, nursery, queue.get_batch)
        queue.put_nowait(1)
        queue.put_nowait(2)
        await lib.testing.wait_all_tasks_blocked()
        assert first.value == [1, 2] and not second.done
        queue.put_nowait(3)
    assert second.value == [3]


async def test_what_is_promised_to_a_task_cannot_be_taken_by_another(lib: Any) -> None:
    queue = new_queue(lib)
    async with lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, queue.get_batch)
        queue.put_nowait(1)
        with pytest.raises(lib.WouldBlock):
            queue.get_batch_nowait()
    assert call.value == [1]


async def test_a_cancelled_get_takes_nothing(lib: Any) -> None:
    queue = new_queue(lib)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, queue.get_batch)
        nursery.cancel_scope.cancel()
    queue.put_nowait(1)
    with cancelled_block(lib):
        await queue.get_batch()
    assert queue.get_batch_nowait() == [1]


async def test_iterating_gives_batches(lib: Any) -> None:
    queue = new_queue(lib)
    batches: list[list[int]] = []

    async def get_all() -> None:
        async for batch in queue:
            batches.append(batch)

    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, get_all)
        for number in range(3):
            queue.put_nowait(number)
            await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert batches == [[0], [1], [2]]


@pytest.mark.parametrize("point", [is_cancel_point, is_schedule_point])
async def test_a_get_that_need_not_wait_is_a_checkpoint(lib: Any, point: Callable[..., Any]) -> None:
    queue = new_queue(lib)
    queue.put_nowait(1)
    assert await point(lib, queue.get_batch)


async def test_the_statistics_of_a_queue_count_objects_and_tasks(lib: Any) -> None:
    queue = new_queue(lib)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, queue.get_batch)
        assert queue.statistics() == lib.lowlevel.UnboundedQueueStatistics(qsize=0, tasks_waiting=1)
        nursery.cancel_scope.cancel()
    queue.put_nowait(1)
    assert queue.statistics() == lib.lowlevel.UnboundedQueueStatistics(qsize=1, tasks_waiting=0)
    assert "1" in repr(queue)
