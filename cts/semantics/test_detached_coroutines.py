"""Coroutines of tasks that go on under another coroutine runner, for a while or for good."""

from __future__ import annotations

from typing import Any

import outcome
import pytest

from cts.semantics.support import leaves


def refuse(lib: Any) -> Any:
    """An abort function for coroutines that are elsewhere."""
    return lambda _: lib.lowlevel.Abort.FAILED


async def test_a_task_that_was_detached_for_good_ends_with_its_outcome(lib: Any) -> None:
    detached: list[Any] = []

    async def leave() -> None:
        detached.append(lib.lowlevel.current_task().coro)
        await lib.lowlevel.permanently_detach_coroutine_object(outcome.Error(ValueError("left")))

    with pytest.raises(BaseExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(leave)
    assert [type(error) for error in leaves(caught.value)] == [ValueError]
    with pytest.raises(StopIteration):
        detached[0].send(None)


async def test_the_other_runner_goes_on_with_a_detached_coroutine(lib: Any) -> None:
    received: list[Any] = []

    async def leave() -> None:
        received.append(lib.lowlevel.current_task().coro)
        received.append(await lib.lowlevel.permanently_detach_coroutine_object(outcome.Value(None)))

    async with lib.open_nursery() as nursery:
        nursery.start_soon(leave)
    with pytest.raises(StopIteration):
        received[0].send("from another runner")
    assert received[1] == "from another runner"


async def test_a_coroutine_with_an_open_nursery_is_not_detached_for_good(lib: Any) -> None:
    async with lib.open_nursery():
        with pytest.raises(RuntimeError):
            await lib.lowlevel.permanently_detach_coroutine_object(outcome.Value(None))


async def test_a_coroutine_comes_back(lib: Any) -> None:
    record: list[Any] = []

    async def leave_and_come_back() -> None:
        task = lib.lowlevel.current_task()
        record.append(task)
        record.append(await lib.lowlevel.temporarily_detach_coroutine_object(refuse(lib)))
        await lib.lowlevel.reattach_detached_coroutine_object(task, "yielded to the other runner")
        await lib.lowlevel.checkpoint()
        record.append("back")

    async with lib.open_nursery() as nursery:
        nursery.start_soon(leave_and_come_back)
        await lib.testing.wait_all_tasks_blocked()
        assert record[0].coro.send("sent by the other runner") == "yielded to the other runner"
    assert record[1:] == ["sent by the other runner", "back"]


async def test_a_coroutine_comes_back_to_its_own_task_only(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep_forever)
        (other,) = nursery.child_tasks
        nursery.cancel_scope.cancel()
        with pytest.raises(RuntimeError):
            await lib.lowlevel.reattach_detached_coroutine_object(other, None)
