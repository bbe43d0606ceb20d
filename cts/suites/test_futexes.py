"""FutexWait and FutexWake, where the kernel has them; elsewhere: test_futexes_refused.py."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest

from cts.support import Completions, finish, outcome, perform, settle, start
from proactor_trio.proactor import (
    EVERYBODY,
    DeadlineExceeded,
    FutexWait,
    FutexWake,
    Nop,
    OperationCancelled,
    OperationFlags,
    Proactor,
    StatusCode,
    status_of,
)

pytestmark = pytest.mark.needs("futex")

LINKED = OperationFlags.LINKED


@pytest.fixture
def word() -> Iterator[memoryview]:
    """A futex that holds 0."""
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:4] as first:
        yield first


@pytest.mark.reference("FutexTest.BasicFutexWaitWake", "FutexTest.FutexWakeWakesWaiter")
def test_a_wake_ends_a_wait(proactor: Proactor, word: memoryview) -> None:
    wait = FutexWait(word, 0)
    start(proactor, wait)
    assert perform(proactor, FutexWake(word, 1)) == 1
    settle(proactor, wait)
    assert wait.error is None


@pytest.mark.reference("FutexTest.FutexWaitValueMismatch")
def test_a_word_with_another_value_is_not_waited_for(proactor: Proactor, word: memoryview) -> None:
    assert perform(proactor, FutexWait(word, 7)) is None


@pytest.mark.reference("FutexTest.FutexWakeCount")
def test_a_wake_wakes_no_more_than_asked(proactor: Proactor, word: memoryview) -> None:
    waits = [FutexWait(word, 0) for _ in range(3)]
    start(proactor, *waits)
    assert perform(proactor, FutexWake(word, 2)) == 2
    assert perform(proactor, FutexWake(word)) == 1
    settle(proactor, *waits)


@pytest.mark.reference("FutexTest.FutexWakeAll")
def test_a_wake_of_everybody_wakes_all(proactor: Proactor, word: memoryview) -> None:
    waits = [FutexWait(word, 0) for _ in range(3)]
    start(proactor, *waits)
    assert perform(proactor, FutexWake(word, EVERYBODY)) == 3
    settle(proactor, *waits)


@pytest.mark.reference("FutexTest.FutexRoundTrip")
def test_two_words_make_a_round_trip(proactor: Proactor) -> None:
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:4] as there, view[64:68] as back:
        answer = FutexWake(back)
        asked = FutexWait(there, 0, lambda operation, flags: proactor.submit(answer))
        answered = FutexWait(back, 0)
        start(proactor, asked, answered)
        assert perform(proactor, FutexWake(there)) == 1
        settle(proactor, asked, answer, answered)
        assert (answer.result, answered.error) == (1, None)
        for wait in (asked, answered):
            wait.word = None
        answer.word = None


@pytest.mark.reference("FutexTest.FutexWakeNoWaiters")
def test_a_wake_without_waiters_wakes_none(proactor: Proactor, word: memoryview) -> None:
    assert perform(proactor, FutexWake(word)) == 0


def test_private_and_shared_do_not_meet(proactor: Proactor, word: memoryview) -> None:
    wait = FutexWait(word, 0, private=True)
    start(proactor, wait)
    assert perform(proactor, FutexWake(word)) == 0
    assert perform(proactor, FutexWake(word, private=True)) == 1
    settle(proactor, wait)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.reference("FutexTest.FutexChainedOperations")
@pytest.mark.ring_rule(3)
def test_a_chain_goes_on_behind_a_wait_also_if_the_word_has_changed_already(
    proactor: Proactor, word: memoryview, completions: Completions, value: int
) -> None:
    steps = (FutexWait(word, value, completions, 1, LINKED), Nop(completions, 2))
    start(proactor, *steps)
    perform(proactor, FutexWake(word))
    settle(proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_a_wake_can_be_a_step(proactor: Proactor, word: memoryview, completions: Completions) -> None:
    wait = FutexWait(word, 0)
    start(proactor, wait)
    wake = FutexWake(word, 1, flags=LINKED)
    last = Nop()
    proactor.submit(wake, last)
    settle(proactor, wait, last)
    assert wake.result == 1


@pytest.mark.reference("FutexTest.FutexCancellation", "FutexTest.FutexDoubleCancellation")
def test_a_cancelled_wait_ends_once(proactor: Proactor, word: memoryview, completions: Completions) -> None:
    wait = FutexWait(word, 0, completions)
    start(proactor, wait)
    proactor.cancel(wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert [type(error) for error in completions.errors] == [OperationCancelled]


@pytest.mark.reference("FutexTest.CancelRacesWithWake")
def test_a_cancellation_that_races_with_a_wake_ends_it_once(
    proactor: Proactor, word: memoryview, completions: Completions
) -> None:
    wait, wake = FutexWait(word, 0, completions), FutexWake(word)
    start(proactor, wait)
    proactor.submit(wake)
    proactor.cancel(wait)
    settle(proactor, wait, wake)
    assert [outcome(error) for error in completions.errors] in (["ok"], ["cancelled"])


@pytest.mark.parametrize(
    ("count", "woken"),
    [
        pytest.param(1, 1, marks=pytest.mark.reference("FutexTest.WakeFromCompletionCallback")),
        pytest.param(EVERYBODY, 3, marks=pytest.mark.reference("FutexTest.WakeAllFromCallback")),
    ],
)
def test_waking_from_a_completion_function(proactor: Proactor, word: memoryview, count: int, woken: int) -> None:
    waits = [FutexWait(word, 0) for _ in range(3)]
    start(proactor, *waits)
    wake = FutexWake(word, count)
    finish(proactor, Nop(lambda operation, flags: proactor.submit(wake)))
    settle(proactor, wake)
    assert wake.result == woken
    perform(proactor, FutexWake(word))
    settle(proactor, *waits)


def test_a_wait_has_a_deadline(proactor: Proactor, word: memoryview) -> None:
    wait = finish(proactor, FutexWait(word, 0, timeout=0.005))
    assert isinstance(wait.error, DeadlineExceeded)


def test_a_misaligned_word_is_the_kernels_to_refuse(proactor: Proactor) -> None:
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[1:5] as odd:
        wait = finish(proactor, FutexWait(odd, 0))
        assert status_of(wait.error) is StatusCode.INVALID_ARGUMENT


def test_memory_of_a_word_is_kept_in_place(proactor: Proactor) -> None:
    memory = mmap.mmap(-1, 4096)
    wait = FutexWait(memoryview(memory)[:4], 0)
    start(proactor, wait)
    with pytest.raises(BufferError):
        memory.close()
    proactor.cancel(wait)
    settle(proactor, wait)
    wait.word = None
    memory.close()


def test_a_word_has_four_bytes(proactor: Proactor) -> None:
    with pytest.raises(ValueError, match="word must have 4 bytes"):
        proactor.submit(FutexWait(bytearray(8), 0))


@pytest.mark.parametrize("count", [0, -1, 1 << 31])
def test_a_count_is_positive(proactor: Proactor, word: memoryview, count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        proactor.submit(FutexWake(word, count))


def test_an_expected_value_has_32_bits(proactor: Proactor, word: memoryview) -> None:
    with pytest.raises(ValueError, match="expected"):
        proactor.submit(FutexWait(word, 1 << 32))


@pytest.mark.ring_rule(3)
def test_behind_a_cancelled_wait_nothing_happens(
    proactor: Proactor, word: memoryview, completions: Completions
) -> None:
    """A kernel's link goes on behind a cancelled futex wait (seen on Linux 6.18), so it is not used for that."""
    steps = (FutexWait(word, 0, completions, 1, LINKED), Nop(completions, 2))
    start(proactor, *steps)
    proactor.cancel(steps[0])
    settle(proactor, *steps)
    assert completions.outcomes == [(1, "cancelled"), (2, "cancelled")]
