"""Cancel scopes and nurseries that are not left in the order they were entered: noticed, named, survived."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from proactor_trio import CancelScope, lowlevel, open_nursery, run, sleep, sleep_forever
from proactor_trio.testing import wait_all_tasks_blocked


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


async def test_leaving_the_outer_scope_first_is_an_error_that_explains_itself() -> None:
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match="still within its child") as caught:
        outer.__exit__(None, None, None)
    assert "probably a bug in your code" in str(caught.value)
    inner.__exit__(None, None, None)


async def test_after_a_wrong_order_the_task_is_where_it_was_before() -> None:
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    await lowlevel.checkpoint()
    with CancelScope() as scope:
        scope.cancel()
        await sleep_forever()
    assert scope.cancelled_caught


async def test_leaving_the_outer_scope_first_keeps_the_error_that_was_under_way() -> None:
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    error = ValueError()
    with pytest.raises(RuntimeError) as caught:
        outer.__exit__(ValueError, error, None)
    assert caught.value.__context__ is error
    inner.__exit__(None, None, None)


async def test_leaving_a_scope_twice_is_an_error() -> None:
    scope = CancelScope()
    with scope:
        pass
    with pytest.raises(RuntimeError, match="already been exited"):
        scope.__exit__(None, None, None)


async def test_leaving_a_scope_that_was_never_entered_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="corrupted"):
        CancelScope().__exit__(None, None, None)


async def test_leaving_the_scope_of_another_task_is_an_error() -> None:
    scope = CancelScope()

    async def child() -> None:
        with scope:
            await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="from unrelated"):
            scope.__exit__(None, None, None)
        nursery.cancel_scope.cancel()


async def test_a_generator_that_yields_inside_a_scope_is_found_out() -> None:
    async def generator() -> AsyncGenerator[int, None]:
        with CancelScope():
            yield 1

    stream = generator()
    with pytest.raises(RuntimeError, match="corrupted"):
        with CancelScope():
            await stream.asend(None)  # type: ignore[arg-type]
    await stream.aclose()


def test_a_scope_entered_in_the_parent_and_left_in_the_child_is_reported_in_both() -> None:
    errors: list[BaseException] = []

    async def main() -> None:
        scope = CancelScope()

        async def child() -> None:
            try:
                scope.__exit__(None, None, None)
            except RuntimeError as error:
                errors.append(error)

        scope.__enter__()
        async with open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(RuntimeError, match="closed before the task exited"):
        run(main)
    (error,) = errors
    assert "still within its child" in str(error)


def test_a_scope_that_ends_around_a_running_task_cancels_the_task_and_is_reported() -> None:
    ends: list[str] = []

    async def child() -> None:
        try:
            await sleep_forever()
        finally:
            ends.append("child")

    async def main() -> None:
        scope = CancelScope()
        scope.__enter__()
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            await wait_all_tasks_blocked()
            scope.__exit__(None, None, None)

    with pytest.raises(BaseException) as caught:
        run(main)
    assert any(isinstance(leaf, RuntimeError) and "corrupted" in str(leaf) for leaf in leaves(caught.value))
    assert ends == ["child"]


def test_a_task_that_ends_with_an_open_nursery_is_reported() -> None:
    kept: list[Any] = []

    async def child() -> None:
        manager = open_nursery()
        kept.append(manager)
        nursery = await manager.__aenter__()
        nursery.start_soon(sleep_forever)

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert any("Nursery stack corrupted" in str(leaf) for leaf in leaves(caught.value))


def test_a_task_that_fails_with_an_open_nursery_keeps_its_error_as_context() -> None:
    error = ValueError()
    kept: list[Any] = []

    async def child() -> None:
        manager = open_nursery()
        kept.append(manager)
        await manager.__aenter__()
        raise error

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    (leaf,) = leaves(caught.value)
    assert isinstance(leaf, RuntimeError)
    assert leaf.__context__ is error


async def test_a_task_that_ends_inside_a_scope_leaves_the_others_alone() -> None:
    """A scope without a task in it is nothing but garbage."""

    async def child() -> None:
        CancelScope().__enter__()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await sleep(0)
    await lowlevel.checkpoint()
