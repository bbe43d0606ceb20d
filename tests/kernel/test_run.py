"""run(): one call is one run loop, one main task, one result."""

from __future__ import annotations

import collections.abc
import functools
import threading
import types
from collections.abc import Generator
from typing import Any

import pytest

import proactor_trio
from proactor_trio import Event, current_time, lowlevel, open_nursery, run, sleep, sleep_forever
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# ---- the result --------------------------------------------------------------------------------------------------


def test_run_returns_what_the_main_function_returns() -> None:
    async def main() -> str:
        return "result"

    assert run(main) == "result"


def test_run_passes_positional_arguments_on() -> None:
    async def main(*arguments: int) -> tuple[int, ...]:
        return arguments

    assert run(main, 1, 2, 3) == (1, 2, 3)


def test_run_refuses_keyword_arguments_of_the_main_function() -> None:
    async def main(*, color: str) -> str:
        return color

    with pytest.raises(TypeError):
        run(main, color="red")  # type: ignore[call-arg]
    assert run(functools.partial(main, color="red")) == "red"


def test_run_raises_what_the_main_function_raises_without_a_group() -> None:
    error = ValueError("from main")

    async def main() -> None:
        raise error

    with pytest.raises(ValueError, match="from main") as caught:
        run(main)
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


@pytest.mark.parametrize("error_type", [SystemExit, GeneratorExit, KeyboardInterrupt])
def test_run_raises_base_exceptions_of_the_main_function_as_they_are(error_type: type[BaseException]) -> None:
    async def main() -> None:
        await lowlevel.checkpoint()
        raise error_type("from main")

    with pytest.raises(error_type) as caught:
        run(main)
    assert type(caught.value) is error_type


def test_the_traceback_of_an_error_leads_into_the_main_function() -> None:
    async def inner_function() -> None:
        raise ValueError

    async def main() -> None:
        await inner_function()

    with pytest.raises(ValueError) as caught:
        run(main)
    assert [entry.name for entry in caught.traceback][-2:] == ["main", "inner_function"]


def test_an_error_returned_by_the_main_function_is_a_result() -> None:
    async def main() -> Exception:
        return ValueError("not raised")

    assert isinstance(run(main), ValueError)


def test_the_main_function_may_be_anything_that_returns_a_coroutine() -> None:
    async def main(number: int) -> int:
        await lowlevel.checkpoint()
        return number

    class Callable:
        async def __call__(self) -> str:
            return "called"

    assert run(lambda: main(1)) == 1
    assert run(functools.partial(main, 2)) == 2
    assert run(Callable()) == "called"


def test_a_coroutine_object_of_another_make_is_run_too() -> None:
    """Compilers for Python produce coroutines that are not of the interpreter's own type."""

    class ForeignCoroutine(collections.abc.Coroutine[Any, Any, str]):
        def __init__(self) -> None:
            async def implementation() -> str:
                await lowlevel.checkpoint()
                return "done"

            self.implementation = implementation()

        def __await__(self) -> Generator[Any, Any, str]:
            return self.implementation.__await__()

        def send(self, value: object) -> Any:
            return self.implementation.send(value)

        def throw(self, *arguments: Any) -> Any:
            return self.implementation.throw(*arguments)

        def close(self) -> None:
            self.implementation.close()

    assert run(ForeignCoroutine) == "done"


def test_run_waits_for_all_tasks_before_it_returns() -> None:
    steps: list[str] = []

    async def child() -> None:
        for _ in range(10):
            await lowlevel.checkpoint()
        steps.append("child")

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            steps.append("body")

    run(main)
    assert steps == ["body", "child"]


# ---- where a run is and is not ----------------------------------------------------------------------------------


def test_run_inside_a_run_is_refused() -> None:
    async def inner() -> None:
        raise AssertionError("must not start")

    async def main() -> str:
        with pytest.raises(RuntimeError, match="from inside"):
            run(inner)
        await lowlevel.checkpoint()
        return "the outer run goes on"

    assert run(main) == "the outer run goes on"


def test_run_inside_a_callback_of_a_run_is_refused() -> None:
    errors: list[BaseException] = []

    async def main() -> None:
        done = Event()

        def callback() -> None:
            try:
                run(sleep, 0)
            except RuntimeError as error:
                errors.append(error)
            done.set()

        lowlevel.current_trio_token().run_sync_soon(callback)
        await done.wait()

    run(main)
    assert len(errors) == 1


def test_runs_follow_each_other_in_one_thread() -> None:
    async def main(number: int) -> int:
        await lowlevel.checkpoint()
        return number

    assert [run(main, number) for number in range(20)] == list(range(20))


