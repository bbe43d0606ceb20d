"""Timeline semaphores without operations: the reference's cases, on the built-in one and on that of a device.

Everything else about them stands in tests/proactor/test_semaphore*.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import Frontier, SemaphoreSource, StatusCode, TimelineSemaphore, status_of

Make = Callable[..., SemaphoreSource]
Told = list[BaseException | None]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


@pytest.fixture
def told() -> Told:
    """What a callback was called with: `told.append` is the callback."""
    return []


@pytest.mark.reference("SemaphoreSyncTest.CreateQueryRelease")
def test_it_has_its_initial_value(make: Make) -> None:
    assert make(42).query() == 42


@pytest.mark.reference("SemaphoreSyncTest.SignalAdvancesValue")
def test_a_signal_advances_the_value(make: Make) -> None:
    semaphore = make()
    for value in (1, 5, 100):
        semaphore.signal(value)
        assert semaphore.query() == value


@pytest.mark.reference("SemaphoreSyncTest.SignalNonMonotonicFails")
def test_a_signal_that_does_not_advance_is_refused(make: Make) -> None:
    semaphore = make(5)
    for value in (5, 3):
        with pytest.raises(ValueError, match="value") as caught:
            semaphore.signal(value)
        assert status_of(caught.value) is StatusCode.INVALID_ARGUMENT
    assert semaphore.query() == 5


@pytest.mark.reference("SemaphoreSyncTest.SignalWithFrontier")
def test_a_signal_brings_its_frontier(make: Make) -> None:
    semaphore = make()
    semaphore.signal(1, Frontier([(1, 10), (2, 20)]))
    assert dict(semaphore.query_frontier()) == {1: 10, 2: 20}


@pytest.mark.reference("SemaphoreSyncTest.FrontierCapacityOverflow")
def test_a_frontier_that_does_not_fit_does_not_hinder_the_signal(make: Make) -> None:
    semaphore = make(0, 2)
    semaphore.signal(1, Frontier([(1, 10), (2, 20)]))
    semaphore.signal(2, Frontier([(3, 30)]))
    assert (semaphore.query(), dict(semaphore.query_frontier())) == (2, {1: 10, 2: 20})


@pytest.mark.reference("SemaphoreSyncTest.FailStickyStatus")
def test_the_first_failure_stays(make: Make) -> None:
    semaphore, first = make(), OSError("first")
    semaphore.fail(first)
    semaphore.fail(OSError("second"))
    assert semaphore.error is first


@pytest.mark.reference("SemaphoreSyncTest.TimepointImmediateSatisfaction")
def test_a_timepoint_that_is_reached_is_called_at_once(make: Make, told: Told) -> None:
    make(10).acquire_timepoint(5, told.append)
    assert told == [None]


@pytest.mark.reference("SemaphoreSyncTest.TimepointPendingThenSignal")
def test_a_timepoint_is_called_by_the_signal(make: Make, told: Told) -> None:
    semaphore = make()
    semaphore.acquire_timepoint(5, told.append)
    assert told == []
    semaphore.signal(5)
    assert told == [None]


@pytest.mark.reference("SemaphoreSyncTest.TimepointCancel")
def test_a_timepoint_can_be_cancelled(make: Make, told: Told) -> None:
    semaphore = make()
    assert semaphore.acquire_timepoint(5, told.append).cancel()
    semaphore.signal(10)
    assert told == []


@pytest.mark.reference("SemaphoreSyncTest.TimepointCancelAfterFire")
def test_a_timepoint_that_was_called_cannot(make: Make, told: Told) -> None:
    semaphore = make()
    timepoint = semaphore.acquire_timepoint(5, told.append)
    semaphore.signal(5)
    assert not timepoint.cancel()


@pytest.mark.reference("SemaphoreSyncTest.MultipleTimepoints")
def test_each_timepoint_is_called_by_its_signal(make: Make) -> None:
    semaphore = make()
    called: list[int] = []
    for value in (30, 10, 20):
        semaphore.acquire_timepoint(value, lambda error, value=value: called.append(value))  # type: ignore[misc]
    semaphore.signal(15)
    assert called == [10]
    semaphore.signal(30)
    assert called == [10, 20, 30]


@pytest.mark.reference("SemaphoreSyncTest.TaintingWatermark")
def test_the_watermark_tells_what_is_tainted(make: Make) -> None:
    semaphore = make()
    semaphore.signal_untainted(10)
    semaphore.signal(20)
    assert [semaphore.is_value_tainted(value) for value in (10, 11, 20)] == [False, True, True]
    semaphore.mark_tainted_above(5)
    assert [semaphore.is_value_tainted(value) for value in (5, 6, 10)] == [False, True, True]


@pytest.mark.reference("SemaphoreSyncTest.RetainRelease")
def test_it_lives_as_long_as_anybody_holds_it(make: Make) -> None:
    first = second = make(7)
    del first
    assert second.query() == 7


@pytest.mark.reference("SemaphoreSyncTest.TimepointCrossThread")
def test_a_timepoint_is_called_by_another_thread(make: Make) -> None:
    semaphore = make()
    threads: list[int] = []
    semaphore.acquire_timepoint(1, lambda error: threads.append(threading.get_ident()))
    signaller = threading.Thread(target=semaphore.signal, args=(1,))
    signaller.start()
    signaller.join(10)
    assert threads == [signaller.ident]


@pytest.mark.reference("SemaphoreSyncTest.DestroyWithPendingTimepoints")
def test_what_waits_at_the_end_is_cancelled(make: Make, told: Told) -> None:
    with make() as semaphore:
        semaphore.acquire_timepoint(1, told.append)
        semaphore.acquire_timepoint(2, told.append)
    assert [status_of(error) for error in told] == [StatusCode.CANCELLED] * 2
