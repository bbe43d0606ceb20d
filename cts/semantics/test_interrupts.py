"""KeyboardInterrupt: at once in the code of the user, at the next checkpoint in code that must not be torn."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from cts.semantics.support import in_main_thread_only, interrupt, leaves

pytestmark = in_main_thread_only


# ---- who is protected -------------------------------------------------------------------------------------------


@pytest.mark.semantics(20)
async def test_tasks_of_the_user_are_not_protected(lib: Any) -> None:
    seen: list[bool] = []

    async def child() -> None:
        seen.append(lib.lowlevel.currently_ki_protected())

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
    assert seen == [False]


@pytest.mark.semantics(20)
async def test_system_tasks_and_posted_calls_are_protected(lib: Any) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(lib.lowlevel.currently_ki_protected())

    async def system_task() -> None:
        look()

    lib.lowlevel.spawn_system_task(system_task)
    lib.lowlevel.current_trio_token().run_sync_soon(look)
    await lib.testing.wait_all_tasks_blocked()
    assert seen == [True, True]


@pytest.mark.semantics(20)
async def test_the_innermost_decorator_counts_and_reaches_what_is_called(lib: Any) -> None:
    protected = lib.lowlevel.currently_ki_protected

    @lib.lowlevel.disable_ki_protection
    def inner() -> bool:
        return bool(protected())

    @lib.lowlevel.enable_ki_protection
    def outer() -> tuple[bool, bool]:
        return protected(), inner()

    assert outer() == (True, False)
    assert not protected()


@pytest.mark.semantics(20)
async def test_protection_holds_in_generators_and_not_in_their_consumers(lib: Any) -> None:
    protected = lib.lowlevel.currently_ki_protected

    @lib.lowlevel.enable_ki_protection
    def generator() -> Iterator[bool]:
        yield protected()
        yield protected()

    @lib.lowlevel.enable_ki_protection
    async def async_generator() -> AsyncGenerator[bool, None]:
        yield protected()
        await lib.lowlevel.checkpoint()
        yield protected()

    for inside in generator():
        assert inside and not protected()
    async for inside in async_generator():
        assert inside and not protected()


@pytest.mark.semantics(20)
async def test_finalisers_are_always_protected(lib: Any) -> None:
    seen: list[bool] = []

    class Resource:
        def __del__(self) -> None:
            seen.append(lib.lowlevel.currently_ki_protected())

    @lib.lowlevel.disable_ki_protection
    def scene() -> None:
        Resource()

    scene()
    assert seen == [True]


@pytest.mark.semantics(20)
async def test_a_task_started_by_protected_code_is_not_protected(lib: Any) -> None:
    seen: list[bool] = []

    async def child() -> None:
        seen.append(lib.lowlevel.currently_ki_protected())

    @lib.lowlevel.enable_ki_protection
    async def parent() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)

    await parent()
    assert seen == [False]


# ---- when it is delivered ---------------------------------------------------------------------------------------


@pytest.mark.semantics(20)
def test_code_of_the_user_is_interrupted_at_once(lib: Any, run: Callable[..., Any]) -> None:
    steps: list[str] = []

    async def main() -> None:
        steps.append("before")
        interrupt()
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert steps == ["before"]


@pytest.mark.semantics(20)
def test_protected_code_is_interrupted_at_its_next_checkpoint(lib: Any, run: Callable[..., Any]) -> None:
    steps: list[str] = []

    @lib.lowlevel.enable_ki_protection
    async def main() -> None:
        interrupt()
        steps.append("still running")
        await lib.lowlevel.checkpoint()
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert steps == ["still running"]


@pytest.mark.semantics(20)
def test_restricted_to_checkpoints_nothing_is_interrupted_in_between(lib: Any, run: Callable[..., Any]) -> None:
    steps: list[str] = []

    async def main() -> None:
        interrupt()
        steps.append("still running")
        await lib.lowlevel.checkpoint()

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)
    assert steps == ["still running"]


@pytest.mark.semantics(20)
@pytest.mark.parametrize("name", ["checkpoint", "checkpoint_if_cancelled", "sleep", "sleep_forever", "wait"])
def test_a_pending_interrupt_is_raised_by_every_kind_of_checkpoint(
    lib: Any, run: Callable[..., Any], name: str
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "checkpoint": lib.lowlevel.checkpoint,
        "checkpoint_if_cancelled": lib.lowlevel.checkpoint_if_cancelled,
        "sleep": lambda: lib.sleep(0),
        "sleep_forever": lib.sleep_forever,
        "wait": lambda: lib.Event().wait(),
    }

    async def main() -> None:
        interrupt()
        await calls[name]()
        raise AssertionError("it was not raised")

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)


@pytest.mark.semantics(20)
def test_it_is_delivered_once(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> str:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            await lib.lowlevel.checkpoint()
        await lib.lowlevel.checkpoint()
        return "went on"

    assert run(main, restrict_keyboard_interrupt_to_checkpoints=True) == "went on"


@pytest.mark.semantics(20)
def test_a_shield_does_not_keep_it_out(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        interrupt()
        with lib.CancelScope(shield=True):
            await lib.lowlevel.checkpoint()

    with pytest.raises(KeyboardInterrupt):
        run(main, restrict_keyboard_interrupt_to_checkpoints=True)


@pytest.mark.semantics(20)
def test_in_a_system_task_or_a_posted_call_it_goes_to_the_main_task(lib: Any, run: Callable[..., Any]) -> None:
    log: list[str] = []

    async def system_task() -> None:
        interrupt()
        await lib.lowlevel.checkpoint()
        log.append("system task went on")

    async def main() -> None:
        lib.lowlevel.spawn_system_task(system_task)
        with pytest.raises(KeyboardInterrupt):
            await lib.sleep_forever()
        await lib.testing.wait_all_tasks_blocked()
        lib.lowlevel.current_trio_token().run_sync_soon(interrupt)
        with pytest.raises(KeyboardInterrupt):
            await lib.sleep_forever()

    run(main)
    assert log == ["system task went on"]


@pytest.mark.semantics(20)
def test_in_a_child_it_comes_out_of_the_nursery(lib: Any, run: Callable[..., Any]) -> None:
    async def child() -> None:
        interrupt()

    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(lib.sleep_forever)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert [type(leaf) for leaf in leaves(caught.value)] == [KeyboardInterrupt]


@pytest.mark.semantics(20)
def test_it_wakes_a_run_that_sleeps(lib: Any, run: Callable[..., Any]) -> None:
    about_to_sleep = threading.Event()
    main_thread = threading.get_ident()

    class Observer(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_io_wait(self, timeout: float) -> None:
            if timeout > 1:
                about_to_sleep.set()

    def send() -> None:
        about_to_sleep.wait(10)
        signal.pthread_kill(main_thread, signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(lib.sleep_forever, instruments=[Observer()])
    thread.join()


@pytest.mark.semantics(20)
def test_one_that_nobody_took_is_raised_by_run_with_the_error_as_its_context(lib: Any, run: Callable[..., Any]) -> None:
    error = ValueError()

    @lib.lowlevel.enable_ki_protection
    async def main() -> None:
        interrupt()
        raise error

    with pytest.raises(KeyboardInterrupt) as caught:
        run(main)
    assert caught.value.__context__ is error


@pytest.mark.semantics(20)
def test_an_unprotected_posted_call_that_is_interrupted_breaks_the_run(lib: Any, run: Callable[..., Any]) -> None:
    @lib.lowlevel.disable_ki_protection
    def call() -> None:
        interrupt()

    async def main() -> None:
        lib.lowlevel.current_trio_token().run_sync_soon(call)
        await lib.sleep_forever()

    with pytest.raises(lib.TrioInternalError):
        run(main)


# ---- the handler of the process ---------------------------------------------------------------------------------


@pytest.mark.semantics(20)
def test_the_default_handler_is_back_after_the_run(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler

    run(main)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.semantics(20)
def test_a_handler_of_the_user_is_left_alone(lib: Any, run: Callable[..., Any]) -> None:
    received: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)

    async def main() -> None:
        interrupt()
        await lib.lowlevel.checkpoint()

    before = signal.signal(signal.SIGINT, handler)
    try:
        run(main)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


@pytest.mark.semantics(20)
def test_a_run_in_another_thread_leaves_the_handler_alone(lib: Any, run: Callable[..., Any]) -> None:
    handlers: list[object] = []

    async def main() -> None:
        handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
