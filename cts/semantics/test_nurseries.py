"""Nurseries: what they raise, how they cancel, what their tasks are called and carry along."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from typing import Any

import pytest

from cts.semantics.support import in_main_thread_only, interrupt, leaves, raises_group_of

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


async def fail_with(error: BaseException) -> None:
    raise error


# ---- groups -----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(12)
async def test_a_single_error_is_raised_in_a_group(lib: Any) -> None:
    with raises_group_of(ValueError):
        async with lib.open_nursery() as nursery:
            nursery.start_soon(fail_with, ValueError())


@pytest.mark.semantics(12)
async def test_the_group_says_where_it_comes_from(lib: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(fail_with, ValueError())
    own_name = "Trio" if lib.is_trio else "proactor_trio"
    assert caught.value.message == f"Exceptions from {own_name} nursery"


@pytest.mark.semantics(12)
async def test_the_errors_of_several_children_are_raised_together(lib: Any) -> None:
    with raises_group_of(ValueError, KeyError, IndexError):
        async with lib.open_nursery() as nursery:
            for error in (ValueError(), KeyError(), IndexError()):
                nursery.start_soon(fail_with, error)


@pytest.mark.semantics(12)
async def test_the_error_of_the_body_counts_like_that_of_a_child(lib: Any) -> None:
    async def fail_on_the_way_out() -> None:
        try:
            await lib.sleep_forever()
        finally:
            raise KeyError

    with raises_group_of(ValueError, KeyError):
        async with lib.open_nursery() as nursery:
            nursery.start_soon(fail_on_the_way_out)
            await lib.testing.wait_all_tasks_blocked()
            raise ValueError


@pytest.mark.semantics(12)
async def test_a_base_exception_makes_a_base_exception_group(lib: Any) -> None:
    class Special(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(fail_with, Special())
    assert not isinstance(caught.value, ExceptionGroup)


@pytest.mark.semantics(12)
async def test_the_first_failure_cancels_the_others_and_the_body(lib: Any) -> None:
    ends: list[str] = []

    async def sibling() -> None:
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            ends.append("sibling")
            raise

    with raises_group_of(ValueError):
        async with lib.open_nursery() as nursery:
            nursery.start_soon(sibling)
            await lib.testing.wait_all_tasks_blocked()
            nursery.start_soon(fail_with, ValueError())
            try:
                await lib.sleep_forever()
            finally:
                ends.append("body")
    assert sorted(ends) == ["body", "sibling"]


@pytest.mark.semantics(12)
async def test_a_nursery_absorbs_its_own_cancellation(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep_forever)
        nursery.cancel_scope.cancel()
        await lib.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


@pytest.mark.semantics(12)
async def test_groups_of_nested_nurseries_are_nested(lib: Any) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with lib.open_nursery():
            async with lib.open_nursery() as inner:
                inner.start_soon(fail_with, ValueError())
    (group,) = caught.value.exceptions
    assert isinstance(group, ExceptionGroup)
    assert [type(leaf) for leaf in leaves(caught.value)] == [ValueError]


@pytest.mark.semantics(12)
async def test_a_nursery_waits_for_all_of_its_tasks(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 1)
        nursery.start_soon(lib.sleep, 3)
    assert lib.current_time() == 3
    assert nursery.child_tasks == frozenset()


@pytest.mark.semantics(12)
async def test_a_loose_nursery_is_deprecated_and_raises_a_single_error_bare(lib: Any) -> None:
    with pytest.warns(lib.TrioDeprecationWarning):
        manager = lib.open_nursery(strict_exception_groups=False)
    with pytest.raises(ValueError):
        async with manager as nursery:
            nursery.start_soon(fail_with, ValueError())


@pytest.mark.semantics(12)
async def test_a_loose_nursery_marks_its_groups_with_a_note(lib: Any) -> None:
    with pytest.warns(lib.TrioDeprecationWarning):
        manager = lib.open_nursery(strict_exception_groups=False)
    with pytest.raises(ExceptionGroup) as caught:
        async with manager as nursery:
            nursery.start_soon(fail_with, ValueError())
            nursery.start_soon(fail_with, KeyError())
    assert len(caught.value.__notes__) == 1


@pytest.mark.semantics(12)
async def test_a_nursery_is_entered_by_async_with_only(lib: Any) -> None:
    with pytest.raises(RuntimeError, match="use 'async with open_nursery"):
        with lib.open_nursery():
            pass


@pytest.mark.semantics(12)
async def test_nurseries_are_made_by_open_nursery_only(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.Nursery(lib.lowlevel.current_task(), lib.CancelScope(), True)


# ---- starting ---------------------------------------------------------------------------------------------------


@pytest.mark.semantics(14)
async def test_a_child_gets_the_context_variables_of_the_moment_it_is_started(lib: Any) -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append(variable.get())
        variable.set("changed by the child")

    async with lib.open_nursery() as nursery:
        variable.set("before")
        nursery.start_soon(child)
        variable.set("after")
    assert seen == ["before"]
    assert variable.get() == "after"


@pytest.mark.semantics(14)
async def test_a_child_inherits_the_context_of_its_creator_not_of_its_parent(lib: Any) -> None:
    seen: list[str] = []

    async def grandchild() -> None:
        seen.append(variable.get())

    async def child(nursery: Any) -> None:
        variable.set("of the child")
        nursery.start_soon(grandchild)

    async with lib.open_nursery() as nursery:
        variable.set("of the parent")
        nursery.start_soon(child, nursery)
    assert seen == ["of the child"]


@pytest.mark.semantics(14)
async def test_a_coroutine_object_is_refused_with_advice(lib: Any) -> None:
    async def function() -> None:
        pass

    async with lib.open_nursery() as nursery:
        with pytest.raises(TypeError, match="coroutine object"):
            nursery.start_soon(function())


@pytest.mark.semantics(14)
async def test_a_sync_function_is_refused_with_advice(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        with pytest.raises(TypeError, match="appears to be synchronous"):
            nursery.start_soon(lambda: None)


@pytest.mark.semantics(14)
async def test_an_async_generator_is_refused_with_advice(lib: Any) -> None:
    async def generator() -> Any:
        yield 1

    async with lib.open_nursery() as nursery:
        with pytest.raises(TypeError, match="async generator"):
            nursery.start_soon(generator)


@pytest.mark.semantics(14)
async def test_a_future_of_asyncio_is_refused_with_advice(lib: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        future = loop.create_future()
        async with lib.open_nursery() as nursery:
            with pytest.raises(TypeError, match="asyncio"):
                nursery.start_soon(future)
            with pytest.raises(TypeError, match="asyncio"):
                nursery.start_soon(lambda: future)
    finally:
        loop.close()


@pytest.mark.semantics(14)
async def test_awaiting_a_foreign_future_is_an_error_of_the_task_and_not_of_the_loop(lib: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(TypeError):
            await loop.create_future()
        await lib.lowlevel.checkpoint()
    finally:
        loop.close()


@pytest.mark.semantics(14)
async def test_a_task_is_named_after_its_function(lib: Any) -> None:
    names: list[str] = []

    async with lib.open_nursery() as nursery:
        nursery.start_soon(functools.partial(functools.partial(note_own_name), lib), names)
    assert names == [f"{__name__}.note_own_name"]


async def note_own_name(lib: Any, names: list[str]) -> None:
    names.append(lib.lowlevel.current_task().name)


@pytest.mark.semantics(14)
@pytest.mark.parametrize(("given", "shown"), [("by me", "by me"), (7, "7"), (fail_with, f"{__name__}.fail_with")])
async def test_a_task_may_be_given_a_name(lib: Any, given: object, shown: str) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep_forever, name=given)
        (task,) = nursery.child_tasks
        assert task.name == shown
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(14)
async def test_a_nursery_that_has_ended_takes_no_tasks(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        pass
    with pytest.raises(RuntimeError, match="Nursery is closed to new arrivals"):
        nursery.start_soon(lib.sleep, 0)
    with pytest.raises(RuntimeError, match="Nursery is closed to new arrivals"):
        await nursery.start(lib.sleep)


@pytest.mark.semantics(14)
async def test_tasks_know_their_place(lib: Any) -> None:
    here = lib.lowlevel.current_task()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep_forever)
        (child,) = nursery.child_tasks
        assert nursery.parent_task is here
        assert here.child_nurseries[-1] is nursery
        assert child.parent_nursery is nursery
        nursery.cancel_scope.cancel()


# ---- the end ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(15)
async def test_the_end_waits_for_children_that_resist_the_cancellation(lib: Any) -> None:
    ends: list[str] = []

    async def child() -> None:
        with lib.CancelScope(shield=True):
            for _ in range(5):
                await lib.lowlevel.checkpoint()
            ends.append("child")

    with lib.CancelScope() as scope:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)
            await lib.lowlevel.checkpoint()
            scope.cancel()
        ends.append("behind the nursery")
    assert ends == ["child", "behind the nursery"]
    assert not scope.cancelled_caught


@pytest.mark.semantics(15)
async def test_a_cancellation_during_the_end_goes_to_the_children(lib: Any) -> None:
    scope = lib.CancelScope()
    ends: list[str] = []

    async def child() -> None:
        try:
            await lib.sleep_forever()
        finally:
            ends.append("child")

    async def parent() -> None:
        with scope:
            async with lib.open_nursery() as nursery:
                nursery.start_soon(child)

    async with lib.open_nursery() as outer:
        outer.start_soon(parent)
        await lib.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert ends == ["child"]
    assert scope.cancelled_caught


@in_main_thread_only
@pytest.mark.semantics(15)
def test_an_interrupt_during_the_end_joins_the_errors_of_the_children(lib: Any, run: Any) -> None:
    async def child() -> None:
        try:
            await lib.sleep_forever()
        finally:
            raise KeyError

    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)
            lib.lowlevel.current_trio_token().run_sync_soon(interrupt)

    with raises_group_of(KeyboardInterrupt, KeyError):
        run(main)
