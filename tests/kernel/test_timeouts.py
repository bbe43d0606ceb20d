"""sleep and its kin, move_on and fail."""

from __future__ import annotations

from math import inf, nan

import pytest

from proactor_trio import (
    Cancelled,
    CancelScope,
    TooSlowError,
    current_time,
    fail_after,
    fail_at,
    lowlevel,
    move_on_after,
    move_on_at,
    open_nursery,
    sleep,
    sleep_forever,
    sleep_until,
)
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- sleeping ---------------------------------------------------------------------------------------------------


async def test_sleep_takes_the_time_it_is_given(autojump_clock: MockClock) -> None:
    await sleep(12.5)
    assert current_time() == 12.5


async def test_sleep_in_real_time_is_never_too_short() -> None:
    start = current_time()
    await sleep(0.01)
    assert 0.01 <= current_time() - start < 5


async def test_sleepers_wake_in_the_order_of_their_times(autojump_clock: MockClock) -> None:
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await sleep(seconds)
        woken.append(seconds)

    async with open_nursery() as nursery:
        for seconds in (3, 1, 2, 5, 4):
            nursery.start_soon(sleeper, seconds)
    assert woken == [1, 2, 3, 4, 5]


async def test_sleep_zero_is_a_checkpoint(mock_clock: MockClock) -> None:
    await sleep(0)
    with CancelScope() as scope:
        scope.cancel()
        await sleep(0)
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [-1, -0.001, -inf])
async def test_sleep_refuses_negative_times(seconds: float) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        await sleep(seconds)


async def test_sleeps_refuse_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        await sleep(nan)
    with pytest.raises(ValueError, match="NaN"):
        await sleep_until(nan)


async def test_sleep_for_ever_and_a_sleep_of_infinity_end_by_cancellation_only(autojump_clock: MockClock) -> None:
    for function, arguments in ((sleep_forever, ()), (sleep, (inf,)), (sleep_until, (inf,))):
        start = current_time()
        with move_on_after(1000) as scope:
            await function(*arguments)
        assert scope.cancelled_caught
        assert current_time() == start + 1000


async def test_sleep_until_takes_an_absolute_time(autojump_clock: MockClock) -> None:
    await sleep(5)
    await sleep_until(8)
    assert current_time() == 8


async def test_sleep_until_a_time_in_the_past_is_a_checkpoint(mock_clock: MockClock) -> None:
    mock_clock.jump(10)
    await sleep_until(3)
    assert current_time() == 10
    with CancelScope() as scope:
        scope.cancel()
        await sleep_until(3)
    assert scope.cancelled_caught


async def test_a_cancelled_sleep_ends_early(autojump_clock: MockClock) -> None:
    with move_on_after(3) as scope:
        await sleep(10)
    assert scope.cancelled_caught
    assert current_time() == 3


async def test_a_sleep_that_ends_together_with_its_timeout_is_cancelled(autojump_clock: MockClock) -> None:
    with move_on_after(3) as scope:
        await sleep(3)
    assert scope.cancelled_caught


async def test_who_wakes_a_task_that_sleeps_for_ever_has_made_a_mistake() -> None:
    async def child() -> None:
        with pytest.raises(RuntimeError, match="reschedule"):
            await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        lowlevel.reschedule(task)


# ---- move_on ----------------------------------------------------------------------------------------------------


async def test_move_on_after_goes_on_behind_the_block(autojump_clock: MockClock) -> None:
    with move_on_after(7) as scope:
        await sleep_forever()
    assert current_time() == 7
    assert scope.cancelled_caught


async def test_move_on_at_goes_on_behind_the_block(autojump_clock: MockClock) -> None:
    await sleep(5)
    with move_on_at(7) as scope:
        await sleep_forever()
    assert current_time() == 7
    assert scope.cancelled_caught


async def test_move_on_after_lets_a_block_in_time_end_normally(autojump_clock: MockClock) -> None:
    with move_on_after(7) as scope:
        await sleep(5)
    assert current_time() == 5
    assert not scope.cancelled_caught


async def test_move_on_after_counts_from_the_entry(autojump_clock: MockClock) -> None:
    scope = move_on_after(7)
    assert scope.is_relative is True
    await sleep(100)
    with scope:
        assert scope.deadline == 107


async def test_move_on_at_is_absolute(autojump_clock: MockClock) -> None:
    scope = move_on_at(7)
    assert scope.is_relative is False
    assert scope.deadline == 7


