"""Nursery.start(): the task runs below its caller until it says started(), then it moves."""

from __future__ import annotations

from typing import Any

import pytest

from cts.semantics.support import raises_group_of


@pytest.mark.semantics(13)
async def test_start_returns_what_started_was_given(lib: Any) -> None:
    async def child(value: object, task_status: Any) -> None:
        task_status.started(value)

    async with lib.open_nursery() as nursery:
        assert await nursery.start(child, 7) == 7
        assert await nursery.start(child, None) is None


@pytest.mark.semantics(13)
async def test_start_waits_for_started_and_no_longer(lib: Any, autojump_clock: Any) -> None:
    async def child(task_status: Any) -> None:
        await lib.sleep(2)
        task_status.started()
        await lib.sleep(5)

    async with lib.open_nursery() as nursery:
        await nursery.start(child)
        assert lib.current_time() == 2
    assert lib.current_time() == 7


@pytest.mark.semantics(13)
async def test_an_error_before_started_comes_out_of_start_bare(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        await lib.lowlevel.checkpoint()
        raise KeyError("not ready")

    async with lib.open_nursery() as nursery:
        with pytest.raises(KeyError, match="not ready"):
            await nursery.start(child)
        assert not nursery.cancel_scope.cancel_called


@pytest.mark.semantics(13)
async def test_an_error_after_started_comes_out_of_the_nursery(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        task_status.started()
        await lib.lowlevel.checkpoint()
        raise KeyError

    with raises_group_of(KeyError):
        async with lib.open_nursery() as nursery:
            await nursery.start(child)
            await lib.sleep_forever()


@pytest.mark.semantics(13)
async def test_a_child_that_ends_without_started_is_an_error(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        await lib.lowlevel.checkpoint()

    async with lib.open_nursery() as nursery:
        with pytest.raises(RuntimeError, match=r"child exited without calling task_status.started\(\)"):
            await nursery.start(child)


@pytest.mark.semantics(13)
async def test_started_is_called_once(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        task_status.started()
        with pytest.raises(RuntimeError, match="twice"):
            task_status.started()

    async with lib.open_nursery() as nursery:
        await nursery.start(child)


@pytest.mark.semantics(13)
async def test_without_start_started_may_be_called_as_often_as_one_likes(lib: Any) -> None:
    async def child(task_status: Any = lib.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        task_status.started(7)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)


@pytest.mark.semantics(13)
async def test_before_started_the_scopes_of_the_caller_hold(lib: Any, autojump_clock: Any) -> None:
    ends: list[float] = []

    async def child(task_status: Any) -> None:
        try:
            await lib.sleep_forever()
        finally:
            ends.append(lib.current_time())

    async with lib.open_nursery() as nursery:
        with lib.move_on_after(3) as scope:
            await nursery.start(child)
    assert scope.cancelled_caught
    assert ends == [3]
    assert not nursery.cancel_scope.cancel_called


@pytest.mark.semantics(13)
async def test_after_started_the_scopes_of_the_caller_are_left_behind(lib: Any, autojump_clock: Any) -> None:
    ends: list[float] = []

    async def child(task_status: Any) -> None:
        task_status.started()
        await lib.sleep(10)
        ends.append(lib.current_time())

    async with lib.open_nursery() as nursery:
        with lib.move_on_after(3):
            await nursery.start(child)
            await lib.sleep_forever()
    assert ends == [10]


@pytest.mark.semantics(13)
async def test_after_started_the_scope_of_the_nursery_holds(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        task_status.started()
        await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        await nursery.start(child)
        nursery.cancel_scope.cancel()
    assert nursery.child_tasks == frozenset()


@pytest.mark.semantics(13)
async def test_a_child_that_is_started_after_the_cancellation_stays_with_its_caller(lib: Any) -> None:
    """start() gives it up only after it has ended, and it never enters the nursery."""
    seen: list[int] = []

    async def child(nursery: Any, task_status: Any) -> None:
        scope.cancel()
        task_status.started()
        seen.append(len(nursery.child_tasks))
        await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            await nursery.start(child, nursery)
    assert scope.cancelled_caught
    assert seen == [0]


@pytest.mark.semantics(13)
async def test_the_nursery_it_moves_to_is_known_until_it_has_moved(lib: Any) -> None:
    seen: list[object] = []

    async def child(task_status: Any) -> None:
        task = lib.lowlevel.current_task()
        seen.append(task.eventual_parent_nursery)
        seen.append(task.parent_nursery is nursery)
        task_status.started()
        seen.append(task.eventual_parent_nursery)
        seen.append(task.parent_nursery is nursery)

    async with lib.open_nursery() as nursery:
        await nursery.start(child)
    assert seen == [nursery, False, None, True]


@pytest.mark.semantics(13)
async def test_a_nursery_stays_open_while_a_start_is_under_way(lib: Any) -> None:
    event = lib.Event()
    values: list[object] = []

    async def child(task_status: Any) -> None:
        await event.wait()
        task_status.started("late")

    async def start_in(nursery: Any) -> None:
        values.append(await nursery.start(child))

    async with lib.open_nursery() as outer:

        async def owner() -> None:
            async with lib.open_nursery() as nursery:
                outer.start_soon(start_in, nursery)
                await lib.testing.wait_all_tasks_blocked()

        outer.start_soon(owner)
        await lib.testing.wait_all_tasks_blocked(0.001)
        event.set()
    assert values == ["late"]


@pytest.mark.semantics(13)
async def test_a_cancelled_child_that_never_said_started_makes_start_raise_cancelled(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            scope.cancel()
            await nursery.start(child)
    assert scope.cancelled_caught


@pytest.mark.semantics(13, 14)
async def test_start_names_the_task_like_start_soon(lib: Any) -> None:
    names: list[str] = []

    async def child(task_status: Any) -> None:
        names.append(lib.lowlevel.current_task().name)
        task_status.started()

    async with lib.open_nursery() as nursery:
        await nursery.start(child)
        await nursery.start(child, name="by me")
    assert names[0].endswith("child") and names[1] == "by me"
