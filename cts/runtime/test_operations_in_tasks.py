"""Operations that tasks await: each kind, and what a cancellation tells apart."""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cts.runtime.support import (
    MAP_NORESERVE,
    MORE_THAN_FITS,
    Outcome,
    Ticker,
    cancelled_scope,
    error_when,
    far_timer,
    is_open,
    wait_for,
)
from cts.support import Files, Sockets, pattern, pipe
from proactor_trio import (
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    move_on_after,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint, current_proactor
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    Connect,
    FailedPrecondition,
    File,
    FileClose,
    FileOpen,
    FileRead,
    FileSync,
    FileWrite,
    HandlePoll,
    Nop,
    Operation,
    OperationCancelled,
    OperationState,
    PollEvents,
    Recv,
    RecvBytes,
    Send,
    SocketClose,
    Timer,
)
from proactor_trio.testing import wait_all_tasks_blocked

# Each kind --------------------------------------------------------------------------------------------------------


async def test_a_nop_gives_none() -> None:
    assert await Nop() is None


async def test_a_timer_gives_none_when_its_time_has_come() -> None:
    deadline = time.monotonic() + 0.01
    assert await Timer(deadline) is None
    assert time.monotonic() >= deadline


async def test_a_timer_that_is_over_ends_at_once() -> None:
    await Timer(time.monotonic() - 1)


async def test_readiness_is_given_as_events(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"x")
    assert await HandlePoll(near, PollEvents.IN | PollEvents.OUT) == PollEvents.IN | PollEvents.OUT


async def test_readiness_of_a_pipe_is_waited_for() -> None:
    with pipe() as (reader, writer):
        outcome = Outcome()

        async def wait() -> PollEvents:
            events: PollEvents = await HandlePoll(reader)
            return events

        async with open_nursery() as nursery:
            nursery.start_soon(outcome.of, wait)
            await wait_all_tasks_blocked()
            assert not outcome.done
            os.write(writer, b"x")
        assert outcome.value == PollEvents.IN


