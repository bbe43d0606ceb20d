"""SemaphoreSource: a timeline whose value somebody else keeps. What is alike for all stands in test_semaphore.py."""

from __future__ import annotations

import threading

import pytest

from examples.proactor.semaphore_source import Device, DeviceSemaphore
from proactor_trio.proactor import Frontier, SemaphoreSource, TimelineSemaphore, multi_wait


@pytest.fixture
def semaphore() -> DeviceSemaphore:
    return DeviceSemaphore()


@pytest.fixture
def told() -> list[BaseException | None]:
    """What a callback was called with: `told.append` is the callback."""
    return []


def test_a_source_has_to_say_how_it_is_read_and_signalled() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SemaphoreSource()  # type: ignore[abstract]


def test_a_wait_is_satisfied_by_what_the_device_has_written(
    semaphore: DeviceSemaphore, told: list[BaseException | None]
) -> None:
    """Also before the driver has learned of it."""
    semaphore.memory[0] = 5
    semaphore.acquire_timepoint(5, told.append)
    assert told == [None]


def test_what_waits_is_called_when_the_driver_tells(
    semaphore: DeviceSemaphore, told: list[BaseException | None]
) -> None:
    semaphore.acquire_timepoint(5, told.append)
    semaphore.memory[0] = 5
    assert told == []
    semaphore.completed(5)
    assert told == [None]


def test_advancing_calls_nobody(semaphore: DeviceSemaphore, told: list[BaseException | None]) -> None:
    semaphore.acquire_timepoint(1, told.append)
    semaphore.advance_timeline(1)
    assert told == []
    semaphore.dispatch_timepoints(1)
    assert told == [None]


def test_dispatching_calls_what_waits_for_that_much(
    semaphore: DeviceSemaphore, told: list[BaseException | None]
) -> None:
    timepoints = [semaphore.acquire_timepoint(value, told.append) for value in (1, 2, 3)]
    semaphore.dispatch_timepoints(2)
    assert told == [None, None]
    assert timepoints[2].cancel()


def test_a_value_that_appears_while_a_timepoint_is_acquired_is_not_missed(told: list[BaseException | None]) -> None:
    class Racing(DeviceSemaphore):
        """The device writes between the first look at the value and the second; the driver knows nothing yet."""

        looks = 0

        def query(self) -> int:
            self.looks += 1
            return 0 if self.looks == 1 else 5

    semaphore = Racing()
    semaphore.acquire_timepoint(5, told.append)
    assert told == [None]


def test_advancing_refuses_what_is_not_greater(semaphore: DeviceSemaphore) -> None:
    semaphore.advance_timeline(5, Frontier([(1, 1)]))
    with pytest.raises(ValueError, match="value must be greater than the current one, 5, not 5"):
        semaphore.advance_timeline(5, Frontier([(2, 1)]))
    assert semaphore.query_frontier() == Frontier([(1, 1)])


def test_advancing_leaves_the_watermark(semaphore: DeviceSemaphore) -> None:
    semaphore.advance_timeline(5)
    assert semaphore.query_untainted_value() == 0


def test_advancing_untainted_raises_the_watermark() -> None:
    semaphore = DeviceSemaphore(0, 1)
    semaphore.advance_timeline_untainted(5, Frontier([(1, 1)]))
    semaphore.advance_timeline_untainted(6, Frontier([(2, 1)]))
    assert semaphore.query_untainted_value() == 5


def test_dispatching_raises_what_callbacks_raise(semaphore: DeviceSemaphore) -> None:
    def refuse(error: BaseException | None) -> None:
        raise LookupError("callback")

    semaphore.acquire_timepoint(1, refuse)
    with pytest.raises(LookupError):
        semaphore.dispatch_timepoints(1)


def test_the_driver_is_told_of_a_failure_behind_all_that_waited(semaphore: DeviceSemaphore) -> None:
    seen: list[int] = []
    semaphore.acquire_timepoint(1, lambda error: seen.append(len(semaphore.failures)))
    error = OSError("broken")
    semaphore.fail(error)
    assert (seen, semaphore.failures) == ([0], [error])


def test_the_driver_is_told_of_a_failure_once(semaphore: DeviceSemaphore) -> None:
    first = OSError("first")
    semaphore.fail(first)
    semaphore.fail(OSError("second"))
    semaphore.close()
    assert semaphore.failures == [first]


def test_the_driver_is_not_told_that_the_semaphore_was_closed(semaphore: DeviceSemaphore) -> None:
    semaphore.close()
    assert semaphore.failures == []


def test_the_driver_is_told_of_a_failure_though_a_callback_raises(semaphore: DeviceSemaphore) -> None:
    def refuse(error: BaseException | None) -> None:
        raise LookupError("callback")

    semaphore.acquire_timepoint(1, refuse)
    with pytest.raises(LookupError):
        semaphore.fail(OSError())
    assert len(semaphore.failures) == 1


def test_a_source_that_is_made_of_another_semaphore(told: list[BaseException | None]) -> None:
    """The one inside is signalled by the signal of the one outside; each keeps its own account."""

    class Outer(SemaphoreSource):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TimelineSemaphore()

        def query(self) -> int:
            return self.inner.query()

        def signal(self, value: int, frontier: Frontier | None = None) -> None:
            self.inner.signal(value)
            self.advance_timeline(value, frontier)
            self.dispatch_timepoints(value)

    semaphore = Outer()
    semaphore.acquire_timepoint(1, told.append)
    semaphore.signal_untainted(1)
    watermarks = semaphore.query_untainted_value(), semaphore.inner.query_untainted_value()
    assert (told, watermarks) == ([None], (1, 0))


def test_a_device_completes_work_on_its_own_thread(semaphore: DeviceSemaphore) -> None:
    threads: list[str] = []
    semaphore.acquire_timepoint(3, lambda error: threads.append(threading.current_thread().name))
    device = Device(semaphore)
    values = [device.submit(name) for name in ("one", "two", "three")]
    multi_wait([semaphore], [values[-1]], timeout=10)
    device.stop()
    assert (values, semaphore.query(), threads) == ([1, 2, 3], 3, ["device"])


def test_a_device_that_breaks_fails_what_waits(semaphore: DeviceSemaphore) -> None:
    device = Device(semaphore)
    value = device.submit("impossible")
    with pytest.raises(OSError, match="cannot do 'impossible'"):
        multi_wait([semaphore], [value], timeout=10)
    device.stop()
    assert len(semaphore.failures) == 1
