"""open_signal_receiver()."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest

from cts.semantics.support import (
    blocked,
    cancelled_block,
    in_main_thread_only,
    is_cancel_point,
    is_schedule_point,
)

pytestmark = in_main_thread_only

SECONDS = 20


class Handler:
    """A handler that stands before the block and notes what comes."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.raises: dict[int, type[Exception]] = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.seen.append(number)
        if number in self.raises:
            raise self.raises[number]


@pytest.fixture(autouse=True)
def handler() -> Iterator[Handler]:
    ours = Handler()
    before = {number: signal.signal(number, ours) for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)}
    try:
        yield ours
        assert all(signal.getsignal(number) is ours for number in before), "a handler was not put back"
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


async def test_a_signal_is_received_and_its_handler_is_not_called(lib: Any, handler: Handler) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        send(signal.SIGUSR1)
        async for number in receiver:
            assert number == signal.SIGUSR1
            break
        send(signal.SIGUSR1)
        assert await receiver.__anext__() == signal.SIGUSR1
    assert handler.seen == []
    send(signal.SIGUSR1)
    assert handler.seen == [signal.SIGUSR1]


async def test_a_signal_ends_the_wait_of_an_idle_run(lib: Any) -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, receiver.__anext__)
            nursery.start_soon(lib.to_thread.run_sync, signal.pthread_kill, main_thread, signal.SIGUSR1)
        assert call.value == signal.SIGUSR1


async def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_wait(lib: Any) -> None:
    def to_itself() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, receiver.__anext__)
            nursery.start_soon(lib.to_thread.run_sync, to_itself)
        assert call.value == signal.SIGUSR1


async def test_the_same_signal_is_one_until_it_is_taken(lib: Any, handler: Handler) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        for _ in range(3):
            send(signal.SIGUSR1)
            await lib.testing.wait_all_tasks_blocked()
        assert await receiver.__anext__() == signal.SIGUSR1
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, receiver.__anext__)
            nursery.cancel_scope.cancel()
    assert handler.seen == []


