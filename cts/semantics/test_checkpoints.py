"""Checkpoints: which functions are cancel points and schedule points, and that a cancelled call had no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cts.semantics.support import (
    MORE_THAN_FITS,
    cancelled_block,
    is_cancel_point,
    is_schedule_point,
    receive_exactly,
    tcp_pair,
)


async def _enter_limiter(lib: Any) -> None:
    async with lib.CapacityLimiter(1):
        pass


async def _start_child(lib: Any) -> None:
    async def child(task_status: Any) -> None:
        task_status.started()

    async with lib.open_nursery() as nursery:
        await nursery.start(child)


async def _wait_for_event_that_is_set(lib: Any) -> None:
    event = lib.Event()
    event.set()
    await event.wait()


async def _listen(lib: Any) -> None:
    for listener in await lib.open_tcp_listeners(0, host="127.0.0.1"):
        await listener.aclose()


async def _sleep_until_now(lib: Any) -> None:
    await lib.sleep_until(lib.current_time())


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sleep(0)": lambda lib: lib.sleep(0),
    "sleep": lambda lib: lib.sleep(0.001),
    "sleep_until": _sleep_until_now,
    "checkpoint": lambda lib: lib.lowlevel.checkpoint(),
    "wait_all_tasks_blocked": lambda lib: lib.testing.wait_all_tasks_blocked(),
    "Event.wait": _wait_for_event_that_is_set,
    "CapacityLimiter.acquire": lambda lib: lib.CapacityLimiter(1).acquire(),
    "async with CapacityLimiter": _enter_limiter,
    "to_thread.run_sync": lambda lib: lib.to_thread.run_sync(int),
    "Nursery.start": _start_child,
    "open_tcp_listeners": _listen,
}


@pytest.mark.semantics(1)
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "Nursery.start"])
async def test_an_async_function_that_returns_is_a_cancel_point(lib: Any, name: str) -> None:
    assert await is_cancel_point(lib, FUNCTIONS[name], lib)


@pytest.mark.semantics(1)
@pytest.mark.parametrize("name", FUNCTIONS)
async def test_an_async_function_that_returns_is_a_schedule_point(lib: Any, name: str) -> None:
    assert await is_schedule_point(lib, FUNCTIONS[name], lib)


@pytest.mark.semantics(1)
async def test_starting_a_child_that_is_ready_at_once_is_a_schedule_point_only(lib: Any) -> None:
    assert not await is_cancel_point(lib, _start_child, lib)


@pytest.mark.semantics(1)
async def test_a_shielded_checkpoint_is_a_schedule_point_only(lib: Any) -> None:
    assert not await is_cancel_point(lib, lib.lowlevel.cancel_shielded_checkpoint)
    assert await is_schedule_point(lib, lib.lowlevel.cancel_shielded_checkpoint)


@pytest.mark.semantics(1)
async def test_checkpoint_if_cancelled_is_a_cancel_point_only(lib: Any) -> None:
    assert await is_cancel_point(lib, lib.lowlevel.checkpoint_if_cancelled)
    assert not await is_schedule_point(lib, lib.lowlevel.checkpoint_if_cancelled)


@pytest.mark.semantics(1)
async def test_sync_functions_are_neither(lib: Any) -> None:
    async def sync_calls() -> None:
        lib.Event().set()
        lib.current_time()
        limiter = lib.CapacityLimiter(1)
        limiter.acquire_nowait()
        limiter.release()
        lib.lowlevel.current_trio_token().run_sync_soon(int)
        with lib.CancelScope(deadline=lib.current_time() + 100):
            pass

    assert not await is_cancel_point(lib, sync_calls)
    assert not await is_schedule_point(lib, sync_calls)


@pytest.mark.semantics(1)
async def test_an_async_function_of_the_user_without_await_is_neither(lib: Any) -> None:
    async def function() -> None:
        return None

    assert not await is_cancel_point(lib, function)
    assert not await is_schedule_point(lib, function)


@pytest.mark.semantics(1)
async def test_a_cancelled_acquire_took_no_token(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    with cancelled_block(lib):
        await limiter.acquire()
    assert limiter.borrowed_tokens == 0


@pytest.mark.semantics(1)
async def test_a_cancelled_receive_took_no_byte(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far:
        await far.send_all(b"kept")
        with cancelled_block(lib):
            await near.receive_some(4)
        assert await receive_exactly(near, 4) == b"kept"


@pytest.mark.semantics(1)
async def test_a_send_that_was_cancelled_before_it_began_sent_nothing(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far:
        with cancelled_block(lib):
            await near.send_all(b"never")
        await near.send_eof()
        assert await far.receive_some(10) == b""


@pytest.mark.semantics(1)
async def test_a_thread_is_not_started_for_a_cancelled_task(lib: Any) -> None:
    calls: list[int] = []
    with cancelled_block(lib):
        await lib.to_thread.run_sync(calls.append, 1)
    assert calls == []


@pytest.mark.semantics(1)
async def test_the_two_halves_of_a_checkpoint_make_a_call_without_effect_when_cancelled(lib: Any) -> None:
    effects: list[str] = []

    async def call() -> None:
        await lib.lowlevel.checkpoint_if_cancelled()
        effects.append("done")
        await lib.lowlevel.cancel_shielded_checkpoint()

    with cancelled_block(lib):
        await call()
    assert effects == []
    with lib.CancelScope() as scope:
        await call()
        scope.cancel()
    assert effects == ["done"] and not scope.cancelled_caught


@pytest.mark.semantics(2)
async def test_each_turn_of_an_iteration_over_a_stream_is_a_checkpoint(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far:
        await far.send_all(b"one")
        stepped = []
        for _ in range(2):  # with a byte to be had, and at the end of the stream
            stepped.append(await is_schedule_point(lib, _next_or_end, near))
            await far.send_eof()
        assert stepped == [True, True]


@pytest.mark.semantics(2)
async def test_an_iteration_that_ends_at_once_is_a_cancel_point(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far:
        await far.send_eof()
        assert await is_cancel_point(lib, _next_or_end, near)


async def _next_or_end(stream: Any) -> None:
    try:
        await stream.__anext__()
    except StopAsyncIteration:
        return


@pytest.mark.semantics(2)
async def test_entering_a_nursery_is_neither(lib: Any) -> None:
    manager = lib.open_nursery()
    stepped = True

    async def enter() -> None:
        await manager.__aenter__()

    stepped = await is_schedule_point(lib, enter)
    await manager.__aexit__(None, None, None)
    assert not stepped


@pytest.mark.semantics(2)
async def test_leaving_an_empty_nursery_is_a_schedule_point_only(lib: Any) -> None:
    async def nursery_of_nothing() -> None:
        async with lib.open_nursery():
            pass

    assert await is_schedule_point(lib, nursery_of_nothing)
    assert not await is_cancel_point(lib, nursery_of_nothing)


@pytest.mark.semantics(2)
async def test_leaving_a_limiter_is_neither(lib: Any) -> None:
    limiter = lib.CapacityLimiter(1)
    await limiter.acquire()

    async def leave() -> None:
        await limiter.__aexit__(None, None, None)

    assert not await is_schedule_point(lib, leave)


@pytest.mark.semantics(2)
async def test_sleep_zero_is_a_checkpoint_that_takes_no_time(lib: Any, mock_clock: Any) -> None:
    await lib.sleep(0)
    assert lib.current_time() == 0


@pytest.mark.semantics(2)
@pytest.mark.parametrize("seconds", [-1, -0.001, float("-inf"), float("nan")])
async def test_sleep_refuses_what_is_no_time(lib: Any, seconds: float) -> None:
    with pytest.raises(ValueError):
        await lib.sleep(seconds)


@pytest.mark.semantics(2)
async def test_sleep_until_refuses_nan_and_takes_the_past(lib: Any) -> None:
    with pytest.raises(ValueError):
        await lib.sleep_until(float("nan"))
    assert await is_schedule_point(lib, lib.sleep_until, lib.current_time() - 1000)


@pytest.mark.semantics(3)
async def test_each_checkpoint_of_a_cancelled_scope_raises_again(lib: Any) -> None:
    raised = 0
    with cancelled_block(lib):
        for _ in range(5):
            try:
                await lib.lowlevel.checkpoint()
            except lib.Cancelled:
                raised += 1
        await lib.sleep_forever()
    assert raised == 5


@pytest.mark.semantics(3)
async def test_blocking_after_a_swallowed_cancellation_raises_at_once(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            pass
        await lib.Event().wait()
    assert scope.cancelled_caught


@pytest.mark.semantics(3)
async def test_a_cancellation_that_is_swallowed_for_good_was_not_caught_by_the_scope(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            pass
    assert scope.cancel_called and not scope.cancelled_caught
    await lib.lowlevel.checkpoint()


@pytest.mark.semantics(3)
async def test_a_blocked_send_is_woken_by_the_cancellation(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far, lib.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(MORE_THAN_FITS))
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


@pytest.mark.semantics(3)
async def test_another_exception_on_the_way_out_takes_the_place_of_the_cancellation(lib: Any) -> None:
    with pytest.raises(ValueError) as caught:
        with lib.CancelScope() as scope:
            scope.cancel()
            try:
                await lib.lowlevel.checkpoint()
            finally:
                raise ValueError
    assert isinstance(caught.value.__context__, lib.Cancelled)
    assert not scope.cancelled_caught
