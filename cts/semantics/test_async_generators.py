"""Async generators: their clean-up runs inside the run, whoever forgot to close them."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest


async def count(lib: Any, log: list[str], clean_up: Callable[[], Any] | None = None) -> AsyncGenerator[int, None]:
    """Counts, and notes how it ends; `clean_up` returns what is awaited at the end."""
    try:
        for number in range(1000):
            yield number
    finally:
        log.append("cleaning up")
        if clean_up is not None:
            try:
                await clean_up()
            except lib.Cancelled:
                log.append("cancelled")
                raise
            log.append("cleaned up")


@pytest.mark.semantics(21)
async def test_a_generator_that_its_user_closes_cleans_up_there(lib: Any) -> None:
    log: list[str] = []
    async with aclosing(count(lib, log, lib.lowlevel.checkpoint)) as numbers:
        async for _ in numbers:
            break
    assert log == ["cleaning up", "cleaned up"]


@pytest.mark.semantics(21)
async def test_a_collected_generator_is_closed_in_a_task_of_its_own_with_a_warning(lib: Any) -> None:
    log: list[str] = []
    tasks: list[object] = []

    async def clean_up() -> None:
        tasks.append(lib.lowlevel.current_task())

    numbers = count(lib, log, clean_up)
    await numbers.asend(None)
    with pytest.warns(ResourceWarning, match="count"):
        del numbers
    assert log == []
    await lib.testing.wait_all_tasks_blocked()
    assert log == ["cleaning up", "cleaned up"]
    assert tasks != [lib.lowlevel.current_task()]


@pytest.mark.semantics(21)
async def test_the_clean_up_of_a_collected_generator_is_cancelled_at_its_first_checkpoint(lib: Any) -> None:
    log: list[str] = []
    numbers = count(lib, log, lib.lowlevel.checkpoint)
    await numbers.asend(None)
    with pytest.warns(ResourceWarning):
        del numbers
    await lib.testing.wait_all_tasks_blocked()
    assert log == ["cleaning up", "cancelled"]


@pytest.mark.semantics(21)
async def test_a_generator_that_was_never_started_is_dropped_silently(lib: Any) -> None:
    log: list[str] = []
    numbers = count(lib, log)
    del numbers
    await lib.testing.wait_all_tasks_blocked()
    assert log == []


@pytest.mark.semantics(21)
async def test_an_error_in_the_clean_up_of_a_collected_generator_is_logged(
    lib: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def clean_up() -> None:
        raise KeyError("in the clean-up")

    numbers = count(lib, [], clean_up)
    await numbers.asend(None)
    with pytest.warns(ResourceWarning):
        del numbers
    await lib.testing.wait_all_tasks_blocked()
    (record,) = caplog.records
    assert record.exc_info is not None and isinstance(record.exc_info[1], KeyError)


@pytest.mark.semantics(18, 21)
@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_that_is_left_is_closed_before_run_returns(lib: Any, run: Callable[..., Any], fails: bool) -> None:
    log: list[str] = []
    kept: list[object] = []

    async def main() -> None:
        numbers = count(lib, log)
        kept.append(numbers)
        await numbers.asend(None)
        if fails:
            raise ValueError

    if fails:
        with pytest.raises(ValueError):
            run(main)
    else:
        run(main)
    assert log == ["cleaning up"]


@pytest.mark.semantics(21)
def test_the_clean_up_at_the_end_is_cancelled_unless_it_is_shielded(lib: Any, run: Callable[..., Any]) -> None:
    log: list[str] = []
    kept: list[object] = []

    async def shielded() -> None:
        with lib.CancelScope(shield=True):
            await lib.lowlevel.checkpoint()

    async def main(clean_up: Callable[[], Any]) -> None:
        numbers = count(lib, log, clean_up)
        kept.append(numbers)
        await numbers.asend(None)

    run(main, lib.lowlevel.checkpoint)
    run(main, shielded)
    assert log == ["cleaning up", "cancelled", "cleaning up", "cleaned up"]


@pytest.mark.semantics(18, 21)
def test_at_the_end_generators_come_after_system_tasks_and_before_the_door_closes(
    lib: Any, run: Callable[..., Any]
) -> None:
    log: list[str] = []
    kept: list[object] = []

    async def system_task() -> None:
        try:
            await lib.sleep_forever()
        finally:
            log.append("system task ended")

    async def clean_up() -> None:
        lib.lowlevel.current_trio_token().run_sync_soon(log.append, "call made")
        with pytest.raises(RuntimeError):
            lib.lowlevel.spawn_system_task(lib.sleep, 0)

    async def main() -> None:
        lib.lowlevel.spawn_system_task(system_task)
        numbers = count(lib, log, clean_up)
        kept.append(numbers)
        await numbers.asend(None)
        await lib.testing.wait_all_tasks_blocked()

    run(main)
    assert log == ["system task ended", "cleaning up", "cleaned up", "call made"]


@pytest.mark.semantics(21)
def test_generators_that_feed_each_other_are_all_closed(lib: Any, run: Callable[..., Any]) -> None:
    log: list[str] = []
    kept: list[object] = []

    async def doubled(source: AsyncGenerator[int, None]) -> AsyncGenerator[int, None]:
        try:
            async for number in source:
                yield number * 2
        finally:
            log.append("doubled")

    async def main() -> None:
        numbers = count(lib, log)
        for _ in range(10):
            numbers = doubled(numbers)
        kept.append(numbers)
        await numbers.asend(None)

    run(main)
    assert sorted(log) == ["cleaning up"] + ["doubled"] * 10


@pytest.mark.semantics(21)
def test_the_hooks_of_the_thread_are_restored(lib: Any, run: Callable[..., Any]) -> None:
    hooks = (lambda generator: None, lambda generator: None)

    async def main() -> None:
        assert tuple(sys.get_asyncgen_hooks()) != hooks

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(*hooks)
    try:
        run(main)
        assert tuple(sys.get_asyncgen_hooks()) == hooks
    finally:
        sys.set_asyncgen_hooks(*before)


@pytest.mark.semantics(21)
def test_a_foreign_generator_is_left_to_its_own_host(lib: Any, run: Callable[..., Any]) -> None:
    log: list[str] = []
    kept: list[Any] = []
    begun: list[object] = []

    class Host(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_run(self) -> None:
            kept.append(count(lib, log))
            with pytest.raises(StopIteration):
                kept[0].asend(None).send(None)

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(begun.append, lambda generator: None)
    try:
        run(lib.sleep, 0, instruments=[Host()])
    finally:
        sys.set_asyncgen_hooks(*before)
    assert begun == kept
    assert log == []
