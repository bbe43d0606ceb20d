"""Notifications: an epoch that signals advance, waited for by operations, threads and other processes."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from cts.support import Completions, finish, perform, poll_until, settle, start
from proactor_trio.proactor import (
    ClosedResourceError,
    DeadlineExceeded,
    FailedPrecondition,
    Nop,
    Notification,
    NotificationSignal,
    NotificationSource,
    NotificationWait,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    SharedNotification,
)

LINKED = OperationFlags.LINKED


class SharedEnds:
    """Shared memory with an epoch, an eventfd for each of two sides, and their two notifications."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 4096)
        self.lock_file = os.memfd_create("epoch lock")
        self.handles = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2)]
        near_wake, far_wake = self.handles
        with memoryview(self.memory) as view:
            epoch = view[:8]
            self.near = SharedNotification(epoch, near_wake, far_wake, self.lock_file)
            self.far = SharedNotification(epoch, far_wake, near_wake, self.lock_file)
            epoch.release()

    def close(self) -> None:
        self.near.close()
        self.far.close()
        for handle in (*self.handles, self.lock_file):
            os.close(handle)
        self.memory.close()


@pytest.fixture
def ends() -> Iterator[SharedEnds]:
    made = SharedEnds()
    yield made
    made.close()


@pytest.fixture(params=["process", pytest.param("shared", marks=pytest.mark.needs("shared_notification"))])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """A notification to wait for and one to signal: the same, or two ends of a shared one."""
    if request.param == "process":
        notification = Notification()
        yield notification, notification
        return
    ends = SharedEnds()
    yield ends.near, ends.far
    ends.close()


# Epochs ----------------------------------------------------------------------------------------------------------


