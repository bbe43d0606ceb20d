"""to_thread.run_sync(): blocking calls in worker threads."""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sniffio

from cts.semantics.support import blocked, cancelled_block

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


@pytest.mark.semantics(23)
async def test_a_thread_returns_its_result_or_raises_its_error(lib: Any) -> None:
    assert await lib.to_thread.run_sync(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        await lib.to_thread.run_sync(divmod, 1, 0)


@pytest.mark.semantics(23)
async def test_it_is_another_thread_and_a_daemon(lib: Any) -> None:
    thread = await lib.to_thread.run_sync(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon


@pytest.mark.semantics(23)
async def test_an_idle_thread_is_used_again(lib: Any) -> None:
    threads = [await lib.to_thread.run_sync(threading.current_thread) for _ in range(3)]
    assert threads[1] in threads[:1] or threads[2] in threads[:2]


@pytest.mark.semantics(23)
async def test_a_thread_is_named_after_its_function_and_its_task_or_as_told(lib: Any) -> None:
    def own_name() -> str:
        return threading.current_thread().name

    task = lib.lowlevel.current_task()
    assert await lib.to_thread.run_sync(own_name) == f"own_name from {task.name}"
    assert await lib.to_thread.run_sync(own_name, thread_name="mine") == "mine"


@pytest.mark.semantics(23)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the name where Linux shows it")
@pytest.mark.parametrize(
    ("name", "shown"), [("short", "short"), ("a name that is too long", "a name that is "), ("ünïcödé", None)]
)
async def test_the_operating_system_knows_the_name_of_a_thread_while_it_works(
    lib: Any, name: str, shown: str | None
) -> None:
    def system_name() -> tuple[str, Path]:
        file = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        return file.read_text().rstrip("\n"), file

    seen, file = await lib.to_thread.run_sync(system_name, thread_name=name)
    if shown is not None:  # what becomes of other letters is left open
        assert seen == shown
    await lib.to_thread.run_sync(int)
    assert file.read_text().rstrip("\n") != seen


@pytest.mark.semantics(23)
async def test_context_variables_are_copied_into_the_thread(lib: Any) -> None:
    def change() -> str:
        before = variable.get()
        variable.set("changed by the thread")
        return before

    variable.set("of the task")
    assert await lib.to_thread.run_sync(change) == "of the task"
    assert variable.get() == "of the task"


@pytest.mark.semantics(23)
async def test_there_is_no_async_library_in_the_thread(lib: Any) -> None:
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        await lib.to_thread.run_sync(sniffio.current_async_library)
    own_name = "trio" if lib.is_trio else "proactor_trio"
    assert sniffio.current_async_library() == own_name


@pytest.mark.semantics(23)
async def test_an_async_function_is_refused(lib: Any) -> None:
    async def function() -> None:
        pass

    with pytest.raises(TypeError, match="expected a sync"):
        await lib.to_thread.run_sync(function)


@pytest.mark.semantics(23)
async def test_a_running_thread_is_waited_for_though_its_task_is_cancelled(lib: Any) -> None:
    go_on = threading.Event()
    ends: list[str] = []

    def work() -> str:
        assert go_on.wait(10)
        return "done"

    async def call() -> None:
        ends.append(await lib.to_thread.run_sync(work))
        await lib.lowlevel.checkpoint()
        ends.append("never reached")

    async with lib.open_nursery() as nursery:
        nursery.start_soon(call)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with lib.CancelScope(shield=True):
            await lib.testing.wait_all_tasks_blocked()
            assert ends == []
            go_on.set()
    assert ends == ["done"]


@pytest.mark.semantics(23)
async def test_a_thread_that_may_be_abandoned_is_left_alone_and_its_result_dropped(lib: Any) -> None:
    go_on, done = threading.Event(), threading.Event()
    limiter = lib.CapacityLimiter(1)

    def work() -> None:
        assert go_on.wait(10)
        done.set()

    async with lib.open_nursery() as nursery:
        call = functools.partial(lib.to_thread.run_sync, work, abandon_on_cancel=True, limiter=limiter)
        await blocked(lib, nursery, call)
        nursery.cancel_scope.cancel()
    assert not done.is_set()
    assert limiter.borrowed_tokens == 1, "the thread holds its token until it ends"
    go_on.set()
    await limiter.acquire()
    assert done.is_set()


@pytest.mark.semantics(23)
async def test_the_default_limiter_has_forty_tokens_and_belongs_to_the_run(
    lib: Any,
) -> None:
    async def inner() -> object:
        return lib.to_thread.current_default_thread_limiter()

    limiter = lib.to_thread.current_default_thread_limiter()
    assert limiter.total_tokens == 40
    assert lib.to_thread.current_default_thread_limiter() is limiter
    assert await lib.to_thread.run_sync(lib.run, inner) is not limiter


@pytest.mark.semantics(23)
async def test_a_running_thread_holds_a_token(lib: Any) -> None:
    limiter = lib.to_thread.current_default_thread_limiter()
    assert await lib.to_thread.run_sync(lambda: limiter.borrowed_tokens) == 1
    assert limiter.borrowed_tokens == 0


@pytest.mark.semantics(23)
async def test_no_more_threads_run_than_there_are_tokens(lib: Any) -> None:
    limiter = lib.CapacityLimiter(2)
    lock = threading.Lock()
    running = most = 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    async with lib.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(functools.partial(lib.to_thread.run_sync, work, limiter=limiter))
    assert 1 <= most <= 2
    assert limiter.borrowed_tokens == 0


@pytest.mark.semantics(23)
async def test_waiting_for_a_token_is_cancelled_and_no_thread_started(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    limiter.acquire_nowait()
    calls: list[int] = []
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, functools.partial(lib.to_thread.run_sync, calls.append, 1, limiter=limiter))
        nursery.cancel_scope.cancel()
    limiter.release()
    assert calls == [] and limiter.borrowed_tokens == 0


@pytest.mark.semantics(23)
async def test_a_cancelled_task_starts_no_thread_even_if_it_could_be_abandoned(lib: Any) -> None:
    calls: list[int] = []
    with cancelled_block(lib):
        await lib.to_thread.run_sync(calls.append, 1, abandon_on_cancel=True)
    assert calls == []


@pytest.mark.semantics(23)
def test_start_thread_soon_delivers_the_outcome_in_the_thread(lib: Any) -> None:
    delivered: list[tuple[object, object]] = []
    done = threading.Event()

    def deliver(outcome: Any) -> None:
        delivered.append((outcome.unwrap(), threading.current_thread()))
        done.set()

    lib.lowlevel.start_thread_soon(threading.current_thread, deliver)
    assert done.wait(10)
    assert delivered[0][0] is delivered[0][1] is not threading.current_thread()


@pytest.mark.semantics(19, 23)
async def test_a_token_and_a_thread_are_enough_to_come_back(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    event = lib.Event()

    def work(callback: Callable[[], None]) -> None:
        token.run_sync_soon(callback)

    await lib.to_thread.run_sync(work, event.set)
    await event.wait()
