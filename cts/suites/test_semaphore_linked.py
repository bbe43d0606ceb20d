"""SemaphoreWait and SemaphoreSignal as steps of LINKED chains."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from cts.support import Completions, Sockets, finish, perform, settle, start
from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import (
    CancelCause,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    SemaphoreSignal,
    SemaphoreSource,
    SemaphoreWait,
    Send,
    TimelineSemaphore,
    Timer,
    WaitMode,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED
NONE = OperationFlags.NONE


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Callable[[], SemaphoreSource]:
    """Makes semaphores of one kind."""
    kind: Callable[[], SemaphoreSource] = request.param
    return kind


@pytest.fixture
def semaphore(make: Callable[[], SemaphoreSource]) -> SemaphoreSource:
    return make()


@pytest.fixture
def other(make: Callable[[], SemaphoreSource]) -> SemaphoreSource:
    return make()


class Steps:
    """Makes steps that are all noted by one completion function, labelled with their names."""

    def __init__(self, completions: Completions) -> None:
        self.completions = completions

    def wait(self, semaphore: SemaphoreSource, value: int, flags: OperationFlags = NONE) -> SemaphoreWait:
        return SemaphoreWait([semaphore], [value], WaitMode.ALL, self.completions, "wait", flags)

    def signal(self, semaphore: SemaphoreSource, value: int, flags: OperationFlags = NONE) -> SemaphoreSignal:
        return SemaphoreSignal([semaphore], [value], None, self.completions, "signal", flags)

    def nop(self, flags: OperationFlags = NONE) -> Nop:
        return Nop(self.completions, "nop", flags)


@pytest.fixture
def steps(completions: Completions) -> Steps:
    return Steps(completions)


def run_chain(proactor: Proactor, *chain: Operation) -> None:
    proactor.submit(*chain)
    settle(proactor, *chain)


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitThenNop")
def test_a_wait_then_a_nop(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    chain = [steps.wait(semaphore, 1, LINKED), steps.nop()]
    start(proactor, *chain)
    assert completions.labels == []
    semaphore.signal(1)
    settle(proactor, *chain)
    assert completions.outcomes == [("wait", "ok"), ("nop", "ok")]


@pytest.mark.reference("SemaphoreLinkedTest.LinkedSignalThenNop")
def test_a_signal_then_a_nop(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    run_chain(proactor, steps.signal(semaphore, 1, LINKED), steps.nop())
    assert completions.outcomes == [("signal", "ok"), ("nop", "ok")]
    assert semaphore.query() == 1


@pytest.mark.reference("SemaphoreLinkedTest.LinkedRecvThenSignal")
def test_a_receive_then_a_signal(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [Recv(near, bytearray(5), completions, "receive", LINKED), steps.signal(semaphore, 1)]
    start(proactor, *chain)
    perform(proactor, Send(far, b"hello"))
    settle(proactor, *chain)
    assert completions.outcomes == [("receive", "ok"), ("signal", "ok")]
    assert semaphore.query() == 1


@pytest.mark.reference("SemaphoreLinkedTest.LinkedRecvThenSignalTimingCheck")
def test_a_signal_behind_a_receive_is_not_made_before_it(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    receive, signal = Recv(near, bytearray(5), flags=LINKED), steps.signal(semaphore, 1)
    start(proactor, receive, signal)
    proactor.poll(0)
    assert (semaphore.query(), signal.state) == (0, OperationState.SUBMITTED)
    perform(proactor, Send(far, b"hello"))
    settle(proactor, receive, signal)
    assert semaphore.query() == 1


def test_a_signal_behind_a_receive_has_its_effect_after_the_receive(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    buffer = bytearray(5)
    seen: list[bytes] = []
    semaphore.acquire_timepoint(1, lambda error: seen.append(bytes(buffer)))
    receive, signal = Recv(near, buffer, flags=LINKED), steps.signal(semaphore, 1)
    start(proactor, receive, signal)
    perform(proactor, Send(far, b"hello"))
    settle(proactor, receive, signal)
    assert seen == [b"hello"]


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitThenSend")
def test_a_wait_then_a_send(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [steps.wait(semaphore, 1, LINKED), Send(near, b"hello", completions, "send")]
    start(proactor, *chain)
    semaphore.signal(1)
    settle(proactor, *chain)
    buffer = bytearray(5)
    perform(proactor, Recv(far, buffer, whole=True))
    assert (completions.outcomes, buffer) == ([("wait", "ok"), ("send", "ok")], b"hello")


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitFailureCancelsChain")
def test_a_wait_that_fails_cancels_the_chain(
    proactor: Proactor, semaphore: SemaphoreSource, other: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    chain = [steps.wait(semaphore, 1, LINKED), steps.nop(LINKED), steps.signal(other, 1)]
    start(proactor, *chain)
    semaphore.fail(OSError("broken"))
    settle(proactor, *chain)
    assert completions.outcomes == [("wait", "OSError"), ("nop", "cancelled"), ("signal", "cancelled")]
    assert other.query() == 0


@pytest.mark.reference("SemaphoreLinkedTest.LinkedSignalFailureCancelsChain")
def test_a_signal_that_is_refused_cancels_the_chain(
    proactor: Proactor, semaphore: SemaphoreSource, other: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    semaphore.signal(5)
    chain = [steps.signal(semaphore, 5, LINKED), steps.signal(other, 1)]
    run_chain(proactor, *chain)
    assert completions.outcomes == [("signal", "ValueError"), ("signal", "cancelled")]
    error = chain[1].error
    assert isinstance(error, OperationCancelled) and error.cause is CancelCause.EARLIER_STEP_FAILED
    assert other.query() == 0


@pytest.mark.reference("SemaphoreLinkedTest.IndependentChains")
def test_chains_of_one_batch_are_independent(
    proactor: Proactor, semaphore: SemaphoreSource, other: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    first = [steps.wait(semaphore, 1, LINKED), Nop(completions, "first")]
    second = [steps.wait(other, 1, LINKED), Nop(completions, "second")]
    start(proactor, *first, *second)
    other.signal(1)
    settle(proactor, *second)
    assert completions.labels == ["wait", "second"]
    semaphore.fail(OSError())
    settle(proactor, *first)
    assert completions.outcomes[2:] == [("wait", "OSError"), ("first", "cancelled")]


@pytest.mark.reference("SemaphoreLinkedTest.LinkedRecvThenSignalThenSend")
def test_a_receive_a_signal_and_a_send_keep_their_order(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [
        Recv(near, bytearray(5), completions, "receive", LINKED),
        steps.signal(semaphore, 1, LINKED),
        Send(near, b"reply", completions, "send"),
    ]
    start(proactor, *chain)
    perform(proactor, Send(far, b"hello"))
    settle(proactor, *chain)
    buffer = bytearray(5)
    perform(proactor, Recv(far, buffer, whole=True))
    assert completions.outcomes == [("receive", "ok"), ("signal", "ok"), ("send", "ok")]
    assert (buffer, semaphore.query()) == (b"reply", 1)


@pytest.mark.reference("SemaphoreLinkedTest.LinkedSignalThenRecv")
def test_a_signal_then_a_receive(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    chain = [steps.signal(semaphore, 1, LINKED), Recv(near, bytearray(5), completions, "receive")]
    start(proactor, *chain)
    settle(proactor, chain[0])
    assert semaphore.query() == 1
    perform(proactor, Send(far, b"hello"))
    settle(proactor, *chain)
    assert completions.outcomes == [("signal", "ok"), ("receive", "ok")]


@pytest.mark.reference("SemaphoreLinkedTest.LinkedSignalSignalNop")
def test_two_signals_then_a_nop(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    run_chain(proactor, steps.signal(semaphore, 1, LINKED), steps.signal(semaphore, 2, LINKED), steps.nop())
    assert completions.outcomes == [("signal", "ok"), ("signal", "ok"), ("nop", "ok")]
    assert semaphore.query() == 2


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitRecvSignal")
def test_a_wait_a_receive_and_a_signal(
    proactor: Proactor,
    semaphore: SemaphoreSource,
    other: SemaphoreSource,
    steps: Steps,
    sockets: Sockets,
    completions: Completions,
) -> None:
    near, far = sockets.tcp_pair()
    perform(proactor, Send(far, b"hello"))
    buffer = bytearray(5)
    chain = [
        steps.wait(semaphore, 1, LINKED),
        Recv(near, buffer, completions, "receive", LINKED),
        steps.signal(other, 1),
    ]
    start(proactor, *chain)
    assert (bytes(buffer), other.query()) == (bytes(5), 0)
    semaphore.signal(1)
    settle(proactor, *chain)
    assert completions.outcomes == [("wait", "ok"), ("receive", "ok"), ("signal", "ok")]
    assert (buffer, other.query()) == (b"hello", 1)


@pytest.mark.reference("SemaphoreLinkedTest.LinkedFailureCancelsMixedChain")
def test_a_failure_in_front_of_mixed_steps_leaves_no_effect(
    proactor: Proactor,
    semaphore: SemaphoreSource,
    other: SemaphoreSource,
    steps: Steps,
    sockets: Sockets,
    completions: Completions,
) -> None:
    near, far = sockets.tcp_pair()
    chain = [
        steps.wait(semaphore, 1, LINKED),
        Send(near, b"never", completions, "send", LINKED),
        steps.signal(other, 1),
    ]
    start(proactor, *chain)
    semaphore.fail(OSError())
    settle(proactor, *chain)
    assert completions.outcomes == [("wait", "OSError"), ("send", "cancelled"), ("signal", "cancelled")]
    receive = Recv(far, bytearray(5))
    start(proactor, receive)
    proactor.poll(0)
    assert (receive.state, other.query()) == (OperationState.SUBMITTED, 0)
    proactor.cancel(receive)
    settle(proactor, receive)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_cancelling_a_step_cancels_what_comes_behind(
    proactor: Proactor,
    semaphore: SemaphoreSource,
    other: SemaphoreSource,
    steps: Steps,
    completions: Completions,
    index: int,
) -> None:
    chain = [steps.wait(semaphore, 1, LINKED), steps.wait(semaphore, 2, LINKED), steps.signal(other, 1)]
    start(proactor, *chain)
    proactor.cancel(chain[index])
    semaphore.signal(2)
    settle(proactor, *chain)
    assert [outcome for _, outcome in completions.outcomes] == ["ok"] * index + ["cancelled"] * (3 - index)
    assert other.query() == 0


def test_a_wait_behind_a_timer_looks_when_its_turn_comes(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    timer = Timer(time.monotonic() + 0.01, completions, "timer", LINKED)
    chain = [timer, steps.wait(semaphore, 1)]
    start(proactor, *chain)
    assert semaphore._agenda.entries == []
    semaphore.signal(1)
    settle(proactor, *chain)
    assert completions.outcomes == [("timer", "ok"), ("wait", "ok")]


def test_a_chain_of_semaphores_can_be_submitted_again(
    proactor: Proactor, semaphore: SemaphoreSource, steps: Steps, completions: Completions
) -> None:
    first, second = steps.signal(semaphore, 1, LINKED), steps.wait(semaphore, 1)
    run_chain(proactor, first, second)
    first.values = second.values = [2]
    run_chain(proactor, first, second)
    assert completions.outcomes == [("signal", "ok"), ("wait", "ok")] * 2


def test_a_step_with_a_deadline_ends_the_chain(
    proactor: Proactor, semaphore: SemaphoreSource, other: SemaphoreSource
) -> None:
    wait = SemaphoreWait([semaphore], [1], flags=LINKED, timeout=0.01)
    signal = SemaphoreSignal([other], [1])
    run_chain(proactor, wait, signal)
    assert type(wait.error).__name__ == "DeadlineExceeded"
    assert isinstance(signal.error, OperationCancelled)
    assert finish(proactor, SemaphoreSignal([other], [1])).error is None
