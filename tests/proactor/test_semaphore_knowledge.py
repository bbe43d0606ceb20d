"""What a semaphore knows beside its value: the accumulated frontier and the untainted watermark.

Reference: semaphore_test: frontier merge, taint and publish rules.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import Frontier, ResourceExhausted, SemaphoreSource, TimelineSemaphore

Make = Callable[..., SemaphoreSource]

ONE = Frontier([(1, 10)])
OTHER = Frontier([(2, 20)])
BOTH = Frontier([(1, 10), (2, 20)])


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["built-in", "device"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes semaphores of one kind."""
    kind: Make = request.param
    return kind


@pytest.fixture
def semaphore(make: Make) -> SemaphoreSource:
    return make()


# The frontier --------------------------------------------------------------------------------------------------------


def test_it_knows_nothing_at_the_beginning(semaphore: SemaphoreSource) -> None:
    assert semaphore.query_frontier() == Frontier()


def test_signals_accumulate_their_frontiers(semaphore: SemaphoreSource) -> None:
    semaphore.signal(1, ONE)
    semaphore.signal(2)
    semaphore.signal(3, OTHER)
    semaphore.signal(4, Frontier([(1, 5)]))
    assert semaphore.query_frontier() == BOTH


def test_a_callback_sees_the_frontier_of_its_signal(semaphore: SemaphoreSource) -> None:
    seen: list[Frontier] = []
    semaphore.acquire_timepoint(1, lambda error: seen.append(semaphore.query_frontier()))
    semaphore.signal(1, ONE)
    assert seen == [ONE]


def test_a_refused_signal_leaves_the_frontier(make: Make) -> None:
    semaphore = make(5)
    with pytest.raises(ValueError, match="value"):
        semaphore.signal(5, ONE)
    assert semaphore.query_frontier() == Frontier()


def test_a_frontier_that_does_not_fit_leaves_what_is_known_exactly_as_it_was(make: Make) -> None:
    """Reference: FrontierCapacityOverflow."""
    semaphore = make(0, 1)
    semaphore.signal(1, ONE)
    semaphore.signal(2, Frontier([(1, 99), (2, 20)]))
    assert (semaphore.query(), semaphore.query_frontier()) == (2, ONE)


def test_a_frontier_that_fits_again_is_merged(make: Make) -> None:
    semaphore = make(0, 1)
    semaphore.signal(1, ONE)
    semaphore.signal(2, OTHER)
    semaphore.signal(3, Frontier([(1, 11)]))
    assert semaphore.query_frontier() == Frontier([(1, 11)])


def test_a_semaphore_without_room_knows_nothing(make: Make) -> None:
    semaphore = make(0, 0)
    semaphore.signal(1, ONE)
    assert semaphore.query_frontier() == Frontier()


def test_merging_a_frontier_moves_no_value(semaphore: SemaphoreSource) -> None:
    semaphore.merge_frontier(ONE)
    semaphore.merge_frontier(OTHER)
    assert (semaphore.query(), semaphore.query_frontier()) == (0, BOTH)


def test_merging_what_does_not_fit_is_refused_and_changes_nothing(make: Make) -> None:
    semaphore = make(0, 1)
    semaphore.merge_frontier(ONE)
    with pytest.raises(ResourceExhausted, match="capacity"):
        semaphore.merge_frontier(OTHER)
    assert semaphore.query_frontier() == ONE


