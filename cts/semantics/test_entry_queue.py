"""TrioToken.run_sync_soon(): the door into a run for other threads and for signal handlers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import in_main_thread_only, leaves


@pytest.mark.semantics(19)
async def test_a_call_happens_soon_and_not_now(lib: Any) -> None:
    calls: list[int] = []
    lib.lowlevel.current_trio_token().run_sync_soon(calls.append, 1)
    assert calls == []
    await lib.testing.wait_all_tasks_blocked()
    assert calls == [1]


@pytest.mark.semantics(19)
async def test_calls_happen_in_their_order(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    calls: list[int] = []
    for number in range(1000):
        token.run_sync_soon(calls.append, number)
    await lib.testing.wait_all_tasks_blocked()
    assert calls == list(range(1000))


@pytest.mark.semantics(19)
async def test_calls_of_each_thread_keep_their_order(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    calls: list[tuple[int, int]] = []

    def post(sender: int) -> None:
        for number in range(200):
            token.run_sync_soon(calls.append, (sender, number))

    async with lib.open_nursery() as nursery:
        for sender in range(4):
            nursery.start_soon(lib.to_thread.run_sync, post, sender)
    await lib.testing.wait_all_tasks_blocked()
    for sender in range(4):
        assert [number for who, number in calls if who == sender] == list(range(200))


@pytest.mark.semantics(19)
async def test_a_call_from_a_thread_wakes_a_run_that_sleeps(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    event = lib.Event()
    sleeping = threading.Event()
    threads: list[int] = []

    def call() -> None:
        threads.append(threading.get_ident())
        event.set()

    def post() -> None:
        sleeping.wait(10)
        token.run_sync_soon(call)

    thread = threading.Thread(target=post)
    thread.start()
    await lib.testing.wait_all_tasks_blocked()
    sleeping.set()
    await event.wait()
    thread.join()
    assert threads == [threading.get_ident()]


@in_main_thread_only
@pytest.mark.semantics(19)
async def test_a_signal_handler_may_post_a_call(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    event = lib.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: token.run_sync_soon(event.set))
    try:
        signal.raise_signal(signal.SIGUSR1)
        await event.wait()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.semantics(19)
async def test_equal_idempotent_calls_happen_once(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    calls: list[int] = []
    for number in (1, 2, 1, 1, 2):
        token.run_sync_soon(calls.append, number, idempotent=True)
    await lib.testing.wait_all_tasks_blocked()
    assert sorted(calls) == [1, 2]


@pytest.mark.semantics(19)
async def test_an_idempotent_call_happens_again_when_the_first_is_over(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    calls: list[int] = []
    for _ in range(3):
        token.run_sync_soon(calls.append, 1, idempotent=True)
        await lib.testing.wait_all_tasks_blocked()
    assert calls == [1, 1, 1]


@pytest.mark.semantics(19)
async def test_calls_that_post_themselves_again_do_not_starve_the_tasks(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    stop = False

    def again() -> None:
        if not stop:
            token.run_sync_soon(again)

    again()
    for _ in range(20):
        await lib.lowlevel.checkpoint()
    stop = True


@pytest.mark.semantics(19)
def test_an_error_in_a_call_breaks_the_run(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        lib.lowlevel.current_trio_token().run_sync_soon(lambda: {}["nothing"])
        await lib.sleep_forever()

    with pytest.raises(lib.TrioInternalError) as caught:
        run(main)
    assert caught.value.__cause__ is not None
    assert any(isinstance(leaf, KeyError) for leaf in leaves(caught.value.__cause__))


@pytest.mark.semantics(19)
def test_the_calls_behind_a_failing_one_are_made(lib: Any, run: Callable[..., Any]) -> None:
    calls: list[str] = []

    async def main() -> None:
        token = lib.lowlevel.current_trio_token()
        token.run_sync_soon(lambda: {}["nothing"])
        token.run_sync_soon(calls.append, "behind")
        await lib.sleep_forever()

    with pytest.raises(lib.TrioInternalError):
        run(main)
    assert calls == ["behind"]


@pytest.mark.semantics(18, 19)
def test_every_call_that_was_taken_is_made(lib: Any, run: Callable[..., Any]) -> None:
    calls: list[str] = []

    async def main() -> None:
        lib.lowlevel.current_trio_token().run_sync_soon(calls.append, "at the very end")

    run(main)
    assert calls == ["at the very end"]


@pytest.mark.semantics(18, 19)
def test_a_thread_that_posts_until_the_run_refuses_loses_no_call(lib: Any, run: Callable[..., Any]) -> None:
    taken = 0
    made: list[int] = []
    threads: list[threading.Thread] = []

    def post(token: Any) -> None:
        nonlocal taken
        try:
            while True:
                token.run_sync_soon(made.append, 1)
                taken += 1
        except lib.RunFinishedError:
            return

    async def main() -> None:
        thread = threading.Thread(target=post, args=(lib.lowlevel.current_trio_token(),))
        threads.append(thread)
        thread.start()
        while not made:
            await lib.lowlevel.checkpoint()

    run(main)
    threads[0].join()
    assert len(made) == taken


@pytest.mark.semantics(19)
async def test_a_run_has_one_token_and_nobody_else_makes_one(lib: Any) -> None:
    token = lib.lowlevel.current_trio_token()
    assert lib.lowlevel.current_trio_token() is token
    with pytest.raises(TypeError):
        lib.lowlevel.TrioToken()
