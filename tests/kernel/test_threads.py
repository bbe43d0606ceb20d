"""Threads: to_thread.run_sync, its limiter and its cancellation; start_thread_soon and the cache of threads."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import outcome
import pytest

from proactor_trio import (
    CancelScope,
    Event,
    RunFinishedError,
    current_time,
    lowlevel,
    move_on_after,
    open_nursery,
    run,
    sleep,
    to_thread,
)
from proactor_trio.lowlevel import start_thread_soon
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- the call ---------------------------------------------------------------------------------------------------


async def test_a_thread_returns_its_result() -> None:
    assert await to_thread.run_sync(lambda first, second: first + second, 1, 2) == 3


async def test_a_thread_raises_its_error() -> None:
    error = KeyError()

    def crash() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await to_thread.run_sync(crash)
    assert caught.value is error
    assert any(entry.name == "crash" for entry in caught.traceback)


async def test_a_base_exception_comes_out_of_a_thread_too() -> None:
    def crash() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await to_thread.run_sync(crash)


async def test_the_function_runs_in_another_thread() -> None:
    assert await to_thread.run_sync(threading.get_ident) != threading.get_ident()


async def test_the_thread_is_a_daemon() -> None:
    assert await to_thread.run_sync(lambda: threading.current_thread().daemon)


async def test_other_tasks_run_while_the_thread_works() -> None:
    release = threading.Event()

    async def releaser() -> None:
        await wait_all_tasks_blocked()
        release.set()

    async with open_nursery() as nursery:
        nursery.start_soon(releaser)
        assert await to_thread.run_sync(release.wait, 10)


async def test_threads_work_side_by_side() -> None:
    meeting = threading.Barrier(5, timeout=10)
    async with open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(to_thread.run_sync, meeting.wait)


async def test_there_is_no_run_in_the_thread() -> None:
    assert await to_thread.run_sync(lowlevel.in_trio_run) is False
    with pytest.raises(RuntimeError):
        await to_thread.run_sync(current_time)


async def test_many_calls_one_after_the_other_use_few_threads() -> None:
    idents = {await to_thread.run_sync(threading.get_ident) for _ in range(100)}
    assert len(idents) <= 5


# ---- names ------------------------------------------------------------------------------------------------------


async def test_a_thread_is_named_after_its_function_and_its_task() -> None:
    def work() -> str:
        return threading.current_thread().name

    assert await to_thread.run_sync(work) == f"work from {lowlevel.current_task().name}"


async def test_a_thread_may_be_given_a_name() -> None:
    name = await to_thread.run_sync(lambda: threading.current_thread().name, thread_name="the worker")
    assert name == "the worker"


async def test_a_thread_loses_its_name_after_the_call() -> None:
    thread = await to_thread.run_sync(threading.current_thread, thread_name="for one call only")
    for _ in range(1000):
        if thread.name != "for one call only":
            break
        await sleep(0.001)
    assert thread.name != "for one call only"


# ---- context variables ------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


async def test_a_thread_sees_the_context_variables_of_its_task() -> None:
    variable.set("of the task")
    assert await to_thread.run_sync(variable.get) == "of the task"


async def test_what_a_thread_sets_stays_in_the_thread() -> None:
    variable.set("of the task")
    await to_thread.run_sync(variable.set, "of the thread")
    assert variable.get() == "of the task"
    assert await to_thread.run_sync(variable.get) == "of the task"


# ---- cancellation -----------------------------------------------------------------------------------------------


async def test_no_thread_is_started_for_a_cancelled_task() -> None:
    calls: list[str] = []
    for abandon in (False, True):
        with CancelScope() as scope:
            scope.cancel()
            await to_thread.run_sync(calls.append, "called", abandon_on_cancel=abandon)
        assert scope.cancelled_caught
    assert calls == []


async def test_a_running_thread_is_not_cancelled() -> None:
    release = threading.Event()
    scope = CancelScope()
    results: list[str] = []

    def work() -> str:
        release.wait(10)
        return "finished"

    async def child() -> None:
        with scope:
            results.append(await to_thread.run_sync(work))
            await lowlevel.checkpoint()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        release.set()
    assert results == ["finished"]
    assert scope.cancelled_caught  # by the checkpoint after the thread


async def test_a_thread_that_may_be_abandoned_is_abandoned() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        ended.set()

    with move_on_after(0.01) as scope:
        await to_thread.run_sync(work, abandon_on_cancel=True)
    assert scope.cancelled_caught
    assert not ended.is_set()
    release.set()
    await to_thread.run_sync(ended.wait, 10)
    assert ended.is_set()


async def test_the_error_of_an_abandoned_thread_is_dropped() -> None:
    release = threading.Event()
    limiter = to_thread.current_default_thread_limiter()

    def work() -> None:
        release.wait(10)
        raise KeyError("nobody hears this")

    with move_on_after(0.01):
        await to_thread.run_sync(work, abandon_on_cancel=True)
    release.set()
    while limiter.borrowed_tokens:
        await sleep(0.001)
    await lowlevel.checkpoint()


def test_an_abandoned_thread_may_outlive_its_run(capfd: pytest.CaptureFixture[str]) -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        ended.set()

    async def main() -> None:
        with move_on_after(0.01):
            await to_thread.run_sync(work, abandon_on_cancel=True)

    run(main)
    release.set()
    assert ended.wait(10)
    time.sleep(0.01)
    assert capfd.readouterr().err == ""


async def test_abandon_on_cancel_may_be_anything_that_is_true_or_false() -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise NotImplementedError("undecided")

    calls: list[str] = []
    with pytest.raises(NotImplementedError, match="undecided"):
        await to_thread.run_sync(calls.append, "called", abandon_on_cancel=Undecided())  # type: ignore[arg-type]
    assert calls == []
    assert await to_thread.run_sync(lambda: "result", abandon_on_cancel=1) == "result"  # type: ignore[arg-type]


async def test_a_cancelled_shield_does_not_abandon() -> None:
    with CancelScope() as outer:
        with CancelScope(shield=True):
            outer.cancel()
            assert await to_thread.run_sync(lambda: "result", abandon_on_cancel=True) == "result"


# ---- the limiter ------------------------------------------------------------------------------------------------


async def test_the_default_limiter_has_forty_tokens() -> None:
    limiter = to_thread.current_default_thread_limiter()
    assert limiter.total_tokens == 40
    assert limiter.borrowed_tokens == 0
    assert to_thread.current_default_thread_limiter() is limiter


def test_every_run_has_a_default_limiter_of_its_own() -> None:
    async def main() -> Any:
        return to_thread.current_default_thread_limiter()

    assert run(main) is not run(main)


def test_the_default_limiter_needs_a_run() -> None:
    with pytest.raises(RuntimeError):
        to_thread.current_default_thread_limiter()


async def test_a_running_thread_has_a_token() -> None:
    limiter = to_thread.current_default_thread_limiter()
    release = threading.Event()
    async with open_nursery() as nursery:
        nursery.start_soon(to_thread.run_sync, release.wait, 10)
        await wait_all_tasks_blocked()
        assert limiter.borrowed_tokens == 1
        release.set()
    assert limiter.borrowed_tokens == 0


async def test_no_more_threads_run_than_the_limiter_has_tokens() -> None:
    limiter = to_thread.current_default_thread_limiter()
    limiter.total_tokens = 3
    lock = threading.Lock()
    running = most = 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    async with open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(to_thread.run_sync, work)
    assert 1 <= most <= 3
    assert limiter.borrowed_tokens == 0


async def test_waiting_for_a_token_may_be_cancelled() -> None:
    limiter = to_thread.current_default_thread_limiter()
    limiter.total_tokens = 1
    release = threading.Event()
    calls: list[str] = []
    async with open_nursery() as nursery:
        nursery.start_soon(to_thread.run_sync, release.wait, 10)
        await wait_all_tasks_blocked()
        with move_on_after(0.01) as scope:
            await to_thread.run_sync(calls.append, "called")
        assert scope.cancelled_caught
        release.set()
    assert calls == []


async def test_an_abandoned_thread_keeps_its_token_until_it_ends() -> None:
    limiter = to_thread.current_default_thread_limiter()
    release = threading.Event()
    with move_on_after(0.01):
        await to_thread.run_sync(release.wait, 10, abandon_on_cancel=True)
    assert limiter.borrowed_tokens == 1
    release.set()
    while limiter.borrowed_tokens:
        await sleep(0.001)


class Limiter:
    """The least that run_sync asks of a limiter."""

    def __init__(self) -> None:
        self.record: list[str] = []
        self.borrowers: set[object] = set()

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await lowlevel.checkpoint()
        self.record.append("acquire")
        self.borrowers.add(borrower)

    def release_on_behalf_of(self, borrower: object) -> None:
        self.record.append("release")
        self.borrowers.remove(borrower)


async def test_a_limiter_of_the_users_own_is_used_instead() -> None:
    limiter = Limiter()
    await to_thread.run_sync(limiter.record.append, "work", limiter=limiter)  # type: ignore[arg-type]
    assert limiter.record == ["acquire", "work", "release"]
    assert to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_a_limiter_is_released_when_the_thread_fails() -> None:
    limiter = Limiter()

    def crash() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await to_thread.run_sync(crash, limiter=limiter)  # type: ignore[arg-type]
    assert limiter.record == ["acquire", "release"]


async def test_a_limiter_that_refuses_keeps_the_thread_from_starting() -> None:
    class Refusing(Limiter):
        async def acquire_on_behalf_of(self, borrower: object) -> None:
            raise KeyError("refused")

    calls: list[str] = []
    with pytest.raises(KeyError, match="refused"):
        await to_thread.run_sync(calls.append, "called", limiter=Refusing())  # type: ignore[arg-type]
    assert calls == []


async def test_an_error_in_the_release_comes_out_of_the_call() -> None:
    class Faulty(Limiter):
        def release_on_behalf_of(self, borrower: object) -> None:
            raise KeyError("in the release")

    def crash() -> None:
        raise ValueError("in the thread")

    with pytest.raises(KeyError, match="in the release"):
        await to_thread.run_sync(lambda: None, limiter=Faulty())  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="in the release") as caught:
        await to_thread.run_sync(crash, limiter=Faulty())  # type: ignore[arg-type]
    assert isinstance(caught.value.__context__, ValueError)


async def test_an_autojump_clock_leaps_over_a_working_thread(autojump_clock: MockClock) -> None:
    """A thread at work is outside of the run: it does not count as activity."""
    release = threading.Event()

    async def releaser() -> None:
        await sleep(1000)
        release.set()

    async with open_nursery() as nursery:
        nursery.start_soon(releaser)
        assert await to_thread.run_sync(release.wait, 10)
    assert current_time() == 1000


# ---- start_thread_soon ------------------------------------------------------------------------------------------


def test_start_thread_soon_delivers_the_outcome_in_the_thread() -> None:
    delivered: queue.Queue[tuple[outcome.Outcome[int], int]] = queue.Queue()
    start_thread_soon(lambda: 7, lambda result: delivered.put((result, threading.get_ident())))
    result, thread = delivered.get(timeout=10)
    assert result == outcome.Value(7)
    assert thread != threading.get_ident()


def test_start_thread_soon_delivers_errors() -> None:
    error = KeyError()
    delivered: queue.Queue[outcome.Outcome[None]] = queue.Queue()

    def crash() -> None:
        raise error

    start_thread_soon(crash, delivered.put)
    result = delivered.get(timeout=10)
    assert isinstance(result, outcome.Error)
    assert result.error is error


def test_an_idle_thread_is_used_again() -> None:
    delivered: queue.Queue[Any] = queue.Queue()
    seen = set()
    for _ in range(20):
        start_thread_soon(threading.current_thread, delivered.put)
        seen.add(delivered.get(timeout=10).unwrap())
        time.sleep(0.001)
    assert len(seen) <= 3


def test_work_that_a_delivery_starts_gets_the_same_thread() -> None:
    """A thread counts as idle before it delivers."""
    done: queue.Queue[list[threading.Thread]] = queue.Queue()
    seen: list[threading.Thread] = []

    def deliver(result: outcome.Outcome[threading.Thread]) -> None:
        seen.append(result.unwrap())
        if len(seen) < 5:
            start_thread_soon(threading.current_thread, deliver)
        else:
            done.put(seen)

    start_thread_soon(threading.current_thread, deliver)
    assert len(set(done.get(timeout=10))) == 1


def test_work_at_the_same_time_gets_different_threads() -> None:
    delivered: queue.Queue[Any] = queue.Queue()
    meeting = threading.Barrier(3, timeout=10)

    def work() -> int:
        meeting.wait()
        return threading.get_ident()

    for _ in range(3):
        start_thread_soon(work, delivered.put)
    assert len({delivered.get(timeout=10).unwrap() for _ in range(3)}) == 3


def test_a_thread_of_start_thread_soon_may_be_given_a_name() -> None:
    delivered: queue.Queue[Any] = queue.Queue()
    start_thread_soon(lambda: threading.current_thread().name, delivered.put, name="the worker")
    assert delivered.get(timeout=10).unwrap() == "the worker"


def test_a_thread_survives_a_delivery_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    delivered: queue.Queue[Any] = queue.Queue()

    def faulty(result: outcome.Outcome[None]) -> None:
        delivered.put(result)
        raise KeyError("in the delivery")

    start_thread_soon(lambda: None, faulty)
    delivered.get(timeout=10)
    start_thread_soon(lambda: "next", delivered.put)
    assert delivered.get(timeout=10).unwrap() == "next"


def test_what_the_work_held_is_let_go_when_it_is_delivered(gc_collect: Callable[[], None]) -> None:
    class Resource:
        pass

    delivered: queue.Queue[bool] = queue.Queue()

    def start() -> None:
        resource = Resource()
        reference = weakref.ref(resource)

        def work(resource: Resource = resource) -> None:
            pass

        start_thread_soon(work, lambda result: delivered.put(reference() is None))

    start()
    assert delivered.get(timeout=10)


async def test_a_token_and_a_thread_are_enough_to_build_run_sync() -> None:
    token = lowlevel.current_trio_token()
    event = Event()
    results: list[outcome.Outcome[str]] = []

    def deliver(result: outcome.Outcome[str]) -> None:
        try:
            results.append(result)
            token.run_sync_soon(event.set)
        except RunFinishedError:
            pass

    start_thread_soon(lambda: "from the thread", deliver)
    await event.wait()
    assert results == [outcome.Value("from the thread")]
