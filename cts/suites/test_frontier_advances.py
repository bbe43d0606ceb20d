"""FrontierAdvance: an operation that advances an axis of a tracker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cts.suites.frontiers import A, B, at, refuse, three_axes
from cts.support import Completions, cause_of, perform, settle, start
from proactor_trio.proactor import (
    CancelCause,
    FrontierAdvance,
    FrontierTracker,
    FrontierWait,
    OperationFlags,
    Proactor,
    TimelineSemaphore,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


@pytest.fixture
def tracker() -> Iterator[FrontierTracker]:
    """One with the axes A, B and C, in which nothing may be left."""
    with three_axes() as tracker:
        yield tracker


def test_an_advance_ends_waits_and_counts_them(
    proactor: Proactor, tracker: FrontierTracker, completions: Completions
) -> None:
    waits = [FrontierWait(tracker, at(a=1)), FrontierWait(tracker, at(a=2))]
    start(proactor, *waits)
    assert perform(proactor, FrontierAdvance(tracker, A, 5)) == 2
    settle(proactor, *waits)
    assert [wait.result for wait in waits] == [at(a=5)] * 2


def test_no_advance_is_made_in_submit(proactor: Proactor, tracker: FrontierTracker) -> None:
    advance = FrontierAdvance(tracker, A, 1)
    proactor.submit(advance)
    assert tracker.query_epoch(A) == 0
    settle(proactor, advance)
    assert tracker.query_epoch(A) == 1


def test_an_advance_to_what_is_not_later_changes_nothing(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.advance(A, 5)
    assert perform(proactor, FrontierAdvance(tracker, A, 4)) == 0
    assert tracker.query_epoch(A) == 5


def test_an_advance_that_was_cancelled_before_it_was_made_has_no_effect(
    proactor: Proactor, tracker: FrontierTracker
) -> None:
    advance = FrontierAdvance(tracker, A, 1)
    proactor.submit(advance)
    assert proactor.cancel(advance)
    settle(proactor, advance)
    assert (cause_of(advance), tracker.query_epoch(A)) == (CancelCause.REQUESTED, 0)


def test_an_advance_signals_the_semaphore_of_its_axis(proactor: Proactor) -> None:
    tracker, semaphore = FrontierTracker(), TimelineSemaphore()
    tracker.register_axis(A, semaphore)
    perform(proactor, FrontierAdvance(tracker, A, 3))
    assert (semaphore.query(), semaphore.query_frontier()) == (3, at(a=3))


def test_what_callbacks_raise_is_raised_by_poll_and_is_no_error_of_the_advance(
    proactor: Proactor, tracker: FrontierTracker
) -> None:
    tracker.acquire_timepoint(at(a=1), refuse)
    advance = FrontierAdvance(tracker, A, 1)
    proactor.submit(advance)
    with pytest.raises(LookupError, match="callback"):
        settle(proactor, advance)
    settle(proactor, advance)
    assert (advance.result, advance.error) == (1, None)


def test_an_advance_that_is_interrupted_still_counts_what_it_ended(
    proactor: Proactor, tracker: FrontierTracker
) -> None:
    def interrupt(error: BaseException | None) -> None:
        raise KeyboardInterrupt

    tracker.acquire_timepoint(at(a=1), interrupt)
    wait, advance = tracker.wait(at(a=1)), FrontierAdvance(tracker, A, 1)
    start(proactor, wait)
    proactor.submit(advance)
    with pytest.raises(KeyboardInterrupt):
        settle(proactor, advance)
    settle(proactor, wait, advance)
    assert (advance.result, wait.error) == (2, None)


def test_an_advance_behind_a_step_that_fails_is_not_made(proactor: Proactor, tracker: FrontierTracker) -> None:
    tracker.fail_axis(B, LookupError("gone"))
    chain = [FrontierWait(tracker, at(b=1), flags=LINKED), FrontierAdvance(tracker, A, 1)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert (cause_of(chain[1]), tracker.query_epoch(A)) == (CancelCause.EARLIER_STEP_FAILED, 0)


@pytest.mark.parametrize(("axis", "epoch", "argument"), [(-1, 1, "axis"), (A, -1, "epoch"), (A, 1 << 64, "epoch")])
def test_a_wrong_advance_is_refused_by_name(
    proactor: Proactor, tracker: FrontierTracker, axis: int, epoch: int, argument: str
) -> None:
    with pytest.raises(ValueError, match=argument):
        proactor.submit(FrontierAdvance(tracker, axis, epoch))
