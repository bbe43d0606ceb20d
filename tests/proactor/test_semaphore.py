"""Timeline semaphores: the value, timepoints, failure, closing; the built-in one and that of the example's device.

Reference: semaphore_test.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import (
    CancelCause,
    OperationCancelled,
    SemaphoreSource,
    StatusCode,
    TimelineSemaphore,
    Timepoint,
    status_of,
)
from proactor_trio.proactor.semaphore_source import LARGEST_VALUE

Make = Callable[..., SemaphoreSource]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


@pytest.fixture
def semaphore(make: Make) -> SemaphoreSource:
    return make()


@pytest.fixture
def told() -> list[BaseException | None]:
    """What a callback was called with: `told.append` is the callback."""
    return []


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def refuse(error: BaseException | None) -> None:
    raise LookupError("callback")


# The value -----------------------------------------------------------------------------------------------------------


def test_it_starts_at_0(semaphore: SemaphoreSource) -> None:
    assert (semaphore.query(), semaphore.error) == (0, None)


@pytest.mark.parametrize("value", [1, 5, LARGEST_VALUE])
def test_it_starts_where_it_is_told_to(make: Make, value: int) -> None:
    assert make(value).query() == value


@pytest.mark.parametrize("value", [1, 7, LARGEST_VALUE])
def test_a_signal_moves_it(semaphore: SemaphoreSource, value: int) -> None:
    semaphore.signal(value)
    assert semaphore.query() == value


@pytest.mark.parametrize("value", [0, 4, 5])
def test_a_signal_for_what_is_not_greater_is_refused_and_changes_nothing(make: Make, value: int) -> None:
    semaphore = make(5)
    with pytest.raises(ValueError, match="value must be greater"):
        semaphore.signal(value)
    assert semaphore.query() == 5


def test_a_refused_signal_calls_nobody(make: Make, told: list[BaseException | None]) -> None:
    semaphore = make(5)
    semaphore.acquire_timepoint(6, told.append)
    with pytest.raises(ValueError, match="value"):
        semaphore.signal(5)
    assert told == []
    semaphore.close()


@pytest.mark.parametrize("value", [-1, LARGEST_VALUE + 1])
def test_a_value_of_more_than_64_bits_is_refused_by_name(semaphore: SemaphoreSource, value: int) -> None:
    for call in (semaphore.advance_timeline, semaphore.signal_untainted, semaphore.publish_untainted):
        with pytest.raises(ValueError, match="value"):
            call(value)
    with pytest.raises(ValueError, match="value"):
        semaphore.signal(value)
    assert semaphore.query() == 0


def test_a_value_must_be_an_integer(make: Make) -> None:
    with pytest.raises(TypeError, match="initial_value"):
        make("1")
    with pytest.raises(TypeError, match="value"):
        make().acquire_timepoint(1.5, print)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [-1, 256])
def test_a_capacity_that_no_frontier_has_is_refused_by_name(make: Make, capacity: int) -> None:
    with pytest.raises(ValueError, match="frontier_capacity"):
        make(0, capacity)


# Timepoints ----------------------------------------------------------------------------------------------------------


def test_a_timepoint_that_is_reached_is_called_at_once(make: Make, told: list[BaseException | None]) -> None:
    make(5).acquire_timepoint(5, told.append)
    assert told == [None]


def test_a_timepoint_waits_for_its_value(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    semaphore.acquire_timepoint(2, told.append)
    semaphore.signal(1)
    assert told == []
    semaphore.signal(2)
    assert told == [None]


def test_a_signal_beyond_its_value_calls_it(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    semaphore.acquire_timepoint(2, told.append)
    semaphore.signal(100)
    assert told == [None]


def test_it_is_called_once(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    semaphore.acquire_timepoint(1, told.append)
    semaphore.signal(1)
    semaphore.signal(2)
    semaphore.fail(OSError())
    assert told == [None]


def test_one_signal_calls_by_value_and_those_of_one_value_by_acquisition(semaphore: SemaphoreSource) -> None:
    """The reference calls the newest first."""
    order: list[str] = []
    for name, value in [("c1", 3), ("a1", 1), ("b1", 2), ("a2", 1), ("c2", 3), ("later", 4)]:
        semaphore.acquire_timepoint(value, lambda error, name=name: order.append(name))
    semaphore.signal(3)
    assert order == ["a1", "a2", "b1", "c1", "c2"]
    semaphore.close()


def test_a_timepoint_that_was_cancelled_is_not_called(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    timepoint = semaphore.acquire_timepoint(1, told.append)
    assert timepoint.cancel()
    semaphore.signal(1)
    assert told == []


def test_cancelling_it_twice(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    timepoint = semaphore.acquire_timepoint(1, told.append)
    assert (timepoint.cancel(), timepoint.cancel()) == (True, False)


def test_cancelling_one_that_was_called(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    timepoint = semaphore.acquire_timepoint(1, told.append)
    semaphore.signal(1)
    assert not timepoint.cancel()


def test_cancelling_one_that_was_called_at_once(make: Make, told: list[BaseException | None]) -> None:
    assert not make(1).acquire_timepoint(1, told.append).cancel()


def test_cancelling_one_of_many_leaves_the_others(semaphore: SemaphoreSource) -> None:
    called: list[int] = []

    def note(number: int) -> Timepoint:
        return semaphore.acquire_timepoint(1, lambda error: called.append(number))

    timepoints = [note(number) for number in range(9)]
    timepoints[4].cancel()
    semaphore.signal(1)
    assert called == [0, 1, 2, 3, 5, 6, 7, 8]


def test_resolve_calls_like_a_timepoint(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    semaphore.resolve(2, told.append)
    semaphore.signal(2)
    semaphore.resolve(1, told.append)
    assert told == [None, None]


def test_resolve_is_told_of_a_failure(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    error = OSError("broken")
    semaphore.resolve(2, told.append)
    semaphore.fail(error)
    assert told == [error]


# What callbacks may do -----------------------------------------------------------------------------------------------


def test_a_callback_is_called_by_the_thread_that_signals(semaphore: SemaphoreSource) -> None:
    threads: list[int] = []
    signaller: list[int] = []
    semaphore.acquire_timepoint(1, lambda error: threads.append(threading.get_ident()))
    in_a_thread(lambda: (signaller.append(threading.get_ident()), semaphore.signal(1)))
    assert threads == signaller


def test_a_callback_is_called_without_the_lock(semaphore: SemaphoreSource) -> None:
    semaphore.acquire_timepoint(1, lambda error: in_a_thread(lambda: semaphore.signal(2)))
    semaphore.signal(1)
    assert semaphore.query() == 2


def test_a_callback_may_signal_its_own_semaphore(semaphore: SemaphoreSource) -> None:
    order: list[int] = []
    semaphore.acquire_timepoint(1, lambda error: (order.append(1), semaphore.signal(2)))
    semaphore.acquire_timepoint(2, lambda error: (order.append(2), semaphore.signal(3)))
    semaphore.acquire_timepoint(3, lambda error: order.append(3))
    semaphore.signal(1)
    assert (order, semaphore.query()) == ([1, 2, 3], 3)


def test_callbacks_may_signal_from_semaphore_to_semaphore(make: Make) -> None:
    first, second, third = make(), make(), make()
    first.acquire_timepoint(1, lambda error: second.signal(10))
    second.acquire_timepoint(10, lambda error: third.signal(100))
    first.signal(1)
    assert (second.query(), third.query()) == (10, 100)


def test_a_callback_may_fail_its_own_semaphore(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    error = OSError("broken")
    semaphore.acquire_timepoint(1, lambda none: semaphore.fail(error))
    semaphore.acquire_timepoint(2, told.append)
    semaphore.signal(1)
    assert (told, semaphore.error) == ([error], error)


def test_a_callback_may_acquire_and_cancel(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    withdrawn = semaphore.acquire_timepoint(5, told.append)
    semaphore.acquire_timepoint(1, lambda error: withdrawn.cancel() and semaphore.acquire_timepoint(1, told.append))
    semaphore.signal(1)
    semaphore.signal(5)
    assert told == [None]


def test_what_is_due_already_cannot_be_cancelled_by_a_callback(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    cancelled: list[bool] = []
    semaphore.acquire_timepoint(1, lambda error: cancelled.append(second.cancel()))
    second = semaphore.acquire_timepoint(1, told.append)
    semaphore.signal(1)
    assert (cancelled, told) == ([False], [None])


def test_what_a_callback_raises_goes_to_the_thread_that_signalled(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    semaphore.acquire_timepoint(1, refuse)
    semaphore.acquire_timepoint(1, told.append)
    with pytest.raises(LookupError, match="callback") as caught:
        semaphore.signal(1)
    assert (told, semaphore.query()) == ([None], 1)
    assert "raised by the callback of <Timepoint 1" in caught.value.__notes__[0]


def test_what_several_callbacks_raise_goes_there_as_a_group(semaphore: SemaphoreSource) -> None:
    semaphore.acquire_timepoint(1, refuse)
    semaphore.acquire_timepoint(2, refuse)
    with pytest.raises(ExceptionGroup) as caught:
        semaphore.signal(2)
    assert [type(error) for error in caught.value.exceptions] == [LookupError, LookupError]


def test_an_error_of_a_callback_does_not_hide_that_the_signal_was_made(make: Make) -> None:
    """Also where the error looks like a refusal."""
    first, second = make(), make()

    def raise_value_error(error: BaseException | None) -> None:
        raise ValueError("value")

    second.acquire_timepoint(1, raise_value_error)
    first.link(1, second, 1)
    with pytest.raises(ValueError, match="value"):
        first.signal(1)
    assert (second.query(), second.error) == (1, None)


def test_an_interruption_waits_for_the_other_callbacks_and_goes_first(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    def interrupt(error: BaseException | None) -> None:
        raise KeyboardInterrupt

    semaphore.acquire_timepoint(1, refuse)
    semaphore.acquire_timepoint(1, interrupt)
    semaphore.acquire_timepoint(1, told.append)
    with pytest.raises(KeyboardInterrupt) as caught:
        semaphore.signal(1)
    assert told == [None]
    assert isinstance(caught.value.__cause__, ExceptionGroup)


def test_what_a_callback_raises_that_is_called_at_once_is_raised_there(make: Make) -> None:
    with pytest.raises(LookupError):
        make(1).acquire_timepoint(1, refuse)


def test_what_callbacks_of_a_failure_raise_goes_to_the_thread_that_failed_it(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    error = OSError()
    semaphore.acquire_timepoint(1, refuse)
    semaphore.acquire_timepoint(1, told.append)
    with pytest.raises(LookupError):
        semaphore.fail(error)
    assert told == [error]


# Failure -------------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_to_all_that_waits(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    error = OSError("broken")
    for value in (1, 2, 3):
        semaphore.acquire_timepoint(value, told.append)
    semaphore.fail(error)
    assert told == [error, error, error]


def test_a_failure_is_told_to_what_comes_later(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    error = OSError("broken")
    semaphore.fail(error)
    semaphore.acquire_timepoint(1, told.append)
    assert told == [error]


def test_a_failure_goes_before_a_value_that_was_reached(make: Make, told: list[BaseException | None]) -> None:
    semaphore, error = make(5), OSError("broken")
    semaphore.fail(error)
    semaphore.acquire_timepoint(5, told.append)
    assert told == [error]


def test_the_first_failure_counts(semaphore: SemaphoreSource, told: list[BaseException | None]) -> None:
    """Reference: FailFirstWins."""
    first = OSError("first")
    semaphore.fail(first)
    semaphore.fail(OSError("second"))
    semaphore.acquire_timepoint(1, told.append)
    assert (semaphore.error, told) == (first, [first])


def test_the_value_of_a_failed_semaphore_may_still_move(semaphore: SemaphoreSource) -> None:
    semaphore.fail(OSError())
    semaphore.signal(3)
    assert semaphore.query() == 3


def test_what_is_told_of_a_failure_waits_no_longer(semaphore: SemaphoreSource) -> None:
    """Reference: fail unlinks before the callback."""
    seen: list[object] = []
    timepoint = semaphore.acquire_timepoint(1, lambda error: seen.append(timepoint.cancel()))
    semaphore.fail(OSError())
    assert seen == [False]


def test_what_fails_must_be_an_exception(semaphore: SemaphoreSource) -> None:
    with pytest.raises(TypeError, match="error must be an exception, not str"):
        semaphore.fail("broken")  # type: ignore[arg-type]
    assert semaphore.error is None


def test_raise_failure_raises_a_copy_each_time(semaphore: SemaphoreSource) -> None:
    semaphore.raise_failure()
    error = OSError(5, "broken")
    semaphore.fail(error)
    caught = []
    for _ in range(2):
        with pytest.raises(OSError, match="broken") as info:
            semaphore.raise_failure()
        caught.append(info.value)
    assert len({id(error), id(caught[0]), id(caught[1])}) == 3
    assert (caught[0].errno, error.__traceback__) == (5, None)


def test_a_failure_that_was_raised_is_the_cause_of_its_copies(semaphore: SemaphoreSource) -> None:
    try:
        raise OSError("where it happened")
    except OSError as error:
        original = error
        semaphore.fail(error)
    with pytest.raises(OSError, match="where it happened") as caught:
        semaphore.raise_failure()
    assert caught.value.__cause__ is original


def test_a_failure_that_cannot_be_copied_is_raised_itself(semaphore: SemaphoreSource) -> None:
    class Peculiar(Exception):
        def __init__(self, first: int, second: int) -> None:
            super().__init__("one argument")

    error = Peculiar(1, 2)
    semaphore.fail(error)
    with pytest.raises(Peculiar) as caught:
        semaphore.raise_failure()
    assert caught.value is error


# Closing and being dropped -------------------------------------------------------------------------------------------


def test_closing_tells_what_waits_that_it_is_cancelled(
    semaphore: SemaphoreSource, told: list[BaseException | None]
) -> None:
    """Reference: DestroyWithPendingTimepoints."""
    semaphore.acquire_timepoint(1, told.append)
    semaphore.close()
    assert isinstance(told[0], OperationCancelled)
    assert (told[0].cause, status_of(told[0])) == (CancelCause.RESOURCE_CLOSED, StatusCode.CANCELLED)


def test_what_comes_after_closing_is_told_at_once(make: Make, told: list[BaseException | None]) -> None:
    semaphore = make(5)
    semaphore.close()
    semaphore.close()
    semaphore.acquire_timepoint(1, told.append)
    assert isinstance(told[0], OperationCancelled)


def test_closing_a_failed_semaphore_leaves_its_failure(semaphore: SemaphoreSource) -> None:
    error = OSError()
    semaphore.fail(error)
    semaphore.close()
    assert semaphore.error is error


def test_it_is_closed_at_the_end_of_a_with_block(make: Make, told: list[BaseException | None]) -> None:
    with make() as semaphore:
        semaphore.acquire_timepoint(1, told.append)
    assert isinstance(told[0], OperationCancelled)


def test_a_pending_timepoint_keeps_its_semaphore_alive(make: Make, told: list[BaseException | None]) -> None:
    """The reference's header says no, its guide yes."""
    semaphore = make()
    alive = weakref.ref(semaphore)
    semaphore.acquire_timepoint(1, told.append)
    del semaphore
    gc.collect()
    found = alive()
    assert found is not None
    found.signal(1)
    assert told == [None]


