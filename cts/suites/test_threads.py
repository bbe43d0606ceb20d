"""Other threads: they may submit, cancel and wake; only the owner polls."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import pytest

from cts.support import Completions, Sockets, alarm_handler, finish, poll_until, settle, until_asleep
from proactor_trio.proactor import (
    FailedPrecondition,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    RecvBytes,
    Send,
    ThreadingMode,
    Timer,
)


def in_threads(*functions: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def when_we_wait(function: Callable[[], object]) -> Callable[[], None]:
    """The function, called when the thread that asked for it waits in the kernel."""
    owner = threading.current_thread()

    def call() -> None:
        until_asleep(owner)
        function()

    return call


def join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def raised_by(function: Callable[[], object]) -> BaseException | None:
    """What the function raises in another thread."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    join(in_threads(call))
    return raised[0] if raised else None


# Submitting ----------------------------------------------------------------------------------------------------------


def test_an_operation_of_another_thread_completes_on_the_owner(proactor: Proactor) -> None:
    threads = []
    nop = Nop(lambda operation, flags: threads.append(threading.get_ident()))
    join(in_threads(lambda: proactor.submit(nop)))
    settle(proactor, nop)
    assert threads == [threading.get_ident()]


def test_a_submission_of_another_thread_ends_a_poll_that_waits(proactor: Proactor, completions: Completions) -> None:
    begin = time.monotonic()
    threads = in_threads(when_we_wait(lambda: proactor.submit(Nop(completions))))
    while not completions.records:
        proactor.poll(5)
    join(threads)
    assert time.monotonic() - begin < 2


def test_a_batch_of_another_thread_keeps_its_links(proactor: Proactor, completions: Completions) -> None:
    chain = [
        Timer(time.monotonic() + 0.01, completions, 0, OperationFlags.LINKED),
        Nop(completions, 1, OperationFlags.LINKED),
        Nop(completions, 2),
    ]
    join(in_threads(lambda: proactor.submit(*chain)))
    settle(proactor, *chain)
    assert completions.labels == [0, 1, 2]


def test_a_wrong_batch_is_refused_in_the_thread_that_submits(proactor: Proactor) -> None:
    error = raised_by(lambda: proactor.submit(Nop(flags=OperationFlags.LINKED)))
    assert isinstance(error, ValueError) and "last of its batch" in str(error)


def test_submissions_of_one_thread_keep_their_order(proactor: Proactor, completions: Completions) -> None:
    nops = [Nop(completions, number) for number in range(100)]

    def submit() -> None:
        for nop in nops:
            proactor.submit(nop)

    threads = in_threads(submit)
    settle(proactor, *nops)
    join(threads)
    assert completions.labels == list(range(100))


def test_four_threads_with_two_hundred_operations_each(proactor: Proactor, completions: Completions) -> None:
    batches = [[Nop(completions, (thread, number)) for number in range(200)] for thread in range(4)]

    def submit(batch: list[Nop]) -> Callable[[], None]:
        def submit_each() -> None:
            for nop in batch:
                proactor.submit(nop)

        return submit_each

    threads = in_threads(*(submit(batch) for batch in batches))
    poll_until(proactor, lambda: len(completions) == 800)
    join(threads)
    proactor.poll(0)
    assert len(set(completions.labels)) == len(completions) == 800


def test_four_threads_that_submit_and_cancel_end_every_operation_once(
    proactor: Proactor, completions: Completions
) -> None:
    def submit_and_cancel() -> None:
        for number in range(200):
            timer = Timer(time.monotonic() + 3600, completions)
            proactor.submit(timer)
            if number % 3 == 0:
                time.sleep(0)
            proactor.cancel(timer)

    threads = in_threads(*[submit_and_cancel] * 4)
    poll_until(proactor, lambda: len(completions) == 800)
    join(threads)
    proactor.poll(0)
    assert len(set(map(id, completions.operations))) == len(completions) == 800


def test_transfers_of_four_threads_lose_no_byte(proactor: Proactor, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(4)]
    receives = [[RecvBytes(far, 1) for _ in range(50)] for _, far in pairs]

    def work(index: int) -> Callable[[], None]:
        def go() -> None:
            for receive in receives[index]:
                proactor.submit(receive)
                proactor.submit(Send(pairs[index][0], b"x"))

        return go

    threads = in_threads(*(work(index) for index in range(4)))
    everything = [receive for row in receives for receive in row]
    settle(proactor, *everything)
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    join(threads)
    assert [receive.result for receive in everything] == [b"x"] * 200


def test_a_submission_cancelled_before_the_owner_saw_it_ends_once(proactor: Proactor, completions: Completions) -> None:
    timer = Timer(time.monotonic() + 3600, completions)
    join(in_threads(lambda: proactor.submit(timer)))
    assert proactor.cancel(timer) is True
    settle(proactor, timer)
    proactor.poll(0)
    assert completions.outcomes == [(None, "cancelled")]


