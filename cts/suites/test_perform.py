"""`await operation` in a task: the table of proactor_trio/_kernel/perform.py, row by row, and what surrounds it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import proactor_trio
from cts.support import Sockets, fill
from proactor_trio import BusyResourceError, Cancelled, CancelScope, lowlevel
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    ClosedResourceError,
    Connect,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
    Timer,
)

Run = Callable[..., Any]
LINKED = OperationFlags.LINKED


async def catch(operation: Awaitable[Any]) -> BaseException | Any:
    """What awaiting gives: a result or an Exception."""
    try:
        return await operation
    except Exception as error:
        return error


async def until_parked(operation: Operation) -> None:
    """Go on when a task waits for the operation."""
    await proactor_trio.testing.wait_all_tasks_blocked()
    assert operation.state is OperationState.SUBMITTED


def never() -> Timer:
    return Timer(time.monotonic() + 3600)


# The rows of the table -----------------------------------------------------------------------------------------------


def test_a_result_is_returned(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        assert await Send(near, b"hello") == 5
        assert await RecvBytes(far, 10) == b"hello"

    run(main)


def test_a_result_that_came_before_the_cancellation_is_returned(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    received = []

    async def main() -> None:
        with CancelScope() as scope:
            async with proactor_trio.open_nursery() as nursery:

                async def receive() -> None:
                    received.append(await RecvBytes(near, 10))

                nursery.start_soon(receive)
                await proactor_trio.testing.wait_all_tasks_blocked()
                far.stdlib.send(b"x")
                scope.cancel()
        left = b"" if received else await RecvBytes(near, 10)
        assert (received + [left])[0] == b"x"

    run(main)


@pytest.mark.ring_rule(7)
def test_a_whole_receive_with_a_part_returns_the_part_to_a_cancelled_task(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        far.stdlib.send(b"abc")
        with proactor_trio.move_on_after(0.03) as scope:
            assert await Recv(near, bytearray(10), whole=True) == 3
        assert scope.cancel_called and not scope.cancelled_caught

    run(main)


def test_a_cancelled_scope_gives_cancelled(run: Run) -> None:
    async def main() -> None:
        timer = never()
        with proactor_trio.move_on_after(0.01) as scope:
            with pytest.raises(Cancelled):
                await timer
            await lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert isinstance(timer.error, OperationCancelled) and timer.state is OperationState.DONE

    run(main)


def test_a_resource_closed_by_another_task_gives_closed_resource_error(run: Run, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    seen = []

    async def main() -> None:
        async with proactor_trio.open_nursery() as nursery:

            async def receive() -> None:
                seen.append(await catch(RecvBytes(near, 10)))

            nursery.start_soon(receive)
            await proactor_trio.testing.wait_all_tasks_blocked()
            await SocketClose(near)

    run(main)
    assert isinstance(seen[0], ClosedResourceError)


def test_a_cancel_call_gives_operation_cancelled(run: Run) -> None:
    async def main() -> None:
        timer = never()
        async with proactor_trio.open_nursery() as nursery:

            @nursery.start_soon
            async def cancel() -> None:
                await until_parked(timer)
                assert lowlevel.current_proactor().cancel(timer)

            error = await catch(timer)
        assert isinstance(error, OperationCancelled) and error.cause is CancelCause.REQUESTED

    run(main)


def test_an_earlier_step_that_failed_gives_operation_cancelled(run: Run, sockets: Sockets) -> None:
    client, address = sockets.tcp(), sockets.refusing_address()

    async def main() -> None:
        connect, send = Connect(client, address, flags=LINKED), Send(client, b"x")
        lowlevel.current_proactor().submit(connect, send)
        assert isinstance(await catch(connect), ConnectionRefusedError)
        error = await catch(send)
        assert isinstance(error, OperationCancelled) and error.cause is CancelCause.EARLIER_STEP_FAILED

    run(main)


def test_an_error_of_the_system_is_raised(run: Run, sockets: Sockets) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await Connect(sockets.tcp(), sockets.refusing_address())

    run(main)


# Before anything is submitted ----------------------------------------------------------------------------------------


@pytest.mark.ring_rule(20)
def test_in_a_cancelled_scope_nothing_is_submitted(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        send = Send(near, b"x")
        with CancelScope() as scope:
            scope.cancel()
            await send
        assert scope.cancelled_caught and send.state is OperationState.NEW

    run(main)
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


@pytest.mark.ring_rule(20)
def test_awaiting_is_a_checkpoint_also_when_the_result_is_there(run: Run, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    order = []

    async def main() -> None:
        async with proactor_trio.open_nursery() as nursery:

            async def other() -> None:
                order.append("other")

            nursery.start_soon(other)
            for _ in range(5):
                await Send(near, b"x")
            order.append("main")

    run(main)
    assert order == ["other", "main"]


def test_wrong_arguments_are_raised_at_the_await(run: Run, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()

    async def main() -> None:
        with pytest.raises(ValueError, match="max_bytes"):
            await RecvBytes(near, 0)

    run(main)


def test_outside_of_a_run_awaiting_says_what_is_missing() -> None:
    async def main() -> None:
        await Nop()

    coroutine = main()
    with pytest.raises(RuntimeError, match="only in a task"):
        coroutine.send(None)


def test_multishot_is_refused(run: Run, sockets: Sockets) -> None:
    async def main() -> None:
        accept = Accept(sockets.listener(), flags=OperationFlags.MULTISHOT)
        with pytest.raises(ValueError, match="MULTISHOT"):
            await accept
        assert accept.state is OperationState.NEW

    run(main)


def test_linked_without_a_successor_is_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="last of its batch"):
            await Nop(flags=LINKED)

    run(main)


# Scopes, shields, deadlines ------------------------------------------------------------------------------------------


def test_a_shield_keeps_the_operation_going(run: Run) -> None:
    async def main() -> None:
        with proactor_trio.move_on_after(0.005) as outer:
            with CancelScope(shield=True):
                begin = time.monotonic()
                await Timer(begin + 0.03)
                assert time.monotonic() - begin >= 0.03
            await lowlevel.checkpoint()
        assert outer.cancelled_caught

    run(main)


def test_fail_after_raises_too_slow(run: Run, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()

    async def main() -> None:
        with pytest.raises(proactor_trio.TooSlowError):
            with proactor_trio.fail_after(0.01):
                await RecvBytes(near, 10)

    run(main)


def test_a_cancelled_receive_has_consumed_nothing(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        with proactor_trio.move_on_after(0.01):
            await RecvBytes(near, 10)
        far.stdlib.send(b"kept")
        assert await RecvBytes(near, 10) == b"kept"

    run(main)


def test_an_operation_can_be_awaited_again(run: Run) -> None:
    async def main() -> None:
        nop = Nop()
        for _ in range(10):
            assert await nop is None

    run(main)


def test_an_operation_can_be_awaited_again_after_it_was_cancelled(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        receive = RecvBytes(near, 10)
        with proactor_trio.move_on_after(0.01):
            await receive
        far.stdlib.send(b"x")
        assert await receive == b"x"

    run(main)


def test_cancelling_many_tasks_at_once_ends_them_all(run: Run, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(20)]
    for near, _ in pairs:
        fill(near)

    async def main() -> None:
        with proactor_trio.move_on_after(0.02) as scope:
            async with proactor_trio.open_nursery() as nursery:

                async def work(operation: Operation) -> None:
                    await operation

                for near, _ in pairs:
                    nursery.start_soon(work, RecvBytes(near, 1))
                    nursery.start_soon(work, Send(near, b"x"))
                    nursery.start_soon(work, never())
        assert scope.cancelled_caught
        assert lowlevel.current_proactor().statistics()["in_flight"] == 0

    run(main)


# Joining what was submitted ------------------------------------------------------------------------------------------


def test_steps_of_a_batch_can_be_awaited_one_after_the_other(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> None:
        chain = [Send(near, b"a", flags=LINKED), Send(near, b"b", flags=LINKED), RecvBytes(far, 10)]
        lowlevel.current_proactor().submit(*chain)
        assert [await step for step in chain] == [1, 1, b"ab"]

    run(main)


def test_steps_can_be_awaited_in_any_order(run: Run) -> None:
    async def main() -> None:
        chain = [Timer(time.monotonic() + 0.01, flags=LINKED), Nop(flags=LINKED), Nop()]
        lowlevel.current_proactor().submit(*chain)
        for step in reversed(chain):
            assert await step is None

    run(main)


def test_a_submitted_operation_that_is_done_gives_its_result(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")

    async def main() -> None:
        receive = RecvBytes(near, 10)
        lowlevel.current_proactor().submit(receive)
        while receive.state is not OperationState.DONE:
            await lowlevel.checkpoint()
        assert await receive == b"x"

    run(main)


def test_cancelling_the_task_that_joined_cancels_the_operation(run: Run) -> None:
    async def main() -> None:
        timer = never()
        lowlevel.current_proactor().submit(timer)
        with proactor_trio.move_on_after(0.01) as scope:
            await timer
        assert scope.cancelled_caught and timer.state is OperationState.DONE

    run(main)


@pytest.mark.parametrize("how", ["awaited", "submitted", "linked"])
def test_awaiting_what_another_task_awaits_is_busy(run: Run, how: str) -> None:
    seen = []

    async def main() -> None:
        timer = Timer(time.monotonic() + 0.05, flags=LINKED if how == "linked" else OperationFlags.NONE)
        if how == "linked":
            lowlevel.current_proactor().submit(timer, Nop())
        elif how == "submitted":
            lowlevel.current_proactor().submit(timer)
        async with proactor_trio.open_nursery() as nursery:

            @nursery.start_soon
            async def second() -> None:
                await until_parked(timer)
                seen.append(await catch(timer))

            assert await timer is None

    run(main)
    assert isinstance(seen[0], BusyResourceError)


# KeyboardInterrupt ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("signals")
def test_control_c_while_parked_on_an_operation_ends_the_run(run: Run, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    ended = []

    async def main() -> None:
        async with proactor_trio.open_nursery() as nursery:

            @nursery.start_soon
            async def interrupt() -> None:
                await proactor_trio.testing.wait_all_tasks_blocked()
                signal.raise_signal(signal.SIGINT)

            try:
                await RecvBytes(near, 10)
            finally:
                ended.append(lowlevel.current_proactor().statistics()["in_flight"])

    with pytest.raises(BaseException) as raised:  # a group, or the interrupt itself
        run(main)
    assert raised.group_contains(KeyboardInterrupt) or isinstance(raised.value, KeyboardInterrupt)
    assert len(ended) == 1


@pytest.mark.needs("signals")
def test_control_c_loses_no_byte(run: Run, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    received = []

    async def main() -> None:
        async with proactor_trio.open_nursery() as nursery:

            @nursery.start_soon
            async def interrupt() -> None:
                await proactor_trio.testing.wait_all_tasks_blocked()
                far.stdlib.send(b"x")
                signal.raise_signal(signal.SIGINT)

            received.append(await RecvBytes(near, 10))

    with pytest.raises(BaseException):  # noqa: B017
        run(main)
    near.stdlib.setblocking(True)
    near.stdlib.settimeout(1)
    assert received == [b"x"] or near.stdlib.recv(10) == b"x"


# The run ------------------------------------------------------------------------------------------------------------


def test_the_run_uses_the_named_backend(run: Run, configuration: Any) -> None:
    async def main() -> str:
        return lowlevel.current_statistics().io_statistics.reason

    assert configuration.backend in run(main)


def test_operations_left_in_flight_are_ended_with_the_run(run: Run) -> None:
    timer = never()

    async def main() -> None:
        lowlevel.current_proactor().submit(timer)

    run(main)
    assert timer.state is OperationState.DONE


def test_completion_functions_run_beside_tasks(run: Run) -> None:
    done: list[object] = []

    async def main() -> None:
        lowlevel.current_proactor().submit(Nop(lambda operation, flags: done.append(operation)))
        for _ in range(100):
            if done:
                return
            await lowlevel.checkpoint()

    run(main)
    assert len(done) == 1


def test_a_deadline_at_infinity_waits_for_the_operation(run: Run) -> None:
    async def main() -> None:
        with proactor_trio.move_on_at(math.inf):
            await Timer(time.monotonic() + 0.01)

    run(main)
