"""RunVar: one value per run, shared by all of its tasks."""

from __future__ import annotations

import pytest

from proactor_trio import lowlevel, open_nursery, run
from proactor_trio.lowlevel import RunVar, RunVarToken
from proactor_trio.testing import wait_all_tasks_blocked


async def test_a_run_variable_keeps_what_was_set() -> None:
    variable: RunVar[str] = RunVar("variable")
    variable.set("value")
    assert variable.get() == "value"


async def test_a_run_variable_without_a_value_is_a_lookup_error() -> None:
    variable: RunVar[str] = RunVar("variable")
    with pytest.raises(LookupError) as caught:
        variable.get()
    assert caught.value.args[0] is variable


async def test_a_run_variable_may_have_a_default() -> None:
    variable: RunVar[str] = RunVar("variable", default="default")
    assert variable.get() == "default"
    variable.set("value")
    assert variable.get() == "value"


async def test_get_may_be_given_a_default() -> None:
    without: RunVar[str] = RunVar("without")
    with_default: RunVar[str] = RunVar("with", default="of the variable")
    assert without.get("of the call") == "of the call"
    assert with_default.get("of the call") == "of the call"
    without.set("value")
    assert without.get("of the call") == "value"


async def test_none_is_a_value_like_any_other() -> None:
    variable: RunVar[str | None] = RunVar("variable", default="default")
    variable.set(None)
    assert variable.get() is None
    assert RunVar("other", default=None).get() is None


def test_a_value_lives_as_long_as_its_run() -> None:
    variable: RunVar[str] = RunVar("variable", default="default")

    async def first() -> None:
        variable.set("first run")

    async def second() -> str:
        return variable.get()

    run(first)
    assert run(second) == "default"


async def test_all_tasks_of_a_run_share_the_value() -> None:
    variable: RunVar[str] = RunVar("variable")
    seen: list[str] = []

    async def child() -> None:
        seen.append(variable.get())
        variable.set("child")

    variable.set("parent")
    async with open_nursery() as nursery:
        nursery.start_soon(child)
    assert seen == ["parent"]
    assert variable.get() == "child"


async def test_system_tasks_and_callbacks_share_the_value() -> None:
    variable: RunVar[list[str]] = RunVar("variable")
    variable.set([])

    async def system_task() -> None:
        variable.get().append("system task")

    lowlevel.spawn_system_task(system_task)
    lowlevel.current_trio_token().run_sync_soon(lambda: variable.get().append("callback"))
    await wait_all_tasks_blocked()
    assert sorted(variable.get()) == ["callback", "system task"]


async def test_two_variables_of_one_name_are_two_variables() -> None:
    first: RunVar[int] = RunVar("same")
    second: RunVar[int] = RunVar("same")
    first.set(1)
    second.set(2)
    assert (first.get(), second.get()) == (1, 2)


async def test_reset_brings_back_the_value_before() -> None:
    variable: RunVar[int] = RunVar("variable")
    variable.set(1)
    token = variable.set(2)
    variable.reset(token)
    assert variable.get() == 1


async def test_reset_brings_back_the_lack_of_a_value() -> None:
    variable: RunVar[int] = RunVar("variable")
    token = variable.set(1)
    variable.reset(token)
    with pytest.raises(LookupError):
        variable.get()


async def test_a_token_is_good_for_one_reset() -> None:
    variable: RunVar[int] = RunVar("variable")
    token = variable.set(1)
    variable.reset(token)
    with pytest.raises(ValueError, match="already"):
        variable.reset(token)


async def test_a_token_is_good_for_its_own_variable_only() -> None:
    first: RunVar[int] = RunVar("first")
    second: RunVar[int] = RunVar("second")
    token = first.set(1)
    with pytest.raises(ValueError, match="not for us"):
        second.reset(token)


async def test_none_is_no_token() -> None:
    variable: RunVar[int] = RunVar("variable")
    with pytest.raises(TypeError):
        variable.reset(None)  # type: ignore[arg-type]


def test_a_run_variable_needs_a_run() -> None:
    variable: RunVar[int] = RunVar("variable", default=1)

    async def main() -> RunVarToken[int]:
        return variable.set(2)

    token = run(main)
    for use in (variable.get, lambda: variable.set(1), lambda: variable.reset(token)):
        with pytest.raises(RuntimeError, match="run context"):
            use()


def test_a_run_variable_shows_its_name() -> None:
    assert "settings" in repr(RunVar("settings"))


def test_tokens_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        RunVarToken(RunVar("variable"))
