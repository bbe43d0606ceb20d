"""TrioToken.run_sync_soon: the door into a run for other threads and for signal handlers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from proactor_trio import Event, RunFinishedError, TrioInternalError, lowlevel, open_nursery, run, sleep, sleep_forever
from proactor_trio.lowlevel import TrioToken
from proactor_trio.testing import wait_all_tasks_blocked


async def test_a_call_from_the_run_itself_happens_soon_but_not_now() -> None:
    calls: list[int] = []
    lowlevel.current_trio_token().run_sync_soon(calls.append, 1)
    assert calls == []
    await wait_all_tasks_blocked()
    assert calls == [1]


async def test_a_call_wakes_a_run_that_sleeps() -> None:
    token = lowlevel.current_trio_token()
    event = Event()
    thread = threading.Thread(target=lambda: (time.sleep(0.01), token.run_sync_soon(event.set)))
    thread.start()
    await event.wait()
    thread.join()


async def test_a_call_runs_in_the_thread_of_the_run() -> None:
    token = lowlevel.current_trio_token()
    event = Event()
    threads: list[int] = []

    def callback() -> None:
        threads.append(threading.get_ident())
        event.set()

    thread = threading.Thread(target=token.run_sync_soon, args=(callback,))
    thread.start()
    await event.wait()
    thread.join()
    assert threads == [threading.get_ident()]


async def test_calls_happen_in_their_order() -> None:
    token = lowlevel.current_trio_token()
    calls: list[int] = []
    for number in range(1000):
        token.run_sync_soon(calls.append, number)
    await wait_all_tasks_blocked()
    assert calls == list(range(1000))


async def test_calls_of_one_thread_keep_their_order_among_those_of_others() -> None:
    token = lowlevel.current_trio_token()
    calls: list[tuple[int, int]] = []

    def post(sender: int) -> None:
        for number in range(200):
            token.run_sync_soon(calls.append, (sender, number))

    threads = [threading.Thread(target=post, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await lowlevel.checkpoint()
    await wait_all_tasks_blocked()
    for sender in range(4):
        assert [number for who, number in calls if who == sender] == list(range(200))


async def test_equal_idempotent_calls_happen_once() -> None:
    token = lowlevel.current_trio_token()
    calls: list[int] = []
    append: Callable[[int], None] = calls.append
    for number in (1, 2, 1, 3, 2, 1):
        token.run_sync_soon(append, number, idempotent=True)
    await wait_all_tasks_blocked()
    assert calls == [1, 2, 3]


async def test_an_idempotent_call_happens_again_when_the_first_one_is_over() -> None:
    token = lowlevel.current_trio_token()
    calls: list[int] = []
    append: Callable[[int], None] = calls.append
    for _ in range(3):
        token.run_sync_soon(append, 1, idempotent=True)
        await wait_all_tasks_blocked()
    assert calls == [1, 1, 1]


async def test_an_idempotent_call_and_an_ordinary_one_are_two() -> None:
    token = lowlevel.current_trio_token()
    calls: list[int] = []
    append: Callable[[int], None] = calls.append
    token.run_sync_soon(append, 1)
    token.run_sync_soon(append, 1, idempotent=True)
    await wait_all_tasks_blocked()
    assert calls == [1, 1]


async def test_the_arguments_of_an_idempotent_call_are_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        lowlevel.current_trio_token().run_sync_soon(print, [], idempotent=True)


async def test_a_call_may_post_further_calls() -> None:
    token = lowlevel.current_trio_token()
    done = Event()
    calls: list[int] = []

    def callback(left: int) -> None:
        calls.append(left)
        if left:
            token.run_sync_soon(callback, left - 1)
        else:
            done.set()

    token.run_sync_soon(callback, 10)
    await done.wait()
    assert calls == list(range(10, -1, -1))


async def test_calls_that_post_themselves_again_do_not_starve_the_tasks() -> None:
    token = lowlevel.current_trio_token()
    stopped = False

    def callback() -> None:
        if not stopped:
            token.run_sync_soon(callback)

    token.run_sync_soon(callback)
    for _ in range(20):
        await lowlevel.checkpoint()
    stopped = True


async def test_a_call_is_made_inside_the_run() -> None:
    event = Event()
    seen: list[bool] = []

    def callback() -> None:
        seen.append(lowlevel.in_trio_run())
        seen.append(lowlevel.current_trio_token() is token)
        event.set()

    token = lowlevel.current_trio_token()
    token.run_sync_soon(callback)
    await event.wait()
    assert seen == [True, True]


async def test_a_call_may_spawn_a_system_task() -> None:
    event = Event()

    async def system_task() -> None:
        event.set()

    lowlevel.current_trio_token().run_sync_soon(lowlevel.spawn_system_task, system_task)
    await event.wait()


async def test_a_signal_handler_may_post_a_call() -> None:
    token = lowlevel.current_trio_token()
    event = Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: token.run_sync_soon(event.set))
    try:
        signal.raise_signal(signal.SIGUSR1)
        await event.wait()
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_a_signal_handler_wakes_a_run_that_sleeps() -> None:
    token = lowlevel.current_trio_token()
    event = Event()
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def send_signal() -> None:
        time.sleep(0.01)
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: token.run_sync_soon(event.set))
    try:
        thread = threading.Thread(target=send_signal)
        thread.start()
        await event.wait()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- failing calls ----------------------------------------------------------------------------------------------


def test_an_error_in_a_call_breaks_the_run() -> None:
    error = KeyError()

    def crash() -> NoReturn:
        raise error

    async def main() -> None:
        lowlevel.current_trio_token().run_sync_soon(crash)
        await sleep_forever()

    with pytest.raises(TrioInternalError) as caught:
        run(main)
    leaf: BaseException | None = caught.value.__cause__
    while isinstance(leaf, BaseExceptionGroup):
        (leaf,) = leaf.exceptions
    assert leaf is error


def test_the_calls_behind_a_failing_one_are_made() -> None:
    calls: list[str] = []

    def crash() -> NoReturn:
        raise KeyError

    async def main() -> None:
        token = lowlevel.current_trio_token()
        token.run_sync_soon(crash)
        token.run_sync_soon(calls.append, "behind")
        await sleep_forever()

    with pytest.raises(TrioInternalError):
        run(main)
    assert calls == ["behind"]


# ---- the end of the run -----------------------------------------------------------------------------------------


def test_a_token_of_a_finished_run_refuses_calls() -> None:
    async def main() -> TrioToken:
        return lowlevel.current_trio_token()

    token = run(main)
    with pytest.raises(RunFinishedError):
        token.run_sync_soon(print)
    with pytest.raises(RunFinishedError):
        token.run_sync_soon(print, idempotent=True)


def test_run_finished_is_a_runtime_error() -> None:
    assert issubclass(RunFinishedError, RuntimeError)


def test_every_call_that_was_taken_is_made() -> None:
    calls: list[str] = []

    def note(text: str) -> None:
        calls.append(text)

    async def main() -> None:
        token = lowlevel.current_trio_token()
        token.run_sync_soon(note, "ordinary")
        token.run_sync_soon(note, "idempotent", idempotent=True)

    run(main)
    assert sorted(calls) == ["idempotent", "ordinary"]


def test_a_thread_that_posts_until_the_run_refuses_loses_no_call() -> None:
    made: list[int] = []
    taken = 0
    started = threading.Event()

    def post(token: TrioToken) -> None:
        nonlocal taken
        while True:
            try:
                token.run_sync_soon(made.append, taken)
            except RunFinishedError:
                return
            taken += 1
            started.set()

    async def main() -> threading.Thread:
        thread = threading.Thread(target=post, args=(lowlevel.current_trio_token(),))
        thread.start()
        await sleep(0.005)
        started.wait()
        return thread

    run(main).join()
    assert made == list(range(taken))
    assert taken > 0


def test_calls_are_taken_as_long_as_tasks_are_being_cancelled() -> None:
    calls: list[str] = []

    async def late() -> None:
        try:
            await sleep_forever()
        finally:
            lowlevel.current_trio_token().run_sync_soon(calls.append, "late")

    async def main() -> None:
        lowlevel.spawn_system_task(late)
        await wait_all_tasks_blocked()

    run(main)
    assert calls == ["late"]


# ---- the token --------------------------------------------------------------------------------------------------


async def test_a_run_has_one_token() -> None:
    tokens: list[TrioToken] = []

    async def child() -> None:
        tokens.append(lowlevel.current_trio_token())

    async with open_nursery() as nursery:
        nursery.start_soon(child)
    assert tokens == [lowlevel.current_trio_token()]


def test_every_run_has_a_token_of_its_own() -> None:
    async def main() -> TrioToken:
        return lowlevel.current_trio_token()

    first, second = run(main), run(main)
    assert first is not second
    assert len({first, second}) == 2


def test_tokens_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        TrioToken()
