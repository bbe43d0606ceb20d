"""The first part of the table of docs/proactor-threads.md: what any thread may do.

Four threads do it at the same time, and the interpreter changes between them as often as it can, while the owner polls.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cts.support import Completions, poll_until, settle, start
from proactor_trio.proactor import (
    Access,
    Axis,
    BufferPool,
    Event,
    EventPool,
    EventWait,
    Frontier,
    FrontierTracker,
    Nop,
    Notification,
    NotificationWait,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    ResourceExhausted,
    SemaphoreSignal,
    SemaphoreWait,
    Slab,
    SoftwareOperation,
    TimelineSemaphore,
    Timer,
    register_slab,
)

THREADS = 4
ROUNDS = 100
SECONDS = 20
LINKED = OperationFlags.LINKED
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "proactor-threads.md"

Work = Callable[[int], object]


@pytest.fixture(autouse=True)
def threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Hammer:
    """Four threads that do `work(number)` at the same time; `join()` raises what one of them raised."""

    def __init__(self, work: Work) -> None:
        self.errors: list[BaseException] = []
        self._work = work
        self._barrier = threading.Barrier(THREADS)
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        try:
            self._barrier.wait()
            self._work(number)
        except BaseException as error:
            self.errors.append(error)

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
        if self.errors:
            raise self.errors[0]
        assert self.is_over


def hammer(work: Work) -> None:
    """Let four threads do it, and wait for them."""
    Hammer(work).join()


def hammer_and_poll(proactor: Proactor, work: Work, condition: Callable[[], object] = lambda: True) -> None:
    """Let four threads do it while the owner polls, until they are done and the condition holds."""
    threads = Hammer(work)

    def is_over() -> object:
        return threads.errors or (threads.is_over and condition())

    poll_until(proactor, is_over, seconds=SECONDS, polls=1_000_000)
    threads.join()


# The proactor: any thread -------------------------------------------------------------------------------------------


def labels_of(completions: Completions) -> list[tuple[int, int, int]]:
    labels: list[Any] = completions.labels
    return labels


def test_submit(proactor: Proactor, completions: Completions) -> None:
    def work(thread: int) -> None:
        for number in range(ROUNDS):
            proactor.submit(Nop(completions, (thread, number, 0), LINKED), Nop(completions, (thread, number, 1)))

    hammer_and_poll(proactor, work, lambda: len(completions) == THREADS * ROUNDS * 2)
    for step in range(2):
        for thread in range(THREADS):
            mine = [label[1] for label in labels_of(completions) if (label[0], label[2]) == (thread, step)]
            assert mine == list(range(ROUNDS))


def test_cancel(proactor: Proactor, completions: Completions) -> None:
    """All four cancel the same operations."""
    timers = [Timer(time.monotonic() + 3600, completions, number) for number in range(ROUNDS)]
    start(proactor, *timers)

    def work(thread: int) -> None:
        for timer in timers:
            proactor.cancel(timer)

    hammer_and_poll(proactor, work, lambda: len(completions) >= ROUNDS)
    proactor.poll(0)
    assert sorted(map(str, completions.outcomes)) == sorted(str((number, "cancelled")) for number in range(ROUNDS))


def test_wake(proactor: Proactor) -> None:
    """Each thread waits for the poll that its wake-up has ended."""
    polls = [threading.Semaphore(0) for _ in range(THREADS)]

    def work(thread: int) -> None:
        for _ in range(ROUNDS):
            proactor.wake()
            assert polls[thread].acquire(timeout=SECONDS)

    threads = Hammer(work)
    while not threads.is_over:
        proactor.poll(0.1)
        for semaphore in polls:
            semaphore.release()
    threads.join()


def test_post(proactor: Proactor) -> None:
    calls: list[tuple[int, int, int]] = []

    def work(thread: int) -> None:
        for number in range(ROUNDS):
            proactor.post(lambda number=number: calls.append((thread, number, threading.get_ident())))  # type: ignore[misc]

    hammer_and_poll(proactor, work, lambda: len(calls) == THREADS * ROUNDS)
    assert {owner for _, _, owner in calls} == {threading.get_ident()}
    assert all([n for t, n, _ in calls if t == thread] == list(range(ROUNDS)) for thread in range(THREADS))


@pytest.mark.needs("messages")
@pytest.mark.reference("MessageTest.SendMessageFromMultipleThreads")
def test_send_message(make_proactor: Callable[..., Proactor]) -> None:
    target = make_proactor(message_pool_capacity=16)
    received: list[int] = []
    target.set_message_callback(lambda _, data: received.append(data))

    def work(thread: int) -> None:
        for number in range(ROUNDS):
            while True:
                try:
                    target.send_message(thread << 32 | number)
                    break
                except ResourceExhausted:
                    time.sleep(0)

    hammer_and_poll(target, work, lambda: len(received) == THREADS * ROUNDS)
    for thread in range(THREADS):
        assert [data & 0xFFFF for data in received if data >> 32 == thread] == list(range(ROUNDS))


class Waiting(SoftwareOperation):
    """A software operation that somebody finishes."""

    def _begin(self, proactor: Proactor) -> None:
        return

    def _cancel(self, proactor: Proactor) -> None:
        return


def test_finish(proactor: Proactor, completions: Completions) -> None:
    """All four finish the same software operations."""
    operations = [Waiting(completions) for _ in range(ROUNDS)]
    start(proactor, *operations)

    def work(thread: int) -> None:
        for operation in operations:
            proactor.finish(operation, operation.identifier, 0)

    hammer_and_poll(proactor, work, lambda: len(completions) >= ROUNDS)
    proactor.poll(0)
    assert completions.operations == operations


def test_statistics(proactor: Proactor) -> None:
    hammer_and_poll(proactor, lambda thread: [proactor.statistics() for _ in range(ROUNDS)])


# Semaphores and fences: any thread ----------------------------------------------------------------------------------


def test_semaphore_signal() -> None:
    """Each value is signalled by one thread, and refused to the others."""
    semaphore = TimelineSemaphore()
    succeeded: list[int] = []

    def work(thread: int) -> None:
        for value in range(1, ROUNDS + 1):
            try:
                semaphore.signal(value)
            except ValueError:
                continue
            succeeded.append(value)

    hammer(work)
    assert semaphore.query() == ROUNDS
    assert sorted(succeeded) == sorted(set(succeeded))


def test_semaphore_timepoints() -> None:
    """Two threads wait, two signal: each timepoint is called once, or was withdrawn."""
    semaphore = TimelineSemaphore()
    called: list[tuple[int, int]] = []
    withdrawn: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        for value in range(1, ROUNDS + 1):
            if thread % 2:
                try:
                    semaphore.signal(value)
                except ValueError:
                    continue
            else:
                key = (thread, value)
                timepoint = semaphore.acquire_timepoint(value, lambda error, key=key: called.append(key))  # type: ignore[misc]
                if value % 3 == 0 and timepoint.cancel():
                    withdrawn.append(key)

    hammer(work)
    assert sorted(called + withdrawn) == [(thread, value) for thread in (0, 2) for value in range(1, ROUNDS + 1)]


def test_semaphore_fail() -> None:
    semaphore = TimelineSemaphore()
    told: list[BaseException | None] = []
    for value in range(1, ROUNDS + 1):
        semaphore.resolve(value, told.append)
    failures = [OSError(thread) for thread in range(THREADS)]
    hammer(lambda thread: semaphore.fail(failures[thread]))
    assert semaphore.error in failures
    assert told == [semaphore.error] * ROUNDS


def test_semaphore_frontier() -> None:
    semaphore = TimelineSemaphore()

    def work(thread: int) -> None:
        for epoch in range(1, ROUNDS + 1):
            semaphore.merge_frontier(Frontier([(axis(thread), epoch)]))

    hammer(work)
    assert semaphore.query_frontier() == Frontier([(axis(thread), ROUNDS) for thread in range(THREADS)])


def test_semaphore_operations(proactor: Proactor) -> None:
    """Operations wait for what threads signal, and signal what threads wait for."""
    requests = [TimelineSemaphore() for _ in range(THREADS)]
    answers = [TimelineSemaphore() for _ in range(THREADS)]

    def work(thread: int) -> None:
        for value in range(1, ROUNDS // 4):
            done = threading.Event()
            answers[thread].resolve(value, lambda error, done=done: done.set())  # type: ignore[misc]
            proactor.submit(
                SemaphoreWait([requests[thread]], [value], flags=LINKED), SemaphoreSignal([answers[thread]], [value])
            )
            requests[thread].signal(value)
            assert done.wait(SECONDS)

    hammer_and_poll(proactor, work, lambda: not proactor.statistics()["in_flight"])


@pytest.mark.needs("descriptors", "fences")
@pytest.mark.reference("FencePosixTest.ImportFence_MultipleCrossThreadImports")
def test_import_fence(proactor: Proactor) -> None:
    semaphores = [TimelineSemaphore() for _ in range(THREADS * 8)]

    def work(thread: int) -> None:
        for semaphore in semaphores[thread::THREADS]:
            fence = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            writer = os.dup(fence)
            semaphore.import_fence(proactor, fence, 1)
            os.eventfd_write(writer, 1)
            os.close(writer)

    hammer_and_poll(proactor, work, lambda: all(semaphore.query() == 1 for semaphore in semaphores))


def test_export_fence() -> None:
    semaphore = TimelineSemaphore()
    fences: list[int] = []

    def work(thread: int) -> None:
        for value in range(1, ROUNDS // 4):
            fences.append(semaphore.export_fence(value))
            if thread == 0:
                semaphore.signal(value)

    hammer(work)
    readable = [os.eventfd_read(fence) for fence in fences]
    for fence in fences:
        os.close(fence)
    assert readable == [1] * (THREADS * (ROUNDS // 4 - 1))


# Events and notifications: any thread -------------------------------------------------------------------------------


def test_event_set(proactor: Proactor, completions: Completions) -> None:
    """Each thread sets its event again when a wait has taken the last signal."""
    events = [Event() for _ in range(THREADS)]
    taken = [threading.Semaphore(0) for _ in range(THREADS)]

    def wait_again(operation: Operation, flags: object) -> None:
        completions(operation, flags)  # type: ignore[arg-type]
        thread: Any = operation.user_data
        taken[thread].release()
        if sum(label == thread for label in completions.labels) < ROUNDS:
            proactor.submit(operation)

    proactor.submit(*(EventWait(event, wait_again, thread) for thread, event in enumerate(events)))

    def work(thread: int) -> None:
        for _ in range(ROUNDS):
            events[thread].set()
            assert taken[thread].acquire(timeout=SECONDS)

    hammer_and_poll(proactor, work, lambda: len(completions) == THREADS * ROUNDS)
    for event in events:
        event.close()


def test_event_set_of_one_event(proactor: Proactor) -> None:
    with Event() as event:
        hammer(lambda thread: [event.set() for _ in range(ROUNDS)])
        wait, another = EventWait(event), EventWait(event)
        start(proactor, wait)
        settle(proactor, wait)
        start(proactor, another)
        assert another.state is OperationState.SUBMITTED
        proactor.cancel(another)
        settle(proactor, another)


def test_event_pool() -> None:
    owners: dict[Event, int] = {}
    with EventPool(2) as pool:

        def work(thread: int) -> None:
            for _ in range(ROUNDS):
                event = pool.acquire()
                assert owners.setdefault(event, thread) == thread
                del owners[event]
                pool.release(event)

        hammer(work)
        assert pool.available == pool.capacity <= THREADS


def test_notification_signal() -> None:
    notification = Notification()
    hammer(lambda thread: [notification.signal() for _ in range(ROUNDS)])
    assert notification.query_epoch() == THREADS * ROUNDS


def test_notification_operations(proactor: Proactor, completions: Completions) -> None:
    """Each wait is ended by a signal after its submission; the last ones by one that comes behind all threads."""
    notification = Notification()

    def work(thread: int) -> None:
        for _ in range(ROUNDS):
            proactor.submit(NotificationWait(notification, completion_fn=completions))
            notification.signal()

    def all_have_ended() -> bool:
        notification.signal()
        return len(completions) == THREADS * ROUNDS

    hammer_and_poll(proactor, work, all_have_ended)


def test_notification_observation() -> None:
    """Who observes, looks and then waits for his token misses no signal; with one token nobody waits for ever."""
    notification = Notification()
    flags = [False] * THREADS

    def work(thread: int) -> None:
        for _ in range(ROUNDS // 2):
            if thread % 2:
                while flags[thread - 1]:
                    time.sleep(0)
                flags[thread - 1] = True
                notification.signal_if_observed()
            else:
                token = notification.begin_observe()
                while not flags[thread]:
                    notification.wait_for_token(token, SECONDS)
                    token = notification.query_epoch()
                notification.end_observe()
                flags[thread] = False

    hammer(work)


# Frontiers: any thread ----------------------------------------------------------------------------------------------


def axis(number: int) -> int:
    return Axis.make_queue(1, 0, 0, number)


def tracker_of(axes: int) -> FrontierTracker:
    tracker = FrontierTracker(axis_table_capacity=axes)
    for number in range(axes):
        tracker.register_axis(axis(number))
    return tracker


def test_frontier_advance_and_wait() -> None:
    """Each thread advances its axis and waits for those of the others."""
    told: list[BaseException | None] = []
    with tracker_of(THREADS) as tracker:

        def work(thread: int) -> None:
            for epoch in range(1, ROUNDS + 1):
                tracker.acquire_timepoint(Frontier([(axis(each), epoch) for each in range(THREADS)]), told.append)
                tracker.advance(axis(thread), epoch)

        hammer(work)
        assert told == [None] * (THREADS * ROUNDS)


def test_frontier_timepoint_cancel() -> None:
    told: list[int] = []
    withdrawn: list[int] = []
    with tracker_of(1) as tracker:

        def work(thread: int) -> None:
            for epoch in range(1, ROUNDS + 1):
                if thread == 0:
                    tracker.advance(axis(0), epoch)
                else:
                    wanted = Frontier([(axis(0), epoch)])
                    wait = tracker.acquire_timepoint(wanted, lambda error, epoch=epoch: told.append(epoch))  # type: ignore[misc]
                    if wait.cancel():
                        withdrawn.append(epoch)

        hammer(work)
    assert sorted(told + withdrawn) == sorted([*range(1, ROUNDS + 1)] * (THREADS - 1))


def test_frontier_operations(proactor: Proactor) -> None:
    """Several threads advance their axes while operations wait for all of them."""
    with tracker_of(THREADS) as tracker:
        frontiers = [Frontier([(axis(each), epoch) for each in range(THREADS)]) for epoch in range(1, ROUNDS + 1)]
        waits = [tracker.wait(frontier) for frontier in frontiers]
        proactor.submit(*waits)
        hammer(lambda thread: [tracker.advance(axis(thread), epoch) for epoch in range(1, ROUNDS + 1)])
        settle(proactor, *waits)
    assert [wait.result for wait in waits] == [frontiers[-1]] * ROUNDS


def test_frontier_fail_axis() -> None:
    told: list[BaseException | None] = []
    failures = [OSError(thread) for thread in range(THREADS)]
    with tracker_of(1) as tracker:
        for epoch in range(1, ROUNDS + 1):
            tracker.acquire_timepoint(Frontier([(axis(0), epoch)]), told.append)
        hammer(lambda thread: tracker.fail_axis(axis(0), failures[thread]))
    assert len(told) == ROUNDS and len(set(map(id, told))) == 1 and told[0] in failures


# Memory: any thread -------------------------------------------------------------------------------------------------


def test_buffer_pool(proactor: Proactor) -> None:
    owners: dict[int, int] = {}
    with (
        Slab.allocate(64, THREADS) as slab,
        register_slab(proactor, slab, Access.READ) as region,
        BufferPool(region) as pool,
    ):

        def work(thread: int) -> None:
            for _ in range(ROUNDS):
                lease = pool.acquire()
                assert owners.setdefault(lease.index, thread) == thread
                lease.view[:1] = bytes([thread])
                assert lease.view[0] == thread
                del owners[lease.index]
                lease.release()

        hammer(work)
        assert pool.available == THREADS


# The document -------------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_names_a_test_that_exists() -> None:
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    root = DOCUMENT.parent.parent
    for row in rows:
        [(path, name)] = re.findall(r"`((?:cts|tests)/[\w/]+\.py)::(test_\w+)`", row)
        assert f"\ndef {name}(" in (root / path).read_text(encoding="utf-8"), row
