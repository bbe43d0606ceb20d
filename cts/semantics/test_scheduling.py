"""Scheduling: batches, the order of things in a tick, and what holds at the start and the end of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import outcome
import pytest

from cts.semantics.support import in_main_thread_only, interrupt, is_schedule_point, leaves, tcp_pair

# ---- batches ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(16)
async def test_runnable_tasks_take_one_step_each_in_turn(lib: Any) -> None:
    steps: list[str] = []

    async def walk(name: str) -> None:
        for _ in range(5):
            steps.append(name)
            await lib.lowlevel.checkpoint()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(walk, "a")
        nursery.start_soon(walk, "b")
    for first in range(0, 10, 2):
        assert sorted(steps[first : first + 2]) == ["a", "b"]


@pytest.mark.semantics(16)
async def test_what_a_step_makes_runnable_waits_for_the_next_tick(lib: Any) -> None:
    order: list[str] = []

    async def late() -> None:
        order.append("late")

    async def early(nursery: Any) -> None:
        nursery.start_soon(late)
        order.append("early")

    async with lib.open_nursery() as nursery:
        nursery.start_soon(early, nursery)
        nursery.start_soon(early, nursery)
    assert order == ["early", "early", "late", "late"]


@pytest.mark.semantics(16)
async def test_the_order_in_a_batch_is_not_promised(lib: Any) -> None:
    """In a hundred batches of two either one was first at least once."""
    firsts: set[str] = set()

    for _ in range(100):
        order: list[str] = []

        async def note(name: str, order: list[str] = order) -> None:
            order.append(name)

        async with lib.open_nursery() as nursery:
            nursery.start_soon(note, "a")
            nursery.start_soon(note, "b")
        firsts.add(order[0])
    assert firsts == {"a", "b"}


@pytest.mark.semantics(16)
async def test_a_new_task_does_not_run_before_its_creator_yields(lib: Any) -> None:
    order: list[str] = []

    async def child() -> None:
        order.append("child")

    async with lib.open_nursery() as nursery:
        nursery.start_soon(child)
        order.append("creator")
    assert order == ["creator", "child"]


@pytest.mark.semantics(16)
async def test_a_task_that_never_blocks_keeps_neither_io_nor_deadlines_back(lib: Any) -> None:
    near, far = await tcp_pair(lib)

    async def spin() -> None:
        while True:
            await lib.lowlevel.checkpoint()

    async with near, far, lib.open_nursery() as nursery:
        nursery.start_soon(spin)
        await far.send_all(b"through")
        assert await near.receive_some() == b"through"
        with lib.move_on_after(0.001) as scope:
            await lib.sleep_forever()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(16)
async def test_a_deadline_beyond_all_clocks_can_be_waited_for(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 10.0**20)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


# ---- the order in a tick ----------------------------------------------------------------------------------------


@pytest.mark.semantics(17)
async def test_a_sleep_that_ends_with_its_timeout_is_cancelled(lib: Any, autojump_clock: Any) -> None:
    """Both deadlines fire in one tick, before any task runs."""
    with lib.move_on_after(5) as scope:
        await lib.sleep(5)
        await lib.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.semantics(17)
async def test_who_waits_for_idleness_comes_before_the_clock_jumps(lib: Any, autojump_clock: Any) -> None:
    async with lib.open_nursery() as nursery:
        nursery.start_soon(lib.sleep, 10)
        await lib.testing.wait_all_tasks_blocked()
        assert lib.current_time() == 0


@pytest.mark.semantics(17)
async def test_idleness_is_told_when_all_others_are_blocked(lib: Any) -> None:
    steps = 0

    async def walk() -> None:
        nonlocal steps
        for _ in range(10):
            await lib.lowlevel.checkpoint()
            steps += 1
        await lib.sleep_forever()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(walk)
        await lib.testing.wait_all_tasks_blocked()
        assert steps == 10
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(17)
async def test_what_is_in_flight_in_the_kernel_is_no_activity(lib: Any) -> None:
    near, far = await tcp_pair(lib)
    async with near, far, lib.open_nursery() as nursery:
        nursery.start_soon(near.receive_some)
        await lib.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(17)
async def test_of_several_who_wait_for_idleness_the_shortest_cushion_comes_first(lib: Any) -> None:
    order: list[float] = []

    async def wait(cushion: float) -> None:
        await lib.testing.wait_all_tasks_blocked(cushion)
        order.append(cushion)

    async with lib.open_nursery() as nursery:
        for cushion in (0.02, 0.0, 0.01):
            nursery.start_soon(wait, cushion)
    assert order == [0.0, 0.01, 0.02]


@in_main_thread_only
@pytest.mark.semantics(17, 20)
def test_an_interrupt_comes_before_a_cancellation(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> bool:
        with lib.CancelScope() as scope:
            scope.cancel()
            interrupt()
            with pytest.raises(KeyboardInterrupt):
                await lib.lowlevel.checkpoint()
            await lib.lowlevel.checkpoint()
        caught: bool = scope.cancelled_caught
        return caught

    assert run(main, restrict_keyboard_interrupt_to_checkpoints=True)


# ---- run() ------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(18)
def test_run_returns_what_the_function_returns_and_passes_arguments(lib: Any, run: Callable[..., Any]) -> None:
    async def main(*args: int) -> int:
        return sum(args)

    assert run(main, 1, 2, 3) == 6


@pytest.mark.semantics(18)
def test_run_raises_what_the_function_raises_without_a_group(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        run(main)


@pytest.mark.semantics(18)
def test_a_run_inside_a_run_is_refused(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="from inside"):
            run(lib.sleep, 0)

    run(main)


@pytest.mark.semantics(18)
def test_a_coroutine_object_is_refused_with_advice(lib: Any, run: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="coroutine object"):
        run(lib.sleep(0))


@pytest.mark.semantics(18)
def test_each_thread_may_have_a_run_of_its_own(lib: Any, run: Callable[..., Any]) -> None:
    barrier = threading.Barrier(2, timeout=10)
    results: list[int] = []

    async def main() -> None:
        await lib.lowlevel.checkpoint()
        barrier.wait()  # both runs are at this point at the same time
        await lib.lowlevel.checkpoint()
        results.append(threading.get_ident())

    threads = [threading.Thread(target=run, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 2


@pytest.mark.semantics(18)
async def test_a_worker_thread_may_have_a_run_of_its_own(lib: Any) -> None:
    async def inner() -> str:
        await lib.lowlevel.checkpoint()
        return "from the inner run"

    assert await lib.to_thread.run_sync(lib.run, inner) == "from the inner run"


@pytest.mark.semantics(18)
def test_system_tasks_are_cancelled_when_the_main_task_has_ended_and_waited_for(
    lib: Any, run: Callable[..., Any]
) -> None:
    log: list[str] = []

    async def system_task() -> None:
        try:
            await lib.sleep_forever()
        finally:
            with lib.CancelScope(shield=True):
                await lib.lowlevel.checkpoint()
            log.append("system task")

    async def main() -> None:
        lib.lowlevel.spawn_system_task(system_task)
        await lib.testing.wait_all_tasks_blocked()
        log.append("main")

    run(main)
    assert log == ["main", "system task"]


@pytest.mark.semantics(18)
def test_an_error_in_a_system_task_breaks_the_run(lib: Any, run: Callable[..., Any]) -> None:
    ends: list[str] = []

    async def system_task() -> None:
        raise KeyError("broken")

    async def main() -> None:
        lib.lowlevel.spawn_system_task(system_task)
        try:
            await lib.sleep_forever()
        except lib.Cancelled:
            ends.append("main task")
            raise

    with pytest.raises(lib.TrioInternalError) as caught:
        run(main)
    assert ends == ["main task"]
    assert caught.value.__cause__ is not None
    assert any(isinstance(leaf, KeyError) for leaf in leaves(caught.value.__cause__))


@pytest.mark.semantics(18)
def test_a_system_task_is_nobodys_child_and_has_the_context_of_run(lib: Any, run: Callable[..., Any]) -> None:
    async def system_task(seen: list[object]) -> None:
        seen.append(lib.lowlevel.current_task().parent_nursery in seen)

    async def main() -> list[object]:
        async with lib.open_nursery() as nursery:
            seen: list[object] = [nursery]
            lib.lowlevel.spawn_system_task(system_task, seen)
            await lib.testing.wait_all_tasks_blocked()
        return seen

    assert run(main)[1] is False


@pytest.mark.semantics(18)
def test_the_token_of_a_finished_run_refuses_calls(lib: Any, run: Callable[..., Any]) -> None:
    async def main() -> Any:
        return lib.lowlevel.current_trio_token()

    token = run(main)
    with pytest.raises(lib.RunFinishedError):
        token.run_sync_soon(int)


@pytest.mark.semantics(18)
def test_runs_follow_each_other_after_success_and_failure(lib: Any, run: Callable[..., Any]) -> None:
    async def fail() -> None:
        raise ValueError

    for _ in range(3):
        run(lib.sleep, 0)
        with pytest.raises(ValueError):
            run(fail)
    assert not lib.lowlevel.in_trio_run()


@pytest.mark.semantics(18)
def test_functions_that_need_a_run_say_so_outside_of_one(lib: Any) -> None:
    for function in (lib.current_time, lib.lowlevel.current_task, lib.lowlevel.current_trio_token):
        with pytest.raises(RuntimeError, match="must be called from async context"):
            function()


@pytest.mark.semantics(18)
def test_where_the_caller_is_can_be_asked(lib: Any, run: Callable[..., Any]) -> None:
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((lib.lowlevel.in_trio_run(), lib.lowlevel.in_trio_task()))

    async def main() -> None:
        look()
        lib.lowlevel.current_trio_token().run_sync_soon(look)
        await lib.testing.wait_all_tasks_blocked()

    look()
    run(main)
    assert seen[:2] == [(False, False), (True, True)]
    assert seen[2][0] is True


# ---- parking ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(1, 16)
async def test_a_parked_task_goes_on_in_the_tick_after_it_was_rescheduled(lib: Any) -> None:
    parked: list[Any] = []
    results: list[object] = []

    async def park() -> None:
        parked.append(lib.lowlevel.current_task())
        results.append(await lib.lowlevel.wait_task_rescheduled(lambda _: lib.lowlevel.Abort.SUCCEEDED))

    async with lib.open_nursery() as nursery:
        nursery.start_soon(park)
        await lib.testing.wait_all_tasks_blocked()
        lib.lowlevel.reschedule(parked[0], outcome.Value(7))
        assert results == []
    assert results == [7]


@pytest.mark.semantics(1, 3)
async def test_an_abort_that_failed_leaves_the_task_parked(lib: Any) -> None:
    parked: list[Any] = []
    aborts: list[str] = []

    async def park() -> None:
        parked.append(lib.lowlevel.current_task())

        def abort(_: object) -> Any:
            aborts.append("asked")
            return lib.lowlevel.Abort.FAILED

        await lib.lowlevel.wait_task_rescheduled(abort)
        aborts.append("went on")

    async with lib.open_nursery() as nursery:
        nursery.start_soon(park)
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with lib.CancelScope(shield=True):
            await lib.testing.wait_all_tasks_blocked()
            assert aborts == ["asked"]
        lib.lowlevel.reschedule(parked[0])
    assert aborts == ["asked", "went on"]


@pytest.mark.semantics(1, 16)
async def test_yielding_to_others_is_what_a_checkpoint_does(lib: Any) -> None:
    assert await is_schedule_point(lib, lib.lowlevel.checkpoint)
