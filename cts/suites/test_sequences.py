"""Sequence: several operations that complete as one, linked in the kernel or step by step with `step_fn`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from cts.support import Completions, Sockets, finish, pattern, settle, start
from proactor_trio.proactor import (
    Aborted,
    Connect,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    Sequence,
    StatusCode,
    Timer,
    status_of,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED


def later() -> float:
    """A deadline that is never waited for."""
    return time.monotonic() + 100


def go_on(sequence: Sequence, completed: Operation, following: Operation | None) -> None:
    """A step function that lets everything happen."""


@pytest.fixture(params=["linked", "step_fn"])
def step_fn(request: pytest.FixtureRequest) -> Any:
    """None, and one that lets everything happen: rules that hold for both forms."""
    return None if request.param == "linked" else go_on


# Completing ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SequenceOperationTest.ZeroStepSequence", "SequenceOperationTest.ZeroStepWithStepFn")
def test_without_steps_it_completes_in_the_next_poll(proactor: Proactor, step_fn: Any) -> None:
    """There it completes inside submit()."""
    calls: list[object] = []
    sequence = Sequence((), step_fn and (lambda *arguments: calls.append(arguments)))
    proactor.submit(sequence)
    submitted = sequence.state
    settle(proactor, sequence)
    assert (submitted, sequence.error, calls) == (OperationState.SUBMITTED, None, [])


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(1, marks=pytest.mark.reference("SequenceOperationTest.SingleStepNop")),
        pytest.param(2, marks=pytest.mark.reference("SequenceOperationTest.TwoStepNop")),
        pytest.param(3, marks=pytest.mark.reference("SequenceOperationTest.ThreeStepNop")),
        64,
    ],
)
def test_it_completes_once_after_all_its_steps(
    proactor: Proactor, completions: Completions, step_fn: Any, steps: int
) -> None:
    sequence = Sequence([Nop() for _ in range(steps)], step_fn, completions)
    finish(proactor, sequence)
    assert (len(completions), sequence.error, sequence.current_step) == (1, None, steps)


def test_only_its_own_completion_counts(proactor: Proactor, step_fn: Any) -> None:
    sequence = Sequence([Nop(), Nop(), Nop()], step_fn)
    proactor.submit(sequence)
    counted = 0
    while sequence.state is not OperationState.DONE:
        counted += proactor.poll(1)
    assert counted == 1


def test_completion_functions_of_steps_are_not_called_and_come_back(
    proactor: Proactor, completions: Completions, step_fn: Any
) -> None:
    steps = [Nop(completions), Nop(completions, flags=LINKED)]
    finish(proactor, Sequence(steps, step_fn))
    assert len(completions) == 0
    assert [(step.completion_fn, step.flags) for step in steps] == [
        (completions, OperationFlags.NONE),
        (completions, LINKED),
    ]


@pytest.mark.reference("SequenceOperationTest.SequenceWithTimer")
def test_a_timer_between_two_nops_is_waited_for(proactor: Proactor, step_fn: Any) -> None:
    due = time.monotonic() + 0.01
    finish(proactor, Sequence([Nop(), Timer(due), Nop()], step_fn))
    assert time.monotonic() >= due


def test_its_steps_know_their_results(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    near, far = sockets.tcp_pair()
    payload = pattern(5000)
    received = bytearray(5000)
    steps = [Send(near, payload, whole=True), Recv(far, received, whole=True), Nop()]
    sequence = finish(proactor, Sequence(steps, step_fn))
    assert (sequence.error, [step.result for step in steps], received) == (None, [5000, 5000, None], payload)


def test_it_can_be_submitted_again(proactor: Proactor, step_fn: Any) -> None:
    sequence = Sequence([Nop(), Nop()], step_fn)
    finish(proactor, sequence)
    finish(proactor, sequence)
    assert (sequence.error, sequence.current_step) == (None, 2)


def test_it_can_be_the_last_step_of_a_chain(proactor: Proactor, completions: Completions, step_fn: Any) -> None:
    sequence = Sequence([Nop(), Nop()], step_fn, completions, 2)
    proactor.submit(Nop(completions, 1, LINKED), sequence)
    settle(proactor, sequence)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_as_the_last_step_of_a_chain_that_breaks_it_does_nothing(
    proactor: Proactor, sockets: Sockets, completions: Completions, step_fn: Any
) -> None:
    step = Nop()
    sequence = Sequence([step], step_fn, completions, 2)
    proactor.submit(Connect(sockets.tcp(), sockets.refusing_address(), completions, 1, LINKED), sequence)
    settle(proactor, sequence)
    assert (completions.outcomes, step.state) == (
        [(1, "ConnectionRefusedError"), (2, "cancelled")],
        OperationState.NEW,
    )


def test_sequences_can_be_steps_where_step_fn_leads(proactor: Proactor) -> None:
    inner = Sequence([Nop(), Nop()])
    sequence = finish(proactor, Sequence([inner, Nop()], go_on))
    assert (sequence.error, inner.current_step) == (None, 2)


def test_transfers_of_linked_steps_are_whole(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    received = bytearray(6)
    sequence = Sequence([Recv(far, received), Nop()])
    start(proactor, sequence)
    near.stdlib.send(b"abc")
    proactor.poll(0)
    near.stdlib.send(b"def")
    settle(proactor, sequence)
    assert (sequence.error, received) == (None, b"abcdef")


# Failing ---------------------------------------------------------------------------------------------------------


def test_the_first_failure_is_the_sequences(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    failing = Connect(sockets.tcp(), sockets.refusing_address())
    last = Nop()
    sequence = finish(proactor, Sequence([Nop(), failing, last], step_fn))
    assert isinstance(sequence.error, ConnectionRefusedError)
    assert sequence.current_step == 1


def test_steps_behind_the_failure_do_nothing(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    near, far = sockets.tcp_pair()
    finish(
        proactor,
        Sequence([Connect(sockets.tcp(), sockets.refusing_address()), Send(near, b"never", whole=True)], step_fn),
    )
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


def test_a_short_transfer_in_the_middle_ends_it(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.stdlib.send(b"abc")
    near.shutdown(1)
    short, last = Recv(far, bytearray(10), whole=True), Nop()
    sequence = finish(proactor, Sequence([Nop(), short, last]))
    assert isinstance(sequence.error, OperationCancelled)
    assert (short.result, type(last.error)) == (3, OperationCancelled)


def test_a_step_has_a_deadline_of_its_own(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    near, _far = sockets.tcp_pair()
    sequence = finish(proactor, Sequence([Nop(), RecvBytes(near, 5, timeout=0.005)], step_fn))
    assert isinstance(sequence.error, DeadlineExceeded)


def test_a_deadline_of_the_whole_ends_it(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    near, _far = sockets.tcp_pair()
    steps = [Nop(), RecvBytes(near, 5)]
    sequence = finish(proactor, Sequence(steps, step_fn, timeout=0.005))
    assert isinstance(sequence.error, DeadlineExceeded)


def test_a_closed_socket_ends_it(proactor: Proactor, sockets: Sockets, step_fn: Any) -> None:
    near, _far = sockets.tcp_pair()
    sequence = Sequence([Nop(), RecvBytes(near, 5)], step_fn)
    start(proactor, sequence)
    proactor.poll(0)
    from proactor_trio.proactor import SocketClose

    finish(proactor, SocketClose(near))
    settle(proactor, sequence)
    assert isinstance(sequence.error, OperationCancelled)


# step_fn ---------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SequenceOperationTest.StepFnCalled")
def test_step_fn_sees_each_completed_step_and_the_next(proactor: Proactor) -> None:
    steps = [Nop(), Nop(), Nop()]
    seen: list[tuple[Operation, Operation | None]] = []
    finish(proactor, Sequence(steps, lambda _sequence, done, following: seen.append((done, following))))
    assert seen == [(steps[0], steps[1]), (steps[1], steps[2]), (steps[2], None)]


@pytest.mark.reference("SequenceOperationTest.StepFnModifiesNextStep")
def test_step_fn_may_change_the_next_step(proactor: Proactor) -> None:
    timer = Timer(later())

    def hurry(_sequence: Sequence, _completed: Operation, following: Operation | None) -> None:
        if following is timer:
            timer.deadline = 0.0

    sequence = finish(proactor, Sequence([Nop(), timer], hurry))
    assert sequence.error is None


@pytest.mark.reference("SequenceOperationTest.StepFnAbort")
def test_what_step_fn_raises_is_the_sequences_error_and_no_further_step_is_made(proactor: Proactor) -> None:
    steps = [Nop(), Nop()]

    def refuse(_sequence: Sequence, _completed: Operation, _following: Operation | None) -> None:
        raise Aborted("enough")

    sequence = finish(proactor, Sequence(steps, refuse))
    assert (status_of(sequence.error), steps[1].state) == (StatusCode.ABORTED, OperationState.NEW)


@pytest.mark.reference("SequenceOperationTest.StepFnErrorOnLastStep")
def test_what_step_fn_raises_after_the_last_step_is_the_sequences_error(proactor: Proactor) -> None:
    steps = [Nop(), Nop()]

    def refuse_the_last(_sequence: Sequence, _completed: Operation, following: Operation | None) -> None:
        if following is None:
            raise DataLoss("found too late")

    sequence = finish(proactor, Sequence(steps, refuse_the_last))
    assert (status_of(sequence.error), steps[1].error) == (StatusCode.DATA_LOSS, None)


def test_a_next_step_that_cannot_be_submitted_ends_it(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    last = RecvBytes(near, 5)

    def close(_sequence: Sequence, _completed: Operation, following: Operation | None) -> None:
        near.close()

    sequence = finish(proactor, Sequence([Nop(), last], close))
    assert type(sequence.error).__name__ == "ClosedResourceError"


def test_a_first_step_that_cannot_be_submitted_ends_it_in_poll(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    sequence = finish(proactor, Sequence([RecvBytes(near, 5)], go_on))
    assert type(sequence.error).__name__ == "ClosedResourceError"


def test_what_interrupts_step_fn_leaves_poll_and_ends_the_sequence(proactor: Proactor) -> None:
    def interrupted(_sequence: Sequence, _completed: Operation, _following: Operation | None) -> None:
        raise KeyboardInterrupt

    sequence = Sequence([Nop(), Nop()], interrupted)
    proactor.submit(sequence)
    with pytest.raises(KeyboardInterrupt):
        settle(proactor, sequence)
    settle(proactor, sequence)
    assert isinstance(sequence.error, Aborted)


# Cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SequenceOperationTest.SequenceCancellation", "SequenceOperationTest.EmulationCancellation")
def test_cancelling_it_ends_the_current_step(proactor: Proactor, step_fn: Any) -> None:
    timer, last = Timer(later()), Nop()
    sequence = Sequence([Nop(), timer, last], step_fn)
    proactor.submit(sequence)
    proactor.poll(0)
    proactor.poll(0)
    proactor.cancel(sequence)
    settle(proactor, sequence)
    assert isinstance(sequence.error, OperationCancelled)
    assert sequence.current_step == 1


@pytest.mark.reference("SequenceOperationTest.SingleStepCancellation")
def test_cancelled_right_after_submission_it_completes_once(
    proactor: Proactor, completions: Completions, step_fn: Any
) -> None:
    sequence = Sequence([Nop()], step_fn, completions)
    proactor.submit(sequence)
    proactor.cancel(sequence)
    settle(proactor, sequence)
    proactor.poll(0)
    assert len(completions) == 1


def test_cancelled_twice_it_completes_once(proactor: Proactor, completions: Completions, step_fn: Any) -> None:
    sequence = Sequence([Timer(later())], step_fn, completions)
    start(proactor, sequence)
    assert proactor.cancel(sequence)
    assert proactor.cancel(sequence)
    settle(proactor, sequence)
    assert len(completions) == 1


@pytest.mark.reference("SequenceOperationTest.CancelDuringStepFn")
def test_cancelled_in_step_fn_it_submits_no_more(proactor: Proactor) -> None:
    steps = [Nop(), Nop()]
    sequence = Sequence(steps, lambda own, _completed, _following: proactor.cancel(own))
    finish(proactor, sequence)
    assert isinstance(sequence.error, OperationCancelled)
    assert steps[1].state is OperationState.NEW


@pytest.mark.reference("SequenceOperationTest.LinkCancelAfterStepCompletion")
def test_cancelled_after_its_first_step_the_rest_does_not_happen(
    proactor: Proactor, sockets: Sockets, step_fn: Any
) -> None:
    near, far = sockets.tcp_pair()
    steps = [Nop(), Recv(near, bytearray(4), whole=True), Send(near, b"late", whole=True)]
    sequence = Sequence(steps, step_fn)
    start(proactor, sequence)
    proactor.poll(0)
    proactor.cancel(sequence)
    settle(proactor, sequence)
    assert isinstance(sequence.error, OperationCancelled)
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


def test_closing_the_proactor_ends_it(
    make_proactor: Callable[..., Proactor], completions: Completions, step_fn: Any
) -> None:
    proactor = make_proactor()
    sequence = Sequence([Nop(), Timer(later()), Nop()], step_fn, completions)
    start(proactor, sequence)
    proactor.close()
    assert [type(error) for error in completions.errors] == [OperationCancelled]


# In tasks --------------------------------------------------------------------------------------------------------


def test_a_task_can_await_one(run: Callable[..., Any], sockets: Sockets, step_fn: Any) -> None:
    near, far = sockets.tcp_pair()
    received = bytearray(2)

    async def main() -> None:
        await Sequence([Send(near, b"hi", whole=True), Recv(far, received, whole=True)], step_fn)

    run(main)
    assert received == b"hi"


def test_a_scope_ends_the_whole(run: Callable[..., Any], sockets: Sockets, step_fn: Any) -> None:
    import proactor_trio

    near, _far = sockets.tcp_pair()

    async def main() -> bool:
        with proactor_trio.move_on_after(0.01) as scope:
            await Sequence([Nop(), RecvBytes(near, 5)], step_fn)
        return scope.cancelled_caught

    assert run(main)


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.reference(
    "SequenceOperationTest.LINKEDOnSequenceRejected", "SequenceOperationTest.LINKEDOnSequenceWithStepFnRejected"
)
def test_it_cannot_have_a_successor(proactor: Proactor, step_fn: Any) -> None:
    with pytest.raises(ValueError, match="flags: Sequence") as refused:
        proactor.submit(Sequence([Nop()], step_fn, flags=LINKED), Nop())
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


def test_without_step_fn_only_its_last_step_can_be_one_that_has_no_successor(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, _far = sockets.tcp_pair()
    with pytest.raises(ValueError, match="steps: RecvBytes"):
        proactor.submit(Sequence([RecvBytes(near, 1), Nop()]))


def test_a_multishot_step_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    from proactor_trio.proactor import Accept

    with pytest.raises(ValueError, match="steps: Accept is MULTISHOT"):
        proactor.submit(Sequence([Accept(sockets.listener(), flags=OperationFlags.MULTISHOT)]))


def test_a_step_in_flight_is_refused(proactor: Proactor) -> None:
    nop = Nop()
    proactor.submit(nop)
    with pytest.raises(ValueError, match="in flight"):
        proactor.submit(Sequence([nop]))
    settle(proactor, nop)


def test_a_wrong_step_is_refused_before_anything_runs(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    first = Nop()
    sequence = Sequence([first, RecvBytes(near, 1)])
    with pytest.raises(Exception, match="socket was closed"):
        proactor.submit(sequence)
    assert (first.state, first.flags, sequence.state) == (
        OperationState.NEW,
        OperationFlags.NONE,
        OperationState.NEW,
    )


def test_it_is_not_submitted_while_in_flight(proactor: Proactor, step_fn: Any) -> None:
    sequence = Sequence([Timer(later())], step_fn)
    start(proactor, sequence)
    with pytest.raises(FailedPrecondition):
        proactor.submit(sequence)
    proactor.cancel(sequence)
    settle(proactor, sequence)


def test_steps_are_operations(proactor: Proactor) -> None:
    with pytest.raises(TypeError, match="steps must be"):
        proactor.submit(Sequence([None]))  # type: ignore[list-item]


def test_silent_needs_a_successor(proactor: Proactor) -> None:
    with pytest.raises(ValueError, match="SILENT"):
        proactor.submit(Nop(flags=OperationFlags.SILENT))
