"""Deadlines of cancel scopes: absolute and relative, before, during and after the block."""

from __future__ import annotations

from math import inf, nan

import pytest

from proactor_trio import (
    CancelScope,
    Event,
    current_effective_deadline,
    current_time,
    lowlevel,
    move_on_after,
    open_nursery,
    run,
    sleep,
    sleep_forever,
    sleep_until,
)
from proactor_trio._kernel.deadlines import Deadlines
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- absolute deadlines -----------------------------------------------------------------------------------------


async def test_a_deadline_cancels_the_scope_when_its_time_has_come(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=10) as scope:
        await sleep_forever()
    assert current_time() == 10
    assert scope.cancelled_caught


async def test_a_deadline_that_is_not_reached_does_nothing(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=10) as scope:
        await sleep(9)
    await sleep(5)
    assert not scope.cancel_called
    assert not scope.cancelled_caught


async def test_a_deadline_in_the_past_cancels_at_the_first_checkpoint(mock_clock: MockClock) -> None:
    mock_clock.jump(100)
    steps: list[str] = []
    with CancelScope(deadline=50) as scope:
        assert scope.cancel_called
        steps.append("entered")
        await lowlevel.checkpoint()
        steps.append("never reached")
    assert steps == ["entered"]
    assert scope.cancelled_caught


async def test_a_deadline_that_is_exactly_now_has_come(mock_clock: MockClock) -> None:
    mock_clock.jump(5)
    with CancelScope(deadline=5) as scope:
        assert scope.cancel_called


