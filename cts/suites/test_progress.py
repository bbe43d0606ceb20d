"""Progress callbacks: functions that poll() calls instead of waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cts.support import Completions, perform
from proactor_trio.proactor import FailedPrecondition, Nop, Proactor, ProgressCallback


def test_it_is_called_in_every_poll_and_no_poll_waits(proactor: Proactor) -> None:
    calls: list[None] = []
    entry = ProgressCallback(proactor, lambda: calls.append(None) or 0)  # type: ignore[func-returns-value]
    for _ in range(3):
        proactor.poll(None)
    entry.remove()
    assert len(calls) == 3


def test_its_progress_is_added_to_what_poll_returns(proactor: Proactor) -> None:
    entry = ProgressCallback(proactor, lambda: 5)
    assert proactor.poll(None) == 5
    entry.remove()


def test_it_removes_itself_when_it_returns(proactor: Proactor) -> None:
    log: list[str] = []

    def function() -> int:
        log.append("called")
        entry.remove()
        log.append("still inside")
        return 1

    entry = ProgressCallback(proactor, function, on_remove=lambda: log.append("removed"))
    proactor.poll(None)
    proactor.poll(0)
    assert log == ["called", "still inside", "removed"]


def test_a_removed_one_is_not_called(proactor: Proactor) -> None:
    calls: list[None] = []
    entry = ProgressCallback(proactor, lambda: calls.append(None) or 0)  # type: ignore[func-returns-value]
    entry.remove()
    entry.remove()
    proactor.poll(0)
    assert calls == []


def test_the_newest_is_called_first(proactor: Proactor) -> None:
    order: list[int] = []
    entries = [
        ProgressCallback(proactor, lambda number=number: order.append(number) or 0)  # type: ignore[misc, func-returns-value]
        for number in (1, 2, 3)
    ]
    proactor.poll(0)
    for entry in entries:
        entry.remove()
    assert order == [3, 2, 1]


def test_one_may_remove_another_that_is_then_not_called(proactor: Proactor) -> None:
    calls: list[None] = []
    victim = ProgressCallback(proactor, lambda: calls.append(None) or 0)  # type: ignore[func-returns-value]

    def function() -> int:
        victim.remove()
        return 0

    entry = ProgressCallback(proactor, function)
    proactor.poll(0)
    entry.remove()
    assert calls == []


def test_operations_go_on_meanwhile(proactor: Proactor) -> None:
    entry = ProgressCallback(proactor, lambda: 0)
    assert perform(proactor, Nop()) is None
    entry.remove()


def test_what_it_raises_is_raised_by_poll_after_the_completions(proactor: Proactor, completions: Completions) -> None:
    def function() -> int:
        entry.remove()
        raise LookupError("mine")

    entry = ProgressCallback(proactor, function)
    proactor.submit(Nop(completions))
    with pytest.raises(LookupError):
        proactor.poll(0)
    proactor.poll(0)
    assert len(completions) == 1


def test_closing_the_proactor_removes_it(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    removed: list[None] = []
    ProgressCallback(proactor, lambda: 0, on_remove=lambda: removed.append(None))
    proactor.close()
    assert len(removed) == 1


@pytest.mark.parametrize("made", [-1, None, "1"])
def test_progress_is_a_number(proactor: Proactor, made: object) -> None:
    entry = ProgressCallback(proactor, lambda: made)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="function must return"):
        proactor.poll(0)
    entry.remove()


def test_a_function_is_callable(proactor: Proactor) -> None:
    with pytest.raises(TypeError, match="function must be callable"):
        ProgressCallback(proactor, None)  # type: ignore[arg-type]


def test_it_is_for_the_polling_thread(proactor: Proactor) -> None:
    errors: list[BaseException] = []

    def register() -> None:
        try:
            ProgressCallback(proactor, lambda: 0)
        except FailedPrecondition as error:
            errors.append(error)

    thread = threading.Thread(target=register)
    thread.start()
    thread.join()
    assert "belongs to thread" in str(errors[0])
