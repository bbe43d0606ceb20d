"""The usual mistakes get an error that says what to write instead, and the loop goes on."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

from proactor_trio import Event, TaskStatus, lowlevel, open_nursery, run, sleep, to_thread


async def function() -> None:
    await lowlevel.checkpoint()


def synchronous_function() -> None:
    pass


async def generator_function() -> AsyncGenerator[int, None]:
    yield 1


class Future:
    """What the futures of other libraries look like."""

    _asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, Any, None]:
        yield self


@types.coroutine
def yield_to_the_loop(message: object) -> Generator[Any, Any, Any]:
    return (yield message)


# ---- what is no async function ----------------------------------------------------------------------------------


def test_run_with_a_coroutine_explains_the_parentheses() -> None:
    with pytest.raises(TypeError, match="expecting an async function") as caught:
        run(function())  # type: ignore[arg-type]
    assert "function(...)" in str(caught.value)
    assert "incorrect" in str(caught.value)


async def test_start_soon_with_a_coroutine_explains_the_parentheses() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="expecting an async function") as caught:
            nursery.start_soon(function())  # type: ignore[arg-type]
    assert "nursery.start_soon" in str(caught.value)


async def test_start_with_a_coroutine_is_a_type_error() -> None:
    coroutine = function()
    async with open_nursery() as nursery:
        with pytest.raises(TypeError):
            await nursery.start(coroutine)  # type: ignore[arg-type]
    coroutine.close()


def test_run_with_a_synchronous_function_names_it() -> None:
    with pytest.raises(TypeError, match=r"synchronous_function.* appears to be synchronous"):
        run(synchronous_function)  # type: ignore[arg-type]


async def test_start_soon_with_a_synchronous_function_names_it() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match=r"synchronous_function.* appears to be synchronous"):
            nursery.start_soon(synchronous_function)  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [None, 42, "text"])
def test_run_with_what_cannot_be_called_is_a_type_error(thing: object) -> None:
    with pytest.raises(TypeError):
        run(thing)  # type: ignore[arg-type]


def test_run_with_an_async_generator_function_says_so() -> None:
    with pytest.raises(TypeError, match="async generator"):
        run(generator_function)  # type: ignore[arg-type]


async def test_start_soon_with_an_async_generator_function_says_so() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="async generator"):
            nursery.start_soon(generator_function)  # type: ignore[arg-type]


async def test_start_soon_with_a_future_points_at_the_other_library() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="asyncio"):
            nursery.start_soon(Future())  # type: ignore[arg-type]


async def test_start_soon_with_a_function_that_returns_a_future_points_at_the_other_library() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="asyncio"):
            nursery.start_soon(Future)  # type: ignore[arg-type]


async def test_start_soon_with_a_generator_points_at_the_other_library() -> None:
    def old_style_coroutine() -> Generator[None, None, None]:
        yield

    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="asyncio"):
            nursery.start_soon(old_style_coroutine)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="asyncio"):
            nursery.start_soon(old_style_coroutine())  # type: ignore[arg-type]


async def test_wrong_arguments_are_reported_where_the_task_is_started() -> None:
    async with open_nursery() as nursery:
        with pytest.raises(TypeError, match="positional argument"):
            nursery.start_soon(function, "too", "many")  # type: ignore[call-arg,arg-type]
        assert nursery.child_tasks == frozenset()


async def test_an_error_of_the_call_itself_is_passed_on_as_it_is() -> None:
    def crash() -> None:
        raise KeyError("in the call")

    async with open_nursery() as nursery:
        with pytest.raises(KeyError, match="in the call"):
            nursery.start_soon(crash)  # type: ignore[arg-type]


async def test_a_refused_task_leaves_the_nursery_as_it_was() -> None:
    finished: list[str] = []

    async def child() -> None:
        finished.append("child")

    async with open_nursery() as nursery:
        with pytest.raises(TypeError):
            nursery.start_soon(None)  # type: ignore[arg-type]
        nursery.start_soon(child)
    assert finished == ["child"]


def test_a_refused_main_function_leaves_the_thread_ready() -> None:
    with pytest.raises(TypeError):
        run(None)  # type: ignore[arg-type]
    run(function)


# ---- what is no operation of this library -----------------------------------------------------------------------


def test_awaiting_a_future_of_asyncio_is_a_type_error_in_the_task() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()

    async def main() -> str:
        with pytest.raises(TypeError, match="asyncio"):
            await future
        await sleep(0)
        return "the loop goes on"

    try:
        assert run(main) == "the loop goes on"
    finally:
        loop.close()


def test_sleeping_with_asyncio_is_a_type_error_or_a_runtime_error() -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    with pytest.raises((TypeError, RuntimeError)):
        run(main)


async def test_yielding_a_foreign_message_is_a_type_error_that_names_it() -> None:
    with pytest.raises(TypeError, match="a foreign message"):
        await yield_to_the_loop("a foreign message")
    await lowlevel.checkpoint()


async def test_the_error_of_a_foreign_message_comes_out_of_the_nursery() -> None:
    async def child() -> None:
        await yield_to_the_loop(None)

    with pytest.raises(ExceptionGroup) as caught:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
    assert [type(error) for error in caught.value.exceptions] == [TypeError]


def test_a_coroutine_of_this_library_fails_clearly_in_asyncio() -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(function())


# ---- forgetting await -------------------------------------------------------------------------------------------


async def test_a_forgotten_await_is_a_warning_of_python(gc_collect: Callable[[], None]) -> None:
    """All that can be awaited here are true coroutines, so that the interpreter notices."""
    for make in (lambda: sleep(0), lambda: Event().wait(), lowlevel.checkpoint):
        with pytest.warns(RuntimeWarning, match="never awaited"):
            make()
            gc_collect()


async def test_a_forgotten_await_of_start_is_a_warning_of_python(gc_collect: Callable[[], None]) -> None:
    async def child(*, task_status: TaskStatus[None]) -> None:
        raise AssertionError("must not run")

    async with open_nursery() as nursery:
        with pytest.warns(RuntimeWarning, match="never awaited"):
            nursery.start(child)
            gc_collect()


# ---- threads ----------------------------------------------------------------------------------------------------


async def test_an_async_function_is_no_work_for_a_thread() -> None:
    with pytest.raises(TypeError, match="asynchronous"):
        await to_thread.run_sync(function)
