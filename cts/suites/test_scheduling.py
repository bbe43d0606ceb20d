"""Nop, Timer and HandlePoll."""

from __future__ import annotations

import math
import os
import socket as stdlib_socket
import time

import pytest

from cts.support import Completions, Sockets, cause_of, fill, finish, perform, pipe, poll_until, settle, start
from proactor_trio.proactor import CancelCause, HandlePoll, Nop, Operation, PollEvents, Proactor, Timer

# Nop -----------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("NopTest.SingleNop")
def test_a_nop_completes_once_with_none(proactor: Proactor, completions: Completions) -> None:
    nop = finish(proactor, Nop(completions))
    proactor.poll(0)
    assert (len(completions), nop.result, nop.error) == (1, None, None)


@pytest.mark.reference("NopTest.CallbackReceivesOperationPointer")
def test_a_completion_function_is_given_its_operation(proactor: Proactor) -> None:
    given: list[Operation] = []
    nop = finish(proactor, Nop(lambda operation, flags: given.append(operation)))
    assert given == [nop]


@pytest.mark.reference("NopTest.MultipleNops")
def test_nops_of_one_batch_complete_in_the_order_of_submission(proactor: Proactor, completions: Completions) -> None:
    nops: list[Operation] = [Nop(completions) for _ in range(100)]
    proactor.submit(*nops)
    settle(proactor, *nops)
    assert completions.operations == nops


def test_nops_of_several_batches_complete_in_the_order_of_submission(
    proactor: Proactor, completions: Completions
) -> None:
    nops: list[Operation] = [Nop(completions) for _ in range(20)]
    for nop in nops:
        proactor.submit(nop)
    settle(proactor, *nops)
    assert completions.operations == nops


@pytest.mark.reference("NopTest.EmptySubmit")
def test_submitting_nothing_does_nothing(proactor: Proactor) -> None:
    proactor.submit()
    assert proactor.poll(0) == 0


@pytest.mark.reference("LifecycleTest.PollIdleReturnsDeadlineExceeded")
def test_an_idle_poll_returns_zero_at_once(proactor: Proactor) -> None:
    assert proactor.poll(0) == 0


def test_an_idle_poll_waits_for_its_timeout(proactor: Proactor) -> None:
    begin = time.monotonic()
    assert proactor.poll(0.02) == 0
    assert time.monotonic() - begin >= 0.019


