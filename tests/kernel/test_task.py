"""Task: its name, its place in the tree, what it shows of itself."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from proactor_trio import Event, TaskStatus, lowlevel, open_nursery, run, sleep_forever
from proactor_trio.lowlevel import Task
from proactor_trio.testing import wait_all_tasks_blocked

# ---- names ------------------------------------------------------------------------------------------------------


async def own_name(names: list[str]) -> None:
    names.append(lowlevel.current_task().name)


async def name_of_child(function: Callable[..., Any], *arguments: object, name: object = None) -> str:
    names: list[str] = []
    async with open_nursery() as nursery:
        nursery.start_soon(function, *(arguments or (names,)), name=name)
    return names[0]


async def test_a_task_is_named_after_its_function() -> None:
    assert await name_of_child(own_name) == f"{__name__}.own_name"


async def test_a_partial_is_named_after_the_function_in_it() -> None:
    names: list[str] = []
    async with open_nursery() as nursery:
        nursery.start_soon(functools.partial(own_name, names))
    assert names == [f"{__name__}.own_name"]


async def test_a_nested_function_is_named_with_its_qualified_name() -> None:
    async def nested(names: list[str]) -> None:
        await own_name(names)

    name = await name_of_child(nested)
    assert name.startswith(f"{__name__}.test_a_nested_function")
    assert name.endswith("<locals>.nested")


async def test_a_name_that_is_a_string_is_taken_as_it_is() -> None:
    assert await name_of_child(own_name, name="the quick one") == "the quick one"


async def test_a_name_that_is_a_function_gives_the_name_of_that_function() -> None:
    assert await name_of_child(own_name, name=name_of_child) == f"{__name__}.name_of_child"


async def test_a_name_that_is_a_partial_gives_the_name_of_the_function_in_it() -> None:
    assert await name_of_child(own_name, name=functools.partial(name_of_child, 1)) == f"{__name__}.name_of_child"


async def test_a_name_that_is_any_other_object_gives_its_repr() -> None:
    assert await name_of_child(own_name, name=("worker", 3)) == repr(("worker", 3))


async def test_a_callable_object_without_a_qualified_name_gives_its_repr() -> None:
    class Worker:
        def __repr__(self) -> str:
            return "<a worker>"

        async def __call__(self, names: list[str]) -> None:
            await own_name(names)

    assert await name_of_child(Worker()) == "<a worker>"


def test_the_main_task_is_named_after_the_main_function() -> None:
    names: list[str] = []
    run(own_name, names)
    assert names == [f"{__name__}.own_name"]


async def test_start_names_the_task_after_the_function_or_after_the_name_given() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        task_status.started(lowlevel.current_task().name)

    async with open_nursery() as nursery:
        assert (await nursery.start(child)).endswith("<locals>.child")
        assert await nursery.start(child, name="given") == "given"


async def test_the_repr_of_a_task_shows_its_name() -> None:
    task = lowlevel.current_task()
    assert task.name in repr(task)
    assert "Task" in repr(task)


# ---- the tree ---------------------------------------------------------------------------------------------------


async def test_a_child_task_knows_its_nursery_and_through_it_its_parent() -> None:
    tasks: list[Task] = []

    async def child() -> None:
        tasks.append(lowlevel.current_task())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
    assert tasks[0].parent_nursery is nursery
    assert nursery.parent_task is lowlevel.current_task()


async def test_child_nurseries_are_listed_from_the_outermost_inwards() -> None:
    task = lowlevel.current_task()
    assert task.child_nurseries == []
    async with open_nursery() as outer:
        async with open_nursery() as inner:
            assert task.child_nurseries == [outer, inner]
        assert task.child_nurseries == [outer]
    assert task.child_nurseries == []


async def test_the_list_of_child_nurseries_is_a_copy() -> None:
    task = lowlevel.current_task()
    async with open_nursery() as nursery:
        task.child_nurseries.clear()
        assert task.child_nurseries == [nursery]


async def test_a_task_of_start_soon_has_no_eventual_parent_nursery() -> None:
    async with open_nursery() as nursery:
        nursery.start_soon(sleep_forever)
        (child,) = nursery.child_tasks
        assert child.eventual_parent_nursery is None
        nursery.cancel_scope.cancel()


async def test_the_eventual_parent_nursery_is_known_until_the_task_has_started() -> None:
    async with open_nursery() as nursery:

        async def child(*, task_status: TaskStatus[None]) -> None:
            task = lowlevel.current_task()
            assert task.eventual_parent_nursery is nursery
            assert task.parent_nursery is not nursery
            task_status.started()
            assert task.eventual_parent_nursery is None
            assert task.parent_nursery is nursery

        await nursery.start(child)


# ---- what a task is made of -------------------------------------------------------------------------------------


def test_tasks_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        Task()


async def test_a_task_shows_its_coroutine() -> None:
    async def child() -> None:
        await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        assert task.coro.cr_code is child.__code__
        nursery.cancel_scope.cancel()


async def test_current_task_is_the_task_that_asks() -> None:
    seen: list[Task] = []

    async def child() -> None:
        seen.append(lowlevel.current_task())
        await lowlevel.checkpoint()
        seen.append(lowlevel.current_task())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(child)
        assert lowlevel.current_task() not in nursery.child_tasks
        children = set(nursery.child_tasks)
    assert set(seen) == children
    assert len(seen) == 4


async def test_the_frames_a_task_waits_in_can_be_walked_from_the_outermost_inwards() -> None:
    async def outermost() -> None:
        await middle()

    async def middle() -> None:
        await innermost()

    async def innermost() -> None:
        await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(outermost)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        names = [frame.f_code.co_name for frame, _ in task.iter_await_frames()]
        assert names[:4] == ["outermost", "middle", "innermost", "sleep_forever"]
        nursery.cancel_scope.cancel()
    assert list(task.iter_await_frames()) == []


async def test_the_walk_through_the_frames_passes_async_generators() -> None:
    async def generator() -> Any:
        await sleep_forever()
        yield

    async def child() -> None:
        async for _ in generator():
            pass

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        names = [frame.f_code.co_name for frame, _ in task.iter_await_frames()]
        assert names[:3] == ["child", "generator", "sleep_forever"]
        nursery.cancel_scope.cancel()


async def test_the_frames_come_with_the_line_that_waits() -> None:
    async def child() -> None:
        await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        frame, line = next(iter(task.iter_await_frames()))
        assert line == frame.f_code.co_firstlineno + 1
        nursery.cancel_scope.cancel()


async def test_what_a_task_held_is_let_go_when_it_ends(gc_collect: Callable[[], None]) -> None:
    class Resource:
        pass

    references: list[weakref.ref[Resource]] = []
    release = Event()

    async def child() -> None:
        resource = Resource()
        references.append(weakref.ref(resource))
        await release.wait()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        assert references[0]() is not None
        release.set()
        await wait_all_tasks_blocked()
        gc_collect()
        assert references[0]() is None


async def test_a_finished_task_object_is_let_go(gc_collect: Callable[[], None]) -> None:
    async def child() -> None:
        await lowlevel.checkpoint()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        reference = weakref.ref(next(iter(nursery.child_tasks)))
        await wait_all_tasks_blocked()
        gc_collect()
        assert reference() is None


async def test_a_cancelled_child_leaves_no_garbage_in_cycles() -> None:
    """A loop that leaves cycles behind pays for them in collections that stop everybody."""
    import gc

    async def scene() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(sleep_forever)
            await lowlevel.checkpoint()
            await lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    await scene()
    gc.collect()
    gc.disable()
    try:
        await scene()
        assert gc.collect() == 0
    finally:
        gc.enable()
