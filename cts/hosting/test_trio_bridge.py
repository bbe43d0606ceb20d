"""What only Trio has: scopes, shields, deadlines, Cancelled, KeyboardInterrupt, and whose tasks may use a bridge."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from cts.configurations import Configuration
from cts.hosting.support import MOST_SECONDS
from cts.support import Sockets
from proactor_trio.integrations import trio_bridge
from proactor_trio.integrations.trio_bridge import Bridge
from proactor_trio.proactor import (
    BackendUnavailable,
    CancelCause,
    DeadlineExceeded,
    FailedPrecondition,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Recv,
    RecvBytes,
    SemaphoreWait,
    Send,
    TimelineSemaphore,
    Timer,
)

Scene = Callable[[Bridge], Awaitable[Any]]


@pytest.fixture
def run(configuration: Configuration) -> Callable[[Scene], Any]:
    """`trio.run()` of a scene with a bridge on the configuration."""

    def run_there(scene: Scene) -> Any:
        async def main() -> Any:
            with trio.fail_after(MOST_SECONDS):
                async with trio_bridge.open_bridge(configuration.backend, configuration.restrict()) as bridge:
                    return await scene(bridge)

        return trio.run(main)

    return run_there


def open_on(configuration: Configuration) -> Bridge:
    return trio_bridge.open_bridge(configuration.backend, configuration.restrict())


def fail(_operation: Operation, _flags: object) -> None:
    raise ZeroDivisionError


# Scopes --------------------------------------------------------------------------------------------------------------


def test_move_on_after(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> bool:
        with trio.move_on_after(0.01) as scope:
            await bridge.perform(RecvBytes(near, 10))
        return scope.cancelled_caught

    assert run(scene)


def test_in_a_cancelled_scope_nothing_is_submitted(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    send = Send(near, b"never")

    async def scene(bridge: Bridge) -> bool:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.perform(send)
        return scope.cancelled_caught

    assert (run(scene), send.state) == (True, OperationState.NEW)


def test_a_scope_that_is_cancelled_before_the_first_turn(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    """Also the steps before it end, although the chain had not begun when it was cancelled."""
    near, _far = sockets.unix_pair()
    chain = Recv(near, bytearray(3), flags=OperationFlags.LINKED), Send(near, b"never")

    async def scene(bridge: Bridge) -> bool:
        with trio.CancelScope() as scope:
            bridge.proactor.submit(*chain)
            scope.cancel()
            await bridge.perform(chain[1])
        return scope.cancelled_caught

    assert (run(scene), chain[0].state) == (True, OperationState.DONE)


def test_a_shield_keeps_the_operation(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> Any:
        with trio.CancelScope() as outer:
            outer.cancel()
            with trio.CancelScope(shield=True):
                far.stdlib.send(b"x")
                return await bridge.perform(RecvBytes(near, 10))

    assert run(scene) == b"x"


def test_a_shield_that_is_taken_away_lets_the_cancellation_in(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> bool:
        shield = trio.CancelScope(shield=True)

        async def receive() -> None:
            with shield:
                await bridge.perform(RecvBytes(near, 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            shield.shield = False
        return nursery.cancel_scope.cancelled_caught

    assert run(scene)


def test_a_result_that_won_is_followed_by_cancelled(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    """The scope stays cancelled: the result is returned, and the next checkpoint raises."""
    near, far = sockets.unix_pair()
    results: list[bytes] = []

    async def scene(bridge: Bridge) -> bool:
        with trio.CancelScope() as scope:
            receive = RecvBytes(near, 10, lambda _operation, _flags: scope.cancel())
            far.stdlib.send(b"x")
            results.append(await bridge.perform(receive))
            await trio.lowlevel.checkpoint()
        return scope.cancelled_caught

    assert (run(scene), results) == (True, [b"x"])


def test_a_nursery_that_fails_cancels_what_its_tasks_wait_for(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def crash() -> None:
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError

    async def scene(bridge: Bridge) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.perform, receive)
            nursery.start_soon(crash)

    with pytest.RaisesGroup(ZeroDivisionError):
        run(scene)
    assert isinstance(receive.error, OperationCancelled)


# The block -----------------------------------------------------------------------------------------------------------


def test_leaving_the_block_ends_what_is_in_flight(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive, timer = RecvBytes(near, 10), Timer(time.monotonic() + 1000)

    async def scene(bridge: Bridge) -> None:
        bridge.proactor.submit(receive, timer)

    run(scene)
    assert [operation.error.cause for operation in (receive, timer)] == [CancelCause.PROACTOR_CLOSED] * 2  # type: ignore[union-attr]


def test_leaving_a_cancelled_block_waits_for_final_completions(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def main() -> bool:
        with trio.CancelScope() as scope:
            async with open_on(configuration) as bridge:
                bridge.proactor.submit(receive)
                scope.cancel()
                await trio.sleep_forever()
        return scope.cancelled_caught

    assert (trio.run(main), receive.state) == (True, OperationState.DONE)


def test_a_task_outside_the_block_is_told(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_on(configuration) as bridge:
                nursery.start_soon(bridge.perform, RecvBytes(near, 10))
                await trio.testing.wait_all_tasks_blocked()

    with pytest.RaisesGroup(OperationCancelled):
        trio.run(main)


def test_an_exception_of_the_block_is_raised_as_it_is(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trio.run(main)


def test_an_error_of_a_completion_function_ends_the_block(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            bridge.proactor.submit(Nop(fail))
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        trio.run(main)


def test_errors_of_the_block_and_of_completion_functions_come_together(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            bridge.proactor.submit(Nop(fail))
            raise KeyError

    with pytest.RaisesGroup(KeyError, ZeroDivisionError):
        trio.run(main)


def test_the_others_are_delivered_when_a_completion_function_raises(configuration: Configuration) -> None:
    nops = [Nop(fail), *(Nop() for _ in range(10))]

    async def main() -> None:
        async with open_on(configuration) as bridge:
            bridge.proactor.submit(*nops)
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        trio.run(main)
    assert all(nop.error is None for nop in nops)


def test_a_block_in_a_system_task_ends_with_the_run(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def serve() -> None:
        async with open_on(configuration) as bridge:
            await bridge.perform(receive)

    async def main() -> None:
        trio.lowlevel.spawn_system_task(serve)
        await trio.testing.wait_all_tasks_blocked()

    trio.run(main)
    assert receive.state is OperationState.DONE


def test_an_unknown_backend_is_refused_by_entering() -> None:
    async def main() -> None:
        async with trio_bridge.open_bridge("no such backend"):
            pass

    with pytest.raises((BackendUnavailable, ValueError), match="no such backend"):
        trio.run(main)


# Whose it is ---------------------------------------------------------------------------------------------------------


def test_a_bridge_that_was_not_entered(configuration: Configuration) -> None:
    async def main() -> None:
        await open_on(configuration).perform(Nop())

    with pytest.raises(FailedPrecondition, match="not been entered"):
        trio.run(main)


def test_a_bridge_that_is_closed(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            pass
        await bridge.perform(Nop())

    with pytest.raises(FailedPrecondition, match="is closed"):
        trio.run(main)


def test_a_bridge_is_entered_once(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            async with bridge:
                pass

    with pytest.raises(FailedPrecondition, match="once"):
        trio.run(main)


def test_another_run_of_trio_is_refused(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            await trio.to_thread.run_sync(trio.run, bridge.perform, Nop())

    with pytest.raises(FailedPrecondition, match="run of Trio"):
        trio.run(main)


def test_a_task_of_asyncio_is_refused(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            await trio.to_thread.run_sync(asyncio.run, bridge.perform(Nop()))

    with pytest.raises(FailedPrecondition, match="run of Trio"):
        trio.run(main)


def test_its_proactor_is_closed_by_the_block_only(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        bridge.proactor.close()

    with pytest.raises(FailedPrecondition, match="another loop"):
        run(scene)


def test_two_bridges_in_one_run(configuration: Configuration, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> Any:
        async with open_on(configuration) as first, open_on(configuration) as second:
            await first.perform(Send(near, b"x"))
            return await second.perform(RecvBytes(far, 10))

    assert trio.run(main) == b"x"


# Threads, time, signals ----------------------------------------------------------------------------------------------


def test_a_thread_of_trio_signals_what_a_task_waits_for(run: Callable[[Scene], Any]) -> None:
    semaphore = TimelineSemaphore()

    async def scene(bridge: Bridge) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.perform, SemaphoreWait([semaphore], [1]))
            nursery.start_soon(trio.to_thread.run_sync, semaphore.signal, 1)

    run(scene)


def test_a_deadline_that_is_far_away_does_not_keep_trio_awake(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> int:
        bridge.proactor.submit(Timer(time.monotonic() + 1000), SemaphoreWait([TimelineSemaphore()], [1], timeout=1000))
        await trio.testing.wait_all_tasks_blocked(0.01)
        turns = bridge.turns
        await trio.testing.wait_all_tasks_blocked(0.05)
        return bridge.turns - turns

    assert run(scene) == 0


# Clocks of tests -----------------------------------------------------------------------------------------------------


def run_on_clock(configuration: Configuration, clock: trio.testing.MockClock, scene: Scene) -> Any:
    """`trio.run()` of a scene with a bridge, on that clock."""

    async def main() -> Any:
        async with open_on(configuration) as bridge:
            return await scene(bridge)

    return trio.run(main, clock=clock)


async def wait_for_nothing(bridge: Bridge, seconds: float) -> float:
    """Wait with the operation's own timeout, and no kernel that could keep it; returns how long it took."""
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await bridge.perform(SemaphoreWait([TimelineSemaphore()], [1], timeout=seconds))
    return time.monotonic() - begin


