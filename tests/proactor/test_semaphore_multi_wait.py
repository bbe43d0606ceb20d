"""multi_wait(): a thread blocks until semaphores have their values. Reference: semaphore_test: MultiWaitTest."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cts.support import alarm_handler
from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import (
    DeadlineExceeded,
    OperationCancelled,
    SemaphoreSource,
    TimelineSemaphore,
    WaitMode,
    multi_wait,
)

ALL, ANY = WaitMode.ALL, WaitMode.ANY
MOMENT = 0.01


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Callable[[], SemaphoreSource]:
    """Makes semaphores of one kind."""
    kind: Callable[[], SemaphoreSource] = request.param
    return kind


@pytest.fixture
def semaphores(make: Callable[[], SemaphoreSource]) -> list[SemaphoreSource]:
    return [make() for _ in range(3)]


@contextmanager
def waiting_thread(call: Callable[[], object], outcome: list[object]) -> Iterator[None]:
    """A thread that makes the call and notes what comes of it; it has begun, and ends with the block."""
    begun = threading.Event()

    def run() -> None:
        begun.set()
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(10)
    yield
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("mode", [ALL, ANY])
@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_nothing_to_wait_for_returns_at_once(mode: WaitMode, timeout: float | None) -> None:
    assert multi_wait([], [], mode, timeout) is None


@pytest.mark.parametrize("timeout", [None, 0, 5, math.inf])
@pytest.mark.parametrize("value", [3, 5])
def test_values_that_were_reached_return_at_once(
    semaphores: list[SemaphoreSource], timeout: float | None, value: int
) -> None:
    for semaphore in semaphores:
        semaphore.signal(5)
    assert multi_wait(semaphores, [value] * 3, ALL, timeout) is None


@pytest.mark.parametrize("mode", [ALL, ANY])
@pytest.mark.parametrize("timeout", [0, MOMENT])
def test_values_that_are_not_reached_exceed_the_deadline(
    semaphores: list[SemaphoreSource], mode: WaitMode, timeout: float
) -> None:
    with pytest.raises(DeadlineExceeded, match="3 semaphores"):
        multi_wait(semaphores, [1, 1, 1], mode, timeout)


@pytest.mark.parametrize("timeout", [0, MOMENT])
def test_all_means_each_of_them(semaphores: list[SemaphoreSource], timeout: float) -> None:
    semaphores[0].signal(1)
    semaphores[2].signal(1)
    with pytest.raises(DeadlineExceeded):
        multi_wait(semaphores, [1, 1, 1], ALL, timeout)


@pytest.mark.parametrize("timeout", [None, 0])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_means_one_of_them(semaphores: list[SemaphoreSource], timeout: float | None, index: int) -> None:
    """Reference: MultiWaitTest: ANY first, middle."""
    semaphores[index].signal(1)
    assert multi_wait(semaphores, [1, 1, 1], ANY, timeout) == index


def test_any_names_the_lowest_of_several(semaphores: list[SemaphoreSource]) -> None:
    semaphores[2].signal(1)
    semaphores[1].signal(1)
    assert multi_wait(semaphores, [1, 1, 1], ANY) == 1


@pytest.mark.parametrize("mode", [ALL, ANY])
@pytest.mark.parametrize("timeout", [None, 0])
def test_a_failure_goes_before_values_in_whatever_place(
    semaphores: list[SemaphoreSource], mode: WaitMode, timeout: float | None
) -> None:
    for semaphore in semaphores:
        semaphore.signal(1)
    semaphores[2].fail(OSError("broken"))
    with pytest.raises(OSError, match="broken") as caught:
        multi_wait(semaphores, [1, 1, 1], mode, timeout)
    assert caught.value is not semaphores[2].error


def test_all_waits_for_the_last_signal(semaphores: list[SemaphoreSource]) -> None:
    """Reference: MultiWaitTest: staggered."""
    outcome: list[object] = []
    with waiting_thread(lambda: multi_wait(semaphores, [1, 2, 3], ALL, 10), outcome):
        semaphores[1].signal(2)
        semaphores[0].signal(1)
        semaphores[2].signal(2)
        assert outcome == []
        semaphores[2].signal(3)
    assert outcome == [None]


def test_any_waits_for_the_first_signal(semaphores: list[SemaphoreSource]) -> None:
    outcome: list[object] = []
    with waiting_thread(lambda: multi_wait(semaphores, [1, 1, 1], ANY, 10), outcome):
        semaphores[1].signal(1)
    assert outcome == [1]


@pytest.mark.parametrize("mode", [ALL, ANY])
def test_a_failure_ends_the_wait(semaphores: list[SemaphoreSource], mode: WaitMode) -> None:
    outcome: list[object] = []
    with waiting_thread(lambda: multi_wait(semaphores, [1, 1, 1], mode, 10), outcome):
        semaphores[1].fail(OSError("broken"))
    assert isinstance(outcome[0], OSError)


def test_closing_a_semaphore_ends_the_wait(semaphores: list[SemaphoreSource]) -> None:
    outcome: list[object] = []
    with waiting_thread(lambda: multi_wait(semaphores, [1, 1, 1], ALL, 10), outcome):
        semaphores[0].close()
    assert isinstance(outcome[0], OperationCancelled)


@pytest.mark.parametrize("mode", [ALL, ANY])
def test_many_semaphores(make: Callable[[], SemaphoreSource], mode: WaitMode) -> None:
    """Reference: MultiWaitTest: heap for large counts; SEMAPHORE_WAIT's limit of 255 is none here."""
    many = [make() for _ in range(300)]
    outcome: list[object] = []
    with waiting_thread(lambda: multi_wait(many, [1] * 300, mode, 10), outcome):
        for semaphore in many:
            semaphore.signal(1)
    assert outcome[0] in ([None] if mode is ALL else range(300))


def test_several_threads_wait_for_one_semaphore(make: Callable[[], SemaphoreSource]) -> None:
    semaphore, outcome = make(), list[object]()
    wait = lambda: multi_wait([semaphore], [1], ALL, 10)  # noqa: E731
    with waiting_thread(wait, outcome), waiting_thread(wait, outcome), waiting_thread(wait, outcome):
        semaphore.signal(1)
    assert outcome == [None, None, None]


@pytest.mark.parametrize("timeout", [0, MOMENT])
def test_a_wait_that_has_ended_leaves_nothing_behind(semaphores: list[SemaphoreSource], timeout: float) -> None:
    with pytest.raises(DeadlineExceeded):
        multi_wait(semaphores, [1, 1, 1], ALL, timeout)
    semaphores[0].signal(1)
    multi_wait(semaphores, [1, 1, 1], ANY, timeout)
    assert [semaphore._agenda.entries for semaphore in semaphores] == [[], [], []]


def test_a_signal_handler_that_raises_ends_the_wait(semaphores: list[SemaphoreSource]) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with alarm_handler(interrupt), pytest.raises(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, MOMENT)
        multi_wait(semaphores, [1, 1, 1])
    assert [semaphore._agenda.entries for semaphore in semaphores] == [[], [], []]


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_a_wrong_timeout_is_refused_by_name(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must not be negative"):
        multi_wait([], [], ALL, timeout)


def test_as_many_values_as_semaphores(semaphores: list[SemaphoreSource]) -> None:
    with pytest.raises(ValueError, match="values must be as many as semaphores, 3, not 2"):
        multi_wait(semaphores, [1, 1])


def test_what_is_no_semaphore_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="semaphores must be"):
        multi_wait([object()], [1])  # type: ignore[list-item]
