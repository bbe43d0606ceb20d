"""Links: one semaphore signals another. Reference: semaphore_test: LinkTest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.proactor.semaphore_source import DeviceSemaphore
from proactor_trio.proactor import Frontier, OperationCancelled, SemaphoreSource, TimelineSemaphore

Make = Callable[..., SemaphoreSource]


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["from the built-in", "from the device"])
def source(request: pytest.FixtureRequest) -> SemaphoreSource:
    make: Make = request.param
    return make()


@pytest.fixture(params=[TimelineSemaphore, DeviceSemaphore], ids=["to the built-in", "to the device"])
def target(request: pytest.FixtureRequest) -> SemaphoreSource:
    make: Make = request.param
    return make()


def test_a_link_signals_its_target(source: SemaphoreSource, target: SemaphoreSource) -> None:
    source.link(2, target, 20)
    source.signal(1)
    assert target.query() == 0
    source.signal(2)
    assert target.query() == 20


def test_a_link_whose_source_has_come_so_far_signals_at_once(source: SemaphoreSource, target: SemaphoreSource) -> None:
    source.signal(5)
    source.link(2, target, 20)
    assert target.query() == 20


@pytest.mark.parametrize("reached", [20, 21])
def test_a_target_that_has_come_so_far_is_left_alone(
    source: SemaphoreSource, target: SemaphoreSource, reached: int
) -> None:
    """The reference's header says so, its code fails the target."""
    source.link(1, target, 20)
    target.signal(reached)
    source.signal(1)
    assert (target.query(), target.error) == (reached, None)


def test_links_compose(source: SemaphoreSource, target: SemaphoreSource) -> None:
    between = TimelineSemaphore()
    source.link(1, between, 1)
    between.link(1, target, 1)
    source.signal(1)
    assert target.query() == 1


def test_a_link_takes_along_what_the_source_knows(source: SemaphoreSource, target: SemaphoreSource) -> None:
    known = Frontier([(1, 7)])
    source.link(1, target, 1)
    source.signal(1, known)
    assert target.query_frontier() == known


def test_the_failure_of_the_source_is_that_of_the_target(source: SemaphoreSource, target: SemaphoreSource) -> None:
    error = OSError("broken")
    source.link(1, target, 1)
    source.fail(error)
    assert target.error is error


def test_a_source_that_has_failed_fails_the_target_at_once(source: SemaphoreSource, target: SemaphoreSource) -> None:
    error = OSError("broken")
    source.signal(1)
    source.fail(error)
    source.link(1, target, 1)
    assert (target.query(), target.error) == (0, error)


def test_closing_the_source_fails_the_target(source: SemaphoreSource, target: SemaphoreSource) -> None:
    source.link(1, target, 1)
    source.close()
    assert isinstance(target.error, OperationCancelled)


def test_a_failure_goes_through_links(source: SemaphoreSource, target: SemaphoreSource) -> None:
    between, error = TimelineSemaphore(), OSError("broken")
    source.link(1, between, 1)
    between.link(1, target, 1)
    source.fail(error)
    assert target.error is error


def test_the_failure_of_the_target_is_not_that_of_the_source(source: SemaphoreSource, target: SemaphoreSource) -> None:
    link = source.link(1, target, 1)
    target.fail(OSError())
    assert source.error is None
    link.unlink()


def test_a_link_that_was_withdrawn_does_nothing(source: SemaphoreSource, target: SemaphoreSource) -> None:
    link = source.link(1, target, 1)
    assert (link.unlink(), link.unlink()) == (True, False)
    source.signal(1)
    assert target.query() == 0


def test_a_link_that_has_signalled_cannot_be_withdrawn(source: SemaphoreSource, target: SemaphoreSource) -> None:
    link = source.link(1, target, 1)
    source.signal(1)
    assert not link.unlink()


def test_what_callbacks_of_the_target_raise_goes_to_the_thread_that_signalled_the_source(
    source: SemaphoreSource, target: SemaphoreSource
) -> None:
    def refuse(error: BaseException | None) -> None:
        raise LookupError("callback")

    source.link(1, target, 1)
    target.acquire_timepoint(1, refuse)
    with pytest.raises(LookupError):
        source.signal(1)
    assert (target.query(), target.error) == (1, None)


def test_a_target_that_cannot_be_signalled_fails(source: SemaphoreSource) -> None:
    class Unwilling(DeviceSemaphore):
        def signal(self, value: int, frontier: Frontier | None = None) -> None:
            raise PermissionError("only the device may")

    target = Unwilling()
    source.link(1, target, 1)
    source.signal(1)
    assert isinstance(target.error, PermissionError)


def test_what_is_no_semaphore_is_refused_by_name(source: SemaphoreSource) -> None:
    with pytest.raises(TypeError, match="target must be"):
        source.link(1, object(), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "target_value", "argument"), [(-1, 1, "value"), (1, -1, "target_value")])
def test_a_wrong_value_is_refused_by_name(
    source: SemaphoreSource, target: SemaphoreSource, value: int, target_value: int, argument: str
) -> None:
    with pytest.raises(ValueError, match=f"^{argument} must"):
        source.link(value, target, target_value)
