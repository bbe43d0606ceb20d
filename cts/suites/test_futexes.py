"""FutexWait and FutexWake, where the kernel has them; elsewhere they are refused by name."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

import pytest

from cts.configurations import Configuration
from cts.support import Completions, finish, outcome, perform, settle, start
from proactor_trio.proactor import (
    EVERYBODY,
    Capability,
    DeadlineExceeded,
    FutexWait,
    FutexWake,
    Nop,
    OperationCancelled,
    OperationFlags,
    Proactor,
    StatusCode,
    Support,
    Unimplemented,
    status_of,
)

LINKED = OperationFlags.LINKED


@pytest.fixture
def futexes(proactor: Proactor) -> Proactor:
    """A proactor that has futexes."""
    report = proactor.capability_reports[Capability.FUTEX_OPERATIONS]
    if report.support is not Support.NATIVE:
        pytest.skip(f"no futex operations here: {report.reason}")
    return proactor


@pytest.fixture
def word() -> Iterator[memoryview]:
    """A futex that holds 0."""
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:4] as first:
        yield first


@pytest.mark.reference("FutexTest.BasicFutexWaitWake", "FutexTest.FutexWakeWakesWaiter")
def test_a_wake_ends_a_wait(futexes: Proactor, word: memoryview) -> None:
    wait = FutexWait(word, 0)
    start(futexes, wait)
    assert perform(futexes, FutexWake(word, 1)) == 1
    settle(futexes, wait)
    assert wait.error is None


@pytest.mark.reference("FutexTest.FutexWaitValueMismatch")
def test_a_word_with_another_value_is_not_waited_for(futexes: Proactor, word: memoryview) -> None:
    assert perform(futexes, FutexWait(word, 7)) is None


@pytest.mark.reference("FutexTest.FutexWakeCount")
def test_a_wake_wakes_no_more_than_asked(futexes: Proactor, word: memoryview) -> None:
    waits = [FutexWait(word, 0) for _ in range(3)]
    start(futexes, *waits)
    assert perform(futexes, FutexWake(word, 2)) == 2
    assert perform(futexes, FutexWake(word)) == 1
    settle(futexes, *waits)


@pytest.mark.reference("FutexTest.FutexWakeAll")
def test_a_wake_of_everybody_wakes_all(futexes: Proactor, word: memoryview) -> None:
    waits = [FutexWait(word, 0) for _ in range(3)]
    start(futexes, *waits)
    assert perform(futexes, FutexWake(word, EVERYBODY)) == 3
    settle(futexes, *waits)


@pytest.mark.reference("FutexTest.FutexWakeNoWaiters")
def test_a_wake_without_waiters_wakes_none(futexes: Proactor, word: memoryview) -> None:
    assert perform(futexes, FutexWake(word)) == 0


def test_private_and_shared_do_not_meet(futexes: Proactor, word: memoryview) -> None:
    wait = FutexWait(word, 0, private=True)
    start(futexes, wait)
    assert perform(futexes, FutexWake(word)) == 0
    assert perform(futexes, FutexWake(word, private=True)) == 1
    settle(futexes, wait)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.reference("FutexTest.FutexChainedOperations")
@pytest.mark.ring_rule(3)
def test_a_chain_goes_on_behind_a_wait_also_if_the_word_has_changed_already(
    futexes: Proactor, word: memoryview, completions: Completions, value: int
) -> None:
    steps = (FutexWait(word, value, completions, 1, LINKED), Nop(completions, 2))
    start(futexes, *steps)
    perform(futexes, FutexWake(word))
    settle(futexes, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_a_wake_can_be_a_step(futexes: Proactor, word: memoryview, completions: Completions) -> None:
    wait = FutexWait(word, 0)
    start(futexes, wait)
    wake = FutexWake(word, 1, flags=LINKED)
    last = Nop()
    futexes.submit(wake, last)
    settle(futexes, wait, last)
    assert wake.result == 1


@pytest.mark.reference("FutexTest.FutexCancellation", "FutexTest.FutexDoubleCancellation")
def test_a_cancelled_wait_ends_once(futexes: Proactor, word: memoryview, completions: Completions) -> None:
    wait = FutexWait(word, 0, completions)
    start(futexes, wait)
    futexes.cancel(wait)
    futexes.cancel(wait)
    settle(futexes, wait)
    assert [type(error) for error in completions.errors] == [OperationCancelled]


@pytest.mark.reference("FutexTest.CancelRacesWithWake")
def test_a_cancellation_that_races_with_a_wake_ends_it_once(
    futexes: Proactor, word: memoryview, completions: Completions
) -> None:
    wait, wake = FutexWait(word, 0, completions), FutexWake(word)
    start(futexes, wait)
    futexes.submit(wake)
    futexes.cancel(wait)
    settle(futexes, wait, wake)
    assert [outcome(error) for error in completions.errors] in (["ok"], ["cancelled"])


@pytest.mark.reference("FutexTest.WakeFromCompletionCallback", "FutexTest.WakeAllFromCallback")
def test_waking_from_a_completion_function(futexes: Proactor, word: memoryview) -> None:
    waits = [FutexWait(word, 0) for _ in range(2)]
    start(futexes, *waits)
    wake = FutexWake(word)
    finish(futexes, Nop(lambda operation, flags: futexes.submit(wake)))
    settle(futexes, wake, *waits)
    assert wake.result == 2


def test_a_wait_has_a_deadline(futexes: Proactor, word: memoryview) -> None:
    wait = finish(futexes, FutexWait(word, 0, timeout=0.005))
    assert isinstance(wait.error, DeadlineExceeded)


def test_a_misaligned_word_is_the_kernels_to_refuse(futexes: Proactor) -> None:
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[1:5] as odd:
        wait = finish(futexes, FutexWait(odd, 0))
        assert status_of(wait.error) is StatusCode.INVALID_ARGUMENT


def test_memory_of_a_word_is_kept_in_place(futexes: Proactor) -> None:
    memory = mmap.mmap(-1, 4096)
    wait = FutexWait(memoryview(memory)[:4], 0)
    start(futexes, wait)
    with pytest.raises(BufferError):
        memory.close()
    futexes.cancel(wait)
    settle(futexes, wait)
    wait.word = None
    memory.close()


def test_a_word_has_four_bytes(futexes: Proactor) -> None:
    with pytest.raises(ValueError, match="word must have 4 bytes"):
        futexes.submit(FutexWait(bytearray(8), 0))


@pytest.mark.parametrize("count", [0, -1, 1 << 31])
def test_a_count_is_positive(futexes: Proactor, word: memoryview, count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        futexes.submit(FutexWake(word, count))


def test_an_expected_value_has_32_bits(futexes: Proactor, word: memoryview) -> None:
    with pytest.raises(ValueError, match="expected"):
        futexes.submit(FutexWait(word, 1 << 32))


@pytest.mark.parametrize("operation", [FutexWait, FutexWake])
@pytest.mark.reference("FutexTest.NotAvailable")
def test_without_the_capability_they_are_refused_by_name(
    make_proactor: Callable[..., Proactor], word: memoryview, operation: Callable[..., FutexWait]
) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.FUTEX_OPERATIONS)
    with pytest.raises(Unimplemented, match="Futex"):
        proactor.submit(operation(word, 1))


def test_readiness_backends_refuse_them_by_name(configuration: Configuration, proactor: Proactor) -> None:
    if proactor.capability_reports[Capability.FUTEX_OPERATIONS].support is Support.NATIVE:
        pytest.skip("this one has futexes")
    with pytest.raises(Unimplemented, match="FutexWait"):
        proactor.submit(FutexWait(bytearray(4), 0))


@pytest.mark.ring_rule(3)
def test_behind_a_cancelled_wait_nothing_happens(futexes: Proactor, word: memoryview, completions: Completions) -> None:
    """A kernel's link goes on behind a cancelled futex wait (seen on Linux 6.18), so it is not used for that."""
    steps = (FutexWait(word, 0, completions, 1, LINKED), Nop(completions, 2))
    start(futexes, *steps)
    futexes.cancel(steps[0])
    settle(futexes, *steps)
    assert completions.outcomes == [(1, "cancelled"), (2, "cancelled")]
