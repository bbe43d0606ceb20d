"""Instruments: they see every step of a run, and a faulty one harms nobody but itself."""

from __future__ import annotations

import threading
from math import inf

import pytest

from proactor_trio import abc, lowlevel, open_nursery, run, sleep, sleep_forever
from proactor_trio.lowlevel import Task
from proactor_trio.testing import MockClock, wait_all_tasks_blocked


class Recorder(abc.Instrument):
    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def before_run(self) -> None:
        self.events.append(("before_run", None))

    def after_run(self) -> None:
        self.events.append(("after_run", None))

    def task_spawned(self, task: Task) -> None:
        self.events.append(("task_spawned", task))

    def task_scheduled(self, task: Task) -> None:
        self.events.append(("task_scheduled", task))

    def before_task_step(self, task: Task) -> None:
        self.events.append(("before_task_step", task))

    def after_task_step(self, task: Task) -> None:
        self.events.append(("after_task_step", task))

    def task_exited(self, task: Task) -> None:
        self.events.append(("task_exited", task))

    def before_io_wait(self, timeout: float) -> None:
        self.events.append(("before_io_wait", timeout))

    def after_io_wait(self, timeout: float) -> None:
        self.events.append(("after_io_wait", timeout))

    def names_for(self, task: Task) -> list[str]:
        return [name for name, value in self.events if value is task]


def test_a_run_begins_with_before_run_and_ends_with_after_run() -> None:
    recorder = Recorder()
    run(sleep, 0, instruments=[recorder])
    names = [name for name, _ in recorder.events]
    assert names[0] == "before_run"
    assert names[-1] == "after_run"
    assert names.count("before_run") == names.count("after_run") == 1


def test_a_task_is_spawned_scheduled_stepped_and_exits_in_this_order() -> None:
    recorder = Recorder()
    tasks: list[Task] = []

    async def main() -> None:
        tasks.append(lowlevel.current_task())
        await lowlevel.checkpoint()

    run(main, instruments=[recorder])
    names = recorder.names_for(tasks[0])
    assert names[:3] == ["task_spawned", "task_scheduled", "before_task_step"]
    assert names.count("task_scheduled") == 2  # the second time inside the first step, or after it
    step = ["before_task_step", "after_task_step"]
    last_step = ["before_task_step", "task_exited", "after_task_step"]
    assert [name for name in names if name != "task_scheduled"] == ["task_spawned", *step, *last_step]


def test_every_task_that_was_spawned_exits() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(sleep, 0)

    run(main, instruments=[recorder])
    spawned = [value for name, value in recorder.events if name == "task_spawned"]
    exited = [value for name, value in recorder.events if name == "task_exited"]
    assert len(spawned) >= 7  # main, its five children, and at least the root
    assert set(spawned) == set(exited)
    assert len(exited) == len(set(exited))


def test_steps_do_not_overlap() -> None:
    recorder = Recorder()

    async def main() -> None:
        async with open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(sleep, 0)

    run(main, instruments=[recorder])
    steps = [event for event in recorder.events if event[0].endswith("task_step")]
    for before, after in zip(steps[::2], steps[1::2], strict=True):
        assert before == ("before_task_step", after[1])
        assert after[0] == "after_task_step"


def test_a_task_that_is_woken_is_scheduled_before_it_steps() -> None:
    recorder = Recorder()
    tasks: list[Task] = []

    async def child() -> None:
        tasks.append(lowlevel.current_task())
        await sleep_forever()

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(child)
            await wait_all_tasks_blocked()
            recorder.events.clear()
            nursery.cancel_scope.cancel()
            assert recorder.events == [("task_scheduled", tasks[0])]

    run(main, instruments=[recorder])


def test_waits_come_in_pairs_with_their_timeout() -> None:
    recorder = Recorder()

    async def main() -> None:
        await sleep(0.01)

    run(main, instruments=[recorder])
    waits = [event for event in recorder.events if event[0].endswith("io_wait")]
    assert waits
    for before, after in zip(waits[::2], waits[1::2], strict=True):
        assert before == ("before_io_wait", after[1])
        assert after[0] == "after_io_wait"
    timeouts = [value for name, value in waits if name == "before_io_wait"]
    assert all(isinstance(timeout, (int, float)) and timeout >= 0 for timeout in timeouts)
    assert any(0 < timeout <= 0.01 for timeout in timeouts)  # type: ignore[operator]


def test_hooks_outside_of_steps_are_called_inside_the_run() -> None:
    class Clockwatcher(abc.Instrument):
        def __init__(self) -> None:
            self.times: list[float] = []

        def after_io_wait(self, timeout: float) -> None:
            self.times.append(lowlevel.current_clock().current_time())

    instrument = Clockwatcher()
    run(sleep, 0.001, instruments=[instrument])
    assert instrument.times == sorted(instrument.times)
    assert instrument.times


def test_an_instrument_implements_as_many_hooks_as_it_likes() -> None:
    class Counter(abc.Instrument):
        def __init__(self) -> None:
            self.spawned = 0

        def task_spawned(self, task: Task) -> None:
            self.spawned += 1

    counter = Counter()
    run(sleep, 0, instruments=[counter])
    assert counter.spawned >= 2


def test_an_instrument_need_not_derive_from_the_abstract_class() -> None:
    class Counter:
        spawned = 0

        def task_spawned(self, task: Task) -> None:
            self.spawned += 1

    counter = Counter()
    run(sleep, 0, instruments=[counter])  # type: ignore[list-item]
    assert counter.spawned >= 2


