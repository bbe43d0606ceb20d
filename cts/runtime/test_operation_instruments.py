"""Instruments that are told of operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proactor_trio import CancelScope, open_nursery
from proactor_trio.abc import Instrument
from proactor_trio.lowlevel import add_instrument, current_proactor, remove_instrument
from proactor_trio.proactor import Nop, Operation, OperationCancelled, OperationFlags, Timer
from proactor_trio.testing import wait_all_tasks_blocked


class Recorder(Instrument):
    """What it was told, with the kinds of operations by name."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, object]] = []

    def operation_submitted(self, operation: Operation) -> None:
        self.told.append(("submitted", type(operation).__name__, None))

    def operation_completed(self, operation: Operation, result: object) -> None:
        self.told.append(("completed", type(operation).__name__, result))

    def operation_cancel_requested(self, operation: Operation) -> None:
        self.told.append(("cancel requested", type(operation).__name__, None))

    @property
    def events(self) -> list[str]:
        return [event for event, _, _ in self.told]


@contextmanager
def recording() -> Iterator[Recorder]:
    recorder = Recorder()
    add_instrument(recorder)
    try:
        yield recorder
    finally:
        remove_instrument(recorder)


async def test_it_is_told_of_a_submission_and_of_the_result() -> None:
    with recording() as recorder:
        await Nop()
    assert recorder.told == [("submitted", "Nop", None), ("completed", "Nop", None)]


async def test_it_is_told_of_a_request_to_cancel_and_of_the_error() -> None:
    with recording() as recorder:
        with CancelScope() as scope:
            async with open_nursery() as nursery:
                nursery.start_soon(wait_for_ever)
                await wait_all_tasks_blocked()
                scope.cancel()
    assert recorder.events == ["submitted", "cancel requested", "completed"]
    assert isinstance(recorder.told[-1][2], OperationCancelled)


async def wait_for_ever() -> None:
    await Timer(1e9)


async def test_it_is_told_of_each_step_of_a_chain() -> None:
    steps = [Nop(flags=OperationFlags.LINKED), Nop(flags=OperationFlags.LINKED), Nop()]
    with recording() as recorder:
        current_proactor().submit(*steps)
        await steps[-1]
    assert sorted(recorder.events) == ["completed"] * 3 + ["submitted"] * 3


async def test_one_that_raises_is_removed_and_the_operation_is_not_harmed(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Instrument):
        def operation_submitted(self, operation: Operation) -> None:
            raise ValueError("broken")

    broken = Broken()
    add_instrument(broken)
    await Nop()
    with pytest.raises(KeyError):
        remove_instrument(broken)
    assert "broken" in caplog.text


async def test_without_a_listener_the_proactor_tells_nobody() -> None:
    class Deaf(Instrument):
        def before_task_step(self, task: object) -> None:
            return

    deaf = Deaf()
    add_instrument(deaf)
    observer = current_proactor()._delivery.observer
    remove_instrument(deaf)
    assert observer is None
