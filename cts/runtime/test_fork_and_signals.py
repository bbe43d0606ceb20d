"""Bad days of a run: it is forked, or signals arrive."""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket as stdlib_socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.configurations import Configuration
from cts.runtime.conftest import Pair
from cts.runtime.support import after, after_start, fork_and_report, in_main_thread_only, interrupt, receive_exactly
from cts.support import Sockets, pattern, until_asleep
from proactor_trio import Event, SocketStream, open_nursery, sleep
from proactor_trio.lowlevel import TrioToken, current_proactor, current_trio_token, enable_ki_protection
from proactor_trio.proactor import (
    Accept,
    HandlePoll,
    Nop,
    Operation,
    RecvBytes,
    Socket,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

# Fork -------------------------------------------------------------------------------------------------------------


async def test_the_runs_proactor_says_in_a_child_whose_it_is() -> None:
    proactor = current_proactor()

    def in_child() -> str:
        proactor.submit(Nop())
        return "it took the operation"

    said = fork_and_report(in_child)
    assert said.startswith("RuntimeError") and "fork" in said


async def test_the_runs_token_says_in_a_child_whose_it_is() -> None:
    token = current_trio_token()

    def in_child() -> str:
        token.run_sync_soon(print)
        return "it took the call"

    said = fork_and_report(in_child)
    assert "fork" in said


async def test_a_child_is_in_no_run() -> None:
    assert fork_and_report(lambda: repr(proactor_trio.lowlevel.in_trio_run())) == "False"


async def test_a_child_may_start_a_run_of_its_own(configuration: Configuration) -> None:
    async def main() -> str:
        near, far = stdlib_socket.socketpair()
        async with SocketStream(Socket.from_stdlib(near)) as first, SocketStream(Socket.from_stdlib(far)) as second:
            await first.send_all(b"from a child")
            return (await second.receive_some()).decode()

    in_child = functools.partial(proactor_trio.run, main, backend=configuration.backend)
    assert fork_and_report(in_child) == "from a child"


async def test_the_parent_goes_on_after_a_fork(pair: Pair) -> None:
    near, far = pair
    received = []
    async with open_nursery() as nursery:

        async def receive() -> None:
            received.append(await near.receive_some())

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert fork_and_report(lambda: "ended") == "ended"
        await far.send_all(b"x")
    await sleep(0.001)  # its deadlines come, too
    assert received == [b"x"]


async def test_a_child_that_lives_on_takes_nothing_away_from_its_parent(pair: Pair) -> None:
    """It has the same descriptors; events, bytes and wake-ups stay the parent's."""
    near, far = pair
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.close(writer)
            os.read(reader, 1)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        token = current_trio_token()
        for number in range(20):
            await near.send_all(b"%d" % number)
            assert await far.receive_some() == b"%d" % number
            called = Event()
            thread = after(0, functools.partial(token.run_sync_soon, called.set))
            await called.wait()
            thread.join()
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_child_may_run_after_its_parents_run_has_ended(configuration: Configuration) -> None:
    async def main() -> str:
        await sleep(0)
        return "again"

    run = functools.partial(proactor_trio.run, main, backend=configuration.backend)
    assert run() == "again"
    assert fork_and_report(run) == "again"
    assert run() == "again"


async def test_a_child_leaves_the_operations_of_its_parent_alone(pair: Pair) -> None:
    near, far = pair
    receive = RecvBytes(near.socket.proactor_socket, 10)
    current_proactor().submit(receive)
    await wait_all_tasks_blocked()

    def in_child() -> str:
        gc.collect()
        return "ended"

    assert fork_and_report(in_child) == "ended"
    await far.send_all(b"x")
    assert await receive == b"x"


# Signals ----------------------------------------------------------------------------------------------------------


@in_main_thread_only
@pytest.mark.parametrize("waiting_for", ["receive", "accept", "timer", "poll"])
def test_an_interrupt_ends_a_run_that_waits_for_an_operation(
    run_with: Callable[..., Any], sockets: Sockets, waiting_for: str
) -> None:
    near, _ = sockets.unix_pair()
    unwound = []

    async def main() -> None:
        makers: dict[str, Callable[[], Operation]] = {
            "receive": lambda: RecvBytes(near, 10),
            "accept": lambda: Accept(sockets.listener()),
            "timer": lambda: Timer(time.monotonic() + 1000),
            "poll": lambda: HandlePoll(near),
        }
        try:
            started.set()
            await makers[waiting_for]()
        finally:
            unwound.append(True)

    started = threading.Event()
    thread = after_start(started, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_with(main)
    thread.join()
    assert unwound == [True]


@in_main_thread_only
def test_no_byte_is_lost_by_an_interrupt(run_with: Callable[..., Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    received = bytearray()

    async def main(started: threading.Event) -> None:
        started.set()
        while True:
            await receive()

    @enable_ki_protection
    async def receive() -> None:
        received.extend(await RecvBytes(near, 10))

    def send_and_interrupt(started: threading.Event) -> None:
        assert started.wait(10)
        far.stdlib.send(b"01234")
        interrupt()

    for _ in range(50):
        started = threading.Event()
        thread = threading.Thread(target=send_and_interrupt, args=(started,))
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run_with(main, started)
        thread.join()
    try:
        received.extend(near.stdlib.recv(1000))
    except BlockingIOError:
        pass
    assert received == b"01234" * 50


@in_main_thread_only
@pytest.mark.parametrize("moment", ["before_run", "task_spawned", "before_io_wait", "before_task_step"])
def test_an_interrupt_that_comes_while_a_run_starts_is_not_forgotten(run_with: Callable[..., Any], moment: str) -> None:
    fired: list[bool] = []

    class Interrupting(proactor_trio.abc.Instrument):
        pass

    def fire(self: object, *_: object) -> None:
        if not fired:
            fired.append(True)
            signal.raise_signal(signal.SIGINT)

    setattr(Interrupting, moment, fire)
    slept_on = []

    async def main() -> None:
        await Timer(time.monotonic() + 0.05)
        slept_on.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_with(main, instruments=[Interrupting()])
    assert fired and not slept_on


@in_main_thread_only
def test_a_signal_whose_handler_returns_does_not_disturb_a_wait(run_with: Callable[..., Any]) -> None:
    handled = threading.Event()
    previous = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    started = threading.Event()
    main_thread = threading.current_thread()
    seen: list[str] = []

    async def main() -> None:
        event = Event()
        token = current_trio_token()

        def disturb_then_end() -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert handled.wait(10)
            until_asleep(main_thread)
            seen.append("it waits again")
            token.run_sync_soon(event.set)

        thread = after_start(started, disturb_then_end)
        started.set()
        with proactor_trio.fail_after(10):
            await event.wait()
        seen.append("it has ended")
        thread.join()

    try:
        run_with(main)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert seen == ["it waits again", "it has ended"]


@in_main_thread_only
def test_a_signal_handler_runs_soon_while_the_run_waits(run_with: Callable[..., Any]) -> None:
    """Nobody has to move for it: the wait itself is interrupted."""
    event = Event()
    tokens: list[TrioToken] = []

    def handle(*_: object) -> None:
        tokens[0].run_sync_soon(event.set)

    previous = signal.signal(signal.SIGUSR1, handle)

    async def main() -> None:
        tokens.append(current_trio_token())
        started = threading.Event()
        thread = after_start(started, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        started.set()
        with proactor_trio.fail_after(5):
            await event.wait()
        thread.join()

    try:
        run_with(main)
    finally:
        signal.signal(signal.SIGUSR1, previous)


@in_main_thread_only
def test_many_signals_during_traffic_lose_nothing(run_with: Callable[..., Any], tcp_pair: Pair) -> None:
    near, far = tcp_pair
    handled = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: handled.append(True))
    stop = threading.Event()

    def annoy() -> None:
        while not stop.wait(0.0005):
            os.kill(os.getpid(), signal.SIGUSR1)

    async def main() -> bytes:
        async with open_nursery() as nursery:
            nursery.start_soon(near.send_all, pattern(4_000_000))
            received = await receive_exactly(far, 4_000_000)
        return received

    thread = threading.Thread(target=annoy)
    thread.start()
    try:
        assert run_with(main) == pattern(4_000_000)
    finally:
        stop.set()
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
    assert handled


@in_main_thread_only
def test_a_signal_handler_that_raises_in_a_wait_ends_the_run(run_with: Callable[..., Any], sockets: Sockets) -> None:
    """As an error of the loop, after which nothing is left behind."""

    class Alarm(Exception):
        pass

    def handle(*_: object) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGUSR1, handle)
    near, _ = sockets.unix_pair()

    started = threading.Event()

    async def main() -> None:
        started.set()
        await RecvBytes(near, 10)

    try:
        thread = after_start(started, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises((Alarm, proactor_trio.TrioInternalError)):
            run_with(main)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert run_with(functools.partial(sleep, 0)) is None