def test_what_is_no_frontier_is_refused_by_name_and_nothing_is_signalled(semaphore: SemaphoreSource) -> None:
    with pytest.raises(TypeError, match="frontier must be a Frontier, not dict"):
        semaphore.signal(1, {1: 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="frontier"):
        semaphore.merge_frontier(None)  # type: ignore[arg-type]
    assert semaphore.query() == 0


# Taint ---------------------------------------------------------------------------------------------------------------


def test_the_initial_value_is_untainted(make: Make) -> None:
    """Reference: TaintingWatermark."""
    semaphore = make(5)
    assert [semaphore.is_value_tainted(value) for value in (4, 5, 6)] == [False, False, True]


def test_a_signal_leaves_the_watermark(make: Make) -> None:
    semaphore = make(5)
    semaphore.signal(6)
    assert semaphore.query_untainted_value() == 5


def test_an_untainted_signal_raises_the_watermark(semaphore: SemaphoreSource) -> None:
    semaphore.signal(1)
    semaphore.signal_untainted(2)
    assert (semaphore.query(), semaphore.query_untainted_value()) == (2, 2)


def test_an_untainted_signal_calls_and_accumulates_like_any(semaphore: SemaphoreSource) -> None:
    told: list[BaseException | None] = []
    semaphore.acquire_timepoint(2, told.append)
    semaphore.signal_untainted(2, ONE)
    assert (told, semaphore.query_frontier()) == ([None], ONE)


def test_a_callback_sees_that_its_value_is_untainted(semaphore: SemaphoreSource) -> None:
    tainted: list[bool] = []
    semaphore.acquire_timepoint(1, lambda error: tainted.append(semaphore.is_value_tainted(1)))
    semaphore.signal_untainted(1)
    assert tainted == [False]


def test_a_value_whose_frontier_does_not_fit_stays_tainted(make: Make) -> None:
    semaphore = make(0, 1)
    semaphore.signal_untainted(1, ONE)
    semaphore.signal_untainted(2, OTHER)
    assert (semaphore.query(), semaphore.query_untainted_value()) == (2, 1)


def test_an_untainted_signal_that_is_refused_leaves_the_watermark(semaphore: SemaphoreSource) -> None:
    semaphore.signal(5)
    with pytest.raises(ValueError, match="value"):
        semaphore.signal_untainted(5)
    assert semaphore.query_untainted_value() == 0


def test_an_untainted_signal_of_which_a_callback_raises_has_been_made(semaphore: SemaphoreSource) -> None:
    def refuse(error: BaseException | None) -> None:
        raise LookupError("callback")

    semaphore.acquire_timepoint(1, refuse)
    with pytest.raises(LookupError):
        semaphore.signal_untainted(1)
    assert semaphore.query_untainted_value() == 1


def test_marking_lowers_the_watermark(semaphore: SemaphoreSource) -> None:
    semaphore.signal_untainted(9)
    semaphore.mark_tainted_above(4)
    assert [semaphore.is_value_tainted(value) for value in (4, 5, 9)] == [False, True, True]


def test_marking_never_raises_the_watermark(semaphore: SemaphoreSource) -> None:
    semaphore.signal_untainted(3)
    semaphore.mark_tainted_above(7)
    assert semaphore.query_untainted_value() == 3


def test_the_watermark_rises_again_after_it_was_lowered(semaphore: SemaphoreSource) -> None:
    semaphore.signal_untainted(3)
    semaphore.mark_tainted_above(0)
    semaphore.signal_untainted(4)
    assert semaphore.query_untainted_value() == 4


def test_publishing_signals_untainted(semaphore: SemaphoreSource) -> None:
    semaphore.publish_untainted(3, ONE)
    assert (semaphore.query(), semaphore.query_untainted_value(), semaphore.query_frontier()) == (3, 3, ONE)


@pytest.mark.parametrize("value", [0, 4, 5])
def test_publishing_what_was_reached_does_nothing(make: Make, value: int) -> None:
    semaphore = make()
    semaphore.signal(5)
    semaphore.publish_untainted(value, ONE)
    assert (semaphore.query(), semaphore.query_untainted_value(), semaphore.query_frontier()) == (5, 0, Frontier())


def test_publishing_twice_calls_once(semaphore: SemaphoreSource) -> None:
    told: list[BaseException | None] = []
    semaphore.acquire_timepoint(1, told.append)
    semaphore.publish_untainted(1)
    semaphore.publish_untainted(1)
    assert told == [None]


@pytest.mark.parametrize("value", [3, 9])
def test_publishing_on_a_failed_semaphore_raises_its_failure_whatever_the_value(make: Make, value: int) -> None:
    semaphore = make(5)
    semaphore.fail(OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        semaphore.publish_untainted(value)
    assert semaphore.query() == 5


def test_publishing_raises_what_callbacks_raise(semaphore: SemaphoreSource) -> None:
    def raise_value_error(error: BaseException | None) -> None:
        raise ValueError("callback")

    semaphore.acquire_timepoint(1, raise_value_error)
    with pytest.raises(ValueError, match="callback"):
        semaphore.publish_untainted(1)
    assert semaphore.query_untainted_value() == 1
