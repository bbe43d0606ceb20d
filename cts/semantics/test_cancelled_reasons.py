"""The exception Cancelled: what it says of its cause, and what scopes do with it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cts.semantics.support import cancelled_of, in_main_thread_only, interrupt, leaves

# ---- what it says -----------------------------------------------------------------------------------------------


@pytest.mark.semantics(9)
async def test_an_explicit_cancel_says_who_and_why(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel("the user left")
        cancelled = await cancelled_of(lib, lib.lowlevel.checkpoint)
    assert (cancelled.source, cancelled.reason) == ("explicit", "the user left")
    assert cancelled.source_task == repr(lib.lowlevel.current_task())


@pytest.mark.semantics(9)
async def test_an_explicit_cancel_needs_no_reason(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        cancelled = await cancelled_of(lib, lib.lowlevel.checkpoint)
    assert cancelled.source == "explicit" and cancelled.reason is None


@pytest.mark.semantics(9)
async def test_the_source_task_is_the_one_that_cancelled(lib: Any) -> None:
    caught: list[Any] = []

    async def child() -> None:
        caught.append(await cancelled_of(lib, lib.sleep_forever))

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert caught[0].source_task == repr(lib.lowlevel.current_task())


@pytest.mark.semantics(9)
async def test_a_deadline_says_that_it_was_one(lib: Any, autojump_clock: Any) -> None:
    with lib.move_on_after(1):
        cancelled = await cancelled_of(lib, lib.sleep_forever)
    assert (cancelled.source, cancelled.source_task, cancelled.reason) == ("deadline", None, None)


@pytest.mark.semantics(9)
async def test_a_failing_child_is_named_in_the_cancellation_of_its_siblings(lib: Any) -> None:
    caught: list[Any] = []

    async def sibling() -> None:
        caught.append(await cancelled_of(lib, lib.sleep_forever))

    async def failing() -> None:
        raise KeyError("the cause")

    with pytest.raises(ExceptionGroup):
        async with lib.open_nursery() as nursery:
            nursery.start_soon(sibling)
            await lib.testing.wait_all_tasks_blocked()
            nursery.start_soon(failing)
    assert caught[0].source == "nursery"
    assert "KeyError('the cause')" in caught[0].reason
    assert "failing" in caught[0].source_task


@pytest.mark.semantics(9)
def test_the_end_of_the_main_task_is_a_shutdown(lib: Any, run: Any) -> None:
    caught: list[Any] = []

    async def system_task() -> None:
        caught.append(await cancelled_of(lib, lib.sleep_forever))

    async def main() -> None:
        lib.lowlevel.spawn_system_task(system_task)
        await lib.testing.wait_all_tasks_blocked()

    run(main)
    assert caught[0].source == "shutdown"


@in_main_thread_only
@pytest.mark.semantics(9, 15)
def test_an_interrupt_at_the_end_of_a_nursery_is_the_source_for_its_children(lib: Any, run: Any) -> None:
    caught: list[Any] = []

    async def child() -> None:
        caught.append(await cancelled_of(lib, lib.sleep_forever))

    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)
            lib.lowlevel.current_trio_token().run_sync_soon(interrupt)

    with pytest.raises(BaseExceptionGroup) as group:
        run(main)
    assert [type(leaf) for leaf in leaves(group.value)] == [KeyboardInterrupt]
    assert caught[0].source == "KeyboardInterrupt"


@pytest.mark.semantics(9)
async def test_the_first_reason_wins(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel("first")
        scope.cancel("second")
        cancelled = await cancelled_of(lib, lib.lowlevel.checkpoint)
    assert cancelled.reason == "first"


@pytest.mark.semantics(9)
async def test_an_inner_scope_and_a_child_inherit_the_reason(lib: Any) -> None:
    caught: list[Any] = []

    async def child() -> None:
        with lib.CancelScope():
            caught.append(await cancelled_of(lib, lib.sleep_forever))

    with lib.CancelScope() as scope:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)
            await lib.testing.wait_all_tasks_blocked()
            scope.cancel("from far out")
    assert (caught[0].source, caught[0].reason) == ("explicit", "from far out")


@pytest.mark.semantics(9)
async def test_its_text_tells_the_whole_story(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel("enough")
        cancelled = await cancelled_of(lib, lib.lowlevel.checkpoint)
    task = repr(lib.lowlevel.current_task())
    assert str(cancelled) == f"cancelled due to explicit with reason 'enough' from task {task}"


@pytest.mark.semantics(9)
async def test_its_text_leaves_out_what_is_not_known(lib: Any, autojump_clock: Any) -> None:
    with lib.move_on_after(1):
        cancelled = await cancelled_of(lib, lib.sleep_forever)
    assert str(cancelled) == "cancelled due to deadline"


@pytest.mark.semantics(9)
async def test_it_can_be_pickled(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel("kept")
        cancelled = await cancelled_of(lib, lib.lowlevel.checkpoint)
    copy = pickle.loads(pickle.dumps(cancelled))
    assert type(copy) is lib.Cancelled
    assert (copy.source, copy.source_task, copy.reason) == ("explicit", cancelled.source_task, "kept")


# ---- what it is -------------------------------------------------------------------------------------------------


@pytest.mark.semantics(10)
def test_it_has_no_public_constructor(lib: Any) -> None:
    with pytest.raises(TypeError, match="has no public constructor"):
        lib.Cancelled()
    with pytest.raises(TypeError, match="has no public constructor"):
        lib.Cancelled(source="explicit")


@pytest.mark.semantics(10)
@pytest.mark.parametrize("name", ["Cancelled", "CancelScope", "Nursery"])
def test_it_cannot_be_subclassed_and_neither_can_what_belongs_to_it(lib: Any, name: str) -> None:
    with pytest.raises(TypeError):
        type("Derived", (getattr(lib, name),), {})


@pytest.mark.semantics(10)
def test_it_is_not_an_ordinary_exception(lib: Any) -> None:
    assert issubclass(lib.Cancelled, BaseException)
    assert not issubclass(lib.Cancelled, Exception)


@pytest.mark.semantics(10)
async def test_a_scope_takes_it_out_of_a_group(lib: Any) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        with lib.CancelScope() as scope:
            scope.cancel()
            cancelled = await _cancelled(lib)
            raise BaseExceptionGroup("mixed", [cancelled, ValueError(1), BaseExceptionGroup("deep", [cancelled])])
    assert scope.cancelled_caught
    assert [type(leaf) for leaf in leaves(caught.value)] == [ValueError]


@pytest.mark.semantics(10)
async def test_a_scope_swallows_a_group_of_nothing_else(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        cancelled = await _cancelled(lib)
        raise BaseExceptionGroup("all of them", [cancelled, BaseExceptionGroup("deep", [cancelled])])
    assert scope.cancelled_caught


@pytest.mark.semantics(10)
async def test_a_group_that_loses_it_stays_a_group(lib: Any) -> None:
    async def failing() -> None:
        raise ValueError

    with pytest.raises(ExceptionGroup) as caught:
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as nursery:
                nursery.start_soon(lib.sleep_forever)
                nursery.start_soon(failing)
                scope.cancel()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


@pytest.mark.semantics(10)
async def test_a_scope_that_is_not_cancelled_lets_it_pass(lib: Any) -> None:
    with lib.CancelScope() as outer:
        outer.cancel()
        with lib.CancelScope() as inner:
            await lib.lowlevel.checkpoint()
    assert outer.cancelled_caught and not inner.cancelled_caught


@pytest.mark.semantics(10)
@pytest.mark.filterwarnings("ignore:.*strict_exception_groups=False.*")
def test_a_loose_group_collapses_when_one_error_is_left(lib: Any, run: Any) -> None:
    async def failing() -> None:
        raise ValueError

    async def main() -> None:
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as nursery:
                nursery.start_soon(lib.sleep_forever)
                nursery.start_soon(failing)
                scope.cancel()

    with pytest.raises(ValueError):
        run(main, strict_exception_groups=False)


async def _cancelled(lib: Any) -> BaseException:
    try:
        await lib.lowlevel.checkpoint()
    except lib.Cancelled as cancelled:
        error: BaseException = cancelled
    return error
