"""Rules where deadlines, chains, closes, messages and threads meet; each was broken once."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import socket as stdlib_socket
import threading
import time
from collections.abc import Callable

import pytest

from cts.support import Completions, Files, Sockets, cause_of, finish, outcome, pipe, poll_until, settle, start
from proactor_trio.backends.io_uring.backend import IoUringBackend
from proactor_trio.proactor import (
    CancelCause,
    ClosedResourceError,
    CompletionFlags,
    DeadlineExceeded,
    FailedPrecondition,
    FileClose,
    HandlePoll,
    Message,
    Nop,
    Notification,
    NotificationWait,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    Relay,
    SendFile,
    Sequence,
    SharedNotification,
    SignalHandle,
    SocketClose,
    Splice,
    ThreadingMode,
    Timer,
)

LINKED = OperationFlags.LINKED


class Interrupt(BaseException):
    """What a signal handler raises."""


def soon() -> float:
    return time.monotonic() + 0.01


# Deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e7, 1e10, 1e300])
def test_a_deadline_in_the_far_future_is_no_error(proactor: Proactor, seconds: float) -> None:
    notification = Notification()
    operations: list[Operation] = [Nop(timeout=seconds), NotificationWait(notification, timeout=seconds)]
    proactor.submit(*operations)
    signaller = threading.Thread(target=notification.signal)
    signaller.start()
    settle(proactor, *operations)
    signaller.join()
    assert [operation.error for operation in operations] == [None, None]


@pytest.mark.parametrize("seconds", [1e7, 1e9])
def test_a_wait_for_something_in_the_far_future_is_no_error(proactor: Proactor, seconds: float) -> None:
    operations: list[Operation] = [Timer(time.monotonic() + seconds), NotificationWait(Notification(), timeout=seconds)]
    proactor.submit(*operations)
    proactor.wake()
    assert proactor.poll() == 0
    for operation in operations:
        proactor.cancel(operation)
    settle(proactor, *operations)


def test_a_deadline_before_all_time_has_passed(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = finish(proactor, Recv(near, bytearray(1), deadline=-float("inf")))
    assert isinstance(receive.error, DeadlineExceeded)


@pytest.mark.parametrize("entries", [1, 2])
def test_deadlines_and_closes_need_little_room(
    make_proactor: Callable[..., Proactor], sockets: Sockets, entries: int
) -> None:
    proactor = make_proactor(max_concurrent_operations=entries)
    near, _far = sockets.tcp_pair()
    operations = [
        Recv(near, bytearray(1), timeout=0.01),
        Nop(timeout=10),
        Nop(flags=LINKED, timeout=10),
        Nop(timeout=10),
    ]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert [outcome(operation.error) for operation in operations] == ["DeadlineExceeded", "ok", "ok", "ok"]
    assert finish(proactor, SocketClose(near)).error is None


def test_limits_of_an_operation_in_flight_stay_as_they_were(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = Recv(near, bytearray(1), timeout=0.01)
    proactor.submit(receive)
    with pytest.raises(FailedPrecondition):
        receive.set_limits()
    settle(proactor, receive)
    assert isinstance(receive.error, DeadlineExceeded)


@pytest.mark.needs("native_links")
def test_a_deadline_that_found_its_operation_between_two_states_is_kept(proactor: Proactor, sockets: Sockets) -> None:
    """About the deadlines that the kernel keeps."""
    backend = proactor._backend
    assert isinstance(backend, IoUringBackend)
    near, _far = sockets.tcp_pair()
    receive = Recv(near, bytearray(1), timeout=100)
    start(proactor, receive)
    receive.expires = time.monotonic()
    backend._handle_timeout(receive.identifier, -errno.ENOENT)
    settle(proactor, receive)
    assert isinstance(receive.error, DeadlineExceeded)


# Sequences -------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors", "files")
def test_splices_can_be_steps_of_a_sequence(proactor: Proactor, files: Files) -> None:
    source = files.holding(b"hello world")
    with pipe() as (reader, writer):
        sequence = finish(proactor, Sequence([Splice(source, writer, 5, 0), Splice(source, writer, 5, 6)]))
        assert (sequence.error, os.read(reader, 100)) == (None, b"helloworld")


def test_a_sequence_is_cancelled_though_its_first_step_finishes_in_the_same_moment(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")
    sequence = Sequence([Recv(near, bytearray(1)), Recv(near, bytearray(1)), Nop()])
    proactor.submit(sequence)
    proactor.cancel(sequence)
    settle(proactor, sequence)
    assert outcome(sequence.error) == "cancelled"


# Closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors")
@pytest.mark.parametrize("head", ["timer", "poll"])
def test_a_close_ends_the_step_whose_turn_has_just_come(proactor: Proactor, sockets: Sockets, head: str) -> None:
    near, far = sockets.unix_pair()
    with pipe() as (reader, writer):
        first = Timer(soon(), flags=LINKED) if head == "timer" else HandlePoll(reader, flags=LINKED)
        receive = Recv(near, bytearray(4))
        start(proactor, first, receive)
        os.write(writer, b"x")
        settle(proactor, first)
        finish(proactor, SocketClose(near))
        settle(proactor, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED
    assert far.stdlib.recv(1) == b""


@pytest.mark.needs("descriptors", "files")
def test_a_splice_behind_a_timer_never_touches_what_got_the_number_of_its_file(
    proactor: Proactor, files: Files
) -> None:
    file = files.holding(b"first")
    number = file.fileno()
    with pipe() as (reader, writer):
        os.set_blocking(writer, True)
        chain = [Timer(time.monotonic() + 0.03, flags=LINKED), Splice(file, writer, 5, 0)]
        start(proactor, *chain)
        finish(proactor, FileClose(file))
        assert files.holding(b"other", "other").fileno() == number
        settle(proactor, *chain)
        assert cause_of(chain[1]) is CancelCause.RESOURCE_CLOSED
        with pytest.raises(BlockingIOError):
            os.read(reader, 10)


@pytest.mark.needs("descriptors")
@pytest.mark.lacks("native_links")
def test_a_relay_that_was_closed_between_its_two_steps_writes_nothing(proactor: Proactor) -> None:
    """Where a kernel links, it makes both steps in one go."""
    with pipe() as (source, source_writer), pipe() as (sink_reader, sink):
        relay = Relay(proactor, source, SignalHandle(sink))
        watch = HandlePoll(source, completion_fn=lambda operation, flags: relay.close())
        start(proactor, watch)
        os.write(source_writer, b"x")
        settle(proactor, watch)
        poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
        with pytest.raises(BlockingIOError):
            os.read(sink_reader, 8)


# Operations of our own -------------------------------------------------------------------------------------------


@pytest.mark.needs("descriptors", "files")
def test_a_file_that_is_closed_before_its_turn_ends_send_file_only(
    proactor: Proactor, files: Files, sockets: Sockets
) -> None:
    file = files.holding(b"first")
    near, _far = sockets.tcp_pair()
    chain = [Timer(soon(), flags=LINKED), SendFile(near, file, 0, 5)]
    start(proactor, *chain)
    finish(proactor, FileClose(file))
    settle(proactor, *chain)
    assert isinstance(chain[1].error, (ClosedResourceError, OSError))
    assert finish(proactor, Nop()).error is None


@pytest.mark.needs("descriptors", "files")
def test_want_of_descriptors_ends_send_file_only(proactor: Proactor, files: Files, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    send = SendFile(near, files.holding(b"first"), 0, 5)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) - 1, limits[1]))
    try:
        proactor.submit(send)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    settle(proactor, send)
    assert send.error is None or (isinstance(send.error, OSError) and send.error.errno == errno.EMFILE)
    assert finish(proactor, Nop()).error is None


@pytest.mark.needs("descriptors", "files")
@pytest.mark.parametrize("polls", range(12))
def test_a_cancelled_send_file_tells_what_was_sent(
    proactor: Proactor, files: Files, sockets: Sockets, polls: int
) -> None:
    near, far = sockets.tcp_pair()
    send = SendFile(near, files.holding(bytes(200_000)), 0, 200_000)
    proactor.submit(send)
    for _ in range(polls):
        proactor.poll(0.001)
    proactor.cancel(send)
    settle(proactor, send)
    near.shutdown(stdlib_socket.SHUT_WR)
    far.stdlib.setblocking(True)
    received = 0
    while piece := far.stdlib.recv(1 << 20):
        received += len(piece)
    assert received == (send.result or 0)


@pytest.mark.needs("descriptors", "shared_notification")
def test_a_wait_that_was_signalled_before_its_notification_was_closed_completes(proactor: Proactor) -> None:
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:8] as epoch:
        notification = SharedNotification(epoch, wake_handle=wake)
        wait = NotificationWait(notification)
        start(proactor, wait)
        notification.signal()
        notification.close()
        settle(proactor, wait)
        poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
    os.close(wake)
    assert wait.result == 1


@pytest.mark.needs("descriptors", "shared_notification")
def test_a_notification_that_is_closed_before_its_turn_ends_the_wait_only(proactor: Proactor) -> None:
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:8] as epoch:
        notification = SharedNotification(epoch, wake_handle=wake)
        chain = [Timer(soon(), flags=LINKED), NotificationWait(notification)]
        start(proactor, *chain)
        notification.close()
        settle(proactor, *chain)
    os.close(wake)
    assert isinstance(chain[1].error, ClosedResourceError)


# Messages --------------------------------------------------------------------------------------------------------


@pytest.mark.needs("messages")
def test_a_message_can_be_submitted_to_a_proactor_of_another_kind(make_proactor: Callable[..., Proactor]) -> None:
    target = make_proactor()
    received: list[int] = []
    target.set_message_callback(lambda _, data: received.append(data))
    message = Message(target, 1)
    finish(make_proactor(), message)
    with Proactor("poll") as other:
        finish(other, message)
    poll_until(target, lambda: received == [1, 1])


@pytest.mark.needs("messages")
def test_a_target_that_nobody_has_polled_yet_can_be_sent_a_message(make_proactor: Callable[..., Proactor]) -> None:
    target = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    received: list[int] = []
    target.set_message_callback(lambda _, data: received.append(data))
    message = finish(make_proactor(), Message(target, 1))
    poll_until(target, lambda: received == [1])
    assert message.error is None


@pytest.mark.needs("messages")
def test_messages_behind_one_whose_callback_was_interrupted_are_not_waited_for(
    make_proactor: Callable[..., Proactor],
) -> None:
    target = make_proactor()
    received: list[int] = []

    def callback(_: Proactor, data: int) -> None:
        received.append(data)
        if data == 1:
            raise Interrupt

    target.set_message_callback(callback)
    target.send_message(1)
    target.send_message(2)
    with pytest.raises(Interrupt):
        target.poll(1)
    guard = Timer(time.monotonic() + 2)
    target.submit(guard)
    target.poll()
    was_in_time = guard.state is OperationState.SUBMITTED
    target.cancel(guard)
    settle(target, guard)
    assert (received, was_in_time) == ([1, 2], True)


# Other threads ---------------------------------------------------------------------------------------------------


def test_a_cancellation_by_another_thread_is_for_the_submission_that_it_saw(
    proactor: Proactor, completions: Completions
) -> None:
    def cancel_second(operation: Operation, flags: CompletionFlags) -> None:
        thread = threading.Thread(target=proactor.cancel, args=(second,))
        thread.start()
        thread.join()

    def submit_again(operation: Operation, flags: CompletionFlags) -> None:
        completions(operation, flags)
        if len(completions) == 1:
            proactor.submit(operation)

    second = Nop(submit_again)
    proactor.submit(Nop(cancel_second), second)
    poll_until(proactor, lambda: len(completions) == 2)
    assert completions.errors == [None, None]
