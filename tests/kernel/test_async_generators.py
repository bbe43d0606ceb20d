"""Async generators: their clean-up runs inside the run, whoever forgot to close them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from proactor_trio import (
    Cancelled,
    CancelScope,
    abc,
    current_effective_deadline,
    current_time,
    lowlevel,
    open_nursery,
    run,
    sleep,
)
from proactor_trio.testing import wait_all_tasks_blocked

Log = list[str]


async def numbers(log: Log, cleanup: Callable[[], object] | None = None) -> AsyncGenerator[int, None]:
    """Counts, and notes how it ends. `cleanup` returns an awaitable for the clean-up, or None."""
    try:
        for number in range(1000):
            yield number
    finally:
        log.append("cleaning up")
        if cleanup is not None:
            try:
                await cleanup()  # type: ignore[misc]
            except Cancelled:
                log.append("cancelled")
                raise
            log.append("cleaned up")


# ---- generators that are closed in time -------------------------------------------------------------------------


async def test_an_exhausted_generator_needs_no_clean_up() -> None:
    async def two() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    assert [number async for number in two()] == [1, 2]


async def test_a_generator_that_is_closed_by_its_user_may_await_in_its_clean_up() -> None:
    log: Log = []
    async with aclosing(numbers(log, lowlevel.checkpoint)) as generator:
        async for _ in generator:
            break
    assert log == ["cleaning up", "cleaned up"]


async def test_a_generator_is_cancelled_like_any_other_code() -> None:
    log: Log = []

    async def generator() -> AsyncGenerator[int, None]:
        try:
            await sleep(1000)
            yield 1
        finally:
            log.append("cleaning up")

    with CancelScope() as scope:
        scope.cancel()
        async for _ in generator():
            pass
    assert log == ["cleaning up"]
    assert scope.cancelled_caught


# ---- generators that are collected ------------------------------------------------------------------------------


async def test_a_collected_generator_is_closed_in_a_task_of_the_run(gc_collect: Callable[[], None]) -> None:
    log: Log = []
    tasks: list[lowlevel.Task] = []

    async def cleanup() -> None:
        tasks.append(lowlevel.current_task())

    async for _ in (generator := numbers(log, cleanup)):
        break
    with pytest.warns(ResourceWarning, match="garbage collected"):
        del generator
        gc_collect()
    assert log == []
    await wait_all_tasks_blocked()
    assert log == ["cleaning up", "cleaned up"]
    assert tasks != [lowlevel.current_task()]


async def test_the_clean_up_of_a_collected_generator_is_cancelled_at_its_first_checkpoint(
    gc_collect: Callable[[], None],
) -> None:
    log: Log = []
    async for _ in (generator := numbers(log, lowlevel.checkpoint)):
        break
    with pytest.warns(ResourceWarning):
        del generator
        gc_collect()
    await wait_all_tasks_blocked()
    assert log == ["cleaning up", "cancelled"]


async def test_the_warning_names_the_generator(gc_collect: Callable[[], None]) -> None:
    async for _ in (generator := numbers([])):
        break
    with pytest.warns(ResourceWarning, match="numbers"):
        del generator
        gc_collect()
    await wait_all_tasks_blocked()


async def test_a_generator_that_was_never_started_is_dropped_silently(gc_collect: Callable[[], None]) -> None:
    log: Log = []
    generator = numbers(log)
    reference = weakref.ref(generator)
    del generator
    gc_collect()
    await wait_all_tasks_blocked()
    assert reference() is None
    assert log == []


async def test_a_generator_in_a_cycle_of_garbage_is_closed_too(gc_collect: Callable[[], None]) -> None:
    log: Log = []

    async def scene() -> None:
        generator = numbers(log)
        cycle: list[object] = [generator]
        cycle.append(cycle)
        await generator.asend(None)  # type: ignore[arg-type]

    with pytest.warns(ResourceWarning):
        await scene()
        gc_collect()
    await wait_all_tasks_blocked()
    assert log == ["cleaning up"]


async def test_an_error_in_the_clean_up_of_a_collected_generator_is_logged(
    gc_collect: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def cleanup() -> None:
        raise KeyError("in the clean-up")

    async for _ in (generator := numbers([], cleanup)):
        break
    with pytest.warns(ResourceWarning):
        del generator
        gc_collect()
    await wait_all_tasks_blocked()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert "numbers" in record.getMessage()


# ---- generators that are left at the end of the run -------------------------------------------------------------


def test_a_generator_that_is_left_at_the_end_is_closed_before_run_returns() -> None:
    log: Log = []
    kept: list[object] = []

    async def main() -> None:
        generator = numbers(log)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert log == ["cleaning up"]


def test_the_clean_up_at_the_end_of_the_run_is_cancelled_at_its_first_checkpoint() -> None:
    log: Log = []
    kept: list[object] = []

    async def main() -> None:
        generator = numbers(log, lowlevel.checkpoint)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert log == ["cleaning up", "cancelled"]


def test_the_clean_up_at_the_end_of_the_run_may_shield_itself() -> None:
    log: Log = []
    kept: list[object] = []

    async def cleanup() -> None:
        with CancelScope(shield=True):
            await sleep(0.001)

    async def main() -> None:
        generator = numbers(log, cleanup)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert log == ["cleaning up", "cleaned up"]


def test_the_clean_up_at_the_end_of_the_run_is_still_inside_the_run() -> None:
    seen: list[object] = []
    kept: list[object] = []

    async def cleanup() -> None:
        seen.append(current_effective_deadline())
        current_time()
        async with open_nursery():
            pass
        seen.append("all available")

    async def main() -> None:
        generator = numbers([], cleanup)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert seen == [float("-inf"), "all available"]


def test_no_system_task_starts_during_the_clean_up_at_the_end() -> None:
    errors: list[BaseException] = []
    kept: list[object] = []

    async def cleanup() -> None:
        try:
            lowlevel.spawn_system_task(sleep, 0)
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        generator = numbers([], cleanup)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert len(errors) == 1
    assert "closed" in str(errors[0])


def test_calls_are_still_taken_during_the_clean_up_at_the_end() -> None:
    calls: list[str] = []
    kept: list[object] = []

    async def cleanup() -> None:
        lowlevel.current_trio_token().run_sync_soon(calls.append, "made")

    async def main() -> None:
        generator = numbers([], cleanup)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    assert calls == ["made"]


def test_generators_are_closed_after_the_system_tasks_have_ended() -> None:
    log: Log = []
    kept: list[object] = []

    async def system_task() -> None:
        try:
            await sleep(1000)
        finally:
            log.append("system task ended")

    async def main() -> None:
        lowlevel.spawn_system_task(system_task)
        generator = numbers(log)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]
        await wait_all_tasks_blocked()

    run(main)
    assert log == ["system task ended", "cleaning up"]


def test_a_clean_up_that_uses_another_generator_gets_all_of_them_closed() -> None:
    log: Log = []
    kept: list[object] = []

    async def cleanup() -> None:
        second = numbers(log)
        kept.append(second)
        await second.asend(None)  # type: ignore[arg-type]

    async def main() -> None:
        first = numbers(log, cleanup)
        kept.append(first)
        await first.asend(None)  # type: ignore[arg-type]

    run(main)
    assert log == ["cleaning up", "cleaned up", "cleaning up"]


def test_generators_that_feed_each_other_are_all_closed() -> None:
    log: Log = []
    kept: list[object] = []

    async def doubled(source: AsyncGenerator[int, None]) -> AsyncGenerator[int, None]:
        try:
            async for number in source:
                yield number * 2
        finally:
            log.append("doubled")

    async def main() -> None:
        source = numbers(log)
        for _ in range(20):
            source = doubled(source)
        kept.append(source)
        assert await source.asend(None) == 0  # type: ignore[arg-type]

    run(main)
    assert sorted(log) == ["cleaning up"] + ["doubled"] * 20


def test_an_error_in_the_clean_up_at_the_end_is_logged_and_the_result_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept: list[object] = []

    async def cleanup() -> None:
        raise KeyError("in the clean-up")

    async def main() -> str:
        generator = numbers([], cleanup)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]
        return "result"

    assert run(main) == "result"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_a_generator_that_will_not_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[object] = []

    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            yield 2

    async def main() -> None:
        generator = stubborn()
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]

    run(main)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


def test_generators_are_closed_when_the_main_task_fails() -> None:
    log: Log = []
    kept: list[object] = []

    async def main() -> None:
        generator = numbers(log)
        kept.append(generator)
        await generator.asend(None)  # type: ignore[arg-type]
        raise ValueError

    with pytest.raises(ValueError):
        run(main)
    assert log == ["cleaning up"]


# ---- hooks and foreign generators -------------------------------------------------------------------------------


def test_the_hooks_of_the_thread_are_restored_after_the_run() -> None:
    def first_iteration(generator: object) -> None:
        pass

    def finalizer(generator: object) -> None:
        pass

    async def main() -> None:
        assert sys.get_asyncgen_hooks() != (first_iteration, finalizer)

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(first_iteration, finalizer)
    try:
        run(main)
        assert sys.get_asyncgen_hooks() == (first_iteration, finalizer)
    finally:
        sys.set_asyncgen_hooks(*before)


def test_a_generator_first_iterated_outside_of_a_task_belongs_to_somebody_else() -> None:
    """The hooks that were there before the run get to see it, and the run does not close it."""
    log: Log = []
    kept: list[AsyncGenerator[int, None]] = []
    foreign: list[object] = []

    class Host(abc.Instrument):
        def before_run(self) -> None:
            generator = numbers(log)
            kept.append(generator)
            with pytest.raises(StopIteration):
                generator.asend(None).send(None)  # type: ignore[arg-type]

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(foreign.append, lambda generator: None)
    try:
        run(sleep, 0, instruments=[Host()])
    finally:
        sys.set_asyncgen_hooks(*before)
    assert foreign == kept
    assert log == []


def test_a_foreign_generator_is_finalized_by_its_own_host(gc_collect: Callable[[], None]) -> None:
    finalized: list[object] = []
    kept: list[AsyncGenerator[int, None]] = []

    class Host(abc.Instrument):
        def before_run(self) -> None:
            generator = numbers([])
            kept.append(generator)
            with pytest.raises(StopIteration):
                generator.asend(None).send(None)  # type: ignore[arg-type]

    async def main() -> None:
        kept.clear()
        gc_collect()
        assert len(finalized) == 1

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(lambda generator: None, finalized.append)
    try:
        run(main, instruments=[Host()])
    finally:
        sys.set_asyncgen_hooks(*before)


def test_a_foreign_generator_without_a_host_is_closed_as_python_does_it(gc_collect: Callable[[], None]) -> None:
    log: Log = []
    kept: list[AsyncGenerator[int, None]] = []

    class Host(abc.Instrument):
        def before_run(self) -> None:
            generator = numbers(log)
            kept.append(generator)
            with pytest.raises(StopIteration):
                generator.asend(None).send(None)  # type: ignore[arg-type]

    async def main() -> None:
        kept.clear()
        gc_collect()
        assert log == ["cleaning up"]

    run(main, instruments=[Host()])
