"""A scope around the await of one step ends the whole rest of its LINKED batch, or of its Sequence."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cts.runtime.support import LINKED, far_timer
from cts.support import Sockets
from proactor_trio import CancelScope, current_time, move_on_after, open_nursery
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import (
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Recv,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    Sequence,
    Socket,
    TimelineSemaphore,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

SILENT = OperationFlags.SILENT
DONE = OperationState.DONE

links = pytest.mark.parametrize("link", [LINKED, LINKED | SILENT], ids=["watched", "silent"])


class Pipeline:
    """Four steps: two receives from one socket, a send to another, a signal; and what an observer sees of them."""

    def __init__(self, sockets: Sockets, link: OperationFlags = LINKED) -> None:
        self.near, self.far = sockets.unix_pair()
        self.out, self.arrivals = sockets.unix_pair()
        self.semaphore = TimelineSemaphore()
        self.steps: tuple[Operation, ...] = (
            Recv(self.near, bytearray(1), flags=link),
            Recv(self.near, bytearray(1), flags=link),
            Send(self.out, b"x", flags=link),
            SemaphoreSignal([self.semaphore], [1]),
        )

    async def check_that_all_has_ended(self, first: int = 0) -> None:
        """Every step has its end by cancellation from `first` on, and none of the effects came about."""
        with move_on_after(5) as patience:
            while any(step.state is not DONE for step in self.steps):
                await checkpoint()
        assert not patience.cancelled_caught, f"still in flight: {self.steps}"
        assert [type(step.error) for step in self.steps[first:]] == [OperationCancelled] * (4 - first)
        assert self.semaphore.query() == 0
        assert nothing_at(self.arrivals)


def nothing_at(socket: Socket) -> bool:
    """Whether there is nothing to receive."""
    try:
        socket.stdlib.recv(1)
    except BlockingIOError:
        return True
    return False


# LINKED batches ------------------------------------------------------------------------------------------------------


@links
@pytest.mark.parametrize("awaited", [0, 1, 2, 3])
@pytest.mark.parametrize("running", [0, 1])
async def test_awaiting_any_step_in_a_cancelled_scope_ends_the_step_that_runs_and_all_later_ones(
    sockets: Sockets, link: OperationFlags, awaited: int, running: int
) -> None:
    pipeline = Pipeline(sockets, link)
    current_proactor().submit(*pipeline.steps)
    await wait_all_tasks_blocked()
    pipeline.far.stdlib.send(b"abc"[:running])
    await wait_all_tasks_blocked()
    with CancelScope() as scope:
        scope.cancel()
        await pipeline.steps[awaited]
    assert scope.cancelled_caught or awaited < running
    await pipeline.check_that_all_has_ended(running)


@links
@pytest.mark.parametrize("awaited", [0, 1, 2, 3])
async def test_a_deadline_around_any_step_ends_them_all(sockets: Sockets, link: OperationFlags, awaited: int) -> None:
    pipeline = Pipeline(sockets, link)
    current_proactor().submit(*pipeline.steps)
    with move_on_after(0.005) as scope:
        await pipeline.steps[awaited]
    assert scope.cancelled_caught
    await pipeline.check_that_all_has_ended()


@links
async def test_what_arrives_in_the_tick_of_the_cancellation_lets_no_later_step_go_on(
    sockets: Sockets, link: OperationFlags
) -> None:
    """The first step is done in the kernel by then, and maybe nobody knows: the second one runs."""
    pipeline = Pipeline(sockets, link)
    current_proactor().submit(*pipeline.steps)
    await wait_all_tasks_blocked()
    with CancelScope() as scope:
        pipeline.far.stdlib.send(b"a")
        scope.cancel()
        await pipeline.steps[3]
    assert scope.cancelled_caught
    await pipeline.check_that_all_has_ended(1)


async def test_a_step_whose_result_wins_the_race_does_not_let_the_later_ones_go_on(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    steps = (Nop(flags=LINKED), far_timer(None, None, LINKED), Send(near, b"x"))
    current_proactor().submit(*steps)
    with CancelScope() as scope:
        scope.cancel()
        await steps[0]
    with move_on_after(5) as patience:
        for step in steps[1:]:
            with pytest.raises(OperationCancelled):
                await step
    assert not patience.cancelled_caught
    assert nothing_at(far)


async def test_awaiting_a_step_that_is_done_in_a_cancelled_scope_ends_the_rest(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    steps = (Nop(flags=LINKED), Nop(flags=LINKED), far_timer(None, None, LINKED), Send(near, b"x"))
    current_proactor().submit(*steps)
    while steps[1].state is not DONE:
        await checkpoint()
    with CancelScope() as scope:
        scope.cancel()
        await steps[1]
    assert scope.cancelled_caught
    with move_on_after(5) as patience:
        for step in steps[2:]:
            with pytest.raises(OperationCancelled):
                await step
    assert not patience.cancelled_caught
    assert nothing_at(far)


async def test_other_chains_of_the_batch_go_on(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    first = (far_timer(None, None, LINKED), Nop())
    alone = Timer(current_time() + 0.01)
    second = (Timer(current_time() + 0.01, flags=LINKED), Send(near, b"x"))
    current_proactor().submit(*first, alone, *second)
    with move_on_after(0.005) as scope:
        await first[1]
    assert scope.cancelled_caught
    assert [await alone, await second[1]] == [None, 1]
    assert far.stdlib.recv(2) == b"x"


async def test_a_shield_keeps_the_chain_going(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    last = Send(near, b"x")
    current_proactor().submit(Timer(current_time() + 0.01, flags=LINKED), last)
    with CancelScope() as scope:
        scope.cancel()
        with CancelScope(shield=True):
            assert await last == 1
    assert far.stdlib.recv(2) == b"x"


@links
async def test_a_chain_that_a_semaphore_leads_ends_as_a_whole_and_leaves_the_semaphore(
    sockets: Sockets, link: OperationFlags
) -> None:
    near, far = sockets.unix_pair()
    semaphore = TimelineSemaphore()
    steps = (SemaphoreWait([semaphore], [1], flags=link), Send(near, b"x", flags=link), Nop())
    current_proactor().submit(*steps)
    with move_on_after(0.005) as scope:
        await steps[1]
    assert scope.cancelled_caught
    semaphore.signal(1)
    while any(step.state is not DONE for step in steps):
        await checkpoint()
    assert [type(step.error) for step in steps] == [OperationCancelled] * 3
    assert nothing_at(far)
    await SemaphoreWait([semaphore], [1])


@links
async def test_a_signal_that_races_with_the_cancellation_sends_or_does_not_and_then_stops(
    sockets: Sockets, link: OperationFlags
) -> None:
    for _ in range(50):
        near, far = sockets.unix_pair()
        semaphore = TimelineSemaphore()
        timer = far_timer(None, None, link)
        steps = (SemaphoreWait([semaphore], [1], flags=link), Send(near, b"x", flags=link), timer, Send(near, b"y"))
        current_proactor().submit(*steps)
        await checkpoint()
        thread = threading.Thread(target=semaphore.signal, args=(1,))
        with CancelScope() as scope:
            thread.start()
            scope.cancel()
            await steps[2]
        thread.join()
        with move_on_after(5) as patience:
            while any(step.state is not DONE for step in steps):
                await checkpoint()
        assert not patience.cancelled_caught, f"still in flight: {steps}"
        assert (far.stdlib.recv(9) == b"x") if steps[1].error is None else nothing_at(far)
        assert isinstance(steps[3].error, OperationCancelled)


async def test_two_tasks_that_await_steps_of_one_chain_both_come_back_when_one_is_cancelled() -> None:
    steps = (far_timer(None, None, LINKED), far_timer(None, None, LINKED), Nop())
    current_proactor().submit(*steps)
    ends: list[BaseException | None] = []

    async def wait_for_the_last() -> None:
        with pytest.raises(OperationCancelled) as caught:
            await steps[2]
        ends.append(caught.value)

    async with open_nursery() as nursery:
        nursery.start_soon(wait_for_the_last)
        await wait_all_tasks_blocked()
        with move_on_after(0.005):
            await steps[0]
    assert len(ends) == 1


async def test_a_chain_of_many_steps_ends_at_once() -> None:
    steps: list[Operation] = [far_timer(None, None, LINKED) for _ in range(999)]
    current_proactor().submit(*steps, Nop())
    with move_on_after(0.005) as scope:
        await steps[500]
    assert scope.cancelled_caught
    with move_on_after(5) as patience:
        while any(step.state is not DONE for step in steps):
            await checkpoint()
    assert not patience.cancelled_caught


# Sequences -----------------------------------------------------------------------------------------------------------

StepFunction = Callable[[Sequence, Operation, Operation | None], object]


@pytest.mark.parametrize("step_fn", [None, lambda *_: None], ids=["chained", "stepwise"])
@pytest.mark.parametrize("running", [0, 1])
async def test_awaiting_a_sequence_in_a_cancelled_scope_ends_its_current_step_and_the_later_ones(
    sockets: Sockets, step_fn: StepFunction | None, running: int
) -> None:
    pipeline = Pipeline(sockets, OperationFlags.NONE)
    sequence = Sequence(pipeline.steps, step_fn)
    current_proactor().submit(sequence)
    await wait_all_tasks_blocked()
    pipeline.far.stdlib.send(b"abc"[:running])
    await wait_all_tasks_blocked()
    with CancelScope() as scope:
        scope.cancel()
        await sequence
    assert scope.cancelled_caught
    assert [step.error is None for step in pipeline.steps[:running]] == [True] * running
    assert isinstance(pipeline.steps[running].error, OperationCancelled)
    assert (pipeline.semaphore.query(), nothing_at(pipeline.arrivals)) == (0, True)


@pytest.mark.parametrize("step_fn", [None, lambda *_: None], ids=["chained", "stepwise"])
async def test_what_arrives_in_the_tick_of_the_cancellation_of_a_sequence_lets_no_later_step_go_on(
    sockets: Sockets, step_fn: StepFunction | None
) -> None:
    pipeline = Pipeline(sockets, OperationFlags.NONE)
    sequence = Sequence(pipeline.steps, step_fn)
    with CancelScope() as scope:
        current_proactor().submit(sequence)
        await wait_all_tasks_blocked()
        pipeline.far.stdlib.send(b"a")
        scope.cancel()
        await sequence
    assert scope.cancelled_caught
    assert (sequence.state, pipeline.semaphore.query(), nothing_at(pipeline.arrivals)) == (DONE, 0, True)


async def test_a_sequence_behind_other_steps_is_ended_before_its_turn(sockets: Sockets) -> None:
    pipeline = Pipeline(sockets, OperationFlags.NONE)
    sequence = Sequence(pipeline.steps)
    timer = far_timer(None, None, LINKED)
    current_proactor().submit(timer, sequence)
    with move_on_after(0.005) as scope:
        await sequence
    assert scope.cancelled_caught
    with pytest.raises(OperationCancelled):
        await timer
    assert all(step.state is OperationState.NEW for step in pipeline.steps)


async def test_a_sequence_behind_an_awaited_step_is_ended_with_it(sockets: Sockets) -> None:
    pipeline = Pipeline(sockets, OperationFlags.NONE)
    sequence = Sequence(pipeline.steps)
    first = Nop(flags=LINKED)
    current_proactor().submit(first, sequence)
    while first.state is not DONE:
        await checkpoint()
    with CancelScope() as scope:
        scope.cancel()
        await first
    with move_on_after(5) as patience, pytest.raises(OperationCancelled):
        await sequence
    assert not patience.cancelled_caught
    assert (pipeline.semaphore.query(), nothing_at(pipeline.arrivals)) == (0, True)
