"""ProactorThread: polls a proactor on a thread of its own; its end delivers everything."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.runtime.support import in_main_thread_only
from cts.support import Completions, Sockets, finish
from proactor_trio.proactor import (
    Affinity,
    CancelCause,
    FailedPrecondition,
    Nop,
    Operation,
    OperationCancelled,
    Proactor,
    ProactorOptions,
    ProactorThread,
    RecvBytes,
    Send,
    ThreadingMode,
    Timer,
    affinity_any,
)

SECONDS = 20

MakeThread = Callable[..., ProactorThread]


@pytest.fixture
def make_thread(configuration: Configuration) -> Iterator[MakeThread]:
    """Makes threads whose proactor is of the configuration; stops those that a test leaves running."""
    made: list[ProactorThread] = []

    def make(**arguments: Any) -> ProactorThread:
        thread = ProactorThread(backend=configuration.backend, **arguments)
        made.append(thread)
        return thread

    yield make
    for thread in made:
        thread.request_stop()
        assert thread.join(SECONDS)


class Awaited:
    """A completion function that records, and can be waited for in another thread."""

    def __init__(self, expected: int = 1) -> None:
        self.records = Completions()
        self.threads: set[int] = set()
        self._left = threading.Semaphore(0)
        self._expected = expected

    def __call__(self, operation: Operation, flags: Any) -> None:
        self.records(operation, flags)
        self.threads.add(threading.get_ident())
        self._left.release()

    def wait(self) -> Completions:
        for _ in range(self._expected):
            assert self._left.acquire(timeout=SECONDS)
        return self.records


def fail(operation: Operation, flags: Any) -> None:
    raise LookupError("mine")


# Polling ------------------------------------------------------------------------------------------------------------


def test_operations_of_other_threads_complete_on_it(make_thread: MakeThread) -> None:
    thread = make_thread()
    awaited = Awaited()
    thread.proactor.submit(Nop(awaited))
    awaited.wait()
    assert awaited.threads == {thread.identifier} != {threading.get_ident()}


def test_it_makes_its_proactor_with_the_options(make_thread: MakeThread) -> None:
    thread = make_thread(options=ProactorOptions(message_pool_capacity=7), debug_name="mine")
    assert thread.proactor.options == ProactorOptions(message_pool_capacity=7, debug_name="mine")


def test_it_takes_a_proactor_that_nobody_owns(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    awaited = Awaited()
    proactor.submit(Nop(awaited))
    with ProactorThread(proactor) as thread:
        awaited.wait()
        assert thread.proactor is proactor
    assert proactor.is_closed


def test_the_proactor_is_its_own_from_the_beginning(make_thread: MakeThread) -> None:
    with pytest.raises(FailedPrecondition, match="belongs to thread"):
        make_thread().proactor.poll(0)


def test_transfers_go_through_it(make_thread: MakeThread, sockets: Sockets) -> None:
    thread = make_thread()
    near, far = sockets.tcp_pair()
    awaited = Awaited(2)
    thread.proactor.submit(RecvBytes(far, 100, awaited))
    thread.proactor.submit(Send(near, b"hello", awaited))
    assert b"hello" in awaited.wait().results
    thread.close()


def test_a_finite_poll_timeout_changes_nothing_else(make_thread: MakeThread) -> None:
    thread = make_thread(poll_timeout=0.001)
    awaited = Awaited()
    thread.proactor.submit(Timer(time.monotonic() + 0.02, awaited))
    assert awaited.wait().errors == [None]


def test_the_debug_name_is_the_threads_name(make_thread: MakeThread) -> None:
    thread = make_thread(debug_name="storage")
    assert thread.name == "storage" in [each.name for each in threading.enumerate()]


# Affinity -----------------------------------------------------------------------------------------------------------


def processors_of(thread: ProactorThread) -> set[int]:
    seen: list[set[int]] = []
    awaited = Awaited()
    thread.proactor.post(lambda: seen.append(os.sched_getaffinity(0)))
    thread.proactor.submit(Nop(awaited))
    awaited.wait()
    return seen[0]


@pytest.mark.parametrize("kind", ["affinity", "numbers"])
def test_it_really_runs_where_it_is_told(make_thread: MakeThread, kind: str) -> None:
    processor = max(os.sched_getaffinity(0))
    place = Affinity(processors=frozenset((processor,))) if kind == "affinity" else [processor]
    thread = make_thread(affinity=place)
    assert processors_of(thread) == {processor}


def test_the_thread_that_makes_it_stays_where_it_was(make_thread: MakeThread) -> None:
    before = os.sched_getaffinity(0)
    make_thread(affinity=[max(before)])
    assert os.sched_getaffinity(0) == before


def test_any_affinity_binds_to_nothing(make_thread: MakeThread) -> None:
    assert processors_of(make_thread(affinity=affinity_any())) == os.sched_getaffinity(0)


def test_an_affinity_that_does_not_exist_is_refused_and_the_proactor_stays_free(
    make_proactor: Callable[..., Proactor],
) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    threads = threading.active_count()
    with pytest.raises(ValueError, match="affinity"):
        ProactorThread(proactor, affinity=[65000])
    assert threading.active_count() == threads
    finish(proactor, Nop())


# Stopping -----------------------------------------------------------------------------------------------------------


def test_stopping_cancels_what_is_pending_and_delivers_it_on_the_thread(
    make_thread: MakeThread, sockets: Sockets
) -> None:
    thread = make_thread()
    identifier = thread.identifier
    near, _ = sockets.tcp_pair()
    awaited = Awaited(3)
    thread.proactor.submit(Timer(time.monotonic() + 3600, awaited))
    thread.proactor.submit(RecvBytes(near, 10, awaited))
    thread.proactor.submit(Timer(time.monotonic() + 7200, awaited))
    thread.request_stop()
    assert thread.join(SECONDS)
    errors = awaited.records.errors
    assert [type(error) for error in errors] == [OperationCancelled] * 3
    assert {error.cause for error in errors if isinstance(error, OperationCancelled)} == {CancelCause.PROACTOR_CLOSED}
    assert awaited.threads == {identifier}


def test_stopping_closes_the_proactor(make_thread: MakeThread) -> None:
    thread = make_thread()
    thread.close()
    assert thread.proactor.is_closed and not thread.is_running


def test_stopping_is_idempotent(make_thread: MakeThread) -> None:
    thread = make_thread()
    for _ in range(3):
        thread.request_stop()
        assert thread.join(SECONDS)


def test_a_completion_function_may_request_it(make_thread: MakeThread) -> None:
    thread = make_thread()
    thread.proactor.submit(Nop(lambda operation, flags: thread.request_stop()))
    assert thread.join(SECONDS)


@pytest.mark.needs("signals")
@in_main_thread_only
def test_a_signal_handler_may_request_it(make_thread: MakeThread) -> None:
    thread = make_thread()
    before = signal.signal(signal.SIGUSR1, lambda *_: thread.request_stop())
    try:
        signal.raise_signal(signal.SIGUSR1)
        assert thread.join(SECONDS)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_join_says_when_the_time_was_over_first(make_thread: MakeThread) -> None:
    assert make_thread().join(0) is False


def test_its_own_thread_cannot_join_it(make_thread: MakeThread) -> None:
    refusals: list[BaseException] = []
    thread = make_thread(error_callback=refusals.append)
    thread.proactor.submit(Nop(lambda operation, flags: thread.join()))
    thread.request_stop()
    thread.join(SECONDS)
    assert [type(refusal) for refusal in refusals] == [FailedPrecondition]


def test_an_operation_that_comes_too_late_is_refused(make_thread: MakeThread) -> None:
    thread = make_thread()
    thread.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        thread.proactor.submit(Nop())


def test_one_that_is_dropped_while_running_warns_and_ends(configuration: Configuration) -> None:
    thread = ProactorThread(backend=configuration.backend, debug_name="dropped")
    [itself] = [each for each in threading.enumerate() if each.name == "dropped"]
    with pytest.warns(ResourceWarning, match="dropped while running"):
        del thread
        gc.collect()
    itself.join(SECONDS)
    assert not itself.is_alive()


def test_one_that_was_stopped_is_dropped_silently(configuration: Configuration) -> None:
    thread = ProactorThread(backend=configuration.backend, debug_name="dropped")
    [itself] = [each for each in threading.enumerate() if each.name == "dropped"]
    thread.request_stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del thread
        gc.collect()
    itself.join(SECONDS)


# Errors -------------------------------------------------------------------------------------------------------------


def test_errors_go_to_the_error_callback_and_it_goes_on(make_thread: MakeThread) -> None:
    errors: list[tuple[type[Exception], int]] = []
    thread = make_thread(error_callback=lambda error: errors.append((type(error), threading.get_ident())))
    awaited = Awaited()
    thread.proactor.submit(Nop(fail))
    thread.proactor.submit(Nop(awaited))
    awaited.wait()
    thread.close()
    assert errors == [(LookupError, thread.identifier)]


def test_without_one_the_first_error_stops_it_and_join_raises_it_once(make_thread: MakeThread) -> None:
    thread = make_thread()
    thread.proactor.submit(Nop(fail))
    with pytest.raises(LookupError, match="mine"):
        thread.join(SECONDS)
    assert thread.join() is True


def test_an_error_that_stops_it_still_ends_everything_that_is_pending(make_thread: MakeThread) -> None:
    thread = make_thread()
    awaited = Awaited()
    thread.proactor.submit(Timer(time.monotonic() + 3600, awaited), Nop(fail))
    with pytest.raises(LookupError):
        thread.join(SECONDS)
    assert awaited.wait().outcomes == [(None, "cancelled")]


def test_an_error_of_the_error_callback_stops_it(make_thread: MakeThread) -> None:
    def complain(error: Exception) -> None:
        raise OSError("no more") from error

    thread = make_thread(error_callback=complain)
    thread.proactor.submit(Nop(fail))
    with pytest.raises(OSError, match="no more"):
        thread.join(SECONDS)


def test_errors_while_it_ends_are_raised_too(make_thread: MakeThread) -> None:
    thread = make_thread()
    thread.proactor.submit(Timer(time.monotonic() + 3600, fail))
    thread.proactor.submit(Nop(fail))
    with pytest.raises(BaseExceptionGroup) as raised:
        thread.join(SECONDS)
    assert [type(error) for error in raised.value.exceptions] == [LookupError, LookupError]


# Refusals -----------------------------------------------------------------------------------------------------------


def test_a_proactor_of_one_thread_is_refused(proactor: Proactor) -> None:
    with pytest.raises(FailedPrecondition, match="CROSS_THREAD"):
        ProactorThread(proactor)


def test_a_proactor_that_was_polled_is_refused(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    proactor.poll(0)
    with pytest.raises(FailedPrecondition, match="belongs to thread"):
        ProactorThread(proactor)


def test_a_closed_proactor_is_refused(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    proactor.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        ProactorThread(proactor)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"poll_timeout": 0}, ValueError),
        ({"poll_timeout": -1}, ValueError),
        ({"error_callback": 1}, TypeError),
        ({"options": ProactorOptions(max_concurrent_operations=0)}, ValueError),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    make_thread: MakeThread, arguments: dict[str, Any], error: type[Exception]
) -> None:
    threads = threading.active_count()
    with pytest.raises(error, match=next(iter(arguments)).replace("options", "max_concurrent_operations")):
        make_thread(**arguments)
    assert threading.active_count() == threads


def test_a_proactor_comes_without_backend_and_options(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    with pytest.raises(TypeError, match="backend"):
        ProactorThread(proactor, backend="poll")
