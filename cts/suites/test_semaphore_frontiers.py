"""What a SemaphoreWait tells of causality: the frontiers of its semaphores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cts.support import finish, settle, start
from proactor_trio.proactor import (
    Capability,
    Frontier,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    SemaphoreSignal,
    SemaphoreWait,
    TimelineSemaphore,
    WaitMode,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


@pytest.fixture(params=["kernel", "user space"])
def chaining(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    """A proactor whose kernel leads chains where it can, and one that makes each step itself."""
    if request.param == "kernel":
        return make_proactor()
    return make_proactor(allowed_capabilities=Capability.ALL & ~Capability.LINKED_OPERATIONS)


def knowing(*axes: int) -> TimelineSemaphore:
    """One that is at 1 and knows these axes at epoch 1."""
    semaphore = TimelineSemaphore(frontier_capacity=255)
    semaphore.signal(1, Frontier.from_epochs(dict.fromkeys(axes, 1)))
    return semaphore


def test_a_wait_for_all_returns_the_merge(proactor: Proactor) -> None:
    semaphores = [TimelineSemaphore(), TimelineSemaphore()]
    wait = SemaphoreWait(semaphores, [1, 1])
    start(proactor, wait)
    semaphores[0].signal(1, Frontier([(1, 5), (2, 1)]))
    semaphores[1].signal(1, Frontier([(2, 7)]))
    settle(proactor, wait)
    assert wait.result == wait.frontier == Frontier([(1, 5), (2, 7)])


def test_a_wait_for_any_returns_the_index_and_knows_the_frontier_of_that_one(proactor: Proactor) -> None:
    wait = finish(proactor, SemaphoreWait([TimelineSemaphore(), knowing(3)], [1, 1], WaitMode.ANY))
    assert (wait.result, wait.frontier) == (1, Frontier([(3, 1)]))


def test_a_frontier_that_does_not_fit_is_left_out_whole(proactor: Proactor) -> None:
    semaphores = [knowing(*range(1, 200)), knowing(*range(200, 300)), knowing(7, 200)]
    wait = finish(proactor, SemaphoreWait(semaphores, [1, 1, 1]))
    assert list(wait.result) == list(range(1, 201))


@pytest.mark.parametrize("mode", list(WaitMode))
def test_a_wait_that_fails_knows_no_frontier(proactor: Proactor, mode: WaitMode) -> None:
    semaphore = knowing(1)
    wait = finish(proactor, SemaphoreWait([semaphore], [1], mode))
    semaphore.fail(OSError())
    finish(proactor, wait)
    assert (type(wait.error), wait.result, wait.frontier) == (OSError, None, None)


@pytest.mark.parametrize("link", [LINKED, LINKED | SILENT], ids=["watched", "silent"])
def test_a_wait_that_leads_a_chain_returns_the_frontier(chaining: Proactor, link: OperationFlags) -> None:
    semaphore = TimelineSemaphore()
    steps: tuple[Operation, ...] = (SemaphoreWait([semaphore], [1], flags=link), Nop())
    start(chaining, *steps)
    semaphore.signal(1, Frontier([(1, 5)]))
    settle(chaining, *steps)
    assert steps[0].result == Frontier([(1, 5)])


def test_a_frontier_goes_from_a_wait_to_the_signal_behind_it(chaining: Proactor) -> None:
    first, second = TimelineSemaphore(), TimelineSemaphore()
    signal = SemaphoreSignal([second], [1])
    wait = SemaphoreWait(
        [first], [1], completion_fn=lambda wait, flags: setattr(signal, "frontier", wait.result), flags=LINKED
    )
    start(chaining, wait, signal)
    first.signal(1, Frontier([(9, 9)]))
    settle(chaining, wait, signal)
    assert second.query_frontier() == Frontier([(9, 9)])


def test_what_is_set_late_and_is_no_frontier_ends_the_signal(proactor: Proactor) -> None:
    semaphore = TimelineSemaphore()
    signal = SemaphoreSignal([semaphore], [1])
    first = Nop(lambda nop, flags: setattr(signal, "frontier", {1: 1}), flags=LINKED)
    proactor.submit(first, signal)
    settle(proactor, first, signal)
    assert (type(signal.error), semaphore.query()) == (TypeError, 0)