def test_a_run_works_in_a_thread_that_is_not_the_main_thread() -> None:
    results: list[str] = []

    async def main() -> str:
        await sleep(0)
        return threading.current_thread().name

    thread = threading.Thread(target=lambda: results.append(run(main)), name="a helper thread")
    thread.start()
    thread.join()
    assert results == ["a helper thread"]


def test_two_threads_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)
    roots: list[object] = []

    async def main() -> None:
        meeting.wait()
        await lowlevel.checkpoint()
        roots.append(lowlevel.current_root_task())
        meeting.wait()

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    run(main)
    thread.join()
    assert len(set(roots)) == 2


async def test_a_worker_thread_of_a_run_has_a_run_of_its_own() -> None:
    async def inner() -> str:
        await sleep(0)
        return "inner result"

    assert await proactor_trio.to_thread.run_sync(run, inner) == "inner result"


def test_functions_that_need_a_run_say_so_outside_of_one() -> None:
    for function in (
        current_time,
        lowlevel.current_task,
        lowlevel.current_clock,
        lowlevel.current_root_task,
        lowlevel.current_statistics,
        lowlevel.current_trio_token,
        proactor_trio.current_effective_deadline,
    ):
        with pytest.raises(RuntimeError, match="async context"):
            function()


def test_in_trio_run_and_in_trio_task_tell_where_the_caller_is() -> None:
    seen: list[tuple[str, bool, bool]] = []

    def look(place: str) -> None:
        seen.append((place, lowlevel.in_trio_run(), lowlevel.in_trio_task()))

    class Observer(proactor_trio.abc.Instrument):
        def before_run(self) -> None:
            look("instrument")

    async def main() -> None:
        look("task")

    look("before")
    run(main, instruments=[Observer()])
    look("after")
    assert seen == [
        ("before", False, False),
        ("instrument", True, False),
        ("task", True, True),
        ("after", False, False),
    ]


def test_a_failed_run_leaves_the_thread_ready_for_the_next_one() -> None:
    async def crash() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(sleep_forever)
            raise ValueError

    with pytest.raises(ExceptionGroup):
        run(crash)
    assert not lowlevel.in_trio_run()
    run(sleep, 0)


# ---- what a run knows of itself ---------------------------------------------------------------------------------


async def test_the_main_task_hangs_under_the_root_task() -> None:
    root = lowlevel.current_root_task()
    assert root is not None
    assert root.parent_nursery is None
    main_task = lowlevel.current_task()
    assert main_task.parent_nursery is not None
    assert main_task.parent_nursery.parent_task is root


def test_the_clock_of_the_run_is_the_one_that_was_passed() -> None:
    clock = MockClock()

    async def main() -> object:
        return lowlevel.current_clock()

    assert run(main, clock=clock) is clock


async def test_the_default_clock_is_a_clock_that_moves_forward() -> None:
    clock = lowlevel.current_clock()
    assert isinstance(clock, proactor_trio.abc.Clock)
    first = current_time()
    await sleep(0.001)
    assert current_time() >= first + 0.001
    assert abs(clock.deadline_to_sleep_time(current_time() + 10) - 10) < 1


def test_a_clock_of_the_users_own_drives_the_deadlines() -> None:
    class FastClock(proactor_trio.abc.Clock):
        """A thousand seconds go by in each real one."""

        def __init__(self) -> None:
            self.started = 0
            self.clock = MockClock(rate=1000)

        def start_clock(self) -> None:
            self.started += 1

        def current_time(self) -> float:
            return self.clock.current_time()

        def deadline_to_sleep_time(self, deadline: float) -> float:
            return (deadline - self.current_time()) / 1000

    clock = FastClock()
    run(sleep, 5, clock=clock)
    assert clock.started == 1
    assert clock.current_time() >= 5


async def test_statistics_count_living_and_runnable_tasks() -> None:
    before = lowlevel.current_statistics()
    async with open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(sleep_forever)
        started = lowlevel.current_statistics()
        assert started.tasks_living == before.tasks_living + 3
        assert started.tasks_runnable == before.tasks_runnable + 3
        await wait_all_tasks_blocked()
        blocked = lowlevel.current_statistics()
        assert blocked.tasks_living == before.tasks_living + 3
        assert blocked.tasks_runnable == 0
        nursery.cancel_scope.cancel()
    assert lowlevel.current_statistics().tasks_living == before.tasks_living