async def test_move_on_after_zero_cancels_at_the_first_checkpoint(mock_clock: MockClock) -> None:
    with move_on_after(0) as scope:
        await lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_move_on_passes_errors_on(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        with move_on_after(1):
            raise KeyError


async def test_move_on_passes_a_cancellation_from_outside_on(autojump_clock: MockClock) -> None:
    with CancelScope() as outer:
        with move_on_after(10) as inner:
            outer.cancel()
            await sleep_forever()
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


# ---- fail -------------------------------------------------------------------------------------------------------


async def test_fail_after_raises_when_the_block_was_too_slow(autojump_clock: MockClock) -> None:
    with pytest.raises(TooSlowError):
        with fail_after(3):
            await sleep_forever()
    assert current_time() == 3


async def test_fail_at_raises_when_the_block_was_too_slow(autojump_clock: MockClock) -> None:
    await sleep(1)
    with pytest.raises(TooSlowError):
        with fail_at(3):
            await sleep_forever()
    assert current_time() == 3


async def test_fail_lets_a_block_in_time_end_normally(autojump_clock: MockClock) -> None:
    with fail_after(3) as after:
        await sleep(2)
    with fail_at(current_time() + 3) as at:
        await sleep(2)
    assert not after.cancel_called
    assert not at.cancel_called


async def test_fail_after_counts_from_the_entry(autojump_clock: MockClock) -> None:
    manager = fail_after(3)
    await sleep(100)
    with manager as scope:
        assert scope.deadline == 103


async def test_fail_gives_the_scope_so_that_the_deadline_may_be_moved(autojump_clock: MockClock) -> None:
    with fail_after(3) as scope:
        scope.deadline += 10
        await sleep(5)
    with fail_at(100) as scope:
        scope.deadline = inf
        await sleep(200)


async def test_fail_raises_nothing_when_the_block_had_no_checkpoint(mock_clock: MockClock) -> None:
    with fail_after(3) as scope:
        mock_clock.jump(10)
    assert not scope.cancelled_caught


async def test_fail_raises_nothing_when_the_cancellation_was_swallowed(autojump_clock: MockClock) -> None:
    with fail_after(3) as scope:
        with pytest.raises(Cancelled):
            await sleep_forever()
    assert not scope.cancelled_caught


async def test_fail_passes_errors_on_even_when_it_is_too_late(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        with fail_after(3):
            try:
                await sleep_forever()
            finally:
                raise KeyError


async def test_fail_raises_too_slow_when_its_scope_was_cancelled_by_hand(autojump_clock: MockClock) -> None:
    with pytest.raises(TooSlowError):
        with fail_after(3) as scope:
            scope.cancel()
            await sleep_forever()
    assert current_time() == 0


async def test_fail_passes_a_cancellation_from_outside_on(autojump_clock: MockClock) -> None:
    with CancelScope() as outer:
        with fail_after(10):
            outer.cancel()
            await sleep_forever()
    assert outer.cancelled_caught


async def test_too_slow_is_an_ordinary_exception() -> None:
    assert issubclass(TooSlowError, Exception)


# ---- shields and arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [move_on_after, move_on_at, fail_after, fail_at])
async def test_every_timeout_takes_a_shield(function: type, mock_clock: MockClock) -> None:
    reached: list[str] = []
    with CancelScope() as outer:
        outer.cancel()
        with function(100, shield=True) as scope:
            assert scope.shield is True
            await lowlevel.checkpoint()
            reached.append("shielded")
    assert reached == ["shielded"]


@pytest.mark.parametrize("function", [move_on_after, move_on_at, fail_after, fail_at])
async def test_timeouts_are_not_shielded_unless_told_so(function: type, mock_clock: MockClock) -> None:
    with function(100) as scope:
        assert scope.shield is False


@pytest.mark.parametrize("function", [move_on_after, fail_after])
async def test_timeouts_refuse_negative_times(function: type) -> None:
    with pytest.raises(ValueError, match="`seconds` must be non-negative"):
        with function(-1):
            raise AssertionError("must not be entered")


@pytest.mark.parametrize("function", [move_on_after, move_on_at, fail_after, fail_at])
async def test_timeouts_refuse_nan(function: type) -> None:
    with pytest.raises(ValueError, match="NaN"):
        with function(nan):
            raise AssertionError("must not be entered")
