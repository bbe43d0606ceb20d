"""RunVar: a variable with one value for each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.semantics(28)
async def test_it_keeps_what_was_set_and_has_nothing_before(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable")
    with pytest.raises(LookupError):
        variable.get()
    variable.set(7)
    assert variable.get() == 7
    variable.set(None)
    assert variable.get() is None


@pytest.mark.semantics(28)
async def test_a_default_stands_in_for_a_value(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable", default=7)
    assert variable.get() == 7
    assert lib.lowlevel.RunVar("other").get(default=8) == 8


@pytest.mark.semantics(28)
def test_each_run_has_a_value_of_its_own(lib: Any, run: Callable[..., Any]) -> None:
    variable = lib.lowlevel.RunVar("variable", default="nothing")

    async def main() -> object:
        before = variable.get()
        variable.set("something")
        return before

    assert [run(main), run(main)] == ["nothing", "nothing"]


@pytest.mark.semantics(28)
async def test_all_tasks_and_calls_of_a_run_share_it(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable")
    seen: list[object] = []

    async def child() -> None:
        variable.set("set by the child")

    async def system_task() -> None:
        seen.append(variable.get())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
    lib.lowlevel.spawn_system_task(system_task)
    lib.lowlevel.current_trio_token().run_sync_soon(lambda: seen.append(variable.get()))
    await lib.testing.wait_all_tasks_blocked()
    assert seen == ["set by the child"] * 2


@pytest.mark.semantics(28)
async def test_reset_brings_back_what_was_before(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable")
    first = variable.set(1)
    second = variable.set(2)
    variable.reset(second)
    assert variable.get() == 1
    variable.reset(first)
    with pytest.raises(LookupError):
        variable.get()


@pytest.mark.semantics(28)
async def test_a_token_is_good_for_one_reset_of_its_own_variable(lib: Any) -> None:
    variable, other = lib.lowlevel.RunVar("variable"), lib.lowlevel.RunVar("other")
    token = variable.set(1)
    with pytest.raises(ValueError):
        other.reset(token)
    variable.reset(token)
    with pytest.raises(ValueError):
        variable.reset(token)


@pytest.mark.semantics(28)
def test_it_needs_a_run(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable")
    for use in (variable.get, lambda: variable.set(1)):
        with pytest.raises(RuntimeError):
            use()


@pytest.mark.semantics(28)
async def test_a_worker_thread_has_none(lib: Any) -> None:
    variable = lib.lowlevel.RunVar("variable")
    variable.set(1)
    with pytest.raises(RuntimeError):
        await lib.to_thread.run_sync(variable.get)
