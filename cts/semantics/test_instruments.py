"""Instruments: what they are told, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ALL_CALLS = (
    "before_run", "after_run", "task_spawned", "task_scheduled", "before_task_step", "after_task_step", "task_exited",
    "before_io_wait", "after_io_wait",
)  # fmt: skip


def recorder(lib: Any, log: list[tuple[Any, ...]], *names: str) -> Any:
    """An instrument that has these methods, each of which records its call."""

    def make(name: str) -> Callable[..., None]:
        return lambda self, *args: log.append((name, *args))

    return type("Recorder", (lib.abc.Instrument,), {name: make(name) for name in names})()


@pytest.mark.semantics(29)
def test_it_is_told_of_the_life_of_a_run(lib: Any, run: Callable[..., Any]) -> None:
    log: list[tuple[Any, ...]] = []
    run(lib.sleep, 0.001, instruments=[recorder(lib, log, *ALL_CALLS)])
    names = [call[0] for call in log]
    assert names[0] == "before_run" and names[-1] == "after_run"
    assert set(names) == set(ALL_CALLS)


@pytest.mark.semantics(29)
async def test_it_is_told_of_the_life_of_a_task_in_order(lib: Any) -> None:
    log: list[tuple[Any, ...]] = []
    instrument = recorder(
        lib, log, "task_spawned", "task_scheduled", "before_task_step", "after_task_step", "task_exited"
    )
    tasks: list[object] = []

    async def child() -> None:
        tasks.append(lib.lowlevel.current_task())
        await lib.lowlevel.checkpoint()

    lib.lowlevel.add_instrument(instrument)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
    lib.lowlevel.remove_instrument(instrument)
    assert [name for name, task in log if task is tasks[0]] == [
        "task_spawned",
        "task_scheduled",
        "before_task_step",
        "task_scheduled",
        "after_task_step",
        "before_task_step",
        "task_exited",
        "after_task_step",
    ]


@pytest.mark.semantics(29)
async def test_io_waits_come_in_pairs_with_the_timeout(lib: Any, mock_clock: Any) -> None:
    log: list[tuple[Any, ...]] = []
    instrument = recorder(lib, log, "before_io_wait", "after_io_wait")
    lib.lowlevel.add_instrument(instrument)
    for _ in range(3):
        await lib.lowlevel.checkpoint()
    await lib.testing.wait_all_tasks_blocked(0.001)
    lib.lowlevel.remove_instrument(instrument)
    assert [name for name, _ in log] == ["before_io_wait", "after_io_wait"] * (len(log) // 2)
    assert [timeout for name, timeout in log[::2]] == [timeout for name, timeout in log[1::2]]
    assert {0, 0.001} <= {timeout for _, timeout in log}


@pytest.mark.semantics(29)
async def test_one_that_raises_is_taken_out_and_logged(lib: Any, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    class Broken(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_task_step(self, task: object) -> None:
            calls.append("step")
            raise KeyError("broken instrument")

        def task_exited(self, task: object) -> None:
            calls.append("exit")

    instrument = Broken()
    lib.lowlevel.add_instrument(instrument)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 0)
    assert calls == ["step"]
    (record,) = caplog.records
    assert record.exc_info is not None and isinstance(record.exc_info[1], KeyError)
    with pytest.raises(KeyError):
        lib.lowlevel.remove_instrument(instrument)


@pytest.mark.semantics(29)
async def test_adding_twice_is_adding_once(lib: Any) -> None:
    log: list[tuple[Any, ...]] = []
    instrument = recorder(lib, log, "task_spawned")
    lib.lowlevel.add_instrument(instrument)
    lib.lowlevel.add_instrument(instrument)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 0)
    lib.lowlevel.remove_instrument(instrument)
    assert len(log) == 1
    with pytest.raises(KeyError):
        lib.lowlevel.remove_instrument(instrument)


@pytest.mark.semantics(29)
async def test_several_are_told_in_the_order_they_were_added(lib: Any) -> None:
    order: list[int] = []

    def instrument(number: int) -> Any:
        def task_spawned(self: object, task: object) -> None:
            order.append(number)

        return type("Numbered", (lib.abc.Instrument,), {"task_spawned": task_spawned})()

    instruments = [instrument(number) for number in range(3)]
    for each in instruments:
        lib.lowlevel.add_instrument(each)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 0)
    for each in instruments:
        lib.lowlevel.remove_instrument(each)
    assert order == [0, 1, 2]


@pytest.mark.semantics(29)
async def test_one_without_methods_of_its_own_costs_nothing_and_can_be_removed(lib: Any) -> None:
    instrument = type("Empty", (lib.abc.Instrument,), {})()
    lib.lowlevel.add_instrument(instrument)
    await lib.lowlevel.checkpoint()
    lib.lowlevel.remove_instrument(instrument)


@pytest.mark.semantics(29)
async def test_one_may_take_itself_out_while_it_is_called(lib: Any) -> None:
    calls: list[object] = []

    class Once(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_task_step(self, task: object) -> None:
            calls.append(task)
            lib.lowlevel.remove_instrument(self)

    lib.lowlevel.add_instrument(Once())
    await lib.lowlevel.checkpoint()
    await lib.lowlevel.checkpoint()
    assert len(calls) == 1