async def test_a_connection_is_made_accepted_used_and_closed(sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    assert await Connect(client, listener.getsockname()) is None
    server = sockets.keep(await Accept(listener))
    assert server.getpeername() == client.getsockname()
    assert await Send(client, b"question") == 8
    buffer = bytearray(20)
    assert await Recv(server, buffer) == 8
    assert buffer[:8] == b"question"
    assert await Send(server, b"answer") == 6
    assert await RecvBytes(client, 100) == b"answer"
    assert await SocketClose(client) is None
    assert client.closed
    assert await RecvBytes(server, 100) == b""


async def test_a_whole_transfer_goes_on_until_it_is_complete(sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    data = pattern(MORE_THAN_FITS)
    buffer = bytearray(len(data))
    sent = Outcome()

    async def send() -> int:
        count: int = await Send(near, data, whole=True)
        return count

    async with open_nursery() as nursery:
        nursery.start_soon(sent.of, send)
        assert await Recv(far, buffer, whole=True) == len(data)
    assert sent.value == len(data)
    assert buffer == data


async def test_a_file_is_opened_written_synchronised_read_and_closed(tmp_path: Path) -> None:
    file = await FileOpen(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert isinstance(file, File)
    assert await FileWrite(file, b"0123456789", 0) == 10
    assert await FileSync(file) is None
    buffer = bytearray(4)
    assert await FileRead(file, buffer, 3) == 4
    assert buffer == b"3456"
    descriptor = file.fileno()
    assert await FileClose(file) is None
    assert file.closed and not is_open(descriptor)


async def test_an_error_of_the_system_is_raised_as_its_oserror(tmp_path: Path, sockets: Sockets) -> None:
    with pytest.raises(FileNotFoundError):
        await FileOpen(tmp_path / "none")
    with pytest.raises(ConnectionRefusedError):
        await Connect(sockets.tcp(), sockets.refusing_address())
    with pytest.raises(OSError) as failure:
        await RecvBytes(sockets.tcp(), 10)
    assert failure.value.errno == errno.ENOTCONN


async def test_an_operation_can_be_awaited_again_when_it_is_done(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 100)
    for number in range(5):
        far.stdlib.send(b"%d" % number)
        assert await receive == b"%d" % number


async def test_an_operation_that_failed_can_be_awaited_again(sockets: Sockets, tmp_path: Path) -> None:
    opening = FileOpen(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        await opening
    (tmp_path / "file").touch()
    file = await opening
    assert opening.error is None
    await FileClose(file)


async def test_awaiting_lets_other_tasks_run() -> None:
    ticker = Ticker()
    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        for _ in range(20):
            await Nop()
        assert ticker.count >= 19
        nursery.cancel_scope.cancel()


async def test_memory_that_was_dropped_is_filled_all_the_same(sockets: Sockets) -> None:
    """The operation keeps it alive until it is done."""
    near, far = sockets.unix_pair()
    receive = Recv(near, bytearray(5), whole=True)

    async with open_nursery() as nursery:

        async def wait() -> None:
            assert await receive == 5

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        far.stdlib.send(b"01234")
    assert receive.buffer == b"01234"


@pytest.mark.parametrize("kind", ["recv", "send", "read"])
async def test_memory_of_more_than_the_kernel_takes_at_once_is_cut_not_refused(
    sockets: Sockets, files: Files, kind: str
) -> None:
    near, far = sockets.unix_pair()
    with mmap.mmap(-1, 5 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE) as memory:
        if kind == "recv":
            far.stdlib.send(b"x")
            assert await Recv(near, memory) == 1
        elif kind == "send":
            assert 0 < await Send(near, memory) < 5 << 30
        else:
            assert await FileRead(files.holding(b"0123"), memory, 0) == 4


# Cancelling: what is told apart -----------------------------------------------------------------------------------


async def test_an_operation_in_a_cancelled_scope_is_not_submitted(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    send = Send(near, b"x")
    with cancelled_scope():
        await send
    assert send.state is OperationState.NEW
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(1)


@pytest.mark.parametrize("name", ["timer", "poll", "receive", "accept"])
async def test_an_operation_that_waits_is_cancelled_by_the_scope_around_it(sockets: Sockets, name: str) -> None:
    near, _ = sockets.tcp_pair()
    makers: dict[str, Callable[[], Operation]] = {
        "timer": far_timer,
        "poll": lambda: HandlePoll(near),
        "receive": lambda: RecvBytes(near, 10),
        "accept": lambda: Accept(sockets.listener()),
    }
    operation = makers[name]()
    begun = time.monotonic()
    with move_on_after(0.005) as scope:
        await operation
    assert scope.cancelled_caught
    assert isinstance(operation.error, OperationCancelled)
    assert time.monotonic() - begun < 5


async def test_an_operation_that_another_task_cancels_raises_who_did_it() -> None:
    timer = far_timer()

    async def cancel() -> None:
        assert current_proactor().cancel(timer)

    error = await error_when(cancel, wait_for, timer)
    assert isinstance(error, OperationCancelled)
    assert error.cause is CancelCause.REQUESTED


async def test_an_operation_whose_socket_is_closed_raises_closed(sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()

    async def close() -> None:
        await SocketClose(near)

    assert isinstance(await error_when(close, wait_for, RecvBytes(near, 10)), ClosedResourceError)


async def test_an_operation_on_a_closed_socket_or_file_is_refused(sockets: Sockets, files: Files) -> None:
    near, _ = sockets.tcp_pair()
    file = files.holding()
    await SocketClose(near)
    await FileClose(file)
    for operation in (RecvBytes(near, 1), Send(near, b"x"), SocketClose(near), FileSync(file), FileClose(file)):
        with pytest.raises(ClosedResourceError):
            await operation


async def test_a_scope_that_is_cancelled_together_with_a_close_wins(sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    scope = CancelScope()

    async def receive() -> None:
        with scope:
            await RecvBytes(near, 10)

    async with open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        scope.cancel()
        await SocketClose(near)
    assert scope.cancelled_caught


async def test_a_result_that_came_first_is_returned_to_a_cancelled_task(sockets: Sockets) -> None:
    """The next await raises: nothing was lost, and the cancellation neither."""
    listener = sockets.listener()
    accepted = []
    reached = []
    async with open_nursery() as nursery:

        async def accept() -> None:
            accepted.append(sockets.keep(await Accept(listener)))
            await checkpoint()
            reached.append(True)

        nursery.start_soon(accept)
        await wait_all_tasks_blocked()
        client = sockets.client_of(listener)
        for _ in range(3):
            if accepted:
                break
            await Nop()
        nursery.cancel_scope.cancel()
    if not accepted:
        accepted.append(sockets.keep(await Accept(listener)))
    assert accepted[0].getpeername() == client.getsockname()


async def test_a_transfer_that_was_cancelled_half_way_returns_what_it_moved(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = Recv(near, bytearray(8), whole=True)
    far.stdlib.send(b"012")
    with move_on_after(0.01) as scope:
        assert await receive == 3
        await checkpoint()
    assert scope.cancelled_caught
    assert receive.buffer == b"012\0\0\0\0\0"


async def test_a_shielded_operation_is_left_alone(sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    with CancelScope() as outer:
        outer.cancel()
        with CancelScope(shield=True):
            far.stdlib.send(b"x")
            assert await RecvBytes(near, 10) == b"x"


async def test_two_tasks_cannot_await_one_operation() -> None:
    timer = far_timer()
    async with open_nursery() as nursery:
        nursery.start_soon(wait_for, timer)
        await wait_all_tasks_blocked()
        with pytest.raises((BusyResourceError, FailedPrecondition)):
            await timer
        nursery.cancel_scope.cancel()


async def test_an_operation_that_was_refused_leaves_nothing_in_flight() -> None:
    for wrong in (Timer(float("nan")), HandlePoll(-1), HandlePoll(0, PollEvents.NONE)):
        with pytest.raises(ValueError):
            await wrong
        assert wrong.state is OperationState.NEW
    assert current_proactor().statistics()["in_flight"] == 0