@pytest.mark.reference("ResourceExhaustionTest.InterleavedSubmitPoll")
def test_what_is_submitted_between_polls_all_completes(proactor: Proactor, completions: Completions) -> None:
    for number in range(100):
        proactor.submit(Nop(completions, number), Nop(completions, number))
        proactor.poll(0)
    poll_until(proactor, lambda: len(completions) == 200)
    assert completions.outcomes == [(number // 2, "ok") for number in range(200)]


def test_poll_returns_how_many_completions_it_delivered(proactor: Proactor) -> None:
    nops = [Nop() for _ in range(5)]
    proactor.submit(*nops)
    delivered = sum(proactor.poll(0) for _ in range(5))
    assert delivered == 5


# Timer ---------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("TimerTest.BasicTimer")
def test_a_timer_completes_at_or_after_its_deadline(proactor: Proactor) -> None:
    deadline = time.monotonic() + 0.02
    perform(proactor, Timer(deadline))
    assert time.monotonic() >= deadline


def test_a_timer_ends_a_poll_without_a_timeout(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 0.01)
    proactor.submit(timer)
    for _ in range(3):
        if timer.result is None and proactor.statistics()["in_flight"]:
            proactor.poll(None)
    assert proactor.statistics()["in_flight"] == 0


@pytest.mark.parametrize("deadline", [0.0, -1.0, -1e9])
@pytest.mark.reference("TimerTest.ImmediateTimer", "ErrorPropagationTest.TimerDeadlineInPastCompletesOk")
def test_a_deadline_in_the_past_completes_at_the_next_poll(proactor: Proactor, deadline: float) -> None:
    timer = Timer(deadline)
    begin = time.monotonic()
    perform(proactor, timer)
    assert time.monotonic() - begin < 0.2


@pytest.mark.reference("TimerTest.MultipleTimersOrder")
def test_timers_complete_in_the_order_of_their_deadlines(proactor: Proactor, completions: Completions) -> None:
    now = time.monotonic()
    timers = [Timer(now + delay, completions, user_data=delay) for delay in (0.03, 0.01, 0.02)]
    proactor.submit(*timers)
    settle(proactor, *timers)
    assert completions.labels == [0.01, 0.02, 0.03]


def test_timers_that_are_all_overdue_complete_in_the_order_of_their_deadlines(
    proactor: Proactor, completions: Completions
) -> None:
    now = time.monotonic()
    timers = [Timer(now + delay, completions, user_data=delay) for delay in (0.006, 0.002, 0.004)]
    start(proactor, *timers)
    while time.monotonic() < now + 0.007:
        pass  # the kernel's own timers run meanwhile
    settle(proactor, *timers)
    assert completions.labels == [0.002, 0.004, 0.006]


def test_timers_with_equal_deadlines_complete_in_the_order_of_submission(
    proactor: Proactor, completions: Completions
) -> None:
    deadline = time.monotonic() + 0.01
    timers = [Timer(deadline, completions, user_data=number) for number in range(10)]
    proactor.submit(*timers)
    settle(proactor, *timers)
    assert completions.labels == list(range(10))


@pytest.mark.reference("CancellationTest.CancelPendingTimer")
def test_a_cancelled_timer_completes_promptly(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 3600)
    start(proactor, timer)
    begin = time.monotonic()
    assert proactor.cancel(timer)
    settle(proactor, timer)
    assert cause_of(timer) is CancelCause.REQUESTED
    assert time.monotonic() - begin < 0.5


def test_cancelling_one_timer_leaves_the_others(proactor: Proactor, completions: Completions) -> None:
    deadline = time.monotonic() + 0.01
    timers = [Timer(deadline + number / 1000, completions, user_data=number) for number in range(6)]
    proactor.submit(*timers)
    for timer in timers[::2]:
        proactor.cancel(timer)
    settle(proactor, *timers)
    assert [label for label, word in completions.outcomes if word == "ok"] == [1, 3, 5]


def test_a_timer_in_the_far_future_waits(proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 1e6)
    start(proactor, timer)
    assert proactor.poll(0.01) == 0
    proactor.cancel(timer)
    settle(proactor, timer)


@pytest.mark.parametrize("deadline", [math.nan, math.inf, -math.inf])
def test_a_deadline_that_is_no_point_in_time_is_refused(proactor: Proactor, deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        proactor.submit(Timer(deadline))
    assert proactor.statistics()["in_flight"] == 0


@pytest.mark.reference("ResourceExhaustionTest.ManyConcurrentTimers")
def test_many_timers_all_complete(proactor: Proactor) -> None:
    now = time.monotonic()
    timers = [Timer(now + number % 10 / 1000) for number in range(1000)]
    proactor.submit(*timers)
    settle(proactor, *timers)
    assert all(timer.error is None for timer in timers)


# HandlePoll ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_socket_with_bytes_is_reported_readable(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    waiting = HandlePoll(near, PollEvents.IN)
    start(proactor, waiting)
    far.stdlib.send(b"x")
    settle(proactor, waiting)
    assert waiting.result == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_readiness_that_was_there_before_is_reported(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")
    assert perform(proactor, HandlePoll(near.fileno(), PollEvents.IN)) == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_a_poll_reads_nothing(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"x")
    perform(proactor, HandlePoll(near))
    assert near.stdlib.recv(10) == b"x"


@pytest.mark.needs("descriptors")
def test_an_idle_socket_is_writable(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    assert perform(proactor, HandlePoll(near, PollEvents.OUT)) == PollEvents.OUT


@pytest.mark.needs("descriptors")
def test_a_full_socket_becomes_writable_when_the_peer_reads(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    filled = fill(near)
    waiting = HandlePoll(near, PollEvents.OUT)
    start(proactor, waiting)
    assert proactor.poll(0) == 0
    while filled:
        filled -= len(far.stdlib.recv(65536))
    settle(proactor, waiting)
    assert waiting.result == PollEvents.OUT


@pytest.mark.needs("descriptors")
def test_both_directions_at_a_time(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"x")
    both = PollEvents.IN | PollEvents.OUT
    assert perform(proactor, HandlePoll(near, both)) == both


@pytest.mark.needs("descriptors")
def test_a_peer_that_closed_is_reported_as_readable_and_hang_up(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.close()
    events = perform(proactor, HandlePoll(near, PollEvents.IN))
    assert events & PollEvents.IN and events & PollEvents.HUP


@pytest.mark.needs("descriptors")
def test_the_writer_of_a_pipe_that_goes_is_a_hang_up(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        waiting = HandlePoll(reader, PollEvents.IN)
        start(proactor, waiting)
        os.close(writer)
        settle(proactor, waiting)
    assert waiting.result & PollEvents.HUP


@pytest.mark.needs("descriptors")
def test_the_reader_of_a_pipe_that_goes_is_an_error(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        events = perform(proactor, HandlePoll(writer, PollEvents.OUT))
    assert events & PollEvents.ERR


@pytest.mark.needs("descriptors")
def test_bytes_in_a_pipe_are_reported(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        waiting = HandlePoll(reader)
        start(proactor, waiting)
        os.write(writer, b"x")
        settle(proactor, waiting)
    assert waiting.result == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_a_poll_reports_once(proactor: Proactor, completions: Completions) -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        finish(proactor, HandlePoll(reader, PollEvents.IN, completions))
        os.write(writer, b"y")
        proactor.poll(0)
    assert len(completions) == 1


@pytest.mark.needs("descriptors")
def test_a_poll_can_be_submitted_again_for_readiness_that_stayed(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        os.write(writer, b"x")
        waiting = HandlePoll(reader)
        for _ in range(5):
            assert perform(proactor, waiting) == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_several_polls_on_one_descriptor_are_all_answered(proactor: Proactor) -> None:
    with pipe() as (reader, writer):
        waiting = [HandlePoll(reader) for _ in range(5)]
        start(proactor, *waiting)
        os.write(writer, b"x")
        settle(proactor, *waiting)
    assert [poll.result for poll in waiting] == [PollEvents.IN] * 5


@pytest.mark.needs("descriptors")
def test_a_listener_with_a_connection_is_readable(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    waiting = HandlePoll(listener)
    start(proactor, waiting)
    sockets.client_of(listener)
    settle(proactor, waiting)
    assert waiting.result == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_a_descriptor_that_is_reused_is_polled_anew(proactor: Proactor) -> None:
    """The number may mean another file than the one that was polled before."""
    for _ in range(20):
        with pipe() as (reader, writer):
            waiting = HandlePoll(reader)
            start(proactor, waiting)
            assert proactor.poll(0) == 0
            os.write(writer, b"x")
            settle(proactor, waiting)
            assert waiting.result == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_a_poll_that_never_fires_can_be_cancelled(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    waiting = HandlePoll(near)
    start(proactor, waiting)
    proactor.cancel(waiting)
    settle(proactor, waiting)
    assert cause_of(waiting) is CancelCause.REQUESTED


@pytest.mark.needs("descriptors")
def test_a_closed_descriptor_fails_with_ebadf(proactor: Proactor) -> None:
    with pipe() as (reader, _writer):
        os.close(reader)
        waiting = HandlePoll(reader)
        with pytest.raises(OSError, match="HandlePoll") as failure:
            perform(proactor, waiting)
    assert failure.value.errno == 9


@pytest.mark.needs("descriptors")
def test_asking_for_no_event_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    with pytest.raises(ValueError, match="events"):
        proactor.submit(HandlePoll(near, PollEvents.HUP))


@pytest.mark.needs("descriptors")
def test_a_negative_descriptor_is_refused(proactor: Proactor) -> None:
    with pytest.raises(ValueError, match="handle"):
        proactor.submit(HandlePoll(-1))


@pytest.mark.needs("descriptors")
def test_any_object_with_a_fileno_can_be_polled(proactor: Proactor) -> None:
    near, far = stdlib_socket.socketpair()
    with near, far:
        far.send(b"x")
        assert perform(proactor, HandlePoll(near)) == PollEvents.IN


@pytest.mark.needs("descriptors")
def test_timers_and_polls_complete_independently(proactor: Proactor, completions: Completions) -> None:
    with pipe() as (reader, writer):
        waiting = HandlePoll(reader, PollEvents.IN, completions, user_data="poll")
        timer = Timer(time.monotonic() + 0.01, completions, user_data="timer")
        proactor.submit(waiting, timer)
        poll_until(proactor, lambda: len(completions) == 1)
        os.write(writer, b"x")
        settle(proactor, waiting)
    assert completions.labels == ["timer", "poll"]