async def test_statistics_know_the_next_deadline(mock_clock: MockClock) -> None:
    assert lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
    with proactor_trio.move_on_after(30):
        with proactor_trio.move_on_after(10):
            assert lowlevel.current_statistics().seconds_to_next_deadline == 10
            mock_clock.jump(15)
            assert lowlevel.current_statistics().seconds_to_next_deadline == -5
        assert lowlevel.current_statistics().seconds_to_next_deadline == 15
    assert lowlevel.current_statistics().seconds_to_next_deadline == float("inf")


async def test_statistics_count_the_calls_that_wait_for_the_run() -> None:
    token = lowlevel.current_trio_token()
    token.run_sync_soon(lambda: None)
    token.run_sync_soon(print, idempotent=True)
    token.run_sync_soon(print, idempotent=True)
    assert lowlevel.current_statistics().run_sync_soon_queue_size == 2
    await wait_all_tasks_blocked()
    assert lowlevel.current_statistics().run_sync_soon_queue_size == 0


async def test_statistics_name_the_backend() -> None:
    backend = lowlevel.current_statistics().io_statistics.backend
    assert isinstance(backend, str)
    assert backend


# ---- turns ------------------------------------------------------------------------------------------------------


async def test_runnable_tasks_take_turns() -> None:
    """Nobody gets a second step before everybody who was runnable has had the first."""
    steps = [0] * 5

    async def walk(index: int) -> None:
        for _ in range(50):
            steps[index] += 1
            assert max(steps) - min(steps) <= 1
            await lowlevel.checkpoint()

    async with open_nursery() as nursery:
        for index in range(5):
            nursery.start_soon(walk, index)
    assert steps == [50] * 5


async def test_a_task_that_never_blocks_does_not_keep_deadlines_from_firing() -> None:
    with proactor_trio.move_on_after(0.01) as scope:
        while True:
            await lowlevel.cancel_shielded_checkpoint()
            if current_time() > scope.deadline + 5:
                raise AssertionError("the deadline never fired")
            if scope.cancel_called:
                break
    assert scope.cancel_called


async def test_a_task_woken_in_a_turn_runs_after_those_that_were_runnable_before() -> None:
    for _ in range(20):
        order: list[str] = []
        event = Event()

        async def waiter(event: Event = event, order: list[str] = order) -> None:
            await event.wait()
            order.append("woken")

        async def setter(event: Event = event) -> None:
            event.set()

        async def bystander(order: list[str] = order) -> None:
            order.append("runnable before")

        async with open_nursery() as nursery:
            nursery.start_soon(waiter)
            await wait_all_tasks_blocked()
            nursery.start_soon(setter)
            nursery.start_soon(bystander)
        assert order == ["runnable before", "woken"]


def test_tasks_that_are_runnable_together_run_in_no_promised_order() -> None:
    """Programs that lean on an order that nobody promised shall fail early."""
    orders: set[tuple[int, ...]] = set()

    async def main() -> None:
        order: list[int] = []

        async def child(number: int) -> None:
            order.append(number)

        async with open_nursery() as nursery:
            nursery.start_soon(child, 1)
            nursery.start_soon(child, 2)
        orders.add(tuple(order))

    for _ in range(100):
        run(main)
        if len(orders) == 2:
            return
    raise AssertionError(f"always the same order: {orders}")


def test_the_bare_coroutine_protocol_still_works_inside_a_task() -> None:
    """A generator-based coroutine between a task and its checkpoint is none of the loop's business."""

    @types.coroutine
    def relay(coroutine: Any) -> Generator[Any, Any, Any]:
        return (yield from coroutine.__await__())

    async def value() -> int:
        await lowlevel.checkpoint()
        return 7

    async def main() -> int:
        return await relay(value())  # type: ignore[no-any-return]

    assert run(main) == 7


# ---- strictness -------------------------------------------------------------------------------------------------


def test_without_strict_groups_a_single_error_leaves_a_nursery_bare() -> None:
    async def main() -> None:
        async with open_nursery():
            raise ValueError("alone")

    with pytest.warns(proactor_trio.TrioDeprecationWarning, match="strict_exception_groups"):
        with pytest.raises(ValueError, match="alone"):
            run(main, strict_exception_groups=False)


def test_a_nursery_may_be_strict_in_a_run_that_is_not() -> None:
    async def main() -> None:
        async with open_nursery(strict_exception_groups=True):
            raise ValueError("alone")

    with pytest.warns(proactor_trio.TrioDeprecationWarning):
        with pytest.raises(ExceptionGroup):
            run(main, strict_exception_groups=False)