def test_hooks_may_be_attributes_of_the_instance() -> None:
    class Recording(abc.Instrument):
        pass

    recording = Recording()
    spawned: list[Task] = []
    recording.task_spawned = spawned.append  # type: ignore[method-assign]
    run(sleep, 0, instruments=[recording])
    assert spawned


async def test_an_instrument_may_be_added_and_removed_during_the_run() -> None:
    recorder = Recorder()
    task = lowlevel.current_task()
    lowlevel.add_instrument(recorder)
    await lowlevel.checkpoint()
    assert "before_task_step" in recorder.names_for(task)
    lowlevel.remove_instrument(recorder)
    recorder.events.clear()
    await lowlevel.checkpoint()
    assert recorder.events == []


async def test_adding_an_instrument_twice_is_the_same_as_once() -> None:
    recorder = Recorder()
    task = lowlevel.current_task()
    lowlevel.add_instrument(recorder)
    lowlevel.add_instrument(recorder)
    await lowlevel.checkpoint()
    assert recorder.names_for(task).count("before_task_step") == 1
    lowlevel.remove_instrument(recorder)
    with pytest.raises(KeyError):
        lowlevel.remove_instrument(recorder)


async def test_removing_an_instrument_that_was_never_added_is_an_error() -> None:
    with pytest.raises(KeyError):
        lowlevel.remove_instrument(Recorder())


def test_instruments_are_called_in_the_order_they_were_added() -> None:
    order: list[str] = []

    class Named(abc.Instrument):
        def __init__(self, name: str) -> None:
            self.name = name

        def before_run(self) -> None:
            order.append(self.name)

    run(sleep, 0, instruments=[Named("first"), Named("second"), Named("third")])
    assert order == ["first", "second", "third"]


def test_an_instrument_that_raises_is_removed_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(abc.Instrument):
        calls = 0

        def before_task_step(self, task: Task) -> None:
            self.calls += 1
            raise KeyError("a faulty instrument")

        def after_run(self) -> None:
            raise AssertionError("it was removed as a whole")

    faulty, recorder = Faulty(), Recorder()

    async def main() -> str:
        await lowlevel.checkpoint()
        with pytest.raises(KeyError):
            lowlevel.remove_instrument(faulty)
        return "result"

    assert run(main, instruments=[faulty, recorder]) == "result"
    assert faulty.calls == 1
    assert recorder.events[-1] == ("after_run", None)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


@pytest.mark.parametrize(
    "hook",
    [
        "before_run",
        "after_run",
        "task_spawned",
        "task_scheduled",
        "before_task_step",
        "after_task_step",
        "task_exited",
        "before_io_wait",
        "after_io_wait",
    ],
)
def test_any_hook_may_raise_without_harm_to_the_run(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(abc.Instrument):
        pass

    def crash(*arguments: object) -> None:
        raise KeyError(hook)

    faulty = Faulty()
    setattr(faulty, hook, crash)

    async def main() -> str:
        async with open_nursery() as nursery:
            nursery.start_soon(sleep, 0.001)
        return "result"

    assert run(main, instruments=[faulty]) == "result"
    assert len(caplog.records) == 1


def test_a_hook_that_is_no_function_breaks_nothing_when_added() -> None:
    """An instrument whose attributes cannot even be read is refused where it is added."""

    class Unreadable(abc.Instrument):
        @property
        def task_spawned(self) -> object:  # type: ignore[override]
            raise KeyError("unreadable")

    async def main() -> None:
        unreadable = Unreadable()
        with pytest.raises(KeyError, match="unreadable"):
            lowlevel.add_instrument(unreadable)
        with pytest.raises(KeyError):
            lowlevel.remove_instrument(unreadable)

    run(main)


def test_an_instrument_may_remove_itself_in_a_hook() -> None:
    class Once(abc.Instrument):
        calls = 0

        def before_task_step(self, task: Task) -> None:
            self.calls += 1
            lowlevel.remove_instrument(self)

    once = Once()
    run(sleep, 0, instruments=[once])
    assert once.calls == 1


def test_the_name_of_the_task_in_a_hook_is_the_name_of_its_function() -> None:
    names: list[str] = []

    class Names(abc.Instrument):
        def task_spawned(self, task: Task) -> None:
            names.append(task.name)

    async def main() -> None:
        pass

    run(main, instruments=[Names()])
    assert any(name.endswith("<locals>.main") for name in names)


def test_an_idle_run_with_a_still_clock_waits_long() -> None:
    """Nothing wakes a run that has nothing to do: its waits have no short timeouts."""
    recorder = Recorder()
    clock = MockClock()

    async def main() -> None:
        token = lowlevel.current_trio_token()
        recorder.events.clear()
        timer = threading.Timer(0.02, token.run_sync_soon, args=(clock.jump, 10))
        timer.start()
        await sleep(10)
        timer.join()
        timeouts = [value for name, value in recorder.events if name == "before_io_wait"]
        assert sum(1 for timeout in timeouts if 0 < timeout < 1) == 0  # type: ignore[operator]
        assert any(timeout > 1000 or timeout == inf for timeout in timeouts)  # type: ignore[operator]
        assert len(timeouts) < 10

    run(main, instruments=[recorder], clock=clock)