@pytest.mark.parametrize(
    "end",
    [
        lambda semaphore, timepoint: semaphore.signal(1),
        lambda semaphore, timepoint: semaphore.fail(OSError()),
        lambda semaphore, timepoint: semaphore.close(),
        lambda semaphore, timepoint: timepoint.cancel(),
    ],
    ids=["signal", "fail", "close", "cancel"],
)
def test_a_semaphore_for_which_nothing_waits_is_freed_at_once(
    make: Make, end: Callable[[SemaphoreSource, Timepoint], object], collector_off: None
) -> None:
    semaphore = make()
    alive = weakref.ref(semaphore)
    timepoint = semaphore.acquire_timepoint(1, lambda error: None)
    end(semaphore, timepoint)
    del semaphore, timepoint
    assert alive() is None


def test_errors_of_callbacks_leave_no_cycle(make: Make, collector_off: None) -> None:
    for refusals in (1, 2):
        semaphore = make()
        for _ in range(refusals):
            semaphore.acquire_timepoint(1, refuse)
        with pytest.raises((LookupError, ExceptionGroup)):
            semaphore.signal(1)
    del semaphore
    gc.collect()
    for _ in range(5):
        semaphore = make()
        semaphore.acquire_timepoint(1, refuse)
        try:
            semaphore.signal(1)
        except LookupError:
            pass
    assert gc.collect() == 0


def test_it_shows_its_value_and_its_failure(semaphore: SemaphoreSource) -> None:
    semaphore.signal(4)
    assert repr(semaphore) == f"<{type(semaphore).__name__} at 4>"
    semaphore.fail(OSError("broken"))
    assert "at 4, failed with OSError('broken')" in repr(semaphore)
