"""What only asyncio has: edge-triggered cancellation, timeouts, uncancel, shields."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from cts.hosting.asyncio_scenes import Scene, run, turns_of_the_loop
from cts.support import Sockets
from proactor_trio.integrations.asyncio_bridge import Bridge
from proactor_trio.proactor import (
    Connect,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Recv,
    RecvBytes,
    Send,
)

__all__ = ["run"]  # a fixture

REPETITIONS = 300


class CancelledByItsOwnResult:
    """A receive whose completion cancels the task that awaits it: the result is in before the cancellation."""

    def __init__(self, sockets: Sockets) -> None:
        self._near, self._far = sockets.unix_pair()
        self.task: asyncio.Task[Any] | None = None

    def operation(self) -> RecvBytes:
        self.task = asyncio.current_task()
        self._far.stdlib.send(b"x")
        return RecvBytes(self._near, 10, self._cancel)

    def _cancel(self, _operation: Operation, _flags: object) -> None:
        assert self.task is not None
        self.task.cancel("late")


# Timeouts ------------------------------------------------------------------------------------------------------------


def test_a_timeout_ends_the_operation(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge) -> None:
        async with asyncio.timeout(0.01):
            await bridge.perform(receive)

    with pytest.raises(TimeoutError):
        run(scene)
    assert receive.state is OperationState.DONE


def test_wait_for(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> None:
        await asyncio.wait_for(bridge.perform(RecvBytes(near, 10)), 0.01)

    with pytest.raises(TimeoutError):
        run(scene)


def test_after_a_timeout_the_task_is_not_cancelled(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await bridge.perform(RecvBytes(near, 10))
        far.stdlib.send(b"x")
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling(), await bridge.perform(RecvBytes(near, 10))

    assert run(scene) == (0, b"x")


# A result that won ---------------------------------------------------------------------------------------------------


def test_a_result_that_won_is_followed_by_the_cancellation(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    """It was asked for once, so it is delivered once: to the next await."""
    own = CancelledByItsOwnResult(sockets)
    results: list[bytes] = []

    async def receive_and_sleep(bridge: Bridge) -> None:
        results.append(await bridge.perform(own.operation()))
        await asyncio.sleep(1000)

    async def scene(bridge: Bridge) -> str:
        task = asyncio.create_task(receive_and_sleep(bridge))
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return str(raised.value)

    assert (run(scene), results) == ("late", [b"x"])


def test_the_next_operation_meets_the_cancellation_too(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    own = CancelledByItsOwnResult(sockets)
    near, _far = sockets.unix_pair()

    async def receive_for_ever(bridge: Bridge) -> None:
        await bridge.perform(own.operation())
        await bridge.perform(RecvBytes(near, 10))

    async def scene(bridge: Bridge) -> bool:
        task = asyncio.create_task(receive_for_ever(bridge))
        await asyncio.wait([task])
        return task.cancelled()

    assert run(scene)


def test_a_task_that_ends_with_the_result_has_it(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    own = CancelledByItsOwnResult(sockets)

    async def receive(bridge: Bridge) -> Any:
        return await bridge.perform(own.operation())

    async def scene(bridge: Bridge) -> Any:
        return await asyncio.create_task(receive(bridge))

    assert run(scene) == b"x"


def test_a_timeout_that_was_late_leaves_nothing_behind(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    """The block ends with the result: the cancellation was taken back with it, and the next await is not hit."""
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> Any:
        async with asyncio.timeout(None) as timeout:

            def expire(_operation: Operation, _flags: object) -> None:
                timeout._on_timeout()  # type: ignore[attr-defined]

            far.stdlib.send(b"x")
            result = await bridge.perform(RecvBytes(near, 10, expire))
        await turns_of_the_loop(3)
        task = asyncio.current_task()
        assert task is not None
        return result, timeout.expired(), task.cancelling()

    assert run(scene) == (b"x", True, 0)


def test_a_timeout_that_was_late_ends_the_rest_of_its_block(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    results: list[bytes] = []

    async def scene(bridge: Bridge) -> None:
        async with asyncio.timeout(None) as timeout:

            def expire(_operation: Operation, _flags: object) -> None:
                timeout._on_timeout()  # type: ignore[attr-defined]

            far.stdlib.send(b"x")
            results.append(await bridge.perform(RecvBytes(near, 10, expire)))
            await asyncio.sleep(1000)

    with pytest.raises(TimeoutError):
        run(scene)
    assert results == [b"x"]


def test_the_count_of_cancellations_stays(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    own = CancelledByItsOwnResult(sockets)
    counts: list[int] = []

    async def receive(bridge: Bridge) -> None:
        task = asyncio.current_task()
        assert task is not None
        await bridge.perform(own.operation())
        counts.append(task.cancelling())
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            counts.append(task.cancelling())

    async def scene(bridge: Bridge) -> None:
        await asyncio.create_task(receive(bridge))

    run(scene)
    assert counts == [1, 1]


def test_a_cancellation_that_was_taken_back_does_not_come_again(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    own = CancelledByItsOwnResult(sockets)

    async def receive(bridge: Bridge) -> Any:
        result = await bridge.perform(own.operation())
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        await turns_of_the_loop(3)
        return result

    async def scene(bridge: Bridge) -> Any:
        return await asyncio.create_task(receive(bridge))

    assert run(scene) == b"x"


def test_an_error_that_won_is_raised_first(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    address = sockets.refusing_address()
    client = sockets.tcp()

    async def connect(bridge: Bridge, tasks: list[asyncio.Task[Any]]) -> str:
        try:
            await bridge.perform(Connect(client, address, lambda _operation, _flags: tasks[0].cancel()))
        except ConnectionRefusedError:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                return "then cancelled"
        return "not cancelled"

    async def scene(bridge: Bridge) -> Any:
        tasks: list[asyncio.Task[Any]] = []
        tasks.append(asyncio.create_task(connect(bridge, tasks)))
        return await tasks[0]

    assert run(scene) == "then cancelled"


# Before the start, under a shield, again -----------------------------------------------------------------------------


def test_a_task_that_is_cancelled_before_it_starts_submits_nothing(
    run: Callable[[Scene], Any], sockets: Sockets
) -> None:
    near, _far = sockets.unix_pair()
    send = Send(near, b"never")

    async def scene(bridge: Bridge) -> bool:
        task = asyncio.create_task(bridge.perform(send))
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert (run(scene), send.state) == (True, OperationState.NEW)


def test_a_task_that_has_cancelled_itself_ends_the_operation(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    chain = Recv(near, bytearray(3), flags=OperationFlags.LINKED), Send(near, b"never")

    async def receive(bridge: Bridge) -> None:
        task = asyncio.current_task()
        assert task is not None
        bridge.proactor.submit(*chain)
        task.cancel()
        await bridge.perform(chain[1])

    async def scene(bridge: Bridge) -> bool:
        task = asyncio.create_task(receive(bridge))
        await asyncio.wait([task])
        return task.cancelled()

    assert (run(scene), chain[0].state) == (True, OperationState.DONE)


def test_a_shield_keeps_the_operation(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> Any:
        inner = asyncio.create_task(bridge.perform(RecvBytes(near, 10)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.shield(inner)
        far.stdlib.send(b"x")
        return await inner

    assert run(scene) == b"x"


def test_cancelled_again_and_again_it_waits_for_the_completion(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge) -> bool:
        task = asyncio.create_task(bridge.perform(receive))
        await turns_of_the_loop(3)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        return task.cancelled() and receive.state is OperationState.DONE

    assert run(scene)


def test_the_message_of_a_cancellation_is_kept(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge) -> str:
        task = asyncio.create_task(bridge.perform(RecvBytes(near, 10)))
        await turns_of_the_loop(3)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return str(raised.value)

    assert run(scene) == "because"


def test_a_task_group_that_fails_cancels_what_its_tasks_wait_for(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def crash() -> None:
        await turns_of_the_loop(3)
        raise ZeroDivisionError

    async def scene(bridge: Bridge) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bridge.perform(receive))
            group.create_task(crash())

    with pytest.RaisesGroup(ZeroDivisionError):
        run(scene)
    assert isinstance(receive.error, OperationCancelled)


def test_short_timeouts_in_the_race_with_completions_lose_nothing(
    run: Callable[[Scene], Any], sockets: Sockets
) -> None:
    near, far = sockets.unix_pair()
    chance = random.Random(3)
    sent, received = bytearray(), bytearray()

    def send_next() -> None:
        sent.append(len(sent) % 256)
        far.stdlib.send(sent[-1:])

    async def scene(bridge: Bridge) -> int:
        timeouts = sends = 0
        for _ in range(REPETITIONS):
            if chance.random() < 0.7:
                sends += 1
                asyncio.get_running_loop().call_later(chance.random() * 4e-4, send_next)
            try:
                async with asyncio.timeout(chance.random() * 4e-4):
                    received.extend(await bridge.perform(RecvBytes(near, 1)))
            except TimeoutError:
                timeouts += 1
        while len(received) < sends:
            received.extend(await bridge.perform(RecvBytes(near, 1)))
        return timeouts

    assert run(scene) > 0
    assert received == sent


def test_a_coroutine_that_is_closed_leaves_no_operation_behind(run: Callable[[Scene], Any], sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge) -> None:
        coroutine = bridge.perform(receive)
        coroutine.send(None)
        coroutine.close()
        while receive.state is not OperationState.DONE:
            await asyncio.sleep(0)

    run(scene)
