"""Fork, signals, threads, runs inside of runs, and runs that end with work in flight."""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket as stdlib_socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.configurations import Configuration
from cts.runtime.conftest import Pair
from cts.runtime.support import fork_and_report, receive_exactly
from cts.support import Completions, Sockets, open_descriptors, pattern
from proactor_trio import (
    CancelScope,
    Event,
    RunFinishedError,
    SocketStream,
    move_on_after,
    open_file,
    open_nursery,
    open_tcp_listeners,
    open_tcp_stream,
    sleep,
    sleep_forever,
    to_thread,
)
from proactor_trio.lowlevel import (
    TrioToken,
    current_proactor,
    current_statistics,
    current_trio_token,
    enable_ki_protection,
)
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    RecvBytes,
    Socket,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

in_main_thread_only = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread"
)


def after(seconds: float, function: Callable[[], object]) -> threading.Timer:
    """Call it in another thread after a while; join() the answer."""
    timer = threading.Timer(seconds, function)
    timer.start()
    return timer


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def after_start(started: threading.Event, function: Callable[[], object]) -> threading.Thread:
    """Call it in another thread a little after the event; join() the answer."""

    def wait_and_call() -> None:
        assert started.wait(10)
        time.sleep(0.01)
        function()

    thread = threading.Thread(target=wait_and_call)
    thread.start()
    return thread


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
    await sleep(0.001)
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
    receive = RecvBytes(near.socket, 10)
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
    handled = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: handled.append(True))

    async def main() -> float:
        begun = time.monotonic()
        await sleep(0.04)
        return time.monotonic() - begun

    try:
        thread = after(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert run_with(main) >= 0.04
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert handled == [True]


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
        thread = after(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
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


# Threads ----------------------------------------------------------------------------------------------------------


def test_runs_in_two_threads_talk_to_each_other(run_with: Callable[..., Any]) -> None:
    addresses: list[tuple[str, int]] = []
    ready = threading.Event()

    async def serve() -> None:
        (listener,) = await open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            addresses.append(listener.socket.getsockname())
            ready.set()
            async with await listener.accept() as stream:
                async for data in stream:
                    await stream.send_all(data)

    async def ask() -> bytes:
        async with await open_tcp_stream(*addresses[0]) as stream:
            answer = b""
            for number in range(200):
                question = pattern(500, number)
                await stream.send_all(question)
                answer = await receive_exactly(stream, len(question))
                assert answer == question
            return answer

    thread = threading.Thread(target=run_with, args=(serve,))
    thread.start()
    assert ready.wait(10)
    assert run_with(ask) == pattern(500, 199)
    thread.join()


def test_many_runs_in_threads_at_once_do_not_meet(run_with: Callable[..., Any]) -> None:
    results: dict[int, bytes] = {}

    async def main(number: int) -> None:
        near, far = stdlib_socket.socketpair()
        async with SocketStream(Socket.from_stdlib(near)) as first, SocketStream(Socket.from_stdlib(far)) as second:
            for turn in range(20):
                await first.send_all(b"%d/%d" % (number, turn))
                results[number] = await second.receive_some()

    threads = [threading.Thread(target=run_with, args=(main, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: b"%d/19" % number for number in range(8)}


async def test_a_run_inside_of_a_run_is_refused(configuration: Configuration) -> None:
    before = open_descriptors()
    with pytest.raises(RuntimeError, match="from inside"):
        proactor_trio.run(sleep, 0, backend=configuration.backend)
    assert open_descriptors() == before
    await sleep(0)


async def test_a_run_in_a_thread_of_a_run_is_allowed(configuration: Configuration) -> None:
    async def inner() -> str:
        await sleep(0)
        return "inner"

    call = functools.partial(proactor_trio.run, inner, backend=configuration.backend)
    assert await to_thread.run_sync(call) == "inner"


async def test_another_thread_wakes_an_idle_run() -> None:
    token = current_trio_token()
    for _ in range(20):
        event = Event()
        thread = after(0.001, functools.partial(token.run_sync_soon, event.set))
        with proactor_trio.fail_after(5):
            await event.wait()
        thread.join()


async def test_calls_of_many_threads_all_arrive_in_the_order_of_each() -> None:
    token = current_trio_token()
    arrived: list[tuple[int, int]] = []

    def call(number: int) -> None:
        for turn in range(200):
            token.run_sync_soon(arrived.append, (number, turn))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while len(arrived) < 1600:
        await sleep(0.001)
    for thread in threads:
        thread.join()
    for number in range(8):
        assert [turn for who, turn in arrived if who == number] == list(range(200))


async def test_another_thread_may_submit_to_and_cancel_on_the_runs_proactor() -> None:
    proactor = current_proactor()
    ended: list[BaseException | None] = []
    event = Event()

    def note(operation: Any, _: object) -> None:
        ended.append(operation.error)
        if len(ended) == 2:
            event.set()

    def in_thread() -> None:
        timer = Timer(time.monotonic() + 1000, note)
        proactor.submit(timer, Nop(note))
        proactor.cancel(timer)

    thread = threading.Thread(target=in_thread)
    thread.start()
    with proactor_trio.fail_after(5):
        await event.wait()
    thread.join()
    assert {type(error) for error in ended} == {type(None), OperationCancelled}


def test_a_token_of_a_run_that_is_over_says_so(run_with: Callable[..., Any]) -> None:
    async def main() -> TrioToken:
        return current_trio_token()

    token = run_with(main)
    with pytest.raises(RunFinishedError):
        token.run_sync_soon(print)


PROGRAM_THAT_EXITS = """
    import sys, threading, time
    import proactor_trio

    ready = threading.Event()

    async def main():
        ready.set()
        {body}

    threading.Thread(target=proactor_trio.run, args=(main,), daemon=True).start()
    assert ready.wait(10)
    time.sleep(0.02)
    print("leaving")
"""


@pytest.mark.parametrize(
    "body",
    ["await proactor_trio.sleep_forever()", "while True: await proactor_trio.sleep(0)"],
    ids=["idle", "busy"],
)
def test_the_interpreter_exits_with_a_run_in_a_daemon_thread(configuration: Configuration, body: str) -> None:
    program = textwrap.dedent(PROGRAM_THAT_EXITS).format(body=body)
    environment = {**os.environ, "PROACTOR_TRIO_BACKEND": configuration.backend}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "leaving\n", "")


PROGRAM_THAT_IS_INTERRUPTED = """
    import proactor_trio

    async def main():
        try:
            print("ready", flush=True)
            await proactor_trio.sleep_forever()
        finally:
            print("unwound", flush=True)

    proactor_trio.run(main)
"""


def test_a_program_that_is_interrupted_unwinds_and_ends_as_others_do(configuration: Configuration) -> None:
    environment = {**os.environ, "PROACTOR_TRIO_BACKEND": configuration.backend}
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM_THAT_IS_INTERRUPTED)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=20)
    assert output == "unwound\n"
    assert "KeyboardInterrupt" in errors
    assert program.returncode == -signal.SIGINT


# Runs that end with work in flight --------------------------------------------------------------------------------


def test_what_is_in_flight_at_the_end_of_a_run_is_cancelled_and_delivered(
    run_with: Callable[..., Any], sockets: Sockets, completions: Completions
) -> None:
    near, _ = sockets.unix_pair()
    listener = sockets.listener()
    operations = [
        RecvBytes(near, 10, completions),
        HandlePoll(near, completion_fn=completions),
        Timer(time.monotonic() + 1000, completions),
        Accept(listener, completions, flags=OperationFlags.MULTISHOT),
    ]

    async def main() -> None:
        current_proactor().submit(*operations)
        await wait_all_tasks_blocked()

    begun = time.monotonic()
    run_with(main)
    assert time.monotonic() - begun < 5
    assert set(completions.operations) == set(operations)
    assert all(isinstance(error, OperationCancelled) for error in completions.errors)
    assert {error.cause for error in completions.errors if isinstance(error, OperationCancelled)} == {
        CancelCause.PROACTOR_CLOSED
    }


def test_a_chain_in_flight_at_the_end_of_a_run_is_cancelled_as_a_whole(
    run_with: Callable[..., Any], completions: Completions
) -> None:
    chain = [Timer(time.monotonic() + 1000, completions, 1, OperationFlags.LINKED), Nop(completions, 2)]

    async def main() -> None:
        current_proactor().submit(*chain)
        await wait_all_tasks_blocked()

    run_with(main)
    assert completions.outcomes == [(1, "cancelled"), (2, "cancelled")]


def test_a_connection_that_nobody_took_before_the_end_of_a_run_is_closed(
    run_with: Callable[..., Any], sockets: Sockets
) -> None:
    listener = sockets.listener()

    async def main() -> None:
        current_proactor().submit(Accept(listener, lambda operation, _: operation.result and operation.result.close()))
        await wait_all_tasks_blocked()
        sockets.client_of(listener)

    run_with(main)


def test_a_crash_of_main_with_operations_in_flight_leaks_nothing(run_with: Callable[..., Any]) -> None:
    before = open_descriptors()

    async def wait(stream: SocketStream) -> None:
        async with stream:
            await stream.receive_some()

    async def main() -> None:
        near, far = stdlib_socket.socketpair()
        async with open_nursery() as nursery:
            nursery.start_soon(wait, SocketStream(Socket.from_stdlib(near)))
            nursery.start_soon(wait, SocketStream(Socket.from_stdlib(far)))
            await wait_all_tasks_blocked()
            raise ValueError("a crash")

    with pytest.raises(ExceptionGroup):
        run_with(main)
    assert open_descriptors() == before


def test_many_runs_leave_nothing_behind(run_with: Callable[..., Any]) -> None:
    before = open_descriptors()
    threads = threading.active_count()
    for _ in range(100):
        run_with(sleep, 0)
    assert open_descriptors() == before
    assert threading.active_count() == threads


def test_runs_that_are_cancelled_in_the_middle_of_everything_leave_nothing_behind(
    run_with: Callable[..., Any], tmp_path: Any
) -> None:
    before = open_descriptors()
    (tmp_path / "file").write_bytes(pattern(1 << 20))

    async def talk(near: SocketStream, far: SocketStream) -> None:
        async with near, far:
            while True:
                await near.send_all(pattern(10_000))
                await receive_exactly(far, 10_000)

    async def copy() -> None:
        async with await open_file(tmp_path / "file", "r+b") as file:
            while True:
                await file.pwrite(await file.pread(100_000, 0), 500_000)

    async def main(seconds: float) -> None:
        with move_on_after(seconds):
            async with open_nursery() as nursery:
                for _ in range(3):
                    near, far = stdlib_socket.socketpair()
                    nursery.start_soon(
                        talk, SocketStream(Socket.from_stdlib(near)), SocketStream(Socket.from_stdlib(far))
                    )
                    nursery.start_soon(copy)

    for number in range(10):
        run_with(main, number / 1000)
    assert open_descriptors() == before


async def test_nothing_is_in_flight_when_every_task_has_ended(pair: Pair) -> None:
    near, far = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.receive_some)
        nursery.start_soon(far.receive_some)
        nursery.start_soon(sleep_forever)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert current_statistics().io_statistics.counters["in_flight"] == 0


async def test_a_deadline_comes_while_completions_never_stop(pair: Pair) -> None:
    near, far = pair

    async def talk(stream: SocketStream) -> None:
        while True:
            await stream.send_all(await stream.receive_some())

    with CancelScope(relative_deadline=0.03) as scope:
        async with open_nursery() as nursery:
            nursery.start_soon(talk, near)
            nursery.start_soon(talk, far)
            await near.wait_send_all_might_not_block()
            await near.send_all(b"ball")
    assert scope.cancelled_caught