async def test_a_deadline_of_minus_infinity_has_always_come(mock_clock: MockClock) -> None:
    with CancelScope(deadline=-inf) as scope:
        await lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_block_without_a_checkpoint_is_called_but_not_caught(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as scope:
        mock_clock.jump(10)
    assert not scope.cancelled_caught


async def test_reading_cancel_called_looks_at_the_clock(mock_clock: MockClock) -> None:
    """The loop had no turn since the clock moved, and still the answer is right."""
    with CancelScope(deadline=5) as scope:
        assert not scope.cancel_called
        mock_clock.jump(5)
        assert scope.cancel_called
        assert current_effective_deadline() == -inf


async def test_reading_cancel_called_before_the_block_looks_at_the_clock(mock_clock: MockClock) -> None:
    scope = CancelScope(deadline=5)
    assert not scope.cancel_called
    mock_clock.jump(5)
    assert scope.cancel_called


async def test_reading_cancel_called_after_the_block_does_not_look_at_the_clock(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as scope:
        pass
    mock_clock.jump(10)
    assert not scope.cancel_called


async def test_a_deadline_passed_in_the_block_cancels_at_the_next_checkpoint_that_blocks(
    mock_clock: MockClock,
) -> None:
    with CancelScope(deadline=5) as scope:
        mock_clock.jump(10)
        await sleep_forever()
    assert scope.cancelled_caught


async def test_deadlines_fire_in_the_order_of_time(autojump_clock: MockClock) -> None:
    fired: list[int] = []

    async def wait_until(deadline: int) -> None:
        with CancelScope(deadline=deadline):
            await sleep_forever()
        fired.append(deadline)

    async with open_nursery() as nursery:
        for deadline in (30, 10, 50, 20, 40):
            nursery.start_soon(wait_until, deadline)
    assert fired == [10, 20, 30, 40, 50]


async def test_equal_deadlines_fire_together(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def wait() -> None:
        with CancelScope(deadline=7):
            await sleep_forever()
        times.append(current_time())

    async with open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(wait)
    assert times == [7] * 100


async def test_the_inner_one_of_two_deadlines_fires_first(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=10) as outer:
        with CancelScope(deadline=5) as inner:
            await sleep_forever()
        assert current_time() == 5
        await sleep_forever()
    assert current_time() == 10
    assert inner.cancelled_caught
    assert outer.cancelled_caught


async def test_when_both_deadlines_have_come_the_outer_scope_catches(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as outer:
        with CancelScope(deadline=5) as inner:
            mock_clock.jump(10)
            await sleep_forever()
        raise AssertionError("never reached")
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


async def test_a_deadline_behind_a_shield_waits_for_the_shield_to_end(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=5) as outer:
        with CancelScope(shield=True):
            await sleep(20)
        assert outer.cancel_called
        await lowlevel.checkpoint()
        raise AssertionError("never reached")
    assert current_time() == 20
    assert outer.cancelled_caught


async def test_a_thousand_deadlines_that_are_dropped_again_leave_nothing(mock_clock: MockClock) -> None:
    for number in range(5000):
        with CancelScope(deadline=1000 + number):
            pass
    assert lowlevel.current_statistics().seconds_to_next_deadline == inf


# ---- changing a deadline ----------------------------------------------------------------------------------------


async def test_a_deadline_may_be_moved_back_while_a_task_waits(autojump_clock: MockClock) -> None:
    scope = CancelScope(deadline=10)

    async def extend() -> None:
        await sleep(5)
        scope.deadline += 20

    async with open_nursery() as nursery:
        nursery.start_soon(extend)
        with scope:
            await sleep_forever()
    assert current_time() == 30


async def test_a_deadline_may_be_moved_forward_while_a_task_waits(autojump_clock: MockClock) -> None:
    scope = CancelScope(deadline=100)

    async def shorten() -> None:
        await sleep(5)
        scope.deadline = 7

    async with open_nursery() as nursery:
        nursery.start_soon(shorten)
        with scope:
            await sleep_forever()
    assert current_time() == 7


async def test_a_deadline_may_be_moved_into_the_past_while_a_task_waits(autojump_clock: MockClock) -> None:
    scope = CancelScope(deadline=100)

    async def end_it() -> None:
        await sleep(5)
        scope.deadline = -inf

    async with open_nursery() as nursery:
        nursery.start_soon(end_it)
        with scope:
            await sleep_forever()
    assert current_time() == 5
    assert scope.cancelled_caught


async def test_a_deadline_may_be_taken_away_while_a_task_waits(autojump_clock: MockClock) -> None:
    scope = CancelScope(deadline=10)
    event = Event()

    async def release() -> None:
        await sleep(5)
        scope.deadline = inf
        await sleep(50)
        event.set()

    async with open_nursery() as nursery:
        nursery.start_soon(release)
        with scope:
            await event.wait()
    assert not scope.cancel_called
    assert current_time() == 55


async def test_a_deadline_may_be_given_to_a_scope_that_had_none(autojump_clock: MockClock) -> None:
    with CancelScope() as scope:
        assert scope.deadline == inf
        scope.deadline = 3
        await sleep_forever()
    assert current_time() == 3


async def test_a_deadline_may_be_changed_before_the_block(autojump_clock: MockClock) -> None:
    scope = CancelScope(deadline=10)
    scope.deadline = 20
    with scope:
        await sleep_forever()
    assert current_time() == 20


async def test_a_deadline_may_be_changed_many_times(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=1) as scope:
        for number in range(5000):
            scope.deadline = 10 + number
        await sleep_forever()
    assert current_time() == 5009


async def test_a_later_deadline_does_not_undo_a_cancellation(mock_clock: MockClock) -> None:
    with CancelScope(deadline=5) as scope:
        mock_clock.jump(5)
        assert scope.cancel_called
        scope.deadline = inf
        await sleep_forever()
    assert scope.cancelled_caught


async def test_changing_the_deadline_of_a_finished_scope_does_nothing(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=10) as scope:
        pass
    scope.deadline = 5
    assert lowlevel.current_statistics().seconds_to_next_deadline == inf
    await sleep(20)
    assert not scope.cancel_called


async def test_an_explicit_cancel_comes_before_the_deadline(autojump_clock: MockClock) -> None:
    with CancelScope(deadline=10) as scope:
        scope.cancel()
        await sleep_forever()
    assert current_time() == 0
    await sleep(20)


async def test_a_cancelled_scope_is_no_longer_among_the_deadlines(mock_clock: MockClock) -> None:
    with CancelScope(deadline=10) as scope:
        scope.cancel()
        assert lowlevel.current_statistics().seconds_to_next_deadline == inf
        assert scope.deadline == 10


async def test_a_deadline_is_a_float_that_is_not_nan() -> None:
    with CancelScope(deadline=7) as scope:
        with pytest.raises(ValueError, match="NaN"):
            scope.deadline = nan
        assert scope.deadline == 7
        scope.deadline = current_time() + 100
        assert isinstance(scope.deadline, float)


async def test_a_nursery_scope_has_a_deadline_too(autojump_clock: MockClock) -> None:
    async with open_nursery() as nursery:
        nursery.cancel_scope.deadline = 4
        nursery.start_soon(sleep_forever)
    assert current_time() == 4
    assert nursery.cancel_scope.cancelled_caught


async def test_the_deadline_of_another_tasks_scope_may_be_changed(autojump_clock: MockClock) -> None:
    scope = CancelScope()

    async def child() -> None:
        with scope:
            await sleep_forever()

    async with open_nursery() as nursery:
        nursery.start_soon(child)
        await wait_all_tasks_blocked()
        scope.deadline = 6
    assert current_time() == 6


# ---- relative deadlines -----------------------------------------------------------------------------------------


async def test_a_relative_deadline_counts_from_the_entry(autojump_clock: MockClock) -> None:
    scope = CancelScope(relative_deadline=10)
    await sleep(100)
    with scope:
        assert scope.deadline == 110
        await sleep_forever()
    assert current_time() == 110


async def test_is_relative_is_true_before_the_entry_and_none_after_it(mock_clock: MockClock) -> None:
    scope = CancelScope(relative_deadline=10)
    assert scope.is_relative is True
    with scope:
        assert scope.is_relative is None
    assert scope.is_relative is None


async def test_is_relative_is_false_for_absolute_deadlines_and_for_none() -> None:
    assert CancelScope(deadline=10).is_relative is False
    assert CancelScope().is_relative is False
    with CancelScope() as scope:
        assert scope.is_relative is None


def test_a_relative_scope_has_no_absolute_deadline_before_the_entry() -> None:
    scope = CancelScope(relative_deadline=10)
    assert scope.relative_deadline == 10
    with pytest.raises(RuntimeError, match="absolute deadline"):
        scope.deadline  # noqa: B018
    with pytest.raises(RuntimeError, match="absolute deadline"):
        scope.deadline = 5


def test_an_absolute_scope_has_no_relative_deadline_before_the_entry() -> None:
    scope = CancelScope(deadline=10)
    with pytest.raises(RuntimeError, match="relative deadline"):
        scope.relative_deadline  # noqa: B018
    with pytest.raises(RuntimeError, match="relative deadline"):
        scope.relative_deadline = 5
    assert scope.deadline == 10


def test_a_scope_without_a_deadline_may_become_either_kind() -> None:
    relative, absolute = CancelScope(), CancelScope()
    assert relative.relative_deadline == inf
    relative.relative_deadline = 5
    assert relative.is_relative is True
    absolute.deadline = 5
    assert absolute.is_relative is False


def test_a_relative_deadline_may_be_changed_outside_of_a_run() -> None:
    scope = CancelScope(relative_deadline=10)
    scope.relative_deadline = 3

    async def main() -> float:
        with scope:
            await sleep_forever()
        return current_time()

    assert run(main, clock=MockClock(autojump_threshold=0)) == 3


async def test_a_relative_deadline_read_in_the_block_is_the_time_left(mock_clock: MockClock) -> None:
    with CancelScope(relative_deadline=10) as scope:
        assert scope.relative_deadline == 10
        mock_clock.jump(4)
        assert scope.relative_deadline == 6
        mock_clock.jump(10)
        assert scope.relative_deadline == -4


async def test_a_relative_deadline_set_in_the_block_counts_from_now(autojump_clock: MockClock) -> None:
    with CancelScope(relative_deadline=10) as scope:
        await sleep(4)
        scope.relative_deadline = 50
        assert scope.deadline == 54
        await sleep_forever()
    assert current_time() == 54


async def test_the_time_left_of_an_absolute_scope_may_be_read_in_the_block(mock_clock: MockClock) -> None:
    mock_clock.jump(5)
    with CancelScope(deadline=20) as scope:
        assert scope.relative_deadline == 15


async def test_a_relative_deadline_is_neither_negative_nor_nan() -> None:
    scope = CancelScope(relative_deadline=10)
    with pytest.raises(ValueError, match="negative"):
        scope.relative_deadline = -1
    with pytest.raises(ValueError, match="NaN"):
        scope.relative_deadline = nan
    with scope:
        with pytest.raises(ValueError, match="negative"):
            scope.relative_deadline = -1
        with pytest.raises(ValueError, match="NaN"):
            scope.relative_deadline = nan


async def test_a_relative_deadline_of_zero_has_come_at_the_entry(mock_clock: MockClock) -> None:
    with CancelScope(relative_deadline=0) as scope:
        assert scope.cancel_called
        await lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_relative_deadline_before_the_entry_is_never_called(mock_clock: MockClock) -> None:
    scope = CancelScope(relative_deadline=1)
    mock_clock.jump(100)
    assert not scope.cancel_called


# ---- real time --------------------------------------------------------------------------------------------------


async def test_a_deadline_fires_in_real_time_and_not_before() -> None:
    start = current_time()
    with move_on_after(0.02) as scope:
        await sleep_forever()
    assert scope.cancelled_caught
    assert 0.02 <= current_time() - start < 5


async def test_a_far_deadline_does_not_keep_a_run_from_ending() -> None:
    with CancelScope(deadline=current_time() + 10**9):
        await sleep(0.001)


async def test_a_sleep_until_a_time_beyond_all_clocks_may_be_cancelled() -> None:
    with move_on_after(0.001) as scope:
        await sleep_until(1e300)
    assert scope.cancelled_caught


class OverAlready:
    """An operation that completed before its deadline, and told nobody."""

    def expire(self) -> None:
        raise AssertionError("its time never comes")

    def is_over(self) -> bool:
        return True


def test_what_was_over_before_its_deadline_does_not_fill_the_heap() -> None:
    deadlines = Deadlines()
    for number in range(5000):
        deadlines.add(1e6 + number, OverAlready())
    assert len(deadlines.heap) <= 2000
