"""The block of an asyncio bridge, and whose tasks may use it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio

from cts.configurations import Configuration
from cts.hosting.asyncio_scenes import Scene, fail, open_on, run, turns_of_the_loop
from cts.support import Sockets
from proactor_trio.integrations.asyncio_bridge import Bridge
from proactor_trio.proactor import (
    CancelCause,
    FailedPrecondition,
    Nop,
    OperationCancelled,
    OperationState,
    RecvBytes,
    Send,
    Timer,
)

__all__ = ["run"]  # a fixture


# The block -----------------------------------------------------------------------------------------------------------


def test_leaving_the_block_ends_what_is_in_flight(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive, timer = RecvBytes(near, 10), Timer(time.monotonic() + 1000)

    async def scene(bridge: Bridge) -> None:
        bridge.proactor.submit(receive, timer)

    run(scene)
    causes = [operation.error.cause for operation in (receive, timer)]  # type: ignore[union-attr]
    assert causes == [CancelCause.PROACTOR_CLOSED] * 2


def test_leaving_a_cancelled_block_waits_for_final_completions(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def body() -> None:
        async with open_on(configuration) as bridge:
            bridge.proactor.submit(receive)
            await asyncio.sleep(1000)

    async def main() -> bool:
        task = asyncio.create_task(body())
        await turns_of_the_loop(3)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert (asyncio.run(main()), receive.state) == (True, OperationState.DONE)


def test_a_cancellation_while_the_block_is_left_is_raised_afterwards(
    configuration: Configuration, sockets: Sockets
) -> None:
    near, _far = sockets.unix_pair()

    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with open_on(configuration) as bridge:
            receive = RecvBytes(near, 10, lambda _operation, _flags: task.cancel("meanwhile"))
            bridge.proactor.submit(receive)
            await turns_of_the_loop(3)

    async def main() -> str:
        task = asyncio.create_task(body())
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return str(raised.value)

    assert asyncio.run(main()) == "meanwhile"


def test_a_task_that_still_waits_is_told(configuration: Configuration, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def main() -> None:
        async with open_on(configuration) as bridge:
            task = asyncio.create_task(bridge.perform(RecvBytes(near, 10)))
            await turns_of_the_loop(3)
        await task

    with pytest.raises(OperationCancelled):
        asyncio.run(main())


def test_an_exception_of_the_block_is_raised_as_it_is(run: Callable[[Scene], Any]) -> None:
    async def scene(_: Bridge) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(scene)


def test_an_error_of_a_completion_function_ends_the_block(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        bridge.proactor.submit(Nop(fail))
        await asyncio.sleep(1000)

    with pytest.raises(ZeroDivisionError):
        run(scene)


def test_the_task_is_not_cancelled_after_such_an_error(configuration: Configuration) -> None:
    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            async with open_on(configuration) as bridge:
                bridge.proactor.submit(Nop(fail))
                await asyncio.sleep(1000)
        await turns_of_the_loop(3)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_nor_when_the_block_went_on_with_a_result_of_the_same_turn(configuration: Configuration) -> None:
    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            async with open_on(configuration) as bridge:
                bridge.proactor.submit(Nop(fail))
                await bridge.perform(Nop())
        await turns_of_the_loop(3)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_errors_of_the_block_and_of_completion_functions_come_together(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        bridge.proactor.submit(Nop(fail))
        raise KeyError

    with pytest.RaisesGroup(KeyError, ZeroDivisionError):
        run(scene)


# Whose it is ---------------------------------------------------------------------------------------------------------


def test_a_bridge_that_was_not_entered(configuration: Configuration) -> None:
    with pytest.raises(FailedPrecondition, match="not been entered"):
        asyncio.run(open_on(configuration).perform(Nop()))


def test_a_bridge_that_is_closed(configuration: Configuration) -> None:
    async def main() -> None:
        async with open_on(configuration) as bridge:
            pass
        await bridge.perform(Nop())

    with pytest.raises(FailedPrecondition, match="is closed"):
        asyncio.run(main())


def test_a_bridge_is_entered_once(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        async with bridge:
            pass

    with pytest.raises(FailedPrecondition, match="once"):
        run(scene)


def test_another_loop_is_refused(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        await asyncio.to_thread(asyncio.run, bridge.perform(Nop()))

    with pytest.raises(FailedPrecondition, match="the loop"):
        run(scene)


def test_a_task_of_trio_is_refused(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        await asyncio.to_thread(trio.run, bridge.perform, Nop())

    with pytest.raises(FailedPrecondition, match="the loop"):
        run(scene)


def test_its_proactor_is_closed_by_the_block_only(run: Callable[[Scene], Any]) -> None:
    async def scene(bridge: Bridge) -> None:
        bridge.proactor.close()

    with pytest.raises(FailedPrecondition, match="another loop"):
        run(scene)


def test_two_bridges_in_one_loop(configuration: Configuration, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> Any:
        async with open_on(configuration) as first, open_on(configuration) as second:
            await first.perform(Send(near, b"x"))
            return await second.perform(RecvBytes(far, 10))

    assert asyncio.run(main()) == b"x"


def test_ctrl_c_ends_the_run_and_the_operation(configuration: Configuration, sockets: Sockets) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def main() -> None:
        async with open_on(configuration) as bridge:
            asyncio.get_running_loop().call_later(0.005, signal.raise_signal, signal.SIGINT)
            await bridge.perform(receive)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert isinstance(receive.error, OperationCancelled)


def test_in_debug_mode(configuration: Configuration, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> Any:
        async with open_on(configuration) as bridge:
            far.stdlib.send(b"x")
            return await bridge.perform(RecvBytes(near, 10))

    assert asyncio.run(main(), debug=True) == b"x"
