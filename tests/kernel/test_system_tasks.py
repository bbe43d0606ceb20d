"""System tasks: background work of the run itself, never in the way of its end."""

from __future__ import annotations

import contextvars

import pytest

from proactor_trio import (
    Cancelled,
    Event,
    TrioInternalError,
    lowlevel,
    open_nursery,
    run,
    sleep_forever,
)
from proactor_trio.lowlevel import Task, spawn_system_task
from proactor_trio.testing import wait_all_tasks_blocked


async def test_a_system_task_runs_beside_the_main_task() -> None:
    event = Event()

    async def system_task(number: int) -> None:
        assert number == 7
        event.set()

    assert isinstance(spawn_system_task(system_task, 7), Task)
    await event.wait()


def test_system_tasks_are_cancelled_when_the_main_task_has_ended() -> None:
    steps: list[str] = []

    async def system_task() -> None:
        try:
            await sleep_forever()
        except Cancelled:
            steps.append("cancelled")
            raise

    async def main() -> str:
        spawn_system_task(system_task)
        await wait_all_tasks_blocked()
        steps.append("main ends")
        return "result"

    assert run(main) == "result"
    assert steps == ["main ends", "cancelled"]


def test_a_run_waits_until_its_system_tasks_have_cleaned_up() -> None:
    steps: list[str] = []

    async def system_task() -> None:
        try:
            await sleep_forever()
        finally:
            for _ in range(5):
                await lowlevel.cancel_shielded_checkpoint()
            steps.append("cleaned up")

    async def main() -> None:
        spawn_system_task(system_task)
        await wait_all_tasks_blocked()

    run(main)
    assert steps == ["cleaned up"]


async def test_a_system_task_is_not_a_child_of_its_creator() -> None:
    async with open_nursery() as nursery:
        task = spawn_system_task(sleep_forever)
        assert nursery.child_tasks == frozenset()
    assert task.parent_nursery is not None
    assert task.parent_nursery.parent_task is lowlevel.current_root_task()


async def test_a_system_task_outlives_the_nursery_and_the_scopes_of_its_creator() -> None:
    release, done = Event(), Event()

    async def system_task() -> None:
        await release.wait()
        done.set()

    async with open_nursery() as nursery:
        nursery.cancel_scope.cancel()
        spawn_system_task(system_task)
    release.set()
    await done.wait()


def test_an_error_in_a_system_task_breaks_the_run() -> None:
    error = KeyError("system")
    main_task_saw: list[BaseException] = []

    async def system_task() -> None:
        raise error

    async def main() -> None:
        spawn_system_task(system_task)
        try:
            await sleep_forever()
        except BaseException as cancelled:
            main_task_saw.append(cancelled)
            raise

    with pytest.raises(TrioInternalError) as caught:
        run(main)
    leaf: BaseException | None = caught.value.__cause__
    while isinstance(leaf, BaseExceptionGroup):
        (leaf,) = leaf.exceptions
    assert leaf is error
    assert [type(seen) for seen in main_task_saw] == [Cancelled]


def test_a_group_raised_by_a_system_task_breaks_the_run() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def system_task() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(fail, KeyError())
            nursery.start_soon(fail, ValueError())

    async def main() -> None:
        spawn_system_task(system_task)
        await sleep_forever()

    with pytest.raises(TrioInternalError) as caught:
        run(main)
    cause = caught.value.__cause__
    assert isinstance(cause, BaseExceptionGroup)
    assert cause.subgroup(KeyError) is not None
    assert cause.subgroup(ValueError) is not None


def test_an_error_while_a_system_task_is_cancelled_breaks_the_run() -> None:
    async def system_task() -> None:
        try:
            await sleep_forever()
        finally:
            raise KeyError

    async def main() -> None:
        spawn_system_task(system_task)
        await wait_all_tasks_blocked()

    with pytest.raises(TrioInternalError):
        run(main)


def test_the_error_of_the_main_task_is_not_an_internal_error() -> None:
    async def main() -> None:
        spawn_system_task(sleep_forever)
        await wait_all_tasks_blocked()
        raise KeyError("main")

    with pytest.raises(KeyError, match="main"):
        run(main)


def test_a_broken_system_task_during_the_shutdown_is_reported_before_the_result() -> None:
    started: list[str] = []

    async def system_task() -> None:
        started.append("system task")
        raise KeyError

    async def main() -> str:
        spawn_system_task(system_task)
        return "lost"

    with pytest.raises(TrioInternalError):
        run(main)
    assert started == ["system task"]


async def test_a_system_task_may_have_children() -> None:
    done = Event()

    async def child() -> None:
        done.set()

    async def system_task() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)

    spawn_system_task(system_task)
    await done.wait()


async def test_a_system_task_may_spawn_another_one() -> None:
    done = Event()

    async def second() -> None:
        done.set()

    async def first() -> None:
        spawn_system_task(second)

    spawn_system_task(first)
    await done.wait()


async def test_a_system_task_has_a_name() -> None:
    assert spawn_system_task(sleep_forever).name.endswith("sleep_forever")
    assert spawn_system_task(sleep_forever, name="the keeper").name == "the keeper"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def test_a_system_task_sees_the_context_variables_of_the_caller_of_run() -> None:
    seen: list[str] = []

    async def system_task() -> None:
        seen.append(variable.get())
        variable.set("system task")

    async def main() -> None:
        variable.set("main")
        spawn_system_task(system_task)
        await wait_all_tasks_blocked()
        spawn_system_task(system_task)
        await wait_all_tasks_blocked()
        assert variable.get() == "main"

    token = variable.set("caller of run")
    try:
        run(main)
    finally:
        variable.reset(token)
    assert seen == ["caller of run", "caller of run"]


async def test_a_system_task_may_be_given_a_context() -> None:
    seen: list[str] = []
    done = Event()

    async def system_task() -> None:
        seen.append(variable.get())
        done.set()

    token = variable.set("given")
    try:
        spawn_system_task(system_task, context=contextvars.copy_context())
    finally:
        variable.reset(token)
    await done.wait()
    assert seen == ["given"]


async def test_a_coroutine_is_no_system_task() -> None:
    with pytest.raises(TypeError, match="async function"):
        spawn_system_task(sleep_forever())  # type: ignore[arg-type]
