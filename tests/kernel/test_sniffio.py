"""sniffio: libraries that serve several loops learn in which one they run."""

from __future__ import annotations

import pytest
import sniffio

from proactor_trio import Event, lowlevel, open_nursery, run, sleep, to_thread


def library() -> str | None:
    try:
        return sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None


def test_there_is_no_library_outside_of_a_run() -> None:
    assert library() is None
    run(sleep, 0)
    assert library() is None


async def test_the_library_is_known_in_every_task_and_callback() -> None:
    seen: list[str | None] = [library()]
    event = Event()

    async def child() -> None:
        seen.append(library())
        await lowlevel.checkpoint()
        seen.append(library())

    def callback() -> None:
        seen.append(library())
        event.set()

    lowlevel.spawn_system_task(child)
    lowlevel.current_trio_token().run_sync_soon(callback)
    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await event.wait()
    assert None not in seen
    assert len(set(seen)) == 1


async def test_a_function_that_returns_a_coroutine_already_knows_the_library() -> None:
    seen: list[str | None] = []

    def function() -> object:
        seen.append(library())
        return sleep(0)

    async with open_nursery() as nursery:
        nursery.start_soon(function)  # type: ignore[arg-type]
    assert seen == [library()]


def test_the_main_function_that_returns_a_coroutine_already_knows_the_library() -> None:
    seen: list[str | None] = []

    def function() -> object:
        seen.append(library())
        return sleep(0)

    run(function)  # type: ignore[arg-type]
    assert seen != [None]


async def test_there_is_no_library_in_a_worker_thread() -> None:
    assert await to_thread.run_sync(library) is None


async def test_a_worker_thread_does_not_inherit_the_library_through_the_context() -> None:
    token = sniffio.current_async_library_cvar.set("another one")
    try:
        assert await to_thread.run_sync(library) is None
    finally:
        sniffio.current_async_library_cvar.reset(token)


def test_what_was_set_before_the_run_is_there_again_after_it() -> None:
    before, sniffio.thread_local.name = sniffio.thread_local.name, "host library"
    try:
        run(sleep, 0)
        assert library() == "host library"
    finally:
        sniffio.thread_local.name = before


def test_what_was_set_before_a_run_that_fails_is_there_again_after_it() -> None:
    async def main() -> None:
        raise ValueError

    before, sniffio.thread_local.name = sniffio.thread_local.name, "host library"
    try:
        with pytest.raises(ValueError):
            run(main)
        assert library() == "host library"
    finally:
        sniffio.thread_local.name = before
