"""Chains that begin with a wait for a frontier: in the kernel where it links, alike everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cts.suites.frontiers import A, B, at, in_a_thread, three_axes
from cts.support import Completions, Sockets, cause_of, outcome, settle, start
from proactor_trio.proactor import (
    CancelCause,
    Capability,
    FrontierTracker,
    FrontierWait,
    FrontierWaitAny,
    Nop,
    Operation,
    OperationFlags,
    Proactor,
    Send,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


@pytest.fixture
def tracker() -> Iterator[FrontierTracker]:
    """One with the axes A, B and C, in which nothing may be left."""
    with three_axes() as tracker:
        yield tracker


@pytest.fixture(params=["kernel", "user space"])
def chaining(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    """A proactor whose kernel leads chains where it can, and one that makes each step itself."""
    if request.param == "kernel":
        return make_proactor()
    return make_proactor(allowed_capabilities=Capability.ALL & ~Capability.LINKED_OPERATIONS)


class Chain:
    """FrontierWait → Send → Nop, which record their completions."""

    def __init__(
        self, tracker: FrontierTracker, sockets: Sockets, completions: Completions, link: OperationFlags
    ) -> None:
        self.near, self.far = sockets.tcp_pair()
        self.completions = completions
        self.wait = FrontierWait(tracker, at(a=1, b=1), completions, "wait", link)
        self.send = Send(self.near, b"reached", completions, "send", link)
        self.last = Nop(completions, "last")
        self.steps: tuple[Operation, ...] = (self.wait, self.send, self.last)

    def arrived(self) -> bytes:
        try:
            return self.far.stdlib.recv(100)
        except BlockingIOError:
            return b""


@pytest.fixture(params=[LINKED, LINKED | SILENT], ids=["watched", "silent"])
def chain(
    request: pytest.FixtureRequest, tracker: FrontierTracker, sockets: Sockets, completions: Completions
) -> Chain:
    return Chain(tracker, sockets, completions, request.param)


ALL_WELL = [("wait", "ok"), ("send", "ok"), ("last", "ok")]
ALL_CANCELLED = [("wait", "cancelled"), ("send", "cancelled"), ("last", "cancelled")]


def test_the_chain_goes_on_when_the_frontier_is_reached(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain
) -> None:
    start(chaining, *chain.steps)
    tracker.advance(A, 2)
    chaining.poll(0)
    assert chain.arrived() == b""
    tracker.advance(B, 1)
    settle(chaining, *chain.steps)
    assert (chain.completions.outcomes, chain.arrived(), chain.wait.result) == (ALL_WELL, b"reached", at(a=2, b=1))


def test_a_frontier_that_is_reached_already_lets_it_go_on(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain
) -> None:
    tracker.advance(A, 1)
    tracker.advance(B, 1)
    chaining.submit(*chain.steps)
    settle(chaining, *chain.steps)
    assert (chain.completions.outcomes, chain.arrived()) == (ALL_WELL, b"reached")


@pytest.mark.needs("native_links")
def test_the_kernel_sends_within_the_system_call_in_which_it_is_woken(
    proactor: Proactor, tracker: FrontierTracker, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    wait, send = FrontierWait(tracker, at(a=1), flags=LINKED | SILENT), Send(near, b"in one go")
    start(proactor, wait, send)
    tracker.advance(A, 1)
    before = proactor.statistics()["system_calls"]
    settle(proactor, wait, send)
    assert (proactor.statistics()["system_calls"] - before, far.stdlib.recv(10)) == (1, b"in one go")


def test_a_chain_whose_wait_is_cancelled_sends_nothing(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain
) -> None:
    start(chaining, *chain.steps)
    chaining.cancel(chain.wait)
    settle(chaining, *chain.steps)
    tracker.advance(A, 1)
    tracker.advance(B, 1)
    chaining.poll(0)
    assert (chain.completions.outcomes, chain.arrived()) == (ALL_CANCELLED, b"")


def test_a_cancellation_that_races_with_the_advance_ends_in_one_of_two_ways(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain
) -> None:
    start(chaining, *chain.steps)
    tracker.advance(A, 1)
    tracker.advance(B, 1)
    chaining.cancel(chain.wait)
    settle(chaining, *chain.steps)
    assert (chain.completions.outcomes, chain.arrived()) in ((ALL_WELL, b"reached"), (ALL_CANCELLED, b""))


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_chain_whose_axis_fails_sends_nothing(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain, when: str
) -> None:
    if when == "before":
        tracker.fail_axis(B, LookupError("gone"))
    start(chaining, *chain.steps)
    if when == "during":
        in_a_thread(lambda: tracker.fail_axis(B, LookupError("gone"))).join()
    settle(chaining, *chain.steps)
    assert [outcome(error) for error in chain.completions.errors] == ["LookupError", "cancelled", "cancelled"]
    assert (cause_of(chain.send), chain.arrived()) == (CancelCause.EARLIER_STEP_FAILED, b"")


def test_a_chain_whose_tracker_is_closed_sends_nothing(
    chaining: Proactor, tracker: FrontierTracker, chain: Chain
) -> None:
    start(chaining, *chain.steps)
    tracker.close()
    settle(chaining, *chain.steps)
    assert (chain.completions.outcomes, chain.arrived()) == (ALL_CANCELLED, b"")
    assert cause_of(chain.wait) is CancelCause.RESOURCE_CLOSED


def test_a_wait_for_any_leads_a_chain(
    chaining: Proactor, tracker: FrontierTracker, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    steps = (FrontierWaitAny(tracker, [at(a=1), at(b=1)], completions, flags=LINKED), Send(near, b"x", completions))
    start(chaining, *steps)
    tracker.advance(B, 1)
    settle(chaining, *steps)
    assert (completions.results, far.stdlib.recv(10)) == ([1, 1], b"x")


def test_a_wait_with_a_deadline_ends_the_chain_in_time(
    chaining: Proactor, tracker: FrontierTracker, completions: Completions
) -> None:
    steps = (FrontierWait(tracker, at(a=1), completions, 1, LINKED, timeout=0.005), Nop(completions, 2))
    chaining.submit(*steps)
    settle(chaining, *steps)
    assert completions.outcomes == [(1, "DeadlineExceeded"), (2, "cancelled")]
