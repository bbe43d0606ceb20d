"""assert_checkpoints(), assert_no_checkpoints(), Sequencer, trio_test, and waiting for threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cts.semantics.support import blocked

NAMES = (
    "MemoryReceiveStream",
    "MemorySendStream",
    "MockClock",
    "Sequencer",
    "active_thread_count",
    "assert_checkpoints",
    "assert_no_checkpoints",
    "check_half_closeable_stream",
    "check_one_way_stream",
    "check_two_way_stream",
    "lockstep_stream_one_way_pair",
    "lockstep_stream_pair",
    "memory_stream_one_way_pair",
    "memory_stream_pair",
    "memory_stream_pump",
    "open_stream_to_socket_listener",
    "trio_test",
    "wait_all_tasks_blocked",
    "wait_all_threads_completed",
)


@pytest.mark.semantics(1)
async def test_a_checkpoint_satisfies_assert_checkpoints(lib: Any) -> None:
    with lib.testing.assert_checkpoints():
        await lib.lowlevel.checkpoint()


@pytest.mark.semantics(1)
async def test_no_checkpoint_does_not(lib: Any) -> None:
    with pytest.raises(AssertionError):
        with lib.testing.assert_checkpoints():
            pass


@pytest.mark.semantics(1)
@pytest.mark.parametrize("half", ["checkpoint_if_cancelled", "cancel_shielded_checkpoint"])
async def test_half_a_checkpoint_satisfies_neither(lib: Any, half: str) -> None:
    for assertion in (lib.testing.assert_checkpoints, lib.testing.assert_no_checkpoints):
        with pytest.raises(AssertionError):
            with assertion():
                await getattr(lib.lowlevel, half)()


@pytest.mark.semantics(1)
async def test_two_halves_are_a_checkpoint(lib: Any) -> None:
    with lib.testing.assert_checkpoints():
        await lib.lowlevel.checkpoint_if_cancelled()
        await lib.lowlevel.cancel_shielded_checkpoint()


@pytest.mark.semantics(1)
async def test_waiting_is_a_checkpoint(lib: Any) -> None:
    event = lib.Event()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.testing.wait_all_tasks_blocked)
        with lib.testing.assert_checkpoints():
            nursery.start_soon(set_event, event)
            await event.wait()


async def set_event(event: Any) -> None:
    event.set()


@pytest.mark.semantics(1)
async def test_waiting_in_which_a_cancellation_is_refused_is_a_checkpoint_all_the_same(lib: Any) -> None:
    task = lib.lowlevel.current_task()

    async def go_on() -> None:
        lib.lowlevel.reschedule(task)

    async with lib.open_nursery() as nursery:
        with lib.testing.assert_checkpoints():
            nursery.start_soon(go_on)
            await lib.lowlevel.wait_task_rescheduled(lambda _: lib.lowlevel.Abort.FAILED)


@pytest.mark.semantics(1)
async def test_a_block_that_raises_need_not_checkpoint(lib: Any) -> None:
    with pytest.raises(ValueError, match="early"):
        with lib.testing.assert_checkpoints():
            raise ValueError("early")


@pytest.mark.semantics(1)
async def test_a_block_that_raises_must_not_checkpoint_where_none_is_allowed(lib: Any) -> None:
    with pytest.raises(AssertionError):
        with lib.testing.assert_no_checkpoints():
            await lib.lowlevel.checkpoint()
            raise ValueError("late")
    with pytest.raises(ValueError, match="early"):
        with lib.testing.assert_no_checkpoints():
            raise ValueError("early")


@pytest.mark.semantics(1)
async def test_a_block_without_checkpoints_satisfies_assert_no_checkpoints(lib: Any) -> None:
    with lib.testing.assert_no_checkpoints():
        lib.Event().set()


@pytest.mark.semantics(1)
async def test_the_two_may_be_nested(lib: Any) -> None:
    with lib.testing.assert_checkpoints():
        await lib.lowlevel.checkpoint()
        with lib.testing.assert_no_checkpoints():
            pass
        with lib.testing.assert_checkpoints():
            await lib.lowlevel.checkpoint()
    with pytest.raises(AssertionError):
        with lib.testing.assert_no_checkpoints():
            with lib.testing.assert_checkpoints():
                await lib.lowlevel.checkpoint()


@pytest.mark.semantics(1)
async def test_checkpoints_of_other_tasks_do_not_count(lib: Any) -> None:
    async def pass_often() -> None:
        for _ in range(5):
            await lib.lowlevel.checkpoint()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(pass_often)
        with pytest.raises(AssertionError):
            with lib.testing.assert_checkpoints():
                pass


@pytest.mark.semantics(1)
async def test_a_watched_task_is_cancelled_like_any_other(lib: Any) -> None:
    with lib.CancelScope() as scope:
        with lib.testing.assert_checkpoints():
            scope.cancel()
            await lib.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.semantics(1)
def test_outside_of_a_task_there_is_nothing_to_watch(lib: Any) -> None:
    for assertion in (lib.testing.assert_checkpoints, lib.testing.assert_no_checkpoints):
        with pytest.raises(RuntimeError):
            with assertion():
                pass


async def test_blocks_of_a_sequencer_run_in_the_order_of_their_numbers(lib: Any) -> None:
    sequencer = lib.testing.Sequencer()
    order: list[int] = []

    async def run_blocks(*positions: int) -> None:
        for position in positions:
            async with sequencer(position):
                order.append(position)

    async with lib.open_nursery() as nursery:
        nursery.start_soon(run_blocks, 1, 3)
        nursery.start_soon(run_blocks, 2, 4)
        nursery.start_soon(run_blocks, 0, 5)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_block_of_a_sequencer_waits_for_the_end_of_the_one_before(lib: Any) -> None:
    sequencer = lib.testing.Sequencer()

    async def second() -> None:
        async with sequencer(1):
            pass

    async with lib.open_nursery() as nursery:
        async with sequencer(0):
            call = await blocked(lib, nursery, second)
        await lib.testing.wait_all_tasks_blocked()
        assert call.done


async def test_a_number_of_a_sequencer_can_be_used_once(lib: Any) -> None:
    sequencer = lib.testing.Sequencer()
    async with sequencer(0):
        pass
    with pytest.raises(RuntimeError):
        async with sequencer(0):
            pass


async def test_a_block_of_a_sequencer_that_raises_is_over_too(lib: Any) -> None:
    sequencer = lib.testing.Sequencer()
    with pytest.raises(ValueError, match="inside"):
        async with sequencer(0):
            raise ValueError("inside")
    async with sequencer(1):
        pass


async def test_a_cancelled_turn_breaks_the_sequence_for_all(lib: Any) -> None:
    sequencer = lib.testing.Sequencer()
    errors: list[type[BaseException]] = []

    async def take_turn(position: int) -> None:
        try:
            async with sequencer(position):
                pass
        except RuntimeError as error:
            errors.append(type(error))

    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, take_turn, 2)
        with lib.CancelScope() as scope:
            scope.cancel()
            await take_turn(1)
    assert errors == [RuntimeError, RuntimeError]
    with pytest.raises(RuntimeError):
        async with sequencer(3):
            pass


def test_trio_test_runs_an_async_function(lib: Any) -> None:
    @lib.testing.trio_test
    async def test(number: int, *, other: int) -> int:
        """Adds."""
        await lib.sleep(0)
        return number + other

    assert test(1, other=2) == 3
    assert (test.__name__, test.__doc__) == ("test", "Adds.")


def test_trio_test_takes_its_clock_from_the_fixtures(lib: Any) -> None:
    clock = lib.testing.MockClock(autojump_threshold=0)

    @lib.testing.trio_test
    async def test(*, clock: Any) -> float:
        await lib.sleep(1000)
        now: float = lib.current_time()
        return now

    assert test(clock=clock) == 1000


def test_trio_test_refuses_two_clocks(lib: Any) -> None:
    @lib.testing.trio_test
    async def test(*, one: Any, two: Any) -> None:
        raise AssertionError("not reached")

    with pytest.raises(ValueError):
        test(one=lib.testing.MockClock(), two=lib.testing.MockClock())


def test_trio_test_takes_all_instruments_from_the_fixtures(lib: Any) -> None:
    class Counter(lib.abc.Instrument):  # type: ignore[misc, name-defined]
        runs = 0

        def before_run(self) -> None:
            self.runs += 1

    counters = Counter(), Counter()

    @lib.testing.trio_test
    async def test(*, one: Any, two: Any) -> None:
        await lib.lowlevel.checkpoint()

    test(one=counters[0], two=counters[1])
    assert [counter.runs for counter in counters] == [1, 1]


@pytest.mark.semantics(23)
async def test_threads_are_counted_while_they_make_a_call(lib: Any) -> None:
    may_end = threading.Event()
    assert lib.testing.active_thread_count() == 0
    async with lib.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lib.to_thread.run_sync, may_end.wait)
        await lib.testing.wait_all_tasks_blocked()
        assert lib.testing.active_thread_count() == 2
        may_end.set()
    assert lib.testing.active_thread_count() == 0


@pytest.mark.semantics(23)
async def test_an_abandoned_thread_does_not_count(lib: Any) -> None:
    may_end = threading.Event()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lambda: lib.to_thread.run_sync(may_end.wait, abandon_on_cancel=True))
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert lib.testing.active_thread_count() == 0
    await lib.testing.wait_all_threads_completed()
    may_end.set()


@pytest.mark.semantics(23)
async def test_waiting_for_threads_ends_with_the_last_call(lib: Any) -> None:
    may_end = threading.Event()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.to_thread.run_sync, may_end.wait)
        await lib.testing.wait_all_tasks_blocked()
        waiting = await blocked(lib, nursery, lib.testing.wait_all_threads_completed)
        may_end.set()
    assert waiting.done


@pytest.mark.semantics(1, 23)
async def test_waiting_for_no_threads_is_a_checkpoint(lib: Any) -> None:
    with lib.testing.assert_checkpoints():
        await lib.testing.wait_all_threads_completed()


@pytest.mark.semantics(23)
async def test_waiting_for_threads_can_be_cancelled(lib: Any) -> None:
    may_end = threading.Event()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.to_thread.run_sync, may_end.wait)
        await lib.testing.wait_all_tasks_blocked()
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as inner:
                await blocked(lib, inner, lib.testing.wait_all_threads_completed)
                scope.cancel()
        may_end.set()
    assert scope.cancelled_caught


def test_all_names_for_tests_are_there(lib: Any) -> None:
    assert [name for name in NAMES if not hasattr(lib.testing, name)] == []
