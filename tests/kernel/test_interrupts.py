"""KeyboardInterrupt: at once in the user's code, at the next checkpoint in code that must not be torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from proactor_trio import (
    CancelScope,
    Event,
    TrioInternalError,
    abc,
    lowlevel,
    open_nursery,
    run,
    sleep,
    sleep_forever,
)
from proactor_trio.lowlevel import (
    checkpoint,
    currently_ki_protected,
    disable_ki_protection,
    enable_ki_protection,
)
from proactor_trio.testing import wait_all_tasks_blocked


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


# ---- who is protected -------------------------------------------------------------------------------------------


async def test_tasks_of_the_user_are_not_protected() -> None:
    seen: list[bool] = []

    async def child() -> None:
        seen.append(currently_ki_protected())

    assert not currently_ki_protected()
    async with open_nursery() as nursery:
        nursery.start_soon(child)
    assert seen == [False]


async def test_system_tasks_and_callbacks_are_protected() -> None:
    seen: list[bool] = []

    async def system_task() -> None:
        seen.append(currently_ki_protected())
        await checkpoint()
        seen.append(currently_ki_protected())

    lowlevel.spawn_system_task(system_task)
    lowlevel.current_trio_token().run_sync_soon(lambda: seen.append(currently_ki_protected()))
    await wait_all_tasks_blocked()
    assert seen == [True, True, True]


async def test_protection_is_set_by_decorators_and_reaches_what_is_called() -> None:
    def callee() -> bool:
        return currently_ki_protected()

    @enable_ki_protection
    def protected() -> bool:
        return callee()

    @enable_ki_protection
    async def protected_async() -> bool:
        await checkpoint()
        return callee()

    assert not callee()
    assert protected()
    assert await protected_async()
    assert not callee()


async def test_the_innermost_decorator_counts() -> None:
    @disable_ki_protection
    def unprotected() -> bool:
        return currently_ki_protected()

    @enable_ki_protection
    def protected() -> tuple[bool, bool, bool]:
        return currently_ki_protected(), unprotected(), currently_ki_protected()

    @disable_ki_protection
    def outermost() -> tuple[bool, bool, bool]:
        return protected()

    assert protected() == (True, False, True)
    assert outermost() == (True, False, True)


async def test_decorators_return_the_function_they_decorate() -> None:
    def function() -> None:
        pass

    assert enable_ki_protection(function) is function
    assert disable_ki_protection(function) is function


async def test_protection_works_in_generators() -> None:
    @enable_ki_protection
    def protected() -> Iterator[bool]:
        yield currently_ki_protected()
        yield currently_ki_protected()

    @disable_ki_protection
    def unprotected() -> Iterator[bool]:
        yield currently_ki_protected()

    for value in protected():
        assert value
        assert not currently_ki_protected()
    assert list(unprotected()) == [False]


async def test_protection_works_in_async_generators() -> None:
    @enable_ki_protection
    async def protected() -> AsyncGenerator[bool, None]:
        yield currently_ki_protected()
        await checkpoint()
        yield currently_ki_protected()

    async for value in protected():
        assert value
        assert not currently_ki_protected()


async def test_protection_works_in_context_managers_but_not_in_their_blocks() -> None:
    seen: list[bool] = []

    @contextmanager
    @enable_ki_protection
    def manager() -> Iterator[None]:
        seen.append(currently_ki_protected())
        yield
        seen.append(currently_ki_protected())

    with manager():
        seen.append(currently_ki_protected())
    assert seen == [True, False, True]


async def test_protection_works_in_methods() -> None:
    class Resource:
        @enable_ki_protection
        def __enter__(self) -> bool:
            return currently_ki_protected()

        @enable_ki_protection
        def __exit__(self, *arguments: object) -> None:
            assert currently_ki_protected()

    with Resource() as value:
        assert value
        assert not currently_ki_protected()


async def test_finalizers_are_always_protected() -> None:
    seen: list[bool] = []

    class Resource:
        def __del__(self) -> None:
            seen.append(currently_ki_protected())

    @disable_ki_protection
    def scene() -> None:
        Resource()

    scene()
    assert seen == [True]


async def test_a_task_started_by_protected_code_is_not_protected_itself() -> None:
    seen: list[bool] = []

    async def child() -> None:
        seen.append(currently_ki_protected())

    @enable_ki_protection
    async def parent() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)

    await parent()
    assert seen == [False]


async def test_a_protected_function_may_be_the_body_of_a_task() -> None:
    seen: list[bool] = []

    @enable_ki_protection
    async def child() -> None:
        seen.append(currently_ki_protected())
        await checkpoint()
        seen.append(currently_ki_protected())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
    assert seen == [True, True]


def test_a_protected_main_function_is_protected() -> None:
    @enable_ki_protection
    async def main() -> bool:
        return currently_ki_protected()

    assert run(main)


# ---- delivery ---------------------------------------------------------------------------------------------------


def test_code_of_the_user_is_interrupted_at_once() -> None:
    steps: list[str] = []

    async def main() -> None:
        steps.append("before")
        interrupt()
        steps.append("never reached")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert steps == ["before"]


def test_an_endless_loop_without_checkpoints_can_be_interrupted() -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    async def main() -> None:
        running = threading.Event()

        def send() -> None:
            running.wait()
            signal.pthread_kill(main_thread, signal.SIGINT)

        threading.Thread(target=send).start()
        running.set()
        while True:
            pass

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_protected_code_is_interrupted_at_its_next_checkpoint() -> None:
    steps: list[str] = []

    @enable_ki_protection
    async def protected() -> None:
        interrupt()
        steps.append("still running")
        await checkpoint()
        steps.append("never reached")

    async def main() -> None:
        await protected()

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert steps == ["still running"]


@pytest.mark.parametrize(
    "operation",
    [checkpoint, lowlevel.checkpoint_if_cancelled, sleep_forever, lambda: sleep(0), lambda: Event().wait()],
    ids=["checkpoint", "checkpoint_if_cancelled", "sleep_forever", "sleep(0)", "Event.wait"],
)
def test_a_pending_interrupt_is_raised_by_every_kind_of_checkpoint(operation: Callable[[], object]) -> None:
    async def main() -> None:
        interrupt()
        await operation()  # type: ignore[misc]
        raise AssertionError("never reached")

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def test_an_interrupt_is_delivered_once() -> None:
    async def main() -> str:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            await checkpoint()
        await checkpoint()
        await sleep(0)
        return "went on"

    assert run(main, restrict_keyboard_interrupt_to_checkpoints=True) == "went on"


def test_a_shield_does_not_keep_an_interrupt_out() -> None:
    async def main() -> None:
        interrupt()
        with CancelScope(shield=True):
            await checkpoint()

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def test_restricted_to_checkpoints_nothing_is_interrupted_in_between() -> None:
    steps: list[str] = []

    async def main() -> None:
        interrupt()
        steps.append("still running")
        assert not currently_ki_protected()
        await checkpoint()
        steps.append("never reached")

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)
    assert steps == ["still running"]


def test_an_interrupt_comes_before_a_cancellation() -> None:
    async def main() -> None:
        with CancelScope() as scope:
            scope.cancel()
            interrupt()
            with pytest.raises(KeyboardInterrupt):
                await checkpoint()
            await checkpoint()
        assert scope.cancelled_caught

    run(main, restrict_keyboard_interrupt_to_checkpoints=True)


def test_an_interrupt_in_a_child_comes_out_of_its_nursery() -> None:
    async def child() -> None:
        interrupt()
        raise AssertionError("never reached")

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(sleep_forever)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]


def test_an_interrupt_in_a_protected_task_goes_to_the_main_task() -> None:
    steps: list[str] = []

    async def system_task() -> None:
        interrupt()
        steps.append("system task still running")
        await checkpoint()
        steps.append("and still")

    async def main() -> None:
        lowlevel.spawn_system_task(system_task)
        try:
            await sleep_forever()
        except KeyboardInterrupt:
            steps.append("main task")
            await wait_all_tasks_blocked()

    run(main)
    assert sorted(steps) == ["and still", "main task", "system task still running"]


def test_an_interrupt_in_a_callback_goes_to_the_main_task() -> None:
    async def main() -> None:
        lowlevel.current_trio_token().run_sync_soon(interrupt)
        await sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_an_unprotected_callback_that_is_interrupted_breaks_the_run() -> None:
    @disable_ki_protection
    def callback() -> None:
        interrupt()

    async def main() -> None:
        lowlevel.current_trio_token().run_sync_soon(callback)
        await sleep_forever()

    with pytest.raises(TrioInternalError):
        run(main)


def test_an_interrupt_in_the_loop_itself_goes_to_the_main_task() -> None:
    class Interrupter(abc.Instrument):
        def __init__(self) -> None:
            self.armed = False

        def before_io_wait(self, timeout: float) -> None:
            if self.armed and timeout > 0:
                self.armed = False
                interrupt()

    instrument = Interrupter()

    async def main() -> None:
        instrument.armed = True
        await sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run(main, instruments=[instrument])
    assert not instrument.armed


def test_an_interrupt_wakes_a_run_that_sleeps() -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    about_to_sleep = threading.Event()

    class Observer(abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            if timeout > 1:
                about_to_sleep.set()

    def send() -> None:
        about_to_sleep.wait()
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(sleep_forever, instruments=[Observer()])
    thread.join()


def test_an_interrupt_while_the_main_task_waits_for_its_children_joins_the_group() -> None:
    cancelled: list[str] = []

    async def child() -> None:
        try:
            await sleep_forever()
        finally:
            cancelled.append("child")

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            lowlevel.current_trio_token().run_sync_soon(interrupt)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert cancelled == ["child"]


def test_an_interrupt_that_nobody_took_is_raised_by_run() -> None:
    @enable_ki_protection
    async def main() -> str:
        interrupt()
        return "lost"

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_an_interrupt_that_nobody_took_carries_the_error_of_the_main_task() -> None:
    error = ValueError()

    @enable_ki_protection
    async def main() -> None:
        interrupt()
        raise error

    with pytest.raises(KeyboardInterrupt) as caught:
        run(main)
    assert caught.value.__context__ is error


def test_an_interrupt_during_the_shutdown_is_raised_by_run() -> None:
    async def system_task() -> None:
        try:
            await sleep_forever()
        finally:
            interrupt()

    async def main() -> None:
        lowlevel.spawn_system_task(system_task)
        await wait_all_tasks_blocked()

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_interrupts_inside_scopes_and_nurseries_leave_the_structure_whole() -> None:
    interrupted = 0

    async def main() -> None:
        nonlocal interrupted
        for _ in range(200):
            try:
                with CancelScope() as scope:
                    async with open_nursery() as nursery:
                        nursery.start_soon(checkpoint)
                        interrupt()
            except KeyboardInterrupt:
                interrupted += 1
            except BaseExceptionGroup as group:
                assert group.subgroup(KeyboardInterrupt) is not None
                interrupted += 1
            assert not scope.cancel_called
            assert lowlevel.current_task().child_nurseries == []

    run(main)
    assert interrupted == 200


# ---- the handler of the process ---------------------------------------------------------------------------------


def test_the_default_handler_is_back_after_the_run() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler

    run(main)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_user_is_left_alone() -> None:
    received: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)

    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is handler
        interrupt()
        await checkpoint()

    before = signal.signal(signal.SIGINT, handler)
    try:
        run(main)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


def test_a_handler_that_was_set_during_the_run_stays() -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        pass

    async def main() -> None:
        signal.signal(signal.SIGINT, handler)

    before = signal.getsignal(signal.SIGINT)
    try:
        run(main)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread_leaves_the_handler_alone() -> None:
    handlers: list[object] = []

    async def main() -> None:
        handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


def test_the_wake_up_descriptor_of_the_process_is_restored() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a loop may complain that it is not the only one to listen
            run(sleep, 0)
    finally:
        restored = signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
    assert restored == writer


def test_control_c_ends_a_program_like_any_other() -> None:
    program = textwrap.dedent(
        """
        import proactor_trio

        async def main():
            try:
                print("ready", flush=True)
                await proactor_trio.sleep_forever()
            finally:
                print("cleaned up", flush=True)

        proactor_trio.run(main)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert output == "cleaned up\n"
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (1, 130, -signal.SIGINT)