@pytest.mark.parametrize("threshold", [0, math.inf], ids=["jumps", "stands_still"])
def test_a_test_clock_does_not_move_with_the_deadlines_of_operations(
    configuration: Configuration, threshold: float
) -> None:
    async def scene(bridge: Bridge) -> tuple[float, float]:
        took = await wait_for_nothing(bridge, 0.05)
        return took, trio.current_time()

    took, now = run_on_clock(configuration, trio.testing.MockClock(autojump_threshold=threshold), scene)
    assert took >= 0.05
    assert now == 0


def test_what_is_due_later_does_not_wait_for_what_was_due_before(configuration: Configuration) -> None:
    """On a test clock: the timer of a deadline that is not needed any more gives way to an earlier one."""

    async def scene(bridge: Bridge) -> float:
        bridge.proactor.submit(SemaphoreWait([TimelineSemaphore()], [1], timeout=1000))
        await trio.testing.wait_all_tasks_blocked()
        return await wait_for_nothing(bridge, 0.01)

    assert run_on_clock(configuration, trio.testing.MockClock(), scene) < MOST_SECONDS


def test_on_the_clock_of_trio_itself_no_thread_waits(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> set[threading.Thread]:
        await bridge.perform(Nop())
        threads = set(threading.enumerate())
        bridge.proactor.submit(SemaphoreWait([TimelineSemaphore()], [1], timeout=1000))
        await trio.testing.wait_all_tasks_blocked()
        return set(threading.enumerate()) - threads

    assert run(scene) == set()


def test_leaving_the_block_on_a_test_clock_that_jumps(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge) -> None:
        bridge.proactor.submit(receive)

    run_on_clock(configuration, trio.testing.MockClock(autojump_threshold=0), scene)
    assert isinstance(receive.error, OperationCancelled)


# KeyboardInterrupt ---------------------------------------------------------------------------------------------------


def test_ctrl_c_while_a_turn_is_asked_for(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in code of the user that submits; the turn must be due all the same."""
    nop = Nop()
    reschedule = trio.lowlevel.reschedule

    def interrupted(*arguments: Any) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGINT)
        reschedule(*arguments)

    async def main() -> None:
        async with open_on(configuration) as bridge:
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(trio.lowlevel, "reschedule", interrupted)
            bridge.proactor.submit(nop)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert nop.state is OperationState.DONE


def test_ctrl_c_ends_the_run_and_the_operation(configuration: Configuration, sockets: Sockets) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def main() -> None:
        async with open_on(configuration) as bridge:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_interrupt_when_blocked)
                await bridge.perform(receive)

    with pytest.raises(BaseException) as raised:
        trio.run(main)
    assert raised.group_contains(KeyboardInterrupt) or raised.type is KeyboardInterrupt
    assert receive.state is OperationState.DONE


async def _interrupt_when_blocked() -> None:
    await trio.testing.wait_all_tasks_blocked()
    os.kill(os.getpid(), signal.SIGINT)
