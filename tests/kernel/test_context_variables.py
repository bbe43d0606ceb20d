"""Context variables: a task starts with a copy of those of its creator, at the time of the call."""

from __future__ import annotations

import contextvars

from proactor_trio import Event, Nursery, TaskStatus, lowlevel, open_nursery, run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def test_the_main_task_sees_the_context_of_the_caller_of_run() -> None:
    async def main() -> str:
        return variable.get()

    token = variable.set("caller")
    try:
        assert run(main) == "caller"
    finally:
        variable.reset(token)


def test_what_a_run_sets_does_not_leak_out() -> None:
    async def main() -> None:
        variable.set("inside")

    run(main)
    assert variable.get("nothing leaked") == "nothing leaked"


async def test_a_child_inherits_the_values_at_the_time_of_start_soon() -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append(variable.get())

    async with open_nursery() as nursery:
        variable.set("first")
        nursery.start_soon(child)
        variable.set("second")
        nursery.start_soon(child)
        variable.set("third")
    assert sorted(seen) == ["first", "second"]


async def test_a_child_inherits_from_its_creator_and_not_from_its_parent() -> None:
    seen: list[str] = []

    async def grandchild() -> None:
        seen.append(variable.get())

    async def child(nursery: Nursery) -> None:
        variable.set("creator")
        nursery.start_soon(grandchild)

    variable.set("parent")
    async with open_nursery() as nursery:
        nursery.start_soon(child, nursery)
    assert seen == ["creator"]


async def test_what_a_child_sets_stays_in_the_child() -> None:
    async def child() -> None:
        variable.set("child")
        await lowlevel.checkpoint()
        assert variable.get() == "child"

    variable.set("parent")
    async with open_nursery() as nursery:
        nursery.start_soon(child)
    assert variable.get() == "parent"


async def test_values_stay_with_their_task_across_checkpoints() -> None:
    async def child(value: str) -> None:
        variable.set(value)
        for _ in range(10):
            await lowlevel.checkpoint()
            assert variable.get() == value

    async with open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(child, str(number))


async def test_start_hands_the_context_of_its_caller_on() -> None:
    async def child(*, task_status: TaskStatus[str]) -> None:
        task_status.started(variable.get())

    variable.set("caller of start")
    async with open_nursery() as nursery:
        assert await nursery.start(child) == "caller of start"


async def test_the_function_is_called_in_the_context_of_the_new_task() -> None:
    """A plain function that returns a coroutine already runs as part of the task."""
    seen: list[str] = []

    async def implementation() -> None:
        seen.append(variable.get())

    def function() -> object:
        variable.set("set while the coroutine was made")
        return implementation()

    variable.set("parent")
    async with open_nursery() as nursery:
        nursery.start_soon(function)  # type: ignore[arg-type]
        assert variable.get() == "parent"
    assert seen == ["set while the coroutine was made"]


async def test_the_context_of_a_task_can_be_read() -> None:
    variable.set("value")
    assert lowlevel.current_task().context[variable] == "value"


async def test_a_new_context_takes_effect_at_the_next_turn_of_the_task() -> None:
    task = lowlevel.current_task()
    variable.set("old")
    context = task.context.copy()
    context.run(variable.set, "new")
    task.context = context
    assert variable.get() == "old"
    await lowlevel.checkpoint()
    assert variable.get() == "new"


async def test_a_callback_sees_no_context_of_the_task_that_posted_it() -> None:
    seen: list[str] = []
    event = Event()

    def callback() -> None:
        seen.append(variable.get("nothing"))
        event.set()

    variable.set("of the task")
    lowlevel.current_trio_token().run_sync_soon(callback)
    await event.wait()
    assert seen == ["nothing"]
