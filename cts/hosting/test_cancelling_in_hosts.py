"""Cancelled means it had no effect, for operations that tasks of other libraries await: both hosts, every backend."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cts.hosting.hosts import Bridge, Ending, Host, is_in_flight
from cts.support import Sockets, fill, pipe
from proactor_trio.proactor import (
    Accept,
    Event,
    EventWait,
    HandlePoll,
    Notification,
    NotificationWait,
    Operation,
    OperationFlags,
    OperationState,
    PollEvents,
    Proactor,
    Recv,
    RecvBytes,
    SemaphoreWait,
    Send,
    Sequence,
    SocketClose,
    SoftwareOperation,
    StreamRead,
    TimelineSemaphore,
    Timer,
)

LINKED = OperationFlags.LINKED
REPETITIONS = 300


class Blocked:
    """Makes one operation of each kind that nothing is going to complete; closes what belongs to it."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._near, self._far = sockets.unix_pair()
        self._event = Event()
        self._pipe = pipe()
        self._reader = self._pipe.__enter__()[0]

    def close(self) -> None:
        self._event.close()
        self._pipe.__exit__(None, None, None)

    def timer(self) -> Operation:
        return Timer(time.monotonic() + 1000)

    def receive_bytes(self) -> Operation:
        return RecvBytes(self._near, 10)

    def receive(self) -> Operation:
        return Recv(self._near, bytearray(10))

    def send(self) -> Operation:
        fill(self._near)
        return Send(self._near, b"no room")

    def accept(self) -> Operation:
        return Accept(self._sockets.listener())

    def handle_poll(self) -> Operation:
        return HandlePoll(self._reader, PollEvents.IN)

    def stream_read(self) -> Operation:
        return StreamRead(self._reader, bytearray(10))

    def event_wait(self) -> Operation:
        return EventWait(self._event)

    def semaphore_wait(self) -> Operation:
        return SemaphoreWait([TimelineSemaphore()], [1])

    def notification_wait(self) -> Operation:
        return NotificationWait(Notification())

    def sequence(self) -> Operation:
        return Sequence([SemaphoreWait([TimelineSemaphore()], [1]), RecvBytes(self._near, 10)])

    def with_a_deadline(self) -> Operation:
        return RecvBytes(self._near, 10, timeout=1000)

    def with_a_deadline_of_ours(self) -> Operation:
        return SemaphoreWait([TimelineSemaphore()], [1], timeout=1000)


KINDS = [name for name, value in vars(Blocked).items() if callable(value) and not name.startswith("_")]
KINDS.remove("close")


@pytest.fixture
def blocked(sockets: Sockets) -> Any:
    made = Blocked(sockets)
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_under_way_ends_when_its_task_is_cancelled(host: Host, blocked: Blocked, kind: str) -> None:
    operation: Operation = getattr(blocked, kind)()

    async def scene(bridge: Bridge, host: Host) -> Ending:
        async with host.start(bridge.perform, operation) as ending:
            assert is_in_flight(operation)
            ending.cancel()
        return ending

    assert (host.run(scene).word, operation.state) == ("cancelled", OperationState.DONE)


def test_a_cancelled_receive_takes_no_byte(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge, host: Host) -> Any:
        async with host.start(bridge.perform, RecvBytes(near, 10)) as ending:
            ending.cancel()
        far.stdlib.send(b"later")
        return await bridge.perform(RecvBytes(near, 10))

    assert host.run(scene) == b"later"


def test_the_task_stays_parked_until_the_final_completion(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, receive) as ending:
            ending.cancel()
            assert not ending.is_over
            await host.until(lambda: ending.is_over)
            assert receive.state is OperationState.DONE

    host.run(scene)


def test_cancelled_twice_is_cancelled_once(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge, host: Host) -> str:
        async with host.start(bridge.perform, receive) as ending:
            ending.cancel()
            ending.cancel()
            await host.checkpoint()
            ending.cancel()
        return ending.word

    assert host.run(scene) == "cancelled"


def test_a_result_that_came_first_is_returned(host: Host, sockets: Sockets) -> None:
    """The byte is in, the operation is done, and the task is cancelled before it gets to run."""
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge, host: Host) -> Ending:
        cancelling: list[Callable[[], object]] = []
        receive = RecvBytes(near, 10, lambda _operation, _flags: cancelling[0]())
        async with host.start(bridge.perform, receive) as ending:
            cancelling.append(ending.cancel)
            far.stdlib.send(b"x")
        return ending

    ending = host.run(scene)
    assert (ending.word, ending.value) == ("ok", b"x")


