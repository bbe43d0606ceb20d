"""Chains that begin with a wait for semaphores, or signal one: in the kernel where it links, alike everywhere."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.support import Completions, Sockets, cause_of, outcome, perform, poll_until, settle, start
from proactor_trio.proactor import (
    CancelCause,
    Capability,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    Sequence,
    SocketClose,
    TimelineSemaphore,
    Timer,
    WaitMode,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT


@pytest.fixture(params=["kernel", "user space"])
def chaining(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    """A proactor whose kernel leads chains where it can, and one that makes each step itself."""
    if request.param == "kernel":
        return make_proactor()
    return make_proactor(allowed_capabilities=Capability.ALL & ~Capability.LINKED_OPERATIONS)


@pytest.fixture(params=[LINKED, LINKED | SILENT], ids=["watched", "silent"])
def link(request: pytest.FixtureRequest) -> OperationFlags:
    """The flags of the wait: reported when it happens, or with its chain."""
    flags: OperationFlags = request.param
    return flags


class Scene:
    """A semaphore, a connected pair, and the chain wait → send → nop, which records its completions."""

    def __init__(self, sockets: Sockets, completions: Completions, link: OperationFlags) -> None:
        self.semaphore = TimelineSemaphore()
        self.near, self.far = sockets.tcp_pair()
        self.completions = completions
        self.wait = SemaphoreWait([self.semaphore], [7], WaitMode.ALL, completions, "wait", link)
        self.send = Send(self.near, b"seven", completions, "send", link)
        self.last = Nop(completions, "last")
        self.steps: tuple[Operation, ...] = (self.wait, self.send, self.last)

    def arrived(self) -> bytes:
        try:
            return self.far.stdlib.recv(100)
        except BlockingIOError:
            return b""


@pytest.fixture
def scene(sockets: Sockets, completions: Completions, link: OperationFlags) -> Scene:
    return Scene(sockets, completions, link)


ALL_WELL = [("wait", "ok"), ("send", "ok"), ("last", "ok")]
ALL_CANCELLED = [("wait", "cancelled"), ("send", "cancelled"), ("last", "cancelled")]


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitThenSend")
def test_the_chain_goes_on_when_the_value_is_signalled(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    assert scene.arrived() == b""
    scene.semaphore.signal(7)
    settle(chaining, *scene.steps)
    assert (scene.completions.outcomes, scene.arrived()) == (ALL_WELL, b"seven")


@pytest.mark.needs("native_links")
@pytest.mark.regression("semaphore-chains-not-in-the-kernel")
def test_the_kernel_sends_within_the_system_call_in_which_it_is_woken(proactor: Proactor, sockets: Sockets) -> None:
    semaphore = TimelineSemaphore()
    near, far = sockets.tcp_pair()
    wait, send = SemaphoreWait([semaphore], [1], flags=LINKED | SILENT), Send(near, b"in one go")
    start(proactor, wait, send)
    semaphore.signal(1)
    before = proactor.statistics()["system_calls"]
    settle(proactor, wait, send)
    assert (proactor.statistics()["system_calls"] - before, far.stdlib.recv(10)) == (1, b"in one go")


def test_a_signal_of_another_thread_wakes_it(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    thread = threading.Thread(target=scene.semaphore.signal, args=(9,))
    thread.start()
    settle(chaining, *scene.steps)
    thread.join()
    assert scene.completions.outcomes == ALL_WELL


def test_a_value_that_is_there_already_lets_it_go_on(chaining: Proactor, scene: Scene) -> None:
    scene.semaphore.signal(7)
    chaining.submit(*scene.steps)
    settle(chaining, *scene.steps)
    assert (scene.completions.outcomes, scene.arrived()) == (ALL_WELL, b"seven")


@pytest.mark.ring_rule(3)
def test_a_signal_before_the_kernel_has_begun_to_wait_is_not_lost(chaining: Proactor, scene: Scene) -> None:
    chaining.submit(*scene.steps)
    scene.semaphore.signal(7)
    settle(chaining, *scene.steps)
    assert (scene.completions.outcomes, scene.arrived()) == (ALL_WELL, b"seven")


@pytest.mark.reference("SemaphoreLinkedTest.LinkedWaitFailureCancelsChain")
@pytest.mark.ring_rule(3)
def test_a_failure_of_the_semaphore_ends_the_chain(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    scene.semaphore.fail(LookupError("gone"))
    settle(chaining, *scene.steps)
    assert scene.completions.outcomes == [("wait", "LookupError"), ("send", "cancelled"), ("last", "cancelled")]
    assert scene.arrived() == b""


def test_a_failure_from_another_thread_wakes_it(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    thread = threading.Thread(target=scene.semaphore.fail, args=(LookupError("gone"),))
    thread.start()
    settle(chaining, *scene.steps)
    thread.join()
    assert [outcome(error) for error in scene.completions.errors] == ["LookupError", "cancelled", "cancelled"]


@pytest.mark.ring_rule(3)
def test_cancelling_the_wait_ends_the_chain_and_nothing_is_sent(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    chaining.cancel(scene.wait)
    settle(chaining, *scene.steps)
    scene.semaphore.signal(7)
    chaining.poll(0)
    assert (scene.completions.outcomes, scene.arrived()) == (ALL_CANCELLED, b"")


def test_a_cancellation_that_races_with_the_signal_ends_in_one_of_two_ways(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    scene.semaphore.signal(7)
    chaining.cancel(scene.wait)
    settle(chaining, *scene.steps)
    assert (scene.completions.outcomes, scene.arrived()) in ((ALL_WELL, b"seven"), (ALL_CANCELLED, b""))


@pytest.mark.ring_rule(2)
def test_all_steps_cancelled_in_the_enter_that_wakes_end_once(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    scene.semaphore.signal(7)
    for step in scene.steps:
        chaining.cancel(step)
    settle(chaining, *scene.steps)
    assert scene.completions.labels == ["wait", "send", "last"]


def test_cancelling_a_later_step_lets_the_wait_go_on(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    chaining.cancel(scene.send)
    chaining.poll(0)
    assert scene.wait.state is OperationState.SUBMITTED
    scene.semaphore.signal(7)
    settle(chaining, *scene.steps)
    assert scene.completions.labels == ["wait", "send", "last"]
    assert scene.completions.outcomes[0] == ("wait", "ok")


def test_closing_the_socket_of_a_later_step_sends_nothing(chaining: Proactor, scene: Scene) -> None:
    start(chaining, *scene.steps)
    perform(chaining, SocketClose(scene.near))
    scene.semaphore.signal(7)
    settle(chaining, *scene.steps)
    assert scene.completions.outcomes[1:] == ALL_CANCELLED[1:]
    assert cause_of(scene.send) in (CancelCause.RESOURCE_CLOSED, CancelCause.EARLIER_STEP_FAILED)
    assert scene.arrived() == b""


def test_closing_the_proactor_ends_the_chain(make_proactor: Callable[..., Proactor], scene: Scene) -> None:
    proactor = make_proactor()
    start(proactor, *scene.steps)
    proactor.close()
    assert scene.completions.outcomes == ALL_CANCELLED
    scene.semaphore.signal(7)


@pytest.mark.ring_rule(4, 5)
def test_a_short_transfer_behind_the_wait_ends_the_chain(
    chaining: Proactor, sockets: Sockets, completions: Completions, link: OperationFlags
) -> None:
    semaphore = TimelineSemaphore()
    near, far = sockets.tcp_pair()
    near.stdlib.send(b"abc")
    near.shutdown(1)
    steps = (
        SemaphoreWait([semaphore], [1], WaitMode.ALL, completions, 1, link),
        Recv(far, bytearray(10), completions, 2, link),
        Nop(completions, 3),
    )
    start(chaining, *steps)
    semaphore.signal(1)
    settle(chaining, *steps)
    assert (completions.outcomes, steps[1].result) == ([(1, "ok"), (2, "ok"), (3, "cancelled")], 3)


@pytest.mark.ring_rule(3)
def test_all_waits_for_the_last(chaining: Proactor, completions: Completions, link: OperationFlags) -> None:
    semaphores = [TimelineSemaphore() for _ in range(3)]
    steps = (SemaphoreWait(semaphores, [1, 2, 3], WaitMode.ALL, completions, 1, link), Nop(completions, 2))
    start(chaining, *steps)
    semaphores[2].signal(3)
    semaphores[0].signal(1)
    chaining.poll(0)
    assert not completions.records
    semaphores[1].signal(2)
    settle(chaining, *steps)
    assert completions.outcomes == [(1, "ok"), (2, "ok")]


def test_any_says_which_was_first(chaining: Proactor, completions: Completions, link: OperationFlags) -> None:
    semaphores = [TimelineSemaphore() for _ in range(3)]
    wait = SemaphoreWait(semaphores, [1, 1, 1], WaitMode.ANY, completions, 1, link)
    last = Nop(completions, 2)
    start(chaining, wait, last)
    semaphores[1].signal(1)
    settle(chaining, wait, last)
    assert wait.satisfied_index == 1


def test_a_wait_with_a_deadline_ends_the_chain_in_time(chaining: Proactor, completions: Completions) -> None:
    wait = SemaphoreWait([TimelineSemaphore()], [1], WaitMode.ALL, completions, 1, LINKED, timeout=0.005)
    last = Nop(completions, 2)
    chaining.submit(wait, last)
    settle(chaining, wait, last)
    assert completions.outcomes == [(1, "DeadlineExceeded"), (2, "cancelled")]


def test_it_can_be_submitted_again_and_again(chaining: Proactor, scene: Scene) -> None:
    for value in range(7, 20):
        scene.wait.values = [value]
        start(chaining, *scene.steps)
        scene.semaphore.signal(value)
        settle(chaining, *scene.steps)
    assert scene.completions.outcomes == ALL_WELL * 13


def test_more_waits_than_are_made_in_the_kernel(chaining: Proactor) -> None:
    semaphore = TimelineSemaphore()
    chains = [(SemaphoreWait([semaphore], [1], flags=LINKED | SILENT), Nop()) for _ in range(300)]
    for chain in chains:
        chaining.submit(*chain)
    chaining.poll(0)
    semaphore.signal(1)
    settle(chaining, *(chain[1] for chain in chains))
    assert all(step.error is None for chain in chains for step in chain)


def test_a_wait_in_the_middle_of_a_chain(chaining: Proactor, scene: Scene) -> None:
    first = Nop(scene.completions, "first", LINKED)
    start(chaining, first, *scene.steps)
    chaining.poll(0)
    scene.semaphore.signal(7)
    settle(chaining, *scene.steps)
    assert (scene.completions.outcomes, scene.arrived()) == ([("first", "ok"), *ALL_WELL], b"seven")


def test_a_sequence_of_wait_and_send(chaining: Proactor, sockets: Sockets) -> None:
    semaphore = TimelineSemaphore()
    near, far = sockets.tcp_pair()
    sequence = Sequence([SemaphoreWait([semaphore], [1]), Send(near, b"now", whole=True)])
    start(chaining, sequence)
    semaphore.signal(1)
    settle(chaining, sequence)
    assert (sequence.error, far.stdlib.recv(10)) == (None, b"now")


def test_a_task_is_woken_with_the_last_step(run: Callable[..., Any], scene: Scene) -> None:
    last = Nop()

    async def main() -> None:
        proactor_trio.lowlevel.current_proactor().submit(scene.wait, scene.send, last)
        thread = threading.Thread(target=scene.semaphore.signal, args=(7,))
        thread.start()
        await last
        thread.join()

    run(main)
    assert scene.arrived() == b"seven"


def test_a_scope_ends_the_whole_chain(run: Callable[..., Any], scene: Scene) -> None:
    last = Nop()

    async def main() -> None:
        proactor_trio.lowlevel.current_proactor().submit(scene.wait, scene.send, last)
        with proactor_trio.move_on_after(0.01):
            await last

    run(main)
    assert isinstance(scene.wait.error, OperationCancelled)


# Signals and fences ----------------------------------------------------------------------------------------------


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


class Fenced:
    """The chain receive 4 bytes → signal 1, with an exported fence for the value."""

    def __init__(self, sockets: Sockets, completions: Completions) -> None:
        self.semaphore = TimelineSemaphore()
        self.fence = self.semaphore.export_fence(1)
        self.near, self.far = sockets.tcp_pair()
        self.receive = Recv(self.near, bytearray(4), completions, "receive", LINKED)
        self.signal = SemaphoreSignal([self.semaphore], [1], None, completions, "signal")


@pytest.fixture
def fenced(sockets: Sockets, completions: Completions) -> Any:
    made = Fenced(sockets, completions)
    yield made
    made.semaphore.close()
    os.close(made.fence)


def settle_all(proactor: Proactor) -> None:
    """Poll until nothing is in flight: the kernel may write to a fence after the chain itself is over."""
    poll_until(proactor, lambda: not proactor.statistics()["in_flight"])


@pytest.mark.reference(
    "SemaphoreLinkedTest.LinkedRecvThenSignal", "SemaphoreLinkedTest.LinkedRecvThenSignalTimingCheck"
)
def test_a_signal_behind_a_receive_is_made_after_it(
    proactor: Proactor, fenced: Fenced, completions: Completions
) -> None:
    start(proactor, fenced.receive, fenced.signal)
    assert (fenced.semaphore.query(), is_readable(fenced.fence)) == (0, False)
    fenced.far.stdlib.send(b"data")
    settle_all(proactor)
    assert (fenced.semaphore.query(), is_readable(fenced.fence)) == (1, True)
    assert completions.outcomes == [("receive", "ok"), ("signal", "ok")]


def test_fewer_bytes_than_asked_signal_nothing(proactor: Proactor, fenced: Fenced, completions: Completions) -> None:
    start(proactor, fenced.receive, fenced.signal)
    fenced.far.stdlib.send(b"dat")
    fenced.far.shutdown(1)
    settle_all(proactor)
    assert (fenced.semaphore.query(), is_readable(fenced.fence)) == (0, False)
    assert completions.outcomes == [("receive", "ok"), ("signal", "cancelled")]


def test_a_cancelled_receive_leaves_the_fence(proactor: Proactor, fenced: Fenced) -> None:
    start(proactor, fenced.receive, fenced.signal)
    proactor.cancel(fenced.receive)
    settle_all(proactor)
    assert not is_readable(fenced.fence)


def test_a_fence_that_was_closed_disturbs_nobody(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fenced = Fenced(sockets, completions)
    start(proactor, fenced.receive, fenced.signal)
    os.close(fenced.fence)
    fenced.far.stdlib.send(b"data")
    settle_all(proactor)
    assert fenced.semaphore.query() == 1


def test_only_the_chains_own_completions_count(proactor: Proactor, fenced: Fenced) -> None:
    proactor.submit(fenced.receive, fenced.signal)
    fenced.far.stdlib.send(b"data")
    counted = 0
    while fenced.signal.state is not OperationState.DONE or proactor.statistics()["in_flight"]:
        counted += proactor.poll(1)
    assert counted == 2


def test_a_chain_that_never_ends_can_be_given_up_with_its_proactor(
    make_proactor: Callable[..., Proactor], fenced: Fenced
) -> None:
    proactor = make_proactor()
    start(proactor, fenced.receive, fenced.signal)
    proactor.close()
    assert (fenced.semaphore.query(), is_readable(fenced.fence)) == (0, False)


def test_a_timer_leads_a_signal_too(proactor: Proactor, fenced: Fenced) -> None:
    signal = SemaphoreSignal([fenced.semaphore], [1])
    proactor.submit(Timer(0.0, flags=LINKED), signal)
    settle_all(proactor)
    assert is_readable(fenced.fence)
