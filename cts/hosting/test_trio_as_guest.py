"""Real Trio as a guest of our loop: a complete host, whose operations Trio's tasks await and cancel."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sniffio
import trio

import proactor_trio
from cts.configurations import Configuration
from cts.hosting.guest import Guest
from cts.support import Sockets
from proactor_trio.integrations import trio_bridge
from proactor_trio.proactor import Accept, OperationState, RecvBytes, Send, Timer

REPETITIONS = 150


@pytest.fixture
def guest(configuration: Configuration) -> Guest:
    """A guest on the configuration."""
    return Guest(configuration)


async def perform(operation: Any) -> Any:
    return await operation


# Trio itself ---------------------------------------------------------------------------------------------------------


def test_it_returns_what_its_main_task_returns(guest: Guest) -> None:
    async def main() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert guest.run(main) == 7


def test_it_raises_what_its_main_task_raises(guest: Guest) -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guest.run(main)


def test_it_sleeps(guest: Guest) -> None:
    async def main() -> float:
        begin = time.monotonic()
        await trio.sleep(0.01)
        return time.monotonic() - begin

    assert guest.run(main) >= 0.01


def test_its_tasks_talk(guest: Guest) -> None:
    async def main() -> list[int]:
        send, receive = trio.open_memory_channel[int](0)

        async def produce() -> None:
            async with send:
                for number in range(10):
                    await send.send(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce)
            return [number async for number in receive]

    assert guest.run(main) == list(range(10))


def test_its_own_sockets_work(guest: Guest) -> None:
    async def main() -> bytes:
        near, far = trio.socket.socketpair()
        with near, far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.send, b"x")
                return await far.recv(1)

    assert guest.run(main) == b"x"


def test_its_threads_come_back(guest: Guest) -> None:
    async def main() -> int:
        return await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(threading.get_ident))

    assert guest.run(main) == threading.get_ident()


def test_its_autojump_clock_jumps(configuration: Configuration) -> None:
    async def main() -> float:
        begin = trio.current_time()
        await trio.sleep(1000)
        return trio.current_time() - begin

    guest = Guest(configuration, clock=trio.testing.MockClock(autojump_threshold=0))
    assert guest.run(main) == 1000


def test_the_autojump_clock_leaves_the_hosts_alone(configuration: Configuration) -> None:
    guest = Guest(configuration, clock=trio.testing.MockClock(autojump_threshold=0))

    async def main() -> float:
        begin = time.monotonic()
        with trio.CancelScope(shield=True):
            await guest.on_host(perform, Timer(time.monotonic() + 0.02))
        return time.monotonic() - begin

    assert 0.02 <= guest.run(main) < 5


def test_one_guest_after_the_other(configuration: Configuration) -> None:
    async def main(number: int) -> int:
        await trio.sleep(0)
        return number

    assert [Guest(configuration).run(main, number) for number in range(3)] == [0, 1, 2]


# The two together ----------------------------------------------------------------------------------------------------


def test_each_has_its_own_name(guest: Guest) -> None:
    names: list[str] = []

    async def note() -> None:
        names.append(sniffio.current_async_library())

    async def main() -> None:
        await note()
        await guest.on_host(note)
        await note()

    guest.run(main)
    assert names == ["trio", "proactor_trio", "trio"]


def test_a_task_of_the_guest_awaits_an_operation_of_the_host(guest: Guest, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> Any:
        await guest.on_host(perform, Send(near, b"ping"))
        return await guest.on_host(perform, RecvBytes(far, 10))

    assert guest.run(main) == b"ping"


def test_streams_of_the_host_serve_tasks_of_the_guest(guest: Guest, sockets: Sockets) -> None:
    near, far = (proactor_trio.SocketStream(socket) for socket in sockets.tcp_pair())

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guest.on_host, near.send_all, b"x" * 100_000)
            received = 0
            while received < 100_000:
                received += len(await guest.on_host(far.receive_some))
        await guest.on_host(near.aclose)
        await guest.on_host(far.aclose)
        return received

    assert guest.run(main) == 100_000


def test_an_exception_of_the_host_comes_to_the_guest(guest: Guest) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await guest.on_host(fail)

    guest.run(main)


def test_move_on_after_of_the_guest_ends_an_operation_of_the_host(guest: Guest, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def main() -> Any:
        with trio.move_on_after(0.01) as scope:
            await guest.on_host(perform, receive)
        assert scope.cancelled_caught and receive.state is OperationState.DONE
        far.stdlib.send(b"later")
        return await guest.on_host(perform, RecvBytes(near, 10))

    assert guest.run(main) == b"later"


def test_a_shield_of_the_guest_keeps_an_operation_of_the_host(guest: Guest, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> Any:
        with trio.CancelScope() as outer:
            outer.cancel()
            with trio.CancelScope(shield=True):
                far.stdlib.send(b"x")
                return await guest.on_host(perform, RecvBytes(near, 10))

    assert guest.run(main) == b"x"


def test_in_a_cancelled_scope_of_the_guest_nothing_is_submitted(guest: Guest, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    send = Send(near, b"never")

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await guest.on_host(perform, send)

    guest.run(main)
    assert send.state is OperationState.NEW


def test_cancelled_in_the_race_with_a_completion_loses_nothing(guest: Guest, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    chance = random.Random(5)
    sent, received = bytearray(), bytearray()

    async def receive_one() -> None:
        received.extend(await guest.on_host(perform, RecvBytes(near, 1)))

    async def main() -> None:
        for number in range(REPETITIONS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive_one)
                steps: list[Callable[[], object]] = [nursery.cancel_scope.cancel]
                if chance.random() < 0.7:
                    sent.append(number % 256)
                    steps.append(lambda: far.stdlib.send(sent[-1:]))
                chance.shuffle(steps)
                for step in steps:
                    with trio.CancelScope(shield=True):
                        for _ in range(chance.randrange(5)):
                            await trio.lowlevel.checkpoint()
                    step()
        while len(received) < len(sent):
            await receive_one()

    guest.run(main)
    assert received == sent


def test_many_tasks_of_the_guest_at_once(guest: Guest, sockets: Sockets) -> None:
    listener = sockets.listener(200)
    accepted: list[Any] = []

    async def accept_one() -> None:
        accepted.append(sockets.keep(await guest.on_host(perform, Accept(listener))))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(accept_one)
            for _ in range(50):
                sockets.client_of(listener)

    guest.run(main)
    assert len(accepted) == 50


def test_another_thread_wakes_the_guest_through_the_host(guest: Guest) -> None:
    async def main() -> None:
        event = trio.Event()
        token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(target=token.run_sync_soon, args=(event.set,))
        thread.start()
        await event.wait()
        thread.join()

    guest.run(main)


def test_an_idle_guest_lets_the_host_sleep(guest: Guest) -> None:
    waits: list[int] = []

    class CountWaits(proactor_trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            waits.append(1)

    async def main() -> int:
        counter = CountWaits()
        await guest.on_host(_call, proactor_trio.lowlevel.add_instrument, counter)
        before = len(waits)
        await trio.sleep(0.05)
        return len(waits) - before

    assert guest.run(main) < 20


async def _call(function: Callable[..., object], *args: Any) -> None:
    function(*args)


def test_a_bridge_inside_a_guest(guest: Guest, configuration: Configuration, sockets: Sockets) -> None:
    """A second proactor, which the guest drives, on a thread whose loop is ours."""
    near, far = sockets.unix_pair()

    async def main() -> Any:
        async with trio_bridge.open_bridge(configuration.backend, configuration.restrict()) as bridge:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guest.on_host, perform, Send(near, b"from the host"))
                return await bridge.perform(RecvBytes(far, 100))

    assert guest.run(main) == b"from the host"


def test_the_host_submits_to_a_bridge_of_its_guest(guest: Guest, configuration: Configuration) -> None:
    """What code of the host leaves for the guest's proactor wakes the guest, who sleeps at that moment."""

    async def main() -> None:
        async with trio_bridge.open_bridge(configuration.backend, configuration.restrict()) as bridge:
            done = trio.Event()
            token = trio.lowlevel.current_trio_token()
            timer = Timer(time.monotonic(), lambda *_: token.run_sync_soon(done.set))
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guest.on_host, _call, bridge.proactor.submit, timer)
                await done.wait()

    guest.run(main)
