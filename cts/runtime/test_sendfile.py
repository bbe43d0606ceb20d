"""sendfile(), and operations whose deadline is the task's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cts.runtime.conftest import Pair
from proactor_trio import (
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    TooSlowError,
    current_time,
    fail_after,
    open_file,
    open_nursery,
    sendfile,
)
from proactor_trio.abc import ReceiveStream
from proactor_trio.lowlevel import perform_by_deadline
from proactor_trio.proactor import Nop, Timer
from proactor_trio.testing import wait_all_tasks_blocked

CONTENTS = bytes(range(256)) * 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS)
    return path


async def receive_all(stream: ReceiveStream) -> bytes:
    return b"".join([bytes(piece) async for piece in stream])


class Sending:
    """Sends in a task, and ends the sending side."""

    def __init__(self, pair: Pair, path: Path) -> None:
        self.near, self.far = pair
        self.path = path
        self.sent = -1

    async def __call__(self, offset: int = 0, count: int | None = None) -> None:
        async with await open_file(self.path, "rb", buffering=0) as file:
            self.sent = await sendfile(file, self.near, offset=offset, count=count)
        await self.near.send_eof()

    async def received(self, offset: int = 0, count: int | None = None) -> bytes:
        async with open_nursery() as nursery:
            nursery.start_soon(self, offset, count)
            return await receive_all(self.far)


async def test_a_whole_file_arrives(pair: Pair, path: Path) -> None:
    sending = Sending(pair, path)
    assert await sending.received() == CONTENTS
    assert sending.sent == len(CONTENTS)


async def test_a_part_of_a_file_arrives(pair: Pair, path: Path) -> None:
    assert await Sending(pair, path).received(1000, 70_000) == CONTENTS[1000:71_000]


async def test_fewer_bytes_are_sent_where_the_file_ends(pair: Pair, path: Path) -> None:
    sending = Sending(pair, path)
    assert await sending.received(len(CONTENTS) - 10, 100) == CONTENTS[-10:]
    assert sending.sent == 10


async def test_nothing_is_sent_behind_the_end(pair: Pair, path: Path) -> None:
    assert await Sending(pair, path).received(len(CONTENTS) + 10) == b""


async def test_the_position_of_the_file_stays(pair: Pair, path: Path) -> None:
    near, far = pair
    async with await open_file(path, "rb", buffering=0) as file:
        await sendfile(file, near, offset=5, count=10)
        assert await file.tell() == 0
    assert await far.receive_some() == CONTENTS[5:15]


async def test_nobody_else_sends_meanwhile(pair: Pair, path: Path) -> None:
    near, _ = pair
    async with await open_file(path, "rb", buffering=0) as file, open_nursery() as nursery:
        nursery.start_soon(sendfile_for_ever, file, near)
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.send_all(b"x")
        nursery.cancel_scope.cancel()


async def sendfile_for_ever(file: object, stream: object) -> None:
    while True:
        await sendfile(file, stream)  # type: ignore[arg-type]


async def test_it_can_be_cancelled(pair: Pair, path: Path) -> None:
    near, _ = pair
    async with await open_file(path, "rb", buffering=0) as file:
        with CancelScope() as scope:
            async with open_nursery() as nursery:
                nursery.start_soon(sendfile_for_ever, file, near)
                await wait_all_tasks_blocked()
                scope.cancel()
    assert scope.cancelled_caught


async def test_a_closed_stream_refuses(pair: Pair, path: Path) -> None:
    near, _ = pair
    await near.aclose()
    async with await open_file(path, "rb", buffering=0) as file:
        with pytest.raises(ClosedResourceError):
            await sendfile(file, near)


async def test_what_is_no_socket_stream_is_refused(path: Path) -> None:
    async with await open_file(path, "rb", buffering=0) as file:
        with pytest.raises(TypeError):
            await sendfile(file, object())  # type: ignore[arg-type]


async def test_a_buffered_file_is_refused(pair: Pair, path: Path) -> None:
    async with await open_file(path, "rb") as file:
        with pytest.raises(TypeError):
            await sendfile(file, pair[0])  # type: ignore[arg-type]


async def test_a_negative_count_is_refused(pair: Pair, path: Path) -> None:
    async with await open_file(path, "rb", buffering=0) as file:
        with pytest.raises(ValueError, match="count"):
            await sendfile(file, pair[0], count=-1)


# The task's deadline for one operation ----------------------------------------------------------------------------


async def test_the_deadline_of_the_scope_ends_the_operation_and_the_scope_takes_it() -> None:
    with CancelScope(deadline=current_time() + 0.01) as scope:
        await perform_by_deadline(Timer(current_time() + 1000))
    assert scope.cancelled_caught


async def test_a_deadline_that_fails_is_too_slow() -> None:
    with pytest.raises(TooSlowError), fail_after(0.01):
        await perform_by_deadline(Timer(current_time() + 1000))


async def test_without_a_deadline_it_is_performed_like_any_other() -> None:
    with CancelScope(shield=True):
        assert await perform_by_deadline(Nop()) is None


async def test_the_operation_has_no_deadline_afterwards() -> None:
    operation = Nop()
    with CancelScope(deadline=current_time() + 1000):
        await perform_by_deadline(operation)
    assert operation.expires is None


async def test_in_a_cancelled_scope_nothing_is_submitted() -> None:
    operation = Timer(current_time() + 1000)
    with CancelScope() as scope:
        scope.cancel()
        await perform_by_deadline(operation)
    assert operation.state.value == "new"
