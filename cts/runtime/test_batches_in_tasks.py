"""Operations that tasks submit: awaited afterwards, linked, with completion functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cts.configurations import Configuration
from cts.runtime.conftest import MOST_SECONDS
from cts.runtime.support import LINKED, MULTISHOT, far_timer, wait_for
from cts.support import Completions, Files, Sockets
from proactor_trio import (
    Event,
    TrioInternalError,
    move_on_after,
    open_nursery,
    sleep,
    sleep_forever,
)
from proactor_trio.lowlevel import current_proactor, current_statistics
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    CompletionFlags,
    FileOpen,
    FileRead,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationState,
    RecvBytes,
    Send,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

# Submitted, then awaited ------------------------------------------------------------------------------------------


async def test_an_operation_that_was_submitted_can_be_awaited_afterwards() -> None:
    nop = Nop()
    current_proactor().submit(nop)
    assert await nop is None


async def test_an_operation_that_was_submitted_can_be_awaited_when_it_is_long_done(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10)
    current_proactor().submit(receive)
    far.stdlib.send(b"x")
    await wait_all_tasks_blocked()
    assert receive.state is OperationState.DONE
    assert await receive == b"x"


async def test_the_error_of_an_operation_that_was_submitted_is_raised_by_await(tmp_path: Path) -> None:
    opening = FileOpen(tmp_path / "none")
    current_proactor().submit(opening)
    with pytest.raises(FileNotFoundError):
        await opening


async def test_cancelling_a_task_that_joined_a_submitted_operation_cancels_the_operation() -> None:
    timer = far_timer()
    current_proactor().submit(timer)
    with move_on_after(0.005) as scope:
        await timer
    assert scope.cancelled_caught
    assert isinstance(timer.error, OperationCancelled)


async def test_a_batch_completes_together(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    nops = [Nop() for _ in range(50)]
    receive = RecvBytes(near, 10)
    current_proactor().submit(*nops, receive, Send(far, b"x"))
    assert await receive == b"x"
    for nop in nops:
        await nop


# Linked batches ---------------------------------------------------------------------------------------------------


async def test_a_chain_runs_in_order_and_each_step_can_be_awaited(sockets: Sockets, files: Files) -> None:
    near, far = sockets.unix_pair()
    page = bytearray(10)
    read = FileRead(files.holding(b"0123456789"), page, 0, flags=LINKED)
    send = Send(near, page, flags=LINKED)
    nop = Nop()
    current_proactor().submit(read, send, nop)
    assert [await read, await send, await nop] == [10, 10, None]
    assert far.stdlib.recv(20) == b"0123456789"


async def test_the_last_step_of_a_chain_may_be_awaited_alone(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    last = Send(near, b"b")
    current_proactor().submit(Send(near, b"a", flags=LINKED), Nop(flags=LINKED), last)
    assert await last == 1
    assert far.stdlib.recv(5) == b"ab"


async def test_a_step_that_fails_cancels_those_after_it_and_they_say_so(sockets: Sockets, files: Files) -> None:
    near, far = sockets.unix_pair()
    page = bytearray(20)
    read = FileRead(files.holding(b"too short"), page, 0, flags=LINKED)
    send = Send(near, page, flags=LINKED)
    last = Nop()
    current_proactor().submit(read, send, last)
    assert await read == 9
    for later in (send, last):
        with pytest.raises(OperationCancelled) as failure:
            await later
        assert failure.value.cause is CancelCause.EARLIER_STEP_FAILED
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


async def test_the_error_of_the_first_step_is_raised_by_its_await(sockets: Sockets, tmp_path: Path) -> None:
    opening = FileOpen(tmp_path / "none", flags=LINKED)
    nop = Nop()
    current_proactor().submit(opening, nop)
    with pytest.raises(FileNotFoundError):
        await opening
    with pytest.raises(OperationCancelled):
        await nop


async def test_a_deadline_around_a_step_that_has_not_started_does_not_wait_for_the_steps_before_it(
    sockets: Sockets,
) -> None:
    near, far = sockets.unix_pair()
    timer = far_timer(None, None, LINKED)
    send = Send(near, b"x")
    needed_rescue = False

    async def rescue() -> None:
        nonlocal needed_rescue
        await sleep(MOST_SECONDS / 2)
        needed_rescue = True
        current_proactor().cancel(timer)

    async with open_nursery() as nursery:
        current_proactor().submit(timer, send)
        nursery.start_soon(rescue)
        with move_on_after(0.01) as scope:
            await send
        nursery.cancel_scope.cancel()
    assert scope.cancelled_caught
    with pytest.raises(OperationCancelled):
        await timer
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)
    assert not needed_rescue, "the task was held until the first step ended"


async def test_a_deadline_around_the_first_step_cancels_the_steps_after_it(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    timer = far_timer(None, None, LINKED)
    send = Send(near, b"x")
    current_proactor().submit(timer, send)
    with move_on_after(0.01) as scope:
        await timer
    assert scope.cancelled_caught
    with pytest.raises(OperationCancelled):
        await send
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


async def test_a_chain_may_wait_for_a_timer_and_go_on(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    deadline = time.monotonic() + 0.01
    send = Send(near, b"x")
    current_proactor().submit(Timer(deadline, flags=LINKED), send)
    assert await send == 1
    assert time.monotonic() >= deadline
    assert far.stdlib.recv(1) == b"x"


async def test_linked_and_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="LINKED"):
        await Nop(flags=LINKED)
    with pytest.raises(ValueError, match="LINKED"):
        current_proactor().submit(Nop(), Nop(flags=LINKED))


async def test_many_chains_at_once_each_keep_their_order(files: Files) -> None:
    file = files.holding(bytes(64 * 8))
    buffers = [bytearray(8) for _ in range(64)]
    reads = []
    for number, buffer in enumerate(buffers):
        read = FileRead(file, buffer, number * 8)
        current_proactor().submit(FileWrite(file, b"%08d" % number, number * 8, flags=LINKED), read)
        reads.append(read)
    for read in reads:
        assert await read == 8
    assert buffers == [b"%08d" % number for number in range(64)]


# Completion functions in a run ------------------------------------------------------------------------------------


async def test_a_completion_function_may_wake_a_task() -> None:
    event = Event()
    current_proactor().submit(Nop(lambda operation, flags: event.set()))
    await event.wait()


async def test_a_completion_function_and_a_task_may_both_wait(completions: Completions) -> None:
    nop = Nop(completions)
    await nop
    assert completions.operations == [nop]


async def test_a_completion_function_may_submit_the_next_operation(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    done = Event()
    count = 0

    def send_again(operation: Operation, flags: CompletionFlags) -> None:
        nonlocal count
        count += 1
        if count < 100:
            current_proactor().submit(operation)
        else:
            done.set()

    current_proactor().submit(Send(near, b"x", send_again))
    await done.wait()
    assert far.stdlib.recv(200) == b"x" * 100


async def test_a_multishot_accept_delivers_by_its_completion_function_until_it_is_cancelled(sockets: Sockets) -> None:
    listener = sockets.listener()
    accepted: list[Any] = []
    finals: list[BaseException | None] = []

    def take(operation: Operation, flags: CompletionFlags) -> None:
        if flags & CompletionFlags.MORE:
            accepted.append(sockets.keep(operation.result))
        else:
            finals.append(operation.error)

    accept = Accept(listener, take, flags=MULTISHOT)
    current_proactor().submit(accept)
    clients = [sockets.client_of(listener) for _ in range(10)]
    while len(accepted) < 10:
        await wait_all_tasks_blocked()
    current_proactor().cancel(accept)
    while not finals:
        await wait_all_tasks_blocked()
    assert {peer.getpeername() for peer in accepted} == {client.getsockname() for client in clients}
    assert isinstance(finals[0], OperationCancelled)


async def test_a_multishot_operation_cannot_be_awaited(sockets: Sockets) -> None:
    with pytest.raises(ValueError, match="MULTISHOT"):
        await Accept(sockets.listener(), flags=MULTISHOT)


def test_a_completion_function_that_raises_ends_the_run_after_its_tasks_were_unwound(
    run_with: Callable[..., Any],
) -> None:
    unwound = []

    def crash(operation: Operation, flags: CompletionFlags) -> None:
        raise ValueError("the completion function's fault")

    async def main() -> None:
        current_proactor().submit(Nop(crash))
        try:
            await sleep_forever()
        finally:
            unwound.append("main")

    with pytest.raises(TrioInternalError) as failure:
        run_with(main)
    assert unwound == ["main"]
    text = repr_of_causes(failure.value)
    assert "the completion function's fault" in text


def repr_of_causes(error: BaseException | None) -> str:
    """All errors that led to this one."""
    if error is None:
        return ""
    inner = "".join(repr_of_causes(part) for part in getattr(error, "exceptions", ()))
    return repr(error) + inner + repr_of_causes(error.__cause__)


def test_several_completion_functions_that_raise_at_once_are_all_reported(run_with: Callable[..., Any]) -> None:
    def crash(operation: Operation, flags: CompletionFlags) -> None:
        raise ValueError(f"crash number {operation.user_data}")

    async def main() -> None:
        current_proactor().submit(*(Nop(crash, number) for number in range(3)))
        await sleep_forever()

    with pytest.raises(TrioInternalError) as failure:
        run_with(main)
    text = repr_of_causes(failure.value)
    assert all(f"crash number {number}" in text for number in range(3))


def test_other_completions_of_the_same_tick_are_delivered_when_one_raises(run_with: Callable[..., Any]) -> None:
    seen = []

    def crash(operation: Operation, flags: CompletionFlags) -> None:
        raise ValueError

    def note(operation: Operation, flags: CompletionFlags) -> None:
        seen.append(operation.user_data)

    async def main() -> None:
        current_proactor().submit(Nop(note, 1), Nop(crash), Nop(note, 2))
        await sleep_forever()

    with pytest.raises(TrioInternalError):
        run_with(main)
    assert seen == [1, 2]


# Around it --------------------------------------------------------------------------------------------------------


async def test_the_run_counts_its_operations(configuration: Configuration) -> None:
    before = current_statistics().io_statistics.counters["submitted"]
    for _ in range(10):
        await Nop()
    counters = current_statistics().io_statistics.counters
    assert counters["submitted"] == before + 10
    assert counters["in_flight"] == 0


def test_an_operation_awaited_outside_of_a_task_says_so() -> None:
    with pytest.raises(RuntimeError, match="task"):
        Nop().__await__().send(None)


def test_an_operation_cannot_be_awaited_between_tasks(run_with: Callable[..., Any]) -> None:
    """A completion function runs in the loop, not in a task."""
    errors = []

    def wait(operation: Operation, flags: CompletionFlags) -> None:
        try:
            Nop().__await__().send(None)
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        await Nop(wait)

    run_with(main)
    assert len(errors) == 1


async def test_more_operations_than_the_queue_holds_are_all_done() -> None:
    timers = [Timer(time.monotonic() + 0.001 * (number % 5)) for number in range(5000)]
    current_proactor().submit(*timers)
    for timer in timers:
        await timer


async def test_more_tasks_than_the_queue_holds_all_go_on(sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(400)]
    done = []

    async def wait(number: int) -> None:
        near, _ = pairs[number % len(pairs)]
        await HandlePoll(near)
        done.append(number)

    async with open_nursery() as nursery:
        for number in range(1200):
            nursery.start_soon(wait, number)
        await wait_all_tasks_blocked()
        assert not done
        for _, far in pairs:
            far.stdlib.send(b"x")
    assert sorted(done) == list(range(1200))


async def test_more_tasks_than_the_queue_holds_are_all_cancelled(sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(400)]
    async with open_nursery() as nursery:
        for number in range(1200):
            near, _ = pairs[number % len(pairs)]
            nursery.start_soon(wait_for, [HandlePoll(near), RecvBytes(near, 1), far_timer()][number % 3])
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert current_proactor().statistics()["in_flight"] == 0


async def test_many_tasks_may_wait_for_one_descriptor(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    done = []

    async def wait() -> None:
        await HandlePoll(near)
        done.append(True)

    async with open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not done
        far.stdlib.send(b"x")
    assert len(done) == 200
