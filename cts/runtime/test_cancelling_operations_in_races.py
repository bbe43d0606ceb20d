"""Cancellation against completion, hundreds of times for every kind of operation, by chance from a seed.

Each attempt ends as cancelled or with its result; nothing of what came in is lost or doubled, nothing that was
cancelled has happened.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.runtime.operation_scenes import Attempt, Scene, WaitingScene, in_flight, race
from cts.runtime.scenes_of_ending import ENDING
from cts.runtime.scenes_of_waiting import CLOSABLE, WAITING
from cts.runtime.support import MULTISHOT
from cts.support import Sockets, pattern
from proactor_trio import CancelScope, ClosedResourceError, open_nursery
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import Accept, CompletionFlags, Operation, OperationState, Recv, RecvBytes, Send

SetScene = Callable[[type[Any]], AbstractContextManager[Any]]

SEED = 20_261_122
REPETITIONS = 200

every_kind = pytest.mark.parametrize("kind", [*WAITING, *ENDING])
every_closable_kind = pytest.mark.parametrize("kind", CLOSABLE)


@pytest.fixture
def repetitions(configuration: Configuration) -> int:
    """How many attempts a test makes; a mask changes the way of few operations only."""
    return REPETITIONS // 5 if configuration.is_masked else REPETITIONS


def cancel(attempt: Attempt) -> None:
    attempt.scope.cancel()


@every_kind
async def test_either_the_result_or_the_cancellation(set_scene: SetScene, kind: type[Scene], repetitions: int) -> None:
    with set_scene(kind) as scene:
        chance = random.Random(SEED)
        for _ in range(repetitions):
            attempt = await race(scene, chance, cancel, lambda _: scene.provoke())
            scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_kind
async def test_a_deadline_that_comes_with_the_result(set_scene: SetScene, kind: type[Scene], repetitions: int) -> None:
    with set_scene(kind) as scene:
        chance = random.Random(SEED + 1)
        for _ in range(repetitions // 2):

            def set_deadline(attempt: Attempt) -> None:
                attempt.scope.deadline = time.monotonic() + chance.random() * 0.0002

            attempt = await race(scene, chance, set_deadline, lambda _: scene.provoke())
            scene.account(attempt)
        await scene.use_again()
    assert in_flight() == 0


@every_closable_kind
async def test_closing_cancelling_and_completing(
    set_scene: SetScene, kind: type[WaitingScene], repetitions: int
) -> None:
    chance = random.Random(SEED + 2)
    for _ in range(repetitions // 10):
        with set_scene(kind) as scene:
            closing = scene.closing()

            def close(_: Attempt, closing: Operation = closing) -> None:
                current_proactor().submit(closing)

            def provoke(_: Attempt, scene: WaitingScene = scene, closing: Operation = closing) -> None:
                if closing.state is OperationState.NEW:
                    scene.provoke()

            attempt = await race(scene, chance, cancel, close, provoke)
            await closing
            attempt.check_one_outcome()
            assert attempt.error is None or isinstance(attempt.error, ClosedResourceError), attempt.error
            if attempt.returned:
                scene.taken(attempt.result)
            scene.give_up()
    assert in_flight() == 0


async def test_a_stream_of_bytes_keeps_its_order_through_hundreds_of_cancelled_receives(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    chance = random.Random(SEED + 3)
    data = pattern(200_000)
    received = bytearray()

    async def send() -> None:
        position = 0
        while position < len(data):
            piece = data[position : position + chance.randrange(1, 4000)]
            position += await Send(far, piece, whole=True)
            for _ in range(chance.randrange(3)):
                await checkpoint()

    async def receive() -> None:
        receiving = RecvBytes(near, 3000)
        while len(received) < len(data):
            with CancelScope() as scope:
                nursery.start_soon(cancel_soon, scope)
                received.extend(await receiving)

    async def cancel_soon(scope: CancelScope) -> None:
        for _ in range(chance.randrange(6)):
            await checkpoint()
        scope.cancel()

    async with open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(receive)
    assert received == data
    assert in_flight() == 0


async def test_a_whole_receive_that_is_cancelled_half_way_loses_no_byte(sockets: Sockets) -> None:
    """It returns what it has moved; what it has not is there for the next one."""
    near, far = sockets.unix_pair()
    chance = random.Random(SEED + 4)
    data = pattern(100_000)
    received = bytearray()

    async def send() -> None:
        position = 0
        while position < len(data):
            position += await Send(far, data[position : position + chance.randrange(1, 500)], whole=True)

    async def cancel_soon(scope: CancelScope) -> None:
        for _ in range(chance.randrange(6)):
            await checkpoint()
        scope.cancel()

    async with open_nursery() as nursery:
        nursery.start_soon(send)
        while len(received) < len(data):
            buffer = bytearray(min(1000, len(data) - len(received)))
            with CancelScope() as scope:
                nursery.start_soon(cancel_soon, scope)
                count = await Recv(near, buffer, whole=True)
                received += buffer[:count]
    assert received == data
    assert in_flight() == 0


async def test_a_multishot_accept_that_is_cancelled_while_clients_come_loses_none(sockets: Sockets) -> None:
    listener = sockets.listener()
    chance = random.Random(SEED + 5)
    clients = 0
    for _ in range(30):
        accepted: list[Any] = []

        def keep(operation: Operation, flags: CompletionFlags, accepted: list[Any] = accepted) -> None:
            if operation.error is None:
                accepted.append(sockets.keep(operation.result))

        accept = Accept(listener, keep, flags=MULTISHOT)
        current_proactor().submit(accept)
        coming = [sockets.client_of(listener) for _ in range(chance.randrange(5))]
        for _ in range(chance.randrange(5)):
            await checkpoint()
        current_proactor().cancel(accept)
        while accept.state is not OperationState.DONE:
            await checkpoint()
        while len(accepted) < len(coming):
            accepted.append(sockets.keep(await Accept(listener)))
        assert {each.getpeername() for each in accepted} == {each.getsockname() for each in coming}
        clients += len(coming)
    assert clients > 30
    assert in_flight() == 0