@pytest.mark.reference(
    "SharedNotificationTest.SharedEpochSignalAndQuery", "SharedNotificationTest.TwoNotificationsOneEpoch"
)
def test_each_signal_advances_the_epoch_by_one(pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    before = waiting.query_epoch()
    signalled.signal()
    signalled.signal()
    assert (waiting.query_epoch(), signalled.query_epoch()) == (before + 2, before + 2)


@pytest.mark.reference("NotificationTest.SignalNoWaiters")
def test_a_signal_without_waiters_does_no_harm(pair: tuple[Any, Any]) -> None:
    assert pair[1].signal() == 0


def test_epochs_of_four_signalling_threads_all_count(pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    with ThreadPoolExecutor(4) as executor:
        for future in [executor.submit(lambda: [signalled.signal() for _ in range(500)]) for _ in range(4)]:
            future.result()
    assert waiting.query_epoch() == 2000


@pytest.mark.reference("NotificationTest.SignalIfObservedNoWaitersSkipsWake")
def test_a_signal_nobody_observes_wakes_nobody_but_advances_the_epoch() -> None:
    notification = Notification()
    assert not notification.signal_if_observed()
    assert notification.query_epoch() == 1


@pytest.mark.reference("NotificationTest.SignalIfObservedExplicitObservationAdvancesEpoch")
def test_an_observer_is_told_of(pair: tuple[Any, Any]) -> None:
    notification = Notification()
    token = notification.begin_observe()
    assert notification.signal_if_observed()
    assert notification.wait_for_token(token, 0)
    notification.end_observe()
    assert not notification.signal_if_observed()


def test_observing_ends_as_often_as_it_began() -> None:
    with pytest.raises(FailedPrecondition, match="begin_observe"):
        Notification().end_observe()


# Operations ------------------------------------------------------------------------------------------------------


@pytest.mark.needs("shared_notification")
@pytest.mark.reference("NotificationTest.AsyncWait", "SharedNotificationTest.SharedEpochAsyncWait")
def test_a_wait_ends_with_the_next_signal(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    wait = NotificationWait(waiting)
    start(proactor, wait)
    assert wait.state is OperationState.SUBMITTED
    signalled.signal()
    settle(proactor, wait)
    assert wait.result == waiting.query_epoch()


@pytest.mark.needs("shared_notification")
def test_a_signal_from_another_thread_wakes_the_proactor(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    wait = NotificationWait(waiting)
    proactor.submit(wait)
    thread = threading.Thread(target=signalled.signal)
    thread.start()
    settle(proactor, wait)
    thread.join()


@pytest.mark.needs("shared_notification")
def test_a_signal_before_submission_does_not_end_a_wait(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    signalled.signal()
    wait = NotificationWait(waiting)
    start(proactor, wait)
    proactor.poll(0)
    assert wait.state is OperationState.SUBMITTED
    signalled.signal()
    settle(proactor, wait)


@pytest.mark.needs("shared_notification")
@pytest.mark.reference("NotificationTest.AsyncWaitWithCallerWaitToken")
def test_with_a_token_a_signal_since_then_ends_it(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    token = waiting.query_epoch()
    signalled.signal()
    assert finish(proactor, NotificationWait(waiting, token)).error is None


@pytest.mark.needs("shared_notification")
@pytest.mark.reference("NotificationTest.BroadcastWake")
def test_all_waits_go_on_whatever_the_wake_count(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    waits = [NotificationWait(waiting) for _ in range(3)]
    start(proactor, *waits)
    signalled.signal(1)
    settle(proactor, *waits)


@pytest.mark.needs("shared_notification")
@pytest.mark.reference("NotificationTest.RepeatedWaitSignalCycles", "SharedNotificationTest.MultipleCycles")
def test_a_wait_can_be_submitted_again(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    wait = NotificationWait(waiting)
    for _ in range(5):
        start(proactor, wait)
        signalled.signal()
        settle(proactor, wait)
    assert wait.error is None


@pytest.mark.reference("NotificationTest.SignalIfObservedSubmittedAsyncWaitCompletes")
def test_an_operation_that_waits_is_observing(proactor: Proactor) -> None:
    notification = Notification()
    wait = NotificationWait(notification)
    start(proactor, wait)
    assert notification.signal_if_observed()
    settle(proactor, wait)


@pytest.mark.reference("NotificationTest.AsyncSignal")
def test_a_signal_operation_says_how_many_it_woke(proactor: Proactor) -> None:
    notification = Notification()
    waits = [NotificationWait(notification) for _ in range(2)]
    start(proactor, *waits)
    assert perform(proactor, NotificationSignal(notification)) == 2
    settle(proactor, *waits)


@pytest.mark.needs("shared_notification")
@pytest.mark.reference("NotificationTest.ChainedWaitNop")
def test_a_chain_goes_on_behind_a_wait(proactor: Proactor, pair: tuple[Any, Any], completions: Completions) -> None:
    waiting, signalled = pair
    steps = (NotificationWait(waiting, None, completions, 1, LINKED), Nop(completions, 2))
    start(proactor, *steps)
    signalled.signal()
    settle(proactor, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


@pytest.mark.regression("signal-before-its-turn")
def test_in_a_chain_that_breaks_nothing_is_signalled(proactor: Proactor) -> None:
    notification = Notification()
    wait = NotificationWait(Notification(), flags=LINKED)
    last = NotificationSignal(notification)
    start(proactor, wait, last)
    proactor.cancel(wait)
    settle(proactor, last)
    assert (notification.query_epoch(), type(last.error)) == (0, OperationCancelled)


@pytest.mark.reference("NotificationTest.RoundTrip")
def test_two_notifications_make_a_round_trip(proactor: Proactor) -> None:
    there, back = Notification(), Notification()
    answer = NotificationWait(there, completion_fn=lambda operation, flags: back.signal() and None)
    wait = NotificationWait(back)
    start(proactor, answer, wait)
    there.signal()
    settle(proactor, answer, wait)


@pytest.mark.needs("shared_notification")
@pytest.mark.regression("late-cancel-of-notification-waits")
def test_a_cancelled_wait_leaves_the_notification_usable(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    waiting, signalled = pair
    wait = NotificationWait(waiting)
    start(proactor, wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    assert isinstance(wait.error, OperationCancelled)
    start(proactor, wait)
    signalled.signal()
    settle(proactor, wait)
    assert wait.error is None


@pytest.mark.needs("shared_notification")
def test_a_wait_has_a_deadline(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    assert isinstance(finish(proactor, NotificationWait(pair[0], timeout=0.005)).error, DeadlineExceeded)


@pytest.mark.needs("signals")
def test_a_signal_handler_may_signal(proactor: Proactor) -> None:
    notification = Notification()
    wait = NotificationWait(notification)
    start(proactor, wait)
    before = signal.signal(signal.SIGUSR1, lambda number, frame: notification.signal() and None)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        settle(proactor, wait)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_waits_of_two_proactors_are_both_woken(make_proactor: Callable[..., Proactor]) -> None:
    notification = Notification()
    proactors = [make_proactor(), make_proactor()]
    waits = [NotificationWait(notification) for _ in proactors]
    for proactor, wait in zip(proactors, waits, strict=True):
        start(proactor, wait)
    notification.signal()
    for proactor, wait in zip(proactors, waits, strict=True):
        settle(proactor, wait)


@pytest.mark.needs("shared_notification")
def test_a_task_can_await_it(run: Callable[..., Any], pair: tuple[Any, Any]) -> None:
    import proactor_trio

    waiting, signalled = pair

    async def main() -> None:
        async with proactor_trio.open_nursery() as nursery:
            nursery.start_soon(wait_once)
            await proactor_trio.testing.wait_all_tasks_blocked()
            signalled.signal()

    async def wait_once() -> None:
        await NotificationWait(waiting)

    run(main)


# Blocked threads -------------------------------------------------------------------------------------------------


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def blocked(threads: ThreadPoolExecutor, notification: Any) -> Future[bool]:
    """A thread that waits past the epoch as it is now; whether it blocks already or is about to makes no difference."""
    token = notification.query_epoch()
    return threads.submit(notification.wait_for_token, token, 10)


@pytest.mark.reference(
    "NotificationTest.SyncWaitCrossThread",
    "SharedNotificationTest.SharedEpochSyncWait",
    "SharedNotificationTest.CrossNotificationSyncWait",
)
def test_a_signal_wakes_a_blocked_thread(threads: ThreadPoolExecutor, pair: tuple[Any, Any]) -> None:
    future = blocked(threads, pair[0])
    pair[1].signal()
    assert future.result()


@pytest.mark.reference("NotificationTest.SyncWaitTimeout", "SharedNotificationTest.SharedSyncWaitTimeout")
def test_a_thread_waits_no_longer_than_its_timeout(pair: tuple[Any, Any]) -> None:
    assert not pair[0].wait(0.005)


@pytest.mark.reference("NotificationTest.BroadcastWake")
def test_a_signal_of_all_wakes_all_blocked_threads(threads: ThreadPoolExecutor, pair: tuple[Any, Any]) -> None:
    futures = [blocked(threads, pair[0]) for _ in range(4)]
    pair[1].signal()
    assert all(future.result() for future in futures)


@pytest.mark.reference("NotificationTest.MultipleSignalsWhileWaiting")
def test_signals_while_a_thread_waits_are_one(threads: ThreadPoolExecutor, pair: tuple[Any, Any]) -> None:
    future = blocked(threads, pair[0])
    for _ in range(5):
        pair[1].signal()
    assert future.result()


def test_a_token_of_the_past_is_not_waited_for(pair: tuple[Any, Any]) -> None:
    token = pair[0].query_epoch()
    pair[1].signal()
    assert pair[0].wait_for_token(token)


def test_another_process_is_woken(ends: SharedEnds) -> None:
    token = ends.far.query_epoch()
    child = os.fork()
    if not child:
        os._exit(0 if ends.near.wait_for_token(token, 10) else 1)
    ends.far.signal()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.needs("fork", "shared_notification")
def test_another_process_wakes_an_operation(proactor: Proactor, ends: SharedEnds) -> None:
    wait = NotificationWait(ends.near)
    start(proactor, wait)
    child = os.fork()
    if not child:
        ends.far.signal()
        os._exit(0)
    settle(proactor, wait)
    os.waitpid(child, 0)
    assert wait.result == 1


class Blocked:
    """Threads that are blocked until a notification is past its epoch of now; `passed` counts those that went on."""

    def __init__(self, notification: Notification, count: int) -> None:
        self.passed = 0
        token = notification.query_epoch()
        self._notification = notification
        self._threads = [threading.Thread(target=self._wait, args=(token,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()
        until(lambda: f"{count} waiting" in repr(notification))

    def _wait(self, token: int) -> None:
        if self._notification.wait_for_token(token, 10):
            self.passed += 1

    @property
    def alive(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


@pytest.mark.reference("NotificationTest.MultipleWaitersPartialWake")
def test_a_signal_wakes_no_more_blocked_threads_than_asked() -> None:
    notification = Notification()
    blocked = Blocked(notification, 4)
    assert notification.signal(2) == 2
    until(lambda: blocked.alive == 2)
    assert (blocked.passed, "2 waiting" in repr(notification)) == (2, True)
    notification.signal()
    blocked.join()
    assert blocked.passed == 4


@pytest.mark.regression("notification-modes")
def test_one_signal_wakes_threads_and_operations_alike(proactor: Proactor) -> None:
    notification = Notification()
    blocked = Blocked(notification, 1)
    wait = NotificationWait(notification)
    start(proactor, wait)
    assert notification.signal() == 2
    settle(proactor, wait)
    blocked.join()
    assert (blocked.passed, wait.result) == (1, 1)


@pytest.mark.reference("NotificationTest.RetainRelease")
def test_a_wait_keeps_its_notification(proactor: Proactor) -> None:
    notification = Notification()
    alive = weakref.ref(notification)
    wait = NotificationWait(notification, completion_fn=lambda operation, flags: None)
    start(proactor, wait)
    del notification
    gc.collect()
    found = alive()
    assert found is not None
    found.signal()
    settle(proactor, wait)
    assert wait.error is None


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wake_count", [0, -1, 1 << 31])
def test_a_wake_count_is_positive(pair: tuple[Any, Any], wake_count: int) -> None:
    with pytest.raises(ValueError, match="wake_count"):
        pair[1].signal(wake_count)


@pytest.mark.needs("shared_notification")
def test_a_token_has_32_bits(proactor: Proactor, pair: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="wait_token"):
        proactor.submit(NotificationWait(pair[0], 1 << 32))


@pytest.mark.parametrize("operation", [NotificationWait, NotificationSignal])
def test_operations_are_for_notifications(operation: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="notification must be"):
        operation(threading.Event())


@pytest.mark.needs("shared_notification")
def test_without_a_wake_handle_operations_cannot_wait(proactor: Proactor) -> None:
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:8] as epoch:
        with SharedNotification(epoch, lock_file=None) as proxy:
            proxy.signal()
            with pytest.raises(FailedPrecondition, match="wake_handle"):
                proactor.submit(NotificationWait(proxy))


@pytest.mark.needs("shared_notification")
def test_it_is_not_closed_while_operations_wait(proactor: Proactor, ends: SharedEnds) -> None:
    wait = NotificationWait(ends.near)
    start(proactor, wait)
    with pytest.raises(FailedPrecondition, match="1 operations wait"):
        ends.near.close()
    proactor.cancel(wait)
    settle(proactor, wait)
    proactor.poll(0)


@pytest.mark.reference("SharedNotificationTest.DestroyDoesNotClosePrimitives")
def test_closing_it_closes_no_descriptor(ends: SharedEnds) -> None:
    ends.near.close()
    for handle in ends.handles:
        os.fstat(handle)


def test_a_closed_one_is_refused(ends: SharedEnds) -> None:
    ends.near.close()
    with pytest.raises(ClosedResourceError):
        ends.near.signal()


def test_an_epoch_has_eight_bytes() -> None:
    with pytest.raises(ValueError, match="epoch must be 8 bytes"):
        SharedNotification(bytearray(4))


def test_descriptors_are_non_blocking() -> None:
    reader, writer = os.pipe()
    with mmap.mmap(-1, 4096) as memory, memoryview(memory) as view, view[:8] as epoch:
        with pytest.raises(ValueError, match="wake_handle must be non-blocking"):
            SharedNotification(epoch, reader)
    os.close(reader)
    os.close(writer)


def test_both_are_sources() -> None:
    assert issubclass(Notification, NotificationSource) and issubclass(SharedNotification, NotificationSource)


@pytest.mark.needs("shared_notification")
def test_polls_of_a_shared_one_end_with_its_last_wait(proactor: Proactor, ends: SharedEnds) -> None:
    wait = NotificationWait(ends.near)
    start(proactor, wait)
    proactor.cancel(wait)
    settle(proactor, wait)
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])
