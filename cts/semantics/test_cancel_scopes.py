"""Cancel scopes: their life, deadlines, shields, and the timeouts that are made of them."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cts.semantics.support import cancelled_block, leaves

# ---- one block --------------------------------------------------------------------------------------------------


@pytest.mark.semantics(4)
async def test_a_scope_is_for_one_block(lib: Any) -> None:
    scope = lib.CancelScope()
    with scope:
        with pytest.raises(RuntimeError, match="single 'with' block"):
            scope.__enter__()
    with pytest.raises(RuntimeError, match="single 'with' block"):
        scope.__enter__()


@pytest.mark.semantics(4)
async def test_a_scope_may_be_cancelled_before_its_block(lib: Any) -> None:
    scope = lib.CancelScope()
    scope.cancel()
    assert scope.cancel_called
    with scope:
        await lib.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.semantics(4)
def test_a_scope_may_be_made_outside_of_a_run(lib: Any, run: Any) -> None:
    scope = lib.CancelScope()
    scope.cancel()

    async def main() -> None:
        with scope:
            await lib.sleep_forever()

    run(main)
    assert scope.cancelled_caught


@pytest.mark.semantics(4)
def test_a_scope_is_entered_in_a_task_only(lib: Any) -> None:
    with pytest.raises(RuntimeError, match="must be called from async context"):
        lib.CancelScope().__enter__()


@pytest.mark.semantics(4)
async def test_a_scope_may_be_made_here_and_entered_in_another_task(lib: Any) -> None:
    scope = lib.CancelScope()

    async def child() -> None:
        with scope:
            await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
        await lib.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught
    assert not nursery.cancel_scope.cancel_called


@pytest.mark.semantics(4)
async def test_cancelling_twice_or_after_the_block_changes_nothing(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        scope.cancel()
        await lib.lowlevel.checkpoint()
    scope.cancel()
    await lib.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.semantics(4)
async def test_the_deadline_may_be_changed_at_any_time(lib: Any, autojump_clock: Any) -> None:
    scope = lib.CancelScope(deadline=5)
    scope.deadline = 10
    async with lib.open_nursery() as nursery:

        async def change() -> None:
            await lib.sleep(1)
            scope.deadline = 3

        nursery.start_soon(change)
        with scope:
            await lib.sleep(20)
    assert scope.cancelled_caught
    assert lib.current_time() == 3


@pytest.mark.semantics(4)
async def test_the_deadline_may_be_taken_away(lib: Any, autojump_clock: Any) -> None:
    with lib.move_on_after(2) as scope:
        await lib.sleep(1)
        scope.deadline = math.inf
        await lib.sleep(100)
    assert not scope.cancel_called


@pytest.mark.semantics(4)
async def test_the_shield_may_be_changed_at_any_time(lib: Any) -> None:
    with lib.CancelScope() as outer:
        outer.cancel()
        with lib.CancelScope() as inner:
            inner.shield = True
            await lib.lowlevel.checkpoint()
            inner.shield = False
            with pytest.raises(lib.Cancelled):
                await lib.lowlevel.checkpoint()
            inner.shield = True
            await lib.lowlevel.checkpoint()
    assert not outer.cancelled_caught


@pytest.mark.semantics(4)
async def test_a_shield_that_drops_wakes_who_waits_behind_it(lib: Any) -> None:
    shield = lib.CancelScope(shield=True)

    async def child() -> None:
        with shield:
            await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with lib.CancelScope(shield=True):
            await lib.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            shield.shield = False


@pytest.mark.semantics(4)
@pytest.mark.parametrize("value", [1, 0, None, "yes"])
async def test_a_shield_is_a_bool(lib: Any, value: object) -> None:
    with pytest.raises(TypeError):
        lib.CancelScope().shield = value


# ---- deadlines --------------------------------------------------------------------------------------------------


@pytest.mark.semantics(5)
async def test_a_deadline_in_the_past_cancels_at_the_first_checkpoint(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_at(lib.current_time() - 1) as scope:
        reached = True
        await lib.sleep_forever()
    assert reached and scope.cancelled_caught


@pytest.mark.semantics(5)
async def test_a_deadline_cancels_who_waits(lib: Any, autojump_clock: Any) -> None:
    with lib.move_on_at(7) as scope:
        await lib.sleep_forever()
    assert scope.cancelled_caught
    assert lib.current_time() == 7


@pytest.mark.semantics(5)
async def test_a_block_without_a_checkpoint_is_called_but_not_caught(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(1) as scope:
        mock_clock.jump(2)
        assert scope.cancel_called
    assert not scope.cancelled_caught


@pytest.mark.semantics(5)
async def test_reading_cancel_called_looks_at_the_clock(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(1) as scope:
        assert not scope.cancel_called
        mock_clock.jump(1)
        assert scope.cancel_called


@pytest.mark.semantics(5)
async def test_cancel_called_is_final_once_the_block_has_ended(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(1) as scope:
        pass
    mock_clock.jump(2)
    assert not scope.cancel_called


@pytest.mark.semantics(5)
async def test_a_later_deadline_does_not_undo_a_cancellation(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(1) as scope:
        mock_clock.jump(1)
        assert scope.cancel_called
        scope.deadline = math.inf
        await lib.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.semantics(5)
async def test_only_the_scope_that_absorbed_the_cancellation_caught_it(lib: Any) -> None:
    with lib.CancelScope() as outer:
        with lib.CancelScope() as inner:
            outer.cancel()
            await lib.sleep_forever()
    assert outer.cancelled_caught
    assert not inner.cancelled_caught and not inner.cancel_called


@pytest.mark.semantics(5)
async def test_the_outer_one_of_two_cancelled_scopes_catches(lib: Any) -> None:
    with lib.CancelScope() as outer:
        with lib.CancelScope() as inner:
            inner.cancel()
            outer.cancel()
            await lib.sleep_forever()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


@pytest.mark.semantics(5)
def test_nan_is_no_deadline(lib: Any) -> None:
    nan = float("nan")
    for make in (
        lambda: lib.CancelScope(deadline=nan),
        lambda: lib.CancelScope(relative_deadline=nan),
        lambda: lib.move_on_at(nan),
        lambda: lib.move_on_after(nan),
        lambda: setattr(lib.CancelScope(), "deadline", nan),
    ):
        with pytest.raises(ValueError):
            make()


@pytest.mark.semantics(5)
def test_a_scope_has_one_kind_of_deadline(lib: Any) -> None:
    with pytest.raises(ValueError):
        lib.CancelScope(deadline=7, relative_deadline=3)


# ---- relative deadlines -----------------------------------------------------------------------------------------


@pytest.mark.semantics(6)
async def test_a_relative_deadline_counts_from_the_entry(lib: Any, autojump_clock: Any) -> None:
    scope = lib.move_on_after(5)
    await lib.sleep(100)
    with scope:
        assert scope.deadline == 105
        await lib.sleep_forever()
    assert lib.current_time() == 105


@pytest.mark.semantics(6)
async def test_before_the_entry_there_is_no_absolute_deadline(lib: Any) -> None:
    scope = lib.move_on_after(5)
    assert scope.is_relative is True
    assert scope.relative_deadline == 5
    with pytest.raises(RuntimeError):
        _ = scope.deadline
    with pytest.raises(RuntimeError):
        scope.deadline = 7


@pytest.mark.semantics(6)
async def test_after_the_entry_it_is_neither(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(5) as scope:
        assert scope.is_relative is None
        mock_clock.jump(2)
        assert scope.relative_deadline == 3
        scope.relative_deadline = 10
        assert scope.deadline == 12


@pytest.mark.semantics(6)
def test_an_absolute_scope_has_no_relative_deadline_before_the_entry(lib: Any) -> None:
    scope = lib.CancelScope(deadline=5)
    assert scope.is_relative is False
    with pytest.raises(RuntimeError):
        _ = scope.relative_deadline
    with pytest.raises(RuntimeError):
        scope.relative_deadline = 3


@pytest.mark.semantics(6)
async def test_a_relative_deadline_of_zero_has_come_at_the_entry(lib: Any, mock_clock: Any) -> None:
    with lib.move_on_after(0) as scope:
        assert scope.cancel_called
        await lib.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.semantics(6)
def test_a_relative_deadline_is_not_negative(lib: Any) -> None:
    for make in (lambda: lib.CancelScope(relative_deadline=-1), lambda: lib.move_on_after(-1)):
        with pytest.raises(ValueError):
            make()


@pytest.mark.semantics(6)
@pytest.mark.parametrize("name", ["move_on_after", "fail_after", "move_on_at", "fail_at"])
async def test_each_timeout_takes_a_shield(lib: Any, mock_clock: Any, name: str) -> None:
    with lib.CancelScope() as outer:
        outer.cancel()
        with getattr(lib, name)(10, shield=True) as inner:
            assert inner.shield
            await lib.lowlevel.checkpoint()
    assert not outer.cancelled_caught


# ---- shields and the effective deadline -------------------------------------------------------------------------


@pytest.mark.semantics(7)
async def test_a_shield_keeps_outer_cancellations_out(lib: Any) -> None:
    with cancelled_block(lib):
        with lib.CancelScope(shield=True):
            await lib.lowlevel.checkpoint()
        await lib.lowlevel.checkpoint()


@pytest.mark.semantics(7)
async def test_a_shield_does_not_keep_out_its_own_cancellation(lib: Any) -> None:
    with lib.CancelScope(shield=True) as scope:
        scope.cancel()
        await lib.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.semantics(7)
async def test_a_shield_protects_the_children_inside_it(lib: Any) -> None:
    ends: list[str] = []

    async def child() -> None:
        await lib.lowlevel.checkpoint()
        ends.append("finished")

    with cancelled_block(lib):
        with lib.CancelScope(shield=True):
            async with lib.open_nursery() as nursery:
                nursery.start_soon(child)
        await lib.lowlevel.checkpoint()
    assert ends == ["finished"]


@pytest.mark.semantics(7)
async def test_the_effective_deadline_is_the_earliest_up_to_a_shield(lib: Any, mock_clock: Any) -> None:
    effective = lib.current_effective_deadline
    assert effective() == math.inf
    with lib.move_on_at(10):
        assert effective() == 10
        with lib.move_on_at(20) as inner:
            assert effective() == 10
            inner.shield = True
            assert effective() == 20
            with lib.move_on_at(5):
                assert effective() == 5


@pytest.mark.semantics(7)
async def test_in_a_cancelled_scope_the_effective_deadline_has_always_passed(lib: Any) -> None:
    with lib.CancelScope() as scope:
        scope.cancel()
        assert lib.current_effective_deadline() == -math.inf
        with lib.CancelScope(shield=True):
            assert lib.current_effective_deadline() == math.inf


@pytest.mark.semantics(7)
async def test_a_child_inherits_the_effective_deadline_of_its_nursery(lib: Any, mock_clock: Any) -> None:
    seen: list[float] = []

    async def child() -> None:
        seen.append(lib.current_effective_deadline())

    with lib.move_on_at(50):
        async with lib.open_nursery() as nursery:
            with lib.move_on_at(10):
                nursery.start_soon(child)
    assert seen == [50]


# ---- timeouts that raise ----------------------------------------------------------------------------------------


@pytest.mark.semantics(8)
@pytest.mark.parametrize("name", ["fail_after", "fail_at"])
async def test_a_block_that_is_cut_off_raises_too_slow(lib: Any, autojump_clock: Any, name: str) -> None:
    with pytest.raises(lib.TooSlowError) as caught:
        with getattr(lib, name)(3):
            await lib.sleep(10)
    assert lib.current_time() == 3
    assert isinstance(caught.value, Exception)


@pytest.mark.semantics(8)
async def test_too_slow_has_the_cancellation_by_the_deadline_as_its_context(lib: Any, autojump_clock: Any) -> None:
    with pytest.raises(lib.TooSlowError) as caught:
        with lib.fail_after(3):
            await lib.sleep(10)
    cancelled = caught.value.__context__
    assert isinstance(cancelled, lib.Cancelled)
    assert cancelled.source == "deadline"


@pytest.mark.semantics(8)
async def test_a_block_that_saw_no_cancellation_is_not_too_slow(lib: Any, mock_clock: Any) -> None:
    with lib.fail_after(1) as scope:
        mock_clock.jump(5)
        assert scope.cancel_called
    assert not scope.cancelled_caught


@pytest.mark.semantics(8)
async def test_an_error_of_the_block_passes_however_late_it_is(lib: Any, mock_clock: Any) -> None:
    with pytest.raises(KeyError):
        with lib.fail_after(1):
            mock_clock.jump(5)
            raise KeyError


@pytest.mark.semantics(8)
async def test_a_scope_of_fail_after_that_is_cancelled_by_hand_raises_too(lib: Any, mock_clock: Any) -> None:
    with pytest.raises(lib.TooSlowError):
        with lib.fail_after(100) as scope:
            scope.cancel()
            await lib.lowlevel.checkpoint()


@pytest.mark.semantics(8)
async def test_a_cancellation_from_outside_passes(lib: Any, mock_clock: Any) -> None:
    with cancelled_block(lib):
        with lib.fail_after(100):
            await lib.lowlevel.checkpoint()


@pytest.mark.semantics(8)
@pytest.mark.parametrize("name", ["fail_after", "move_on_after"])
async def test_seconds_are_not_negative(lib: Any, name: str) -> None:
    with pytest.raises(ValueError):
        with getattr(lib, name)(-1):
            raise AssertionError("entered")


# ---- misnesting -------------------------------------------------------------------------------------------------


@pytest.mark.semantics(11)
async def test_leaving_the_outer_scope_first_is_an_error_that_explains_itself(lib: Any) -> None:
    outer, inner = lib.CancelScope(), lib.CancelScope()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match=r"Cancel scope stack corrupted.*still within its child") as caught:
        outer.__exit__(None, None, None)
    assert "probably a bug in your code" in str(caught.value)
    inner.__exit__(None, None, None)
    with cancelled_block(lib):
        await lib.sleep_forever()


@pytest.mark.semantics(11)
async def test_leaving_a_scope_twice_or_without_entering_is_an_error(lib: Any) -> None:
    scope = lib.CancelScope()
    with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
        scope.__exit__(None, None, None)
    second = lib.CancelScope()
    with second:
        pass
    with pytest.raises(RuntimeError, match="already been exited"):
        second.__exit__(None, None, None)


@pytest.mark.semantics(11)
async def test_leaving_the_scope_of_another_task_is_an_error(lib: Any) -> None:
    scope = lib.CancelScope()

    async def child() -> None:
        with scope:
            await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
        await lib.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="from unrelated"):
            scope.__exit__(None, None, None)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(11)
async def test_a_generator_that_yields_inside_a_scope_is_found_out(lib: Any) -> None:
    async def generator() -> AsyncGenerator[int, None]:
        with lib.CancelScope():
            yield 1

    values = generator()
    with pytest.raises(RuntimeError, match="Cancel scope stack corrupted"):
        with lib.CancelScope():
            await values.asend(None)
    await values.aclose()


@pytest.mark.semantics(11)
def test_a_task_that_ends_with_an_open_nursery_is_reported_and_its_children_cancelled(lib: Any, run: Any) -> None:
    kept: list[Any] = []
    ends: list[str] = []

    async def grandchild() -> None:
        try:
            await lib.sleep_forever()
        finally:
            ends.append("grandchild")

    async def child() -> None:
        manager = lib.open_nursery()
        kept.append(manager)
        nursery = await manager.__aenter__()
        nursery.start_soon(grandchild)
        await lib.testing.wait_all_tasks_blocked()

    async def main() -> None:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(child)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert any("Nursery stack corrupted" in str(leaf) for leaf in leaves(caught.value))
    assert ends == ["grandchild"]


@pytest.mark.semantics(11)
def test_a_scope_that_ends_around_running_tasks_is_reported(lib: Any, run: Any) -> None:
    async def main() -> None:
        scope = lib.CancelScope()
        scope.__enter__()
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.sleep_forever)
            await lib.testing.wait_all_tasks_blocked()
            scope.__exit__(None, None, None)

    with pytest.raises(BaseException) as caught:
        run(main)
    assert any("Cancel scope stack corrupted" in str(leaf) for leaf in leaves(caught.value))