def test_operations_of_other_threads_are_completed_by_close(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor()
    join(in_threads(lambda: proactor.submit(Timer(time.monotonic() + 3600, completions))))
    proactor.close()
    assert completions.outcomes == [(None, "cancelled")]


# Waking --------------------------------------------------------------------------------------------------------------


def test_wake_ends_a_poll_that_waits(proactor: Proactor) -> None:
    begin = time.monotonic()
    threads = in_threads(when_we_wait(proactor.wake))
    assert proactor.poll(5) == 0
    join(threads)
    assert time.monotonic() - begin < 2


def test_wake_before_poll_ends_the_next_one_at_once(proactor: Proactor) -> None:
    proactor.wake()
    begin = time.monotonic()
    assert proactor.poll(5) == 0
    assert time.monotonic() - begin < 2


def test_several_wakes_count_as_one(proactor: Proactor) -> None:
    for _ in range(1000):
        proactor.wake()
    proactor.poll(5)
    begin = time.monotonic()
    proactor.poll(0.02)
    assert time.monotonic() - begin >= 0.019


def test_every_wake_after_a_poll_counts_again(proactor: Proactor) -> None:
    begin = time.monotonic()
    for _ in range(100):
        proactor.wake()
        proactor.poll(5)
    assert time.monotonic() - begin < 2


def test_wake_while_completions_are_delivered_ends_the_next_poll(proactor: Proactor) -> None:
    finish(proactor, Nop(lambda operation, flags: proactor.wake()))
    begin = time.monotonic()
    proactor.poll(5)
    assert time.monotonic() - begin < 2


def test_wakes_of_many_threads_are_never_lost(proactor: Proactor) -> None:
    """Each round of the owner waits for the wake-up that follows its own request."""
    requested = threading.Semaphore(0)
    rounds = 300

    def answer() -> None:
        for _ in range(rounds):
            requested.acquire()
            proactor.wake()

    threads = in_threads(answer)
    begin = time.monotonic()
    for _ in range(rounds):
        requested.release()
        proactor.poll(5)
    join(threads)
    assert time.monotonic() - begin < 4


@pytest.mark.needs("signals")
@pytest.mark.ring_rule(17)
def test_wake_from_a_signal_handler_ends_a_poll(proactor: Proactor) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        proactor.wake()

    previous = signal.set_wakeup_fd(proactor.wakeup_descriptor(), warn_on_full_buffer=False)
    try:
        with alarm_handler(handle):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            begin = time.monotonic()
            proactor.poll(5)
            assert time.monotonic() - begin < 2
    finally:
        signal.set_wakeup_fd(previous)


def test_a_byte_on_the_wakeup_descriptor_wakes(proactor: Proactor) -> None:
    threads = in_threads(when_we_wait(lambda: os.write(proactor.wakeup_descriptor(), b"\2")))
    begin = time.monotonic()
    proactor.poll(5)
    join(threads)
    assert time.monotonic() - begin < 2


# Who polls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["poll", "close"])
def test_the_wrong_thread_is_refused_with_words(proactor: Proactor, call: str) -> None:
    error = raised_by(getattr(proactor, call))
    assert isinstance(error, FailedPrecondition)
    assert "belongs to thread" in str(error)


def test_the_first_thread_that_polls_owns_a_cross_thread_proactor(make_proactor: Callable[..., Proactor]) -> None:
    made: list[Any] = []

    def create() -> None:
        made.append(make_proactor(threading_mode=ThreadingMode.CROSS_THREAD))

    join(in_threads(create))
    proactor = made[0]
    assert finish(proactor, Nop()).error is None
    assert isinstance(raised_by(lambda: proactor.poll(0)), FailedPrecondition)


def test_a_cross_thread_proactor_that_its_maker_polls_is_its_makers(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    finish(proactor, Nop())
    assert isinstance(raised_by(lambda: proactor.poll(0)), FailedPrecondition)


def test_operations_submitted_before_the_first_poll_of_a_cross_thread_proactor_complete(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    near, far = sockets.tcp_pair()
    operations: list[Operation] = [Nop(completions), RecvBytes(near, 10, completions), Timer(0.0, completions)]
    proactor.submit(*operations)
    far.stdlib.send(b"x")

    def own() -> None:
        settle(proactor, *operations)
        proactor.close()

    join(in_threads(own))
    assert len(completions) == 3 and operations[1].result == b"x"


def test_an_operation_cancelled_before_the_first_poll_of_a_cross_thread_proactor_ends_cancelled(
    make_proactor: Callable[..., Proactor], completions: Completions
) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    timer = Timer(time.monotonic() + 3600, completions)
    proactor.submit(timer)
    assert proactor.cancel(timer)
    settle(proactor, timer)
    assert completions.outcomes == [(None, "cancelled")]


def test_a_cross_thread_proactor_that_was_never_polled_can_be_closed(make_proactor: Callable[..., Proactor]) -> None:
    make_proactor(threading_mode=ThreadingMode.CROSS_THREAD).close()


def test_two_proactors_in_two_threads_do_not_disturb_each_other(make_proactor: Callable[..., Proactor]) -> None:
    counts: list[int] = []

    def work() -> None:
        proactor = make_proactor()
        nops = [Nop() for _ in range(200)]
        for nop in nops:
            finish(proactor, nop)
        proactor.close()
        counts.append(len(nops))

    join(in_threads(work, work))
    assert counts == [200, 200]


def test_two_proactors_in_one_thread_talk_over_a_socket(
    make_proactor: Callable[..., Proactor], sockets: Sockets
) -> None:
    one, other = make_proactor(), make_proactor()
    near, far = sockets.tcp_pair()
    receive = RecvBytes(far, 10)
    other.submit(receive)
    other.poll(0)
    finish(one, Send(near, b"x"))
    settle(other, receive)
    assert receive.result == b"x"