class EndsWithAResult(SoftwareOperation):
    """Cannot be cancelled any more when it is asked to end: its result comes first."""

    def _prepare(self) -> None:
        pass

    def _begin(self, proactor: Proactor) -> None:
        pass

    def _cancel(self, proactor: Proactor) -> None:
        proactor.finish(self, self.identifier, 7)


def test_a_result_that_comes_after_the_request_is_returned_too(host: Host) -> None:
    async def scene(bridge: Bridge, host: Host) -> Ending:
        async with host.start(bridge.perform, EndsWithAResult()) as ending:
            ending.cancel()
        return ending

    ending = host.run(scene)
    assert (ending.word, ending.value) == ("ok", 7)


def test_a_close_that_has_begun_goes_on(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, SocketClose(near)) as ending:
            ending.cancel()

    host.run(scene)
    far.stdlib.settimeout(5)
    assert far.stdlib.recv(1) == b""


def test_a_step_whose_turn_has_not_come_does_not_wait_for_those_before_it(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    chain = Recv(near, bytearray(3), flags=LINKED), Send(near, b"never")

    async def scene(bridge: Bridge, host: Host) -> str:
        bridge.proactor.submit(*chain)
        async with host.start(bridge.perform, chain[1]) as ending:
            ending.cancel()
        return ending.word

    assert host.run(scene) == "cancelled"
    assert chain[0].state is OperationState.DONE


def test_cancelled_in_the_race_with_a_completion_loses_nothing(host: Host, sockets: Sockets) -> None:
    """Bytes are sent and receives are cancelled in a random order; each byte arrives once, in order."""
    near, far = sockets.unix_pair()
    chance = random.Random(7)
    sent, received = bytearray(), bytearray()

    async def receive_one(bridge: Bridge) -> None:
        received.extend(await bridge.perform(RecvBytes(near, 1)))

    async def scene(bridge: Bridge, host: Host) -> int:
        cancelled = 0
        for number in range(REPETITIONS):
            async with host.start(receive_one, bridge) as ending:
                steps: list[Callable[[], object]] = [ending.cancel]
                if chance.random() < 0.7:
                    sent.append(number % 256)
                    steps.append(lambda: far.stdlib.send(sent[-1:]))
                chance.shuffle(steps)
                for step in steps:
                    step()
                    for _ in range(chance.randrange(4)):
                        await host.checkpoint()
            cancelled += ending.was_cancelled
        while len(received) < len(sent):
            await receive_one(bridge)
        return cancelled

    cancelled = host.run(scene)
    assert received == sent
    assert cancelled > REPETITIONS // 10


def test_accepted_connections_are_not_lost_in_the_race(host: Host, sockets: Sockets) -> None:
    listener = sockets.listener(200)
    chance = random.Random(11)
    accepted: list[Any] = []

    async def accept_one(bridge: Bridge) -> None:
        accepted.append(sockets.keep(await bridge.perform(Accept(listener))))

    async def scene(bridge: Bridge, host: Host) -> int:
        clients = 0
        for _ in range(60):
            async with host.start(accept_one, bridge) as ending:
                steps: list[Callable[[], object]] = [ending.cancel]
                if chance.random() < 0.7:
                    clients += 1
                    steps.append(lambda: sockets.client_of(listener))
                chance.shuffle(steps)
                for step in steps:
                    step()
                    for _ in range(chance.randrange(4)):
                        await host.checkpoint()
        while len(accepted) < clients:
            await accept_one(bridge)
        return clients

    clients = host.run(scene)
    assert len(accepted) == clients


def test_many_tasks_are_cancelled_at_once(host: Host, sockets: Sockets) -> None:
    receives = [RecvBytes(sockets.unix_pair()[0], 10) for _ in range(100)]

    async def scene(bridge: Bridge, host: Host) -> list[str]:
        async with AsyncExitStack() as stack:
            endings = [await stack.enter_async_context(host.start(bridge.perform, receive)) for receive in receives]
            for ending in endings:
                ending.cancel()
        return [ending.word for ending in endings]

    assert host.run(scene) == ["cancelled"] * 100
