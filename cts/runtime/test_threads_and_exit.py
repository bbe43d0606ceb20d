"""Bad days of a run: several threads, the end of the interpreter, work in flight at the end of the run."""

from __future__ import annotations

import functools
import os
import pathlib
import signal
import socket as stdlib_socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.configurations import Configuration
from cts.runtime.conftest import Pair
from cts.runtime.support import after, receive_exactly
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
from proactor_trio.lowlevel import TrioToken, current_proactor, current_statistics, current_trio_token
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    HandlePoll,
    Nop,
    OperationCancelled,
    OperationFlags,
    RecvBytes,
    Socket,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

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
    all_have_arrived = Event()

    def arrive(number: int, turn: int) -> None:
        arrived.append((number, turn))
        if len(arrived) == 1600:
            all_have_arrived.set()

    def call(number: int) -> None:
        for turn in range(200):
            token.run_sync_soon(arrive, number, turn)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    await all_have_arrived.wait()
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
    import threading
    import proactor_trio
    from cts.support import until_asleep

    ready = threading.Event()

    async def main():
        ready.set()
        {body}

    thread = threading.Thread(target=proactor_trio.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(10)
    {until}
    print("leaving")
"""


@pytest.mark.parametrize(
    ("body", "until"),
    [
        ("await proactor_trio.sleep_forever()", "until_asleep(thread)"),
        ("while True: await proactor_trio.sleep(0)", ""),
    ],
    ids=["idle", "busy"],
)
def test_the_interpreter_exits_with_a_run_in_a_daemon_thread(
    configuration: Configuration, body: str, until: str
) -> None:
    program = textwrap.dedent(PROGRAM_THAT_EXITS).format(body=body, until=until)
    environment = {
        **os.environ,
        "PROACTOR_TRIO_BACKEND": configuration.backend,
        "PYTHONPATH": os.fspath(pathlib.Path(__file__).parents[2]),
    }
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
        async with await open_file(tmp_path / "file", "r+b", 0) as file:
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
