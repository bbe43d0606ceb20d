"""from_thread: calls from threads into a run."""

from __future__ import annotations

import contextvars
import functools
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import sniffio

from cts.semantics.support import cancelled_block, in_main_thread_only, interrupt

SECONDS = 20

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


class Foreign:
    """A thread of the test's own, which makes one call."""

    def __init__(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._call = functools.partial(function, *args, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as error:
            self.error = error

    def join(self) -> Foreign:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the thread hangs"
        return self


async def joined(lib: Any, thread: Foreign) -> Foreign:
    done: Foreign = await lib.to_thread.run_sync(thread.join, abandon_on_cancel=True)
    return done


# Into the task that waits -------------------------------------------------------------------------------------------


@pytest.mark.semantics(24)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_call_returns_or_raises_in_the_thread_what_it_does_in_the_run(lib: Any, is_async: bool) -> None:
    async def divide(*numbers: int) -> object:
        await lib.lowlevel.checkpoint()
        return divmod(*numbers)

    call, function = (lib.from_thread.run, divide) if is_async else (lib.from_thread.run_sync, divmod)
    assert await lib.to_thread.run_sync(call, function, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        await lib.to_thread.run_sync(call, function, 1, 0)


@pytest.mark.semantics(24)
async def test_a_call_is_made_in_the_task_that_waits_for_the_thread(lib: Any) -> None:
    async def current_task() -> object:
        await lib.lowlevel.checkpoint()
        return lib.lowlevel.current_task()

    task = lib.lowlevel.current_task()
    assert await lib.to_thread.run_sync(lib.from_thread.run, current_task) is task
    assert await lib.to_thread.run_sync(lib.from_thread.run_sync, lib.lowlevel.current_task) is task


@pytest.mark.semantics(24)
async def test_one_thread_may_call_many_times(lib: Any) -> None:
    seen: list[int] = []

    async def append(number: int) -> None:
        await lib.sleep(0)
        seen.append(number)

    def work() -> None:
        for number in range(0, 20, 2):
            lib.from_thread.run(append, number)
            lib.from_thread.run_sync(seen.append, number + 1)

    await lib.to_thread.run_sync(work)
    assert seen == list(range(20))


@pytest.mark.semantics(24)
async def test_a_call_may_wait_for_another_thread_that_calls(lib: Any) -> None:
    async def deeper(depth: int) -> int:
        if depth == 0:
            return 0
        below: int = await lib.to_thread.run_sync(lib.from_thread.run, deeper, depth - 1)
        return below + 1

    assert await deeper(5) == 5


@pytest.mark.semantics(24)
async def test_the_context_of_the_thread_goes_along_and_does_not_come_back(lib: Any) -> None:
    async def change_async() -> str:
        before = variable.get()
        variable.set("of the call")
        await lib.lowlevel.checkpoint()
        assert variable.get() == "of the call"
        return before

    def change() -> str:
        before = variable.get()
        variable.set("of the call")
        return before

    def work() -> list[str]:
        variable.set("of the thread")
        seen = [lib.from_thread.run(change_async), lib.from_thread.run_sync(change), variable.get()]
        return seen

    variable.set("of the task")
    assert await lib.to_thread.run_sync(work) == ["of the thread"] * 3
    assert variable.get() == "of the task"


@pytest.mark.semantics(24)
@pytest.mark.parametrize("with_token", [False, True])
async def test_a_call_knows_its_async_library_and_the_thread_has_none(lib: Any, with_token: bool) -> None:
    token = {"trio_token": lib.lowlevel.current_trio_token()} if with_token else {}

    async def library() -> str:
        return sniffio.current_async_library()

    def work() -> list[str]:
        seen = [
            lib.from_thread.run(library, **token),
            lib.from_thread.run_sync(sniffio.current_async_library, **token),
        ]
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            sniffio.current_async_library()
        return seen

    assert await lib.to_thread.run_sync(work) == ["trio" if lib.is_trio else "proactor_trio"] * 2


@pytest.mark.semantics(24)
async def test_a_cancelled_task_makes_plain_calls_and_cancels_async_ones(lib: Any) -> None:
    is_running = threading.Event()
    go_on = threading.Event()
    plain: list[str] = []

    def work() -> None:
        is_running.set()
        assert go_on.wait(SECONDS)
        lib.from_thread.run_sync(plain.append, "made")
        lib.from_thread.run(lib.sleep_forever)

    async def cancel(scope: Any) -> None:
        await lib.to_thread.run_sync(is_running.wait, SECONDS)
        scope.cancel()
        go_on.set()

    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            nursery.start_soon(cancel, scope)
            await lib.to_thread.run_sync(work)
    assert scope.cancelled_caught
    assert plain == ["made"]


@pytest.mark.semantics(24)
async def test_a_call_that_waits_is_cancelled_with_its_task(lib: Any) -> None:
    raised: list[BaseException] = []

    async def wait_and_cancel(scope: Any) -> None:
        scope.cancel()
        await lib.sleep_forever()

    def work(scope: Any) -> str:
        try:
            lib.from_thread.run(wait_and_cancel, scope)
        except lib.Cancelled as cancelled:
            raised.append(cancelled)
        return "went on"

    with lib.CancelScope() as scope:
        assert await lib.to_thread.run_sync(work, scope) == "went on"
    assert len(raised) == 1
    assert not scope.cancelled_caught


@pytest.mark.semantics(24)
async def test_a_scope_around_the_call_does_not_reach_the_thread(lib: Any) -> None:
    async def call() -> str:
        with lib.CancelScope() as scope:
            scope.cancel()
            await lib.sleep_forever()
        return "absorbed"

    assert await lib.to_thread.run_sync(lib.from_thread.run, call) == "absorbed"


# For itself ---------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(24)
@pytest.mark.parametrize("with_token", [False, True])
async def test_a_call_with_a_token_or_for_a_task_that_may_leave_is_a_system_task(lib: Any, with_token: bool) -> None:
    token = {"trio_token": lib.lowlevel.current_trio_token()} if with_token else {}

    async def whose() -> tuple[object, object]:
        task = lib.lowlevel.current_task()
        return task, task.parent_nursery.parent_task

    call = functools.partial(lib.from_thread.run, whose, **token)
    task, parent = await lib.to_thread.run_sync(call, abandon_on_cancel=not with_token)
    assert task is not lib.lowlevel.current_task()
    assert parent is lib.lowlevel.current_root_task()


@pytest.mark.semantics(24)
async def test_a_plain_call_with_a_token_is_not_made_in_the_task_that_waits(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    waiting_task, thread_of_run = lib.lowlevel.current_task(), threading.current_thread()

    def where() -> tuple[bool, bool]:
        is_waiting_task = lib.lowlevel.in_trio_task() and lib.lowlevel.current_task() is waiting_task
        return threading.current_thread() is thread_of_run and lib.lowlevel.in_trio_run(), is_waiting_task

    call = functools.partial(lib.from_thread.run_sync, where, trio_token=token)
    assert await lib.to_thread.run_sync(call) == (True, False)


@pytest.mark.semantics(24)
async def test_a_foreign_thread_calls_with_a_token(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()

    async def add(left: int, right: int) -> int:
        await lib.lowlevel.checkpoint()
        return left + right

    for call, function in ((lib.from_thread.run, add), (lib.from_thread.run_sync, max)):
        thread = await joined(lib, Foreign(call, function, 3, 4, trio_token=token))
        assert (thread.value, thread.error) == (7 if function is add else 4, None)


@pytest.mark.semantics(24)
async def test_an_error_of_a_call_ends_nothing_in_the_run(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()

    async def fail() -> None:
        raise KeyError("of the call")

    def fail_at_once() -> None:
        raise KeyError("of the call")

    for call, function in ((lib.from_thread.run, fail), (lib.from_thread.run_sync, fail_at_once)):
        thread = await joined(lib, Foreign(call, function, trio_token=token))
        assert isinstance(thread.error, KeyError)
    await lib.lowlevel.checkpoint()


@pytest.mark.semantics(24)
def test_a_system_task_is_cancelled_when_the_run_ends(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> Foreign:
        waiting = lib.Event()

        async def wait() -> None:
            waiting.set()
            await lib.sleep_forever()

        thread = Foreign(lib.from_thread.run, wait, trio_token=lib.lowlevel.current_trio_token())
        await waiting.wait()
        return thread

    assert isinstance(run(main).join().error, lib.Cancelled)


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(24)
def test_a_run_that_is_over_is_refused(lib: Any, run: Callable[..., Any]) -> None:
    async def token_of_run() -> object:
        return lib.lowlevel.current_trio_token()

    token = run(token_of_run)
    for call, function in ((lib.from_thread.run, lib.sleep_forever), (lib.from_thread.run_sync, list)):
        with pytest.raises(lib.RunFinishedError):
            call(function, trio_token=token)


@pytest.mark.semantics(24)
def test_a_thread_that_was_left_alone_finds_the_run_over(lib: Any, run: Callable[..., Any]) -> None:
    go_on = threading.Event()
    errors: list[BaseException] = []
    over = threading.Event()

    def work() -> None:
        try:
            assert go_on.wait(SECONDS)
            lib.from_thread.run(lib.sleep, 0)
        except BaseException as error:
            errors.append(error)
        over.set()

    async def main() -> None:
        with lib.move_on_after(0):
            await lib.to_thread.run_sync(work, abandon_on_cancel=True)
        async with lib.open_nursery() as nursery:
            nursery.start_soon(functools.partial(lib.to_thread.run_sync, work, abandon_on_cancel=True))
            await lib.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    run(main)
    go_on.set()
    assert over.wait(SECONDS)
    assert [type(error) for error in errors] == [lib.RunFinishedError]


@pytest.mark.semantics(24)
def test_a_system_task_is_refused_while_the_run_ends(lib: Any, run: Callable[..., Any]) -> None:
    """The system nursery is closed already while async generators are finalised."""
    errors: list[BaseException | None] = []

    async def generator(token: Any) -> Any:
        try:
            yield 1
        finally:
            thread = Foreign(lib.from_thread.run, lib.sleep, 0, trio_token=token)
            with lib.CancelScope(shield=True):
                errors.append((await joined(lib, thread)).error)

    kept: list[Any] = []

    async def main() -> None:
        agen = generator(lib.lowlevel.current_trio_token())
        kept.append(agen)
        await agen.__anext__()

    run(main)
    assert [type(error) for error in errors] == [lib.RunFinishedError]


@pytest.mark.semantics(24)
def test_a_thread_without_a_run_needs_a_token(lib: Any) -> None:
    for call, function in ((lib.from_thread.run, lib.sleep), (lib.from_thread.run_sync, list)):
        with pytest.raises(RuntimeError, match="trio_token"):
            call(function)


@pytest.mark.semantics(24)
@pytest.mark.parametrize("token", ["text", 0, False])
def test_what_is_no_token_is_refused(lib: Any, token: object) -> None:
    with pytest.raises(RuntimeError):
        lib.from_thread.run_sync(list, trio_token=token)


@pytest.mark.semantics(24)
@pytest.mark.parametrize("with_token", [False, True])
async def test_the_thread_of_the_run_itself_is_refused(lib: Any, with_token: bool) -> None:
    token = {"trio_token": lib.lowlevel.current_trio_token()} if with_token else {}
    with pytest.raises(RuntimeError):
        lib.from_thread.run_sync(list, **token)
    with pytest.raises(RuntimeError):
        lib.from_thread.run(lib.sleep, 0, **token)


@pytest.mark.semantics(24)
async def test_a_thread_that_is_inside_another_run_may_call(lib: Any, run: Callable[..., Any]) -> None:
    """On real Trio a thread is refused that is inside any run, whichever it calls into."""
    outer = lib.lowlevel.current_trio_token()

    async def inside() -> list[object]:
        seen: list[object] = []
        for options in ({"trio_token": outer}, {}):
            try:
                seen.append(lib.from_thread.run_sync(lib.lowlevel.current_trio_token, **options))
            except RuntimeError as error:
                seen.append(type(error))
        return seen

    seen = await lib.to_thread.run_sync(run, inside)
    assert seen == ([RuntimeError] * 2 if lib.is_trio else [outer] * 2)


@pytest.mark.semantics(24)
@pytest.mark.parametrize("with_token", [False, True])
async def test_plain_and_async_functions_are_not_mixed_up(lib: Any, with_token: bool) -> None:
    token = {"trio_token": lib.lowlevel.current_trio_token()} if with_token else {}

    async def function() -> None:
        pass

    with pytest.raises(TypeError, match="expected a sync"):
        await lib.to_thread.run_sync(functools.partial(lib.from_thread.run_sync, function, **token))
    with pytest.raises(TypeError, match="expected an async function"):
        await lib.to_thread.run_sync(functools.partial(lib.from_thread.run, list, **token))


@pytest.mark.semantics(24)
async def test_a_coroutine_in_place_of_a_function_is_explained(lib: Any) -> None:
    async def function() -> None:
        pass

    def work() -> None:
        lib.from_thread.run(function())

    with pytest.raises(TypeError, match="expect"):
        await lib.to_thread.run_sync(work)


# check_cancelled ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(24)
async def test_nothing_was_cancelled(lib: Any) -> None:
    assert await lib.to_thread.run_sync(lib.from_thread.check_cancelled) is None


@pytest.mark.semantics(24)
@pytest.mark.parametrize("abandons", [False, True])
async def test_a_thread_sees_that_its_task_was_cancelled(lib: Any, abandons: bool) -> None:
    is_running, go_on, over = threading.Event(), threading.Event(), threading.Event()
    raised: list[Any] = []

    def work() -> None:
        is_running.set()
        assert go_on.wait(SECONDS)
        try:
            lib.from_thread.check_cancelled()
        except lib.Cancelled as cancelled:
            raised.append(cancelled)
            raise
        finally:
            over.set()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(functools.partial(lib.to_thread.run_sync, work, abandon_on_cancel=abandons))
        with lib.CancelScope(shield=True):
            await lib.to_thread.run_sync(is_running.wait, SECONDS)
        nursery.cancel_scope.cancel("enough")
        go_on.set()
    assert await lib.to_thread.run_sync(over.wait, SECONDS)
    assert [(cancelled.source, cancelled.reason) for cancelled in raised] == [("explicit", "enough")]


@pytest.mark.semantics(24)
async def test_a_cancellation_stays_seen_behind_a_shield_that_came_later(lib: Any) -> None:
    is_running, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        is_running.set()
        assert go_on.wait(SECONDS)
        try:
            lib.from_thread.check_cancelled()
        except lib.Cancelled:
            return True
        return False

    async def cancel(outer: Any, inner: Any) -> None:
        await lib.to_thread.run_sync(is_running.wait, SECONDS)
        outer.cancel()
        inner.shield = True
        go_on.set()

    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as outer, lib.CancelScope() as inner:
            nursery.start_soon(cancel, outer, inner)
            assert await lib.to_thread.run_sync(work)


@pytest.mark.semantics(24)
def test_a_thread_of_nobody_cannot_be_cancelled(lib: Any) -> None:
    with pytest.raises(RuntimeError):
        lib.from_thread.check_cancelled()


@pytest.mark.semantics(24)
@in_main_thread_only
def test_a_thread_may_take_the_interrupt_that_its_task_waits_with(lib: Any, run: Callable[..., Any]) -> None:
    is_running, go_on = threading.Event(), threading.Event()

    def work() -> None:
        is_running.set()
        assert go_on.wait(SECONDS)
        lib.from_thread.check_cancelled()
        raise AssertionError("was not interrupted")

    async def interrupt_it() -> None:
        await lib.to_thread.run_sync(is_running.wait, SECONDS)
        interrupt()
        await lib.testing.wait_all_tasks_blocked()
        go_on.set()

    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.lowlevel.enable_ki_protection(interrupt_it))
            await lib.to_thread.run_sync(work)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]


@pytest.mark.semantics(24)
@in_main_thread_only
async def test_user_code_in_a_call_can_be_interrupted(lib: Any) -> None:
    def work() -> None:
        with pytest.raises(KeyboardInterrupt):
            lib.from_thread.run_sync(interrupt)

    await lib.to_thread.run_sync(work)


# The rest -----------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(23, 24)
async def test_an_error_leaves_no_cycle_that_keeps_arguments_alive(lib: Any) -> None:
    class Argument:
        pass

    def fail(argument: Argument) -> None:
        raise ValueError

    async def call() -> weakref.ref[Argument]:
        argument = Argument()
        try:
            await lib.to_thread.run_sync(fail, argument)
        except ValueError:
            pass
        return weakref.ref(argument)

    gc.collect()
    gc.disable()
    try:
        reference = await call()
        await lib.to_thread.run_sync(int)  # the same thread has something else to remember
        if not lib.is_trio:
            assert reference() is None
    finally:
        gc.enable()


@pytest.mark.semantics(24)
async def test_waiting_for_a_thread_in_a_cancelled_scope_does_not_begin(lib: Any) -> None:
    with cancelled_block(lib):
        await lib.to_thread.run_sync(lib.from_thread.run_sync, pytest.fail, "was called")
