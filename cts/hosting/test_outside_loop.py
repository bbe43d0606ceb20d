"""A loop that is not ours waits for a proactor: nothing is missed, and nothing wakes it for nothing."""

from __future__ import annotations

import os
import select
import socket as stdlib_socket
import threading
import time
from collections.abc import Callable

import pytest

from cts.hosting.support import MOST_SECONDS, OutsideLoop, wait_until
from cts.runtime.support import fork_and_report
from cts.support import Completions, Files, Sockets, close_with_reset, open_descriptors, until_asleep
from proactor_trio.proactor import (
    Capability,
    FailedPrecondition,
    FileRead,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    ProgressCallback,
    Recv,
    RecvBytes,
    SemaphoreWait,
    Send,
    Sequence,
    Socket,
    SocketClose,
    Support,
    TimelineSemaphore,
    Timer,
)

LINKED = OperationFlags.LINKED
MANY = 300


def is_done(operation: Operation) -> bool:
    return operation.state is OperationState.DONE


def send_when_asleep(sockets_far: list[int], sleeper: threading.Thread) -> threading.Thread:
    """Write one byte to each, in a thread of its own, as soon as the other thread sleeps."""

    def send() -> None:
        until_asleep(sleeper)
        for descriptor in sockets_far:
            os.write(descriptor, b"x")

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.ring_rule(1)
def test_a_completion_wakes_a_loop_that_waits_already(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    sender = send_when_asleep([far.fileno()], threading.current_thread())
    loop.settle(receive)
    sender.join()
    assert receive.result == b"x"


@pytest.mark.needs("native_links")
@pytest.mark.ring_rule(1)
def test_the_descriptor_of_a_deferred_ring_does_not(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    """Why there is an event: an epoll on the ring itself sleeps on, though a fresh look sees the work."""
    if "DEFER_TASKRUN" not in proactor.backend_variant:
        pytest.skip("this kernel has no DEFER_TASKRUN (Linux 6.1)")
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    ring = proactor._backend._ring.descriptor  # type: ignore[attr-defined]
    with select.epoll() as naive:
        naive.register(ring, select.EPOLLIN)
        sender = send_when_asleep([far.fileno()], threading.current_thread())
        woken = naive.poll(0.05)
        sender.join()
    assert (woken, select.select([ring], [], [], 0)[0]) == ([], [ring])
    loop.settle(receive)


def test_nothing_is_lost_when_many_complete_at_once(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(MANY)]
    receives = [RecvBytes(near, 10) for near, _ in pairs]
    proactor.submit(*receives)
    loop.become_idle()
    sender = send_when_asleep([far.fileno() for _, far in pairs], threading.current_thread())
    loop.settle(*receives)
    sender.join()
    assert [receive.result for receive in receives] == [b"x"] * MANY


def test_an_idle_loop_is_not_woken(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    assert not loop.is_readable(0.1)
    proactor.cancel(receive)
    loop.settle(receive)


def test_what_completes_in_a_turn_does_not_wake_the_loop_again(loop: OutsideLoop, proactor: Proactor) -> None:
    loop.become_idle()
    nop = Nop()
    proactor.submit(nop)
    loop.settle(nop)
    assert loop.hosting.turn() is None
    assert not loop.is_readable(0.01)


def test_wake_from_another_thread_makes_a_turn_due(loop: OutsideLoop, proactor: Proactor) -> None:
    loop.become_idle()
    thread = threading.Thread(target=proactor.wake)
    thread.start()
    assert loop.is_readable(10)
    thread.join()
    loop.become_idle()


def test_a_submission_of_another_thread_begins(loop: OutsideLoop, proactor: Proactor, completions: Completions) -> None:
    loop.become_idle()
    nop = Nop(completions)
    thread = threading.Thread(target=proactor.submit, args=(nop,))
    thread.start()
    loop.settle(nop)
    thread.join()
    assert len(completions) == 1


def test_a_cancellation_of_another_thread_is_heard(loop: OutsideLoop, proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 1000)
    proactor.submit(timer)
    loop.become_idle()
    thread = threading.Thread(target=proactor.cancel, args=(timer,))
    thread.start()
    loop.settle(timer)
    thread.join()
    assert isinstance(timer.error, OperationCancelled)


@pytest.mark.parametrize("call", ["submit", "cancel", "finish", "progress"])
def test_the_loop_is_told_of_what_its_own_thread_leaves(loop: OutsideLoop, proactor: Proactor, call: str) -> None:
    semaphore = TimelineSemaphore()
    wait = SemaphoreWait([semaphore], [1])
    timer = Timer(time.monotonic() + 1000)
    proactor.submit(wait, timer)
    loop.become_idle()
    callbacks: list[ProgressCallback] = []
    actions = {
        "submit": lambda: proactor.submit(Nop()),
        "cancel": lambda: proactor.cancel(timer),
        "finish": lambda: semaphore.signal(1),
        "progress": lambda: callbacks.append(ProgressCallback(proactor, lambda: 0)),
    }
    actions[call]()
    was_told = loop.is_due
    for callback in callbacks:
        callback.remove()
    proactor.cancel(wait)
    proactor.cancel(timer)
    loop.settle(wait, timer)
    assert was_told


def test_nothing_is_begun_before_the_next_turn(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    loop.become_idle()
    sends = [Send(near, b"x") for _ in range(5)]
    for send in sends:
        proactor.submit(send)
    assert not select.select([far], [], [], 0)[0]
    loop.settle(*sends)


def test_a_completion_function_submits_in_the_same_turn(loop: OutsideLoop, proactor: Proactor) -> None:
    second = Nop()
    first = Nop(lambda _operation, _flags: proactor.submit(second))
    proactor.submit(first)
    loop.settle(first, second)
    assert second.error is None


def test_the_limit_is_the_time_of_the_next_deadline(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    """A kernel that keeps deadlines by itself makes the descriptor readable; else the loop is told the time."""
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10, timeout=0.02)
    wait = SemaphoreWait([TimelineSemaphore()], [1], timeout=0.02)
    proactor.submit(receive, wait)
    begin = time.monotonic()
    loop.settle(receive, wait)
    assert 0.02 <= time.monotonic() - begin < 5


def test_waiting_for_a_deadline_takes_few_turns(loop: OutsideLoop, proactor: Proactor) -> None:
    wait = SemaphoreWait([TimelineSemaphore()], [1], timeout=0.05)
    proactor.submit(wait)
    loop.settle(wait)
    assert loop.hosting.turns < 20


def test_a_cancelled_step_behind_a_silent_one_does_not_make_the_loop_spin(
    loop: OutsideLoop, proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.unix_pair()
    receive = Recv(near, bytearray(1), flags=LINKED | OperationFlags.SILENT)
    send = Send(near, b"y")
    proactor.submit(receive, send)
    loop.become_idle()
    proactor.cancel(send)
    turns = loop.hosting.turns
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        loop.wait(loop.take_turn(), end - time.monotonic())
    turns = loop.hosting.turns - turns
    far.stdlib.send(b"x")
    loop.settle(receive, send)
    assert turns < 100


def test_a_file_that_a_worker_reads_wakes_the_loop(loop: OutsideLoop, proactor: Proactor, files: Files) -> None:
    into = bytearray(1 << 20)
    read = FileRead(files.holding(bytes(1 << 20)), into, 0)
    proactor.submit(read)
    loop.settle(read)
    assert read.result == 1 << 20


def test_a_close_is_seen_by_the_peer_at_once(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    """Whoever waits for the descriptor of a closed socket must not keep its file open."""
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    close = SocketClose(near)
    proactor.submit(close)
    loop.settle(close, receive)
    loop.become_idle()
    far.stdlib.settimeout(5)
    assert far.stdlib.recv(1) == b""


def test_a_number_that_means_another_file_within_one_turn(
    loop: OutsideLoop, proactor: Proactor, sockets: Sockets
) -> None:
    """Whoever waits for the descriptor lets go of the old file, and waits for the new one."""
    (near, far), (other, other_far) = sockets.unix_pair(), sockets.unix_pair()
    later: list[RecvBytes] = []

    def replace(_operation: Operation, _flags: object) -> None:
        number = near.fileno()
        near.close()
        os.dup2(other.fileno(), number)
        later.append(RecvBytes(sockets.keep(Socket.from_stdlib(stdlib_socket.socket(fileno=number))), 10))
        proactor.submit(*later)

    receive = RecvBytes(near, 10, replace)
    proactor.submit(receive)
    loop.become_idle()
    helpers_asleep()
    proactor.cancel(receive)
    loop.become_idle()
    helpers_asleep()
    other_far.stdlib.send(b"x")
    assert loop.is_readable(MOST_SECONDS)
    loop.settle(*later)
    far.stdlib.settimeout(MOST_SECONDS)
    assert (later[0].result, far.stdlib.recv(1)) == (b"x", b"")


def helpers_asleep() -> None:
    """Return when the threads that wait for the loop, where there are any, are in the call that they wait in."""
    for thread in threading.enumerate():
        if thread.name.endswith("waiting thread"):
            until_asleep(thread)


def test_an_error_on_the_descriptor_wakes_the_loop(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    close_with_reset(far)
    loop.settle(receive)
    assert isinstance(receive.error, ConnectionResetError)


def test_an_exception_of_a_completion_function_leaves_the_turn_after_the_others(
    loop: OutsideLoop, proactor: Proactor, completions: Completions
) -> None:
    def fail(_operation: Operation, _flags: object) -> None:
        raise ZeroDivisionError

    proactor.submit(Nop(fail), Nop(completions))
    with pytest.raises(ZeroDivisionError):
        loop.run_until(lambda: len(completions) == 2)
    loop.become_idle()
    assert len(completions) == 1


def test_a_sequence_goes_on_from_turn_to_turn(loop: OutsideLoop, proactor: Proactor) -> None:
    sequence = Sequence([Nop() for _ in range(20)])
    proactor.submit(sequence)
    loop.settle(sequence)
    assert sequence.error is None


def test_a_chain_on_the_outside_loop(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    wait, send = SemaphoreWait([semaphore], [1], flags=LINKED), Send(near, b"now")
    proactor.submit(wait, send)
    loop.become_idle()
    signaller = threading.Thread(target=semaphore.signal, args=(1,))
    signaller.start()
    loop.settle(wait, send)
    signaller.join()
    assert far.stdlib.recv(10) == b"now"


def test_everything_can_be_ended_without_waiting(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive, timer = RecvBytes(near, 10), Timer(time.monotonic() + 1000)
    proactor.submit(receive, timer)
    loop.run_until(proactor.end_everything)
    assert is_done(receive) and is_done(timer)


def test_it_can_be_polled_again_when_hosting_is_over(loop: OutsideLoop, proactor: Proactor) -> None:
    nop = Nop()
    loop.hosting.close()
    proactor.submit(nop)
    proactor.poll(1)
    assert is_done(nop)


def test_poll_between_turns_takes_what_was_left(loop: OutsideLoop, proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 1000)
    proactor.submit(timer)
    proactor.cancel(timer)
    wait_until(lambda: proactor.poll(0) or is_done(timer))
    assert isinstance(timer.error, OperationCancelled)


def test_two_loops_for_one_proactor_are_refused(loop: OutsideLoop, proactor: Proactor) -> None:
    with pytest.raises(FailedPrecondition, match="another loop"):
        proactor.host()


def test_another_thread_cannot_host_it(proactor: Proactor) -> None:
    errors: list[BaseException] = []

    def host() -> None:
        try:
            proactor.host()
        except FailedPrecondition as error:
            errors.append(error)

    thread = threading.Thread(target=host)
    thread.start()
    thread.join()
    assert "host()" in str(errors[0])


def test_without_a_host_nothing_is_there_for_one(make_proactor: Callable[..., Proactor]) -> None:
    """The event, and the thread that waits, exist only where another loop asked for them."""
    threads, events = set(threading.enumerate()), _events()
    make_proactor().poll(0)
    assert (set(threading.enumerate()) - threads, _events() - events) == (set(), 0)


def _events() -> int:
    return sum("eventfd" in target for target in open_descriptors().values())


def test_a_child_of_fork_leaves_the_parent_its_event(loop: OutsideLoop, proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10)
    proactor.submit(receive)
    loop.become_idle()
    assert fork_and_report(lambda: "ended") == "ended"
    far.stdlib.send(b"x")
    loop.settle(receive)
    assert receive.result == b"x"


def test_whether_the_kernel_keeps_deadlines_shows_in_the_limit(loop: OutsideLoop, proactor: Proactor) -> None:
    timer = Timer(time.monotonic() + 5)
    proactor.submit(timer)
    loop.become_idle()
    limit = loop.hosting.turn()
    proactor.cancel(timer)
    loop.settle(timer)
    native = proactor.capability_reports[Capability.ABSOLUTE_TIMEOUT].support is Support.NATIVE
    assert limit is None if native else limit is not None and 4 < limit <= 5