async def test_signals_are_taken_in_the_order_of_their_arrival_and_none_starves(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as receiver:
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
            send(number)
            await lib.testing.wait_all_tasks_blocked()
        taken = []
        for _ in range(6):
            taken.append(await receiver.__anext__())
            send(taken[-1])
            await lib.testing.wait_all_tasks_blocked()
        assert taken == [signal.SIGUSR2, signal.SIGUSR1] * 3
        for _ in range(2):
            await receiver.__anext__()


async def test_the_end_of_a_child_is_received(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGCHLD) as receiver:
        child = subprocess.Popen([sys.executable, "-S", "-c", ""])
        assert await receiver.__anext__() == signal.SIGCHLD
        assert child.wait() == 0


async def test_an_interrupt_that_is_received_interrupts_nothing(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGINT) as receiver:
        send(signal.SIGINT)
        assert await receiver.__anext__() == signal.SIGINT
        await lib.lowlevel.checkpoint()


# Calls --------------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(1)
async def test_taking_a_signal_that_is_there_is_a_checkpoint(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        send(signal.SIGUSR1)
        await lib.testing.wait_all_tasks_blocked()
        assert await is_cancel_point(lib, receiver.__anext__)
        assert await is_schedule_point(lib, receiver.__anext__)


async def test_one_task_may_wait_at_a_time(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, receiver.__anext__)
            with pytest.raises(lib.BusyResourceError):
                await receiver.__anext__()
            send(signal.SIGUSR1)
        assert call.value == signal.SIGUSR1


async def test_a_cancelled_wait_takes_nothing(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        send(signal.SIGUSR1)
        await lib.testing.wait_all_tasks_blocked()
        with cancelled_block(lib):
            await receiver.__anext__()
        assert await receiver.__anext__() == signal.SIGUSR1
        with lib.move_on_after(0.001) as scope:
            await receiver.__anext__()
        assert scope.cancelled_caught
        send(signal.SIGUSR1)
        assert await receiver.__anext__() == signal.SIGUSR1


async def test_after_the_block_there_is_nothing_to_wait_for(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        pass
    with pytest.raises(RuntimeError):
        await receiver.__anext__()


async def test_a_task_that_waits_when_the_block_ends_is_told(lib: Any) -> None:
    """On real Trio it waits for ever."""
    async with lib.open_nursery() as nursery:
        with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
            call = await blocked(lib, nursery, receiver.__anext__)
        await lib.testing.wait_all_tasks_blocked()
        assert isinstance(call.error, RuntimeError) != lib.is_trio
        nursery.cancel_scope.cancel()


# Nothing is swallowed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was_seen", [True, False], ids=["seen by the run", "noted by the handler only"])
async def test_what_was_not_taken_goes_to_the_former_handler(lib: Any, handler: Handler, was_seen: bool) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2):
        send(signal.SIGUSR1)
        send(signal.SIGUSR2)
        if was_seen:
            await lib.testing.wait_all_tasks_blocked()
        assert handler.seen == []
    await lib.testing.wait_all_tasks_blocked()
    assert sorted(handler.seen) == [signal.SIGUSR1, signal.SIGUSR2]


async def test_a_former_handler_that_raises_keeps_no_signal_from_the_others(lib: Any, handler: Handler) -> None:
    handler.raises = {signal.SIGUSR1: KeyError, signal.SIGUSR2: ValueError}
    with pytest.raises(ValueError) as caught, lib.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2):
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            send(number)
            await lib.testing.wait_all_tasks_blocked()
    assert handler.seen == [signal.SIGUSR1, signal.SIGUSR2]
    assert isinstance(caught.value.__context__, KeyError)


async def test_an_interrupt_that_was_not_taken_interrupts_at_the_end_of_the_block(lib: Any) -> None:
    with pytest.raises(KeyboardInterrupt), lib.open_signal_receiver(signal.SIGINT):
        send(signal.SIGINT)
        await lib.testing.wait_all_tasks_blocked()


async def test_an_error_in_the_block_comes_out_and_the_signals_are_passed_on(lib: Any, handler: Handler) -> None:
    with pytest.raises(LookupError), lib.open_signal_receiver(signal.SIGUSR1):
        send(signal.SIGUSR1)
        raise LookupError
    await lib.testing.wait_all_tasks_blocked()
    assert handler.seen == [signal.SIGUSR1]


def test_a_block_that_outlives_its_run_receives_nothing_more(
    lib: Any, run: Callable[..., Any], handler: Handler
) -> None:
    """On real Trio the signal raises RunFinishedError wherever the main thread is, and is lost."""
    block = ExitStack()

    async def main() -> None:
        block.enter_context(lib.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2))

    run(main)
    if lib.is_trio:
        with pytest.raises(lib.RunFinishedError):
            send(signal.SIGUSR1)
    else:
        send(signal.SIGUSR1, signal.SIGUSR2)
    block.close()
    assert handler.seen == ([] if lib.is_trio else [signal.SIGUSR1, signal.SIGUSR2])


# Several receivers --------------------------------------------------------------------------------------------------


async def test_the_innermost_receiver_of_a_signal_gets_it(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as outer:
        with lib.open_signal_receiver(signal.SIGUSR1) as inner:
            send(signal.SIGUSR1)
            assert await inner.__anext__() == signal.SIGUSR1
            send(signal.SIGUSR1)
            await lib.testing.wait_all_tasks_blocked()
        assert await outer.__anext__() == signal.SIGUSR1


async def test_receivers_of_different_signals_do_not_meet(lib: Any) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1) as first, lib.open_signal_receiver(signal.SIGUSR2) as second:
        send(signal.SIGUSR2)
        send(signal.SIGUSR1)
        assert (await first.__anext__(), await second.__anext__()) == (signal.SIGUSR1, signal.SIGUSR2)


@pytest.mark.unlike_trio("the handler of a block that is over comes back there")
async def test_blocks_may_end_in_any_order(lib: Any, handler: Handler) -> None:
    """On real Trio the handler of a block that is over comes back then."""
    with ExitStack() as second_end:
        with lib.open_signal_receiver(signal.SIGUSR1):
            second = second_end.enter_context(lib.open_signal_receiver(signal.SIGUSR1))
        send(signal.SIGUSR1)
        assert await second.__anext__() == signal.SIGUSR1
    send(signal.SIGUSR1)
    assert handler.seen == [signal.SIGUSR1]


async def test_twice_the_same_signal_is_once(lib: Any, handler: Handler) -> None:
    with lib.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR1) as receiver:
        send(signal.SIGUSR1)
        assert await receiver.__anext__() == signal.SIGUSR1


# Bad input ----------------------------------------------------------------------------------------------------------


async def test_no_signal_is_refused(lib: Any) -> None:
    with pytest.raises(TypeError), lib.open_signal_receiver():
        pass


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, OSError), (9999, ValueError), (0, ValueError), ("SIGUSR1", TypeError)]
)
async def test_what_cannot_be_received_is_refused_and_leaves_nothing_behind(
    lib: Any, handler: Handler, number: Any, error: type[Exception]
) -> None:
    with pytest.raises(error), lib.open_signal_receiver(signal.SIGUSR1, number):
        pass
    assert signal.getsignal(signal.SIGUSR1) is handler


async def test_another_thread_than_the_main_one_is_refused(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        with lib.open_signal_receiver(signal.SIGUSR1):
            pass

    with pytest.raises(RuntimeError):
        await lib.to_thread.run_sync(functools.partial(run, main))


def test_outside_of_a_run_nothing_is_received(lib: Any) -> None:
    with pytest.raises(RuntimeError), lib.open_signal_receiver(signal.SIGUSR1):
        pass


async def test_a_receiver_says_how_much_it_holds(lib: Any) -> None:
    """Real Trio says nothing."""
    with lib.open_signal_receiver(signal.SIGUSR1) as receiver:
        send(signal.SIGUSR1)
        await lib.testing.wait_all_tasks_blocked()
        assert ("1 pending" in repr(receiver)) != lib.is_trio
        await receiver.__anext__()
