"""Guest mode: a run on top of another loop, here a plain queue of calls and asyncio."""

from __future__ import annotations

import asyncio
import functools
import gc
import queue
import signal
import socket as stdlib_socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sniffio
from outcome import Outcome

from cts.semantics.support import LOOPBACK, in_main_thread_only, port_of

#: Seconds after which a host gives up: nothing here takes long.
PATIENCE = 20.0


class Host:
    """The smallest loop that a guest can have: a queue of calls, which are made in order until the guest is over."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()
        self.outcome: Outcome[Any] | None = None
        self.made = 0

    def soon(self, call: Callable[[], object]) -> None:
        """Make this call soon."""
        self._calls.put(call)

    def start(self, async_fn: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Begin a guest run; nothing of it has the thread before loop() is called."""
        self._lib.start_guest_run(
            async_fn, *args, run_sync_soon_threadsafe=self.soon, done_callback=self._done, **options
        )

    def _done(self, outcome: Outcome[Any]) -> None:
        self.outcome = outcome

    def loop(self) -> Any:
        """Make calls until the guest is over; what its main task returned or raised."""
        while self.outcome is None:
            self._calls.get(timeout=PATIENCE)()
            self.made += 1
        return self.outcome.unwrap()

    def run(self, async_fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """start() and loop()."""
        self.start(async_fn, *args, **options)
        return self.loop()


@pytest.fixture
def host(lib: Any) -> Host:
    """A host without a guest."""
    return Host(lib)


def run_on_asyncio(lib: Any, async_fn: Callable[..., Any], *args: Any) -> Any:
    """A guest run on asyncio, with both of its ways to have something called."""

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[Any]] = loop.create_future()
        lib.start_guest_run(
            async_fn,
            *args,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=loop.call_soon,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        return (await done).unwrap()

    return asyncio.run(host())


# ---- what a guest run gives its host ----------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_the_host_is_given_what_the_main_task_returns(lib: Any, host: Host) -> None:
    async def main(word: str) -> str:
        await lib.lowlevel.checkpoint()
        return word

    assert host.run(main, "returned") == "returned"


@pytest.mark.semantics(22)
def test_the_host_is_given_what_the_main_task_raises(lib: Any, host: Host) -> None:
    async def main() -> None:
        await lib.lowlevel.checkpoint()
        raise KeyError("raised")

    with pytest.raises(KeyError):
        host.run(main)


@pytest.mark.semantics(22)
def test_a_system_task_that_crashes_is_an_internal_error_for_the_host(lib: Any, host: Host) -> None:
    async def crash() -> None:
        raise ValueError("crashed")

    async def main() -> None:
        lib.lowlevel.spawn_system_task(crash)
        await lib.sleep_forever()

    with pytest.raises(lib.TrioInternalError):
        host.run(main)


@pytest.mark.semantics(22)
def test_a_function_that_is_not_async_is_told_to_the_host(lib: Any, host: Host) -> None:
    with pytest.raises(TypeError):
        host.run(lambda: None)


@pytest.mark.semantics(22)
def test_asyncio_can_be_the_host(lib: Any) -> None:
    async def main() -> str:
        await lib.sleep(0.001)
        return "guest"

    assert run_on_asyncio(lib, main) == "guest"


@pytest.mark.semantics(22)
def test_an_exception_reaches_asyncio(lib: Any) -> None:
    async def main() -> None:
        raise KeyError("raised")

    with pytest.raises(KeyError):
        run_on_asyncio(lib, main)


# ---- waiting ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_a_guest_waits_for_sockets(lib: Any, host: Host) -> None:
    async def main() -> bytes:
        (listener,) = await lib.open_tcp_listeners(0, host=LOOPBACK)
        async with listener, await lib.open_tcp_stream(LOOPBACK, port_of(listener)) as near:
            async with await listener.accept() as far, lib.open_nursery() as nursery:
                nursery.start_soon(near.send_all, b"through the host")
                received: bytes = await far.receive_some()
                return received

    assert host.run(main) == b"through the host"


@pytest.mark.semantics(22)
def test_a_guest_waits_for_threads(lib: Any, host: Host) -> None:
    async def main() -> int:
        identifier: int = await lib.to_thread.run_sync(threading.get_ident)
        return identifier

    assert host.run(main) != threading.get_ident()


@pytest.mark.semantics(22)
def test_the_host_goes_on_while_the_guest_waits(lib: Any, host: Host) -> None:
    async def main() -> None:
        await released.wait()

    released = None

    def release() -> None:
        released.set()  # type: ignore[attr-defined]

    host.start(main)
    released = lib.Event()
    waiter = threading.Timer(0.05, host.soon, [release])
    waiter.start()
    host.loop()
    waiter.join()


@pytest.mark.semantics(22)
def test_a_guest_that_waits_makes_no_calls(lib: Any, host: Host) -> None:
    async def main() -> int:
        await lib.sleep(0.001)
        before = host.made
        await lib.sleep(0.1)
        return host.made - before

    assert host.run(main) <= 3


@pytest.mark.semantics(22)
def test_a_test_clock_jumps_in_a_guest(lib: Any, host: Host) -> None:
    async def main() -> None:
        await lib.sleep(100_000)

    host.run(main, clock=lib.testing.MockClock(autojump_threshold=0))


@pytest.mark.semantics(22)
def test_idleness_is_seen_in_a_guest(lib: Any, host: Host) -> None:
    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.sleep_forever)
            await lib.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    host.run(main)


