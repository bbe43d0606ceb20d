"""`deadline=` and `timeout=` on operations: kept by the kernel where it can, else by the proactor or the run loop."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.support import Completions, Sockets, finish, outcome, perform, pipe, poll_until, settle
from proactor_trio.proactor import (
    Accept,
    Capability,
    DeadlineExceeded,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    StatusCode,
    StreamRead,
    Timer,
    status_of,
)
from proactor_trio.testing import MockClock

LINKED = OperationFlags.LINKED
SOON = 0.005


@pytest.fixture(params=["kernel", "proactor"])
def timed_proactor(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    """One that leaves deadlines to the kernel where that can keep them, and one that keeps all of them itself."""
    if request.param == "kernel":
        return make_proactor()
    return make_proactor(allowed_capabilities=Capability.ALL & ~Capability.LINKED_OPERATIONS)


def test_an_operation_that_is_not_done_by_its_timeout_ends_with_deadline_exceeded(
    timed_proactor: Proactor, sockets: Sockets
) -> None:
    near, _far = sockets.tcp_pair()
    receive = finish(timed_proactor, Recv(near, bytearray(10), timeout=SOON))
    assert isinstance(receive.error, DeadlineExceeded)


def test_it_does_not_end_before_its_deadline(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    deadline = time.monotonic() + SOON
    finish(timed_proactor, RecvBytes(near, 10, deadline=deadline))
    assert time.monotonic() >= deadline


def test_a_deadline_that_has_passed_ends_it_at_once(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = finish(timed_proactor, RecvBytes(near, 10, deadline=time.monotonic() - 1))
    assert isinstance(receive.error, DeadlineExceeded)


def test_an_infinite_deadline_is_none(timed_proactor: Proactor) -> None:
    assert perform(timed_proactor, Nop(timeout=float("inf"))) is None


@pytest.mark.parametrize("make", [Nop, lambda **limits: Timer(0.0, **limits)])
def test_a_result_that_comes_first_is_delivered(timed_proactor: Proactor, make: Callable[..., Operation]) -> None:
    operation = make(timeout=10)
    finish(timed_proactor, operation)
    assert operation.error is None


def test_bytes_that_are_there_win_over_a_long_timeout(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"hello")
    assert perform(timed_proactor, RecvBytes(near, 10, timeout=10)) == b"hello"


def test_a_connection_is_waited_for_no_longer_than_the_timeout(timed_proactor: Proactor, sockets: Sockets) -> None:
    accept = finish(timed_proactor, Accept(sockets.listener(), timeout=SOON))
    assert isinstance(accept.error, DeadlineExceeded)


@pytest.mark.needs("descriptors")
def test_readiness_is_waited_for_no_longer_than_the_timeout(timed_proactor: Proactor) -> None:
    with pipe() as (reader, _writer):
        poll = finish(timed_proactor, HandlePoll(reader, timeout=SOON))
    assert isinstance(poll.error, DeadlineExceeded)


@pytest.mark.needs("descriptors")
def test_readiness_that_comes_first_is_reported(timed_proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        assert perform(timed_proactor, HandlePoll(reader, timeout=10))


@pytest.mark.needs("descriptors")
def test_a_read_from_a_pipe_is_waited_for_no_longer_than_the_timeout(timed_proactor: Proactor) -> None:
    with pipe() as (reader, _writer):
        read = finish(timed_proactor, StreamRead(reader, bytearray(4), timeout=SOON))
    assert isinstance(read.error, DeadlineExceeded)


def test_a_timer_can_have_a_timeout_of_its_own(timed_proactor: Proactor) -> None:
    timer = finish(timed_proactor, Timer(time.monotonic() + 100, timeout=SOON))
    assert isinstance(timer.error, DeadlineExceeded)


def test_multishot_ends_at_its_deadline(timed_proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    accept = Accept(listener, completions, flags=OperationFlags.MULTISHOT, timeout=0.05)
    timed_proactor.submit(accept)
    settle(timed_proactor, accept)
    for record in completions.records[:-1]:
        sockets.keep(record.result)
    assert [outcome(error) for error in completions.errors] == ["ok", "DeadlineExceeded"]
    client.close()


@pytest.mark.ring_rule(7)
def test_what_a_whole_receive_had_moved_is_named(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abc")
    buffer = bytearray(8)
    receive = finish(timed_proactor, Recv(near, buffer, whole=True, timeout=0.05))
    assert isinstance(receive.error, DeadlineExceeded)
    assert (receive.error.partial_bytes, bytes(buffer[:3])) == (3, b"abc")


@pytest.mark.ring_rule(4)
def test_a_cancellation_before_the_deadline_is_a_cancellation(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = RecvBytes(near, 10, timeout=10)
    timed_proactor.submit(receive)
    timed_proactor.poll(0)
    timed_proactor.cancel(receive)
    settle(timed_proactor, receive)
    assert isinstance(receive.error, OperationCancelled)


def test_an_operation_that_timed_out_can_be_submitted_again(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = finish(timed_proactor, RecvBytes(near, 10, timeout=SOON))
    far.stdlib.send(b"later")
    assert finish(timed_proactor, receive).result == b"later"


def test_limits_can_be_taken_away(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = finish(timed_proactor, RecvBytes(near, 10, timeout=SOON))
    receive.set_limits()
    timed_proactor.submit(receive)
    timed_proactor.poll(2 * SOON)
    assert receive.state is OperationState.SUBMITTED
    far.stdlib.send(b"x")
    settle(timed_proactor, receive)


@pytest.mark.ring_rule(4)
def test_a_step_that_times_out_ends_its_chain(
    timed_proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    steps = (
        Nop(completions, 1, LINKED),
        Recv(near, bytearray(3), completions, 2, LINKED, timeout=SOON),
        Send(far, b"x", completions, 3),
    )
    timed_proactor.submit(*steps)
    settle(timed_proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "DeadlineExceeded"), (3, "cancelled")]


@pytest.mark.ring_rule(4)
def test_a_chain_goes_on_behind_a_step_that_is_in_time(
    timed_proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"abc")
    steps = (
        Recv(near, bytearray(3), completions, 1, LINKED, timeout=10),
        Send(near, b"x", completions, 2, LINKED, timeout=10),
        Nop(completions, 3),
    )
    timed_proactor.submit(*steps)
    settle(timed_proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok"), (3, "ok")]


def test_many_deadlines_of_completed_operations_do_not_wake_the_proactor(timed_proactor: Proactor) -> None:
    nops = [Nop(timeout=30) for _ in range(50)]
    timed_proactor.submit(*nops)
    settle(timed_proactor, *nops)
    poll_until(timed_proactor, lambda: timed_proactor.is_quiet() or timed_proactor.poll(0.001) == 0)
    assert timed_proactor.poll(0) == 0


def test_a_deadline_from_another_thread_counts_too(timed_proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = RecvBytes(near, 10, timeout=SOON)
    import threading

    thread = threading.Thread(target=timed_proactor.submit, args=(receive,))
    thread.start()
    thread.join()
    settle(timed_proactor, receive)
    assert isinstance(receive.error, DeadlineExceeded)


# In tasks --------------------------------------------------------------------------------------------------------


def test_a_task_gets_deadline_exceeded(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await RecvBytes(near, 10, timeout=SOON)

    run(main)


def test_a_deadline_of_a_task_is_a_time_of_its_run(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()

    async def main() -> None:
        deadline = proactor_trio.current_time() + 1000
        with pytest.raises(DeadlineExceeded):
            await RecvBytes(near, 10, deadline=deadline)
        assert proactor_trio.current_time() == deadline

    run(main, clock=MockClock(autojump_threshold=0))


def test_under_a_mock_clock_a_timeout_counts_its_seconds(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()

    async def main() -> None:
        begun = proactor_trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await RecvBytes(near, 10, timeout=3600)
        assert proactor_trio.current_time() == begun + 3600

    run(main, clock=MockClock(autojump_threshold=0))


def test_under_a_mock_clock_a_step_of_a_chain_times_out(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()

    async def main() -> None:
        step, last = Recv(near, bytearray(3), flags=LINKED, timeout=60), Nop()
        proactor_trio.lowlevel.current_proactor().submit(Nop(flags=LINKED), step, last)
        with pytest.raises(OperationCancelled):
            await last
        assert isinstance(step.error, DeadlineExceeded)

    run(main, clock=MockClock(autojump_threshold=0))


def test_a_completed_operation_leaves_no_time_to_jump_to(run: Callable[..., Any]) -> None:
    async def main() -> None:
        begun = proactor_trio.current_time()
        await Nop(timeout=5)
        await proactor_trio.sleep(60)
        assert proactor_trio.current_time() == begun + 60

    run(main, clock=MockClock(autojump_threshold=0))


def test_a_scope_that_is_cancelled_first_wins(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()

    async def main() -> None:
        with proactor_trio.move_on_after(SOON) as scope:
            await RecvBytes(near, 10, timeout=100)
        assert scope.cancelled_caught

    run(main)


# Bad input -------------------------------------------------------------------------------------------------------


def test_deadline_and_timeout_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="deadline= and timeout="):
        Nop(deadline=1.0, timeout=1.0)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_timeout_is_not_negative(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        Nop(timeout=seconds)


def test_a_timeout_is_a_number() -> None:
    with pytest.raises(TypeError, match="timeout"):
        Nop(timeout="5")  # type: ignore[arg-type]


def test_its_status_is_deadline_exceeded() -> None:
    assert status_of(DeadlineExceeded("late")) is StatusCode.DEADLINE_EXCEEDED


def test_it_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(DeadlineExceeded("late", 3))).partial_bytes == 3