# ---- plain functions between two ticks --------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_when_it_has_begun_plain_functions_can_be_called_and_no_code_of_the_main_task_has_run(
    lib: Any, host: Host
) -> None:
    record = []

    async def main() -> None:
        record.append("main task")

    host.start(main)
    record.append(type(lib.current_time()).__name__)
    record.append(lib.lowlevel.in_trio_run())
    record.append(lib.lowlevel.in_trio_task())
    host.loop()
    assert record == ["float", True, False, "main task"]


@pytest.mark.semantics(22)
def test_a_system_task_can_be_spawned_before_the_first_tick(lib: Any, host: Host) -> None:
    async def system_task() -> None:
        done.set()

    async def main() -> None:
        await done.wait()

    host.start(main)
    done = lib.Event()
    lib.lowlevel.spawn_system_task(system_task)
    host.loop()


@pytest.mark.semantics(22)
def test_the_host_can_set_an_event_while_all_tasks_are_blocked(lib: Any, host: Host) -> None:
    async def main() -> str:
        host_is_told.set()
        await event.wait()
        return "woken"

    host_is_told = threading.Event()
    host.start(main)
    event = lib.Event()

    def set_later() -> None:
        assert host_is_told.wait(PATIENCE)
        host.soon(event.set)

    helper = threading.Thread(target=set_later)
    helper.start()
    assert host.loop() == "woken"
    helper.join()


@pytest.mark.semantics(22)
def test_the_host_can_cancel_a_scope_while_all_tasks_are_blocked(lib: Any, host: Host) -> None:
    async def main() -> bool:
        with scope:
            host.soon(lambda: host.soon(scope.cancel))
            await lib.sleep_forever()
        caught: bool = scope.cancelled_caught
        return caught

    host.start(main)
    scope = lib.CancelScope()
    assert host.loop() is True


@pytest.mark.semantics(22)
def test_the_host_can_bring_a_deadline_forward_while_all_tasks_are_blocked(lib: Any, host: Host) -> None:
    def bring_forward() -> None:
        scope.deadline = lib.current_time()

    async def main() -> bool:
        scope.deadline = lib.current_time() + 1000
        with scope:
            host.soon(lambda: host.soon(bring_forward))
            await lib.sleep_forever()
        caught: bool = scope.cancelled_caught
        return caught

    host.start(main)
    scope = lib.CancelScope()
    assert host.loop() is True


@pytest.mark.semantics(22)
def test_the_host_can_send_into_a_channel(lib: Any, host: Host) -> None:
    async def main() -> list[int]:
        async with receive_channel:
            return [value async for value in receive_channel]

    def send() -> None:
        for number in range(3):
            send_channel.send_nowait(number)
        send_channel.close()

    host.start(main)
    send_channel, receive_channel = lib.open_memory_channel(10)
    host.soon(lambda: host.soon(send))
    assert host.loop() == [0, 1, 2]


@pytest.mark.semantics(22)
def test_a_token_works_from_other_threads(lib: Any, host: Host) -> None:
    async def main() -> None:
        token = lib.lowlevel.current_trio_token()
        event = lib.Event()
        helper = threading.Thread(target=token.run_sync_soon, args=(event.set,))
        helper.start()
        await event.wait()
        helper.join()

    host.run(main)


# ---- whose thread it is -----------------------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_sniffio_says_who_has_the_thread(lib: Any) -> None:
    async def main() -> str:
        await lib.lowlevel.checkpoint()
        seen.append(sniffio.current_async_library())
        await lib.sleep(0.001)
        return sniffio.current_async_library()

    async def in_host() -> None:
        seen.append(sniffio.current_async_library())

    seen: list[str] = []
    name = "trio" if lib.is_trio else "proactor_trio"

    async def guest_and_host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[Any]] = loop.create_future()
        lib.start_guest_run(
            main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        await in_host()
        seen.append((await done).unwrap())
        await in_host()

    asyncio.run(guest_and_host())
    assert seen == ["asyncio", name, name, "asyncio"]


@pytest.mark.semantics(22)
def test_a_run_cannot_begin_beside_a_guest(lib: Any, host: Host) -> None:
    async def main() -> None:
        return None

    host.start(main)
    with pytest.raises(RuntimeError):
        lib.run(main)
    host.loop()


@pytest.mark.semantics(22)
def test_a_guest_cannot_begin_inside_a_run(lib: Any, host: Host) -> None:
    async def guest() -> None:
        return None

    async def main() -> None:
        with pytest.raises(RuntimeError):
            host.start(guest)

    lib.run(main)


@pytest.mark.semantics(22)
def test_one_guest_can_follow_another(lib: Any) -> None:
    async def main() -> str:
        await lib.lowlevel.checkpoint()
        return "done"

    assert [Host(lib).run(main) for _ in range(3)] == ["done"] * 3


@pytest.mark.semantics(22)
def test_async_generators_of_asyncio_are_finalised_by_asyncio(lib: Any) -> None:
    async def main() -> None:
        await lib.sleep(0.001)

    record = []

    async def generate() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            record.append(sniffio.current_async_library())

    async def guest_and_host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome[Any]] = loop.create_future()
        lib.start_guest_run(
            main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        generator = generate()
        await anext(generator)
        del generator
        gc.collect()
        await done
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(guest_and_host())
    assert record == ["asyncio"]


@in_main_thread_only
@pytest.mark.semantics(22)
def test_the_wakeup_descriptor_is_left_to_a_host_that_uses_it(lib: Any, host: Host) -> None:
    async def main() -> int:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return descriptor

    near, far = stdlib_socket.socketpair()
    with near, far:
        near.setblocking(False)
        previous = signal.set_wakeup_fd(near.fileno())
        try:
            assert host.run(main, host_uses_signal_set_wakeup_fd=True) == near.fileno()
        finally:
            signal.set_wakeup_fd(previous)


@in_main_thread_only
@pytest.mark.semantics(22)
def test_an_interrupt_ends_a_guest_that_waits(lib: Any, host: Host) -> None:
    async def main() -> None:
        threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]).start()
        await lib.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        host.run(main, restrict_keyboard_interrupt_to_checkpoints=True)


# ---- what others see of it ---------------------------------------------------------------------------------------


@pytest.mark.semantics(22)
def test_instruments_see_the_waits_of_a_guest(lib: Any, host: Host) -> None:
    waits: list[str] = []

    class Waits(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        def before_io_wait(self, timeout: float) -> None:
            waits.append("before")

        def after_io_wait(self, timeout: float) -> None:
            waits.append("after")

    async def main() -> None:
        await lib.sleep(0.001)

    host.run(main, instruments=[Waits()])
    assert waits
    assert waits == ["before", "after"] * (len(waits) // 2)


@pytest.mark.semantics(22)
def test_many_wakings_from_many_threads_lose_none(lib: Any, host: Host) -> None:
    async def main() -> int:
        token = lib.lowlevel.current_trio_token()
        threads = [
            threading.Thread(target=lambda: [token.run_sync_soon(arrived.append, 1) for _ in range(100)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while len(arrived) < 400:
            await lib.sleep(0.001)
        for thread in threads:
            await lib.to_thread.run_sync(thread.join)
        return len(arrived)

    arrived: list[int] = []
    assert host.run(main) == 400


@pytest.mark.semantics(22)
def test_calls_for_the_hosts_own_thread_come_from_it(lib: Any) -> None:
    callers: set[int] = set()
    calls: queue.Queue[Callable[[], object]] = queue.Queue()
    outcomes: list[Outcome[Any]] = []

    def from_own_thread(call: Callable[[], object]) -> None:
        callers.add(threading.get_ident())
        calls.put(call)

    async def main() -> None:
        for _ in range(3):
            await lib.sleep(0.001)

    lib.start_guest_run(
        functools.partial(main),
        run_sync_soon_threadsafe=calls.put,
        run_sync_soon_not_threadsafe=from_own_thread,
        done_callback=outcomes.append,
    )
    while not outcomes:
        calls.get(timeout=PATIENCE)()
    assert callers == {threading.get_ident()}
