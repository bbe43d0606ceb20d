"""lowlevel.FdStream: streams over pipes and terminals."""

from __future__ import annotations

import gc
import os
import socket as stdlib_socket
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cts.semantics.support import (
    blocked,
    cancelled_block,
    is_cancel_point,
    is_schedule_point,
    receive_exactly,
)

#: More than a pipe of the usual size holds.
MORE_THAN_A_PIPE_HOLDS = 1024 * 1024

PATTERN = bytes(range(256)) * (MORE_THAN_A_PIPE_HOLDS // 256)


@asynccontextmanager
async def open_pipe(lib: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A sending and a receiving stream."""
    reader, writer = os.pipe()
    async with lib.lowlevel.FdStream(writer) as sender, lib.lowlevel.FdStream(reader) as receiver:
        yield sender, receiver


@asynccontextmanager
async def open_terminal(lib: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The two ends of a pseudo-terminal that passes bytes on as they are."""
    near, far = os.openpty()
    tty.setraw(far)
    async with lib.lowlevel.FdStream(near) as near_stream, lib.lowlevel.FdStream(far) as far_stream:
        yield near_stream, far_stream


both_kinds = pytest.mark.parametrize("open_pair", [open_pipe, open_terminal])

OpenPair = Callable[[Any], Any]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


# Bytes --------------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@both_kinds
async def test_what_is_sent_is_received(lib: Any, open_pair: OpenPair) -> None:
    async with open_pair(lib) as (sender, receiver):
        await sender.send_all(b"first")
        assert await receive_exactly(receiver, 5) == b"first"
        async with lib.open_nursery() as nursery:
            call = await blocked(lib, nursery, receiver.receive_some)
            await sender.send_all(b"second")
        assert call.value == b"second"


@pytest.mark.semantics(31)
@both_kinds
async def test_more_than_fits_is_sent_while_it_is_received(lib: Any, open_pair: OpenPair) -> None:
    async with open_pair(lib) as (sender, receiver), lib.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, PATTERN)
        assert await receive_exactly(receiver, len(PATTERN)) == PATTERN


async def test_a_terminal_carries_both_directions_at_a_time(lib: Any) -> None:
    async with open_terminal(lib) as (near, far), lib.open_nursery() as nursery:
        nursery.start_soon(near.send_all, PATTERN)
        nursery.start_soon(far.send_all, PATTERN[::-1])
        nursery.start_soon(_receive_and_compare, near, PATTERN[::-1])
        await _receive_and_compare(far, PATTERN)


async def _receive_and_compare(stream: Any, expected: bytes) -> None:
    assert await receive_exactly(stream, len(expected)) == expected


@pytest.mark.semantics(31)
async def test_no_more_than_asked_for_is_received(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await sender.send_all(b"abcdef")
        assert [await receiver.receive_some(size) for size in (1, 2, 100)] == [b"a", b"bc", b"def"]


async def test_a_huge_limit_is_only_a_limit(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await sender.send_all(b"abc")
        assert await receiver.receive_some(64 * 1024 * 1024) == b"abc"


@pytest.mark.semantics(31)
async def test_the_end_comes_after_the_last_bytes_and_again(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await sender.send_all(b"last")
        await sender.aclose()
        assert [await receiver.receive_some() for _ in range(3)] == [b"last", b"", b""]


@pytest.mark.semantics(2)
async def test_iterating_gives_the_bytes_up_to_the_end(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await sender.send_all(b"abc")
        await sender.aclose()
        assert b"".join([piece async for piece in receiver]) == b"abc"


@pytest.mark.parametrize("data", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("H")])
async def test_all_that_has_bytes_can_be_sent(lib: Any, data: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        if lib.is_trio and len(data) == 2:
            data = data.tobytes()  # it counts elements for bytes
        await sender.send_all(data)
        assert await receive_exactly(receiver, 4) == b"abcd"


async def test_a_file_is_received_like_a_stream(lib: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    async with lib.lowlevel.FdStream(os.open(path, os.O_RDONLY)) as stream:
        assert await stream.receive_some() == b"content"
        assert await stream.receive_some() == b""


@pytest.mark.semantics(31)
async def test_pipes_pass_the_stream_checks(lib: Any) -> None:
    async def make_pair() -> tuple[Any, Any]:
        reader, writer = os.pipe()
        return lib.lowlevel.FdStream(writer), lib.lowlevel.FdStream(reader)

    async def make_clogged_pair() -> tuple[Any, Any]:
        sender, receiver = await make_pair()
        clog(sender.fileno())
        return sender, receiver

    await lib.testing.check_one_way_stream(make_pair, make_clogged_pair)


@pytest.mark.semantics(31)
async def test_two_pipes_stapled_together_pass_the_stream_checks(lib: Any) -> None:
    async def make_pair() -> tuple[Any, Any]:
        pipes = [tuple(map(lib.lowlevel.FdStream, os.pipe())) for _ in range(2)]
        return lib.StapledStream(pipes[0][1], pipes[1][0]), lib.StapledStream(pipes[1][1], pipes[0][0])

    # Without clogged pairs: send_eof() closes the one pipe, also while somebody sends.
    await lib.testing.check_half_closeable_stream(make_pair, None)


@pytest.mark.semantics(31)
async def test_the_two_ends_of_a_socket_pass_the_stream_checks(lib: Any) -> None:
    async def make_pair() -> tuple[Any, Any]:
        near, far = stdlib_socket.socketpair()
        return lib.lowlevel.FdStream(near.detach()), lib.lowlevel.FdStream(far.detach())

    await lib.testing.check_two_way_stream(make_pair, None)


def clog(descriptor: int) -> None:
    """Write until there is no room."""
    while True:
        try:
            os.write(descriptor, b"x" * 4096)
        except BlockingIOError:
            return


# Checkpoints, conflicts, cancellation ------------------------------------------------------------------------------


@pytest.mark.semantics(1, 31)
@both_kinds
async def test_calls_that_need_not_wait_are_checkpoints(lib: Any, open_pair: OpenPair) -> None:
    async with open_pair(lib) as (sender, receiver):
        await sender.send_all(b"abcdef")
        for call, *args in (
            (sender.send_all, b"x"),
            (sender.send_all, b""),
            (sender.wait_send_all_might_not_block,),
            (receiver.receive_some, 1),
        ):
            assert await is_cancel_point(lib, call, *args)
            assert await is_schedule_point(lib, call, *args)


@pytest.mark.semantics(31)
async def test_two_tasks_may_not_receive_at_a_time(lib: Any) -> None:
    async with open_pipe(lib) as (_, receiver), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, receiver.receive_some)
        with pytest.raises(lib.BusyResourceError):
            await receiver.receive_some()
        assert not call.done
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(31)
async def test_two_tasks_may_not_send_at_a_time(lib: Any) -> None:
    async with open_pipe(lib) as (sender, _), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, sender.send_all, PATTERN)
        with pytest.raises(lib.BusyResourceError):
            await sender.send_all(b"x")
        with pytest.raises(lib.BusyResourceError):
            await sender.wait_send_all_might_not_block()
        assert not call.done
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(31)
async def test_who_waits_for_room_sends(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver), lib.open_nursery() as nursery:
        with lib.move_on_after(0.001):
            await sender.send_all(PATTERN)
        call = await blocked(lib, nursery, sender.wait_send_all_might_not_block)
        with pytest.raises(lib.BusyResourceError):
            await sender.send_all(b"x")
        await receiver.receive_some(MORE_THAN_A_PIPE_HOLDS)
        await lib.testing.wait_all_tasks_blocked()
        assert call.done and call.error is None


@both_kinds
async def test_a_cancelled_receive_has_taken_nothing(lib: Any, open_pair: OpenPair) -> None:
    async with open_pair(lib) as (sender, receiver):
        with lib.move_on_after(0.001) as scope:
            await receiver.receive_some()
        assert scope.cancelled_caught
        await sender.send_all(b"abc")
        with cancelled_block(lib):
            await receiver.receive_some()
        assert await receiver.receive_some() == b"abc"


@both_kinds
async def test_a_cancellation_that_races_with_the_bytes_loses_none(lib: Any, open_pair: OpenPair) -> None:
    async with open_pair(lib) as (sender, receiver):
        for _ in range(20):
            received = b""
            async with lib.open_nursery() as nursery:
                with lib.CancelScope() as scope:
                    nursery.start_soon(_send_and_cancel, lib, sender, scope)
                    received = await receiver.receive_some()
            assert (received or await receiver.receive_some()) == b"abc"


async def _send_and_cancel(lib: Any, sender: Any, scope: Any) -> None:
    await lib.testing.wait_all_tasks_blocked()
    await sender.send_all(b"abc")
    scope.cancel()


async def test_a_cancelled_send_sends_nothing_if_it_was_cancelled_before(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        with cancelled_block(lib):
            await sender.send_all(b"not this")
        await sender.send_all(b"this")
        assert await receiver.receive_some() == b"this"


async def test_a_send_that_is_cancelled_half_way_has_sent_a_beginning(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        with lib.move_on_after(0.001) as scope:
            await sender.send_all(PATTERN)
        assert scope.cancelled_caught
        await sender.aclose()
        received = b"".join([piece async for piece in receiver])
        assert received and received == PATTERN[: len(received)]


# Closing ------------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@both_kinds
@pytest.mark.parametrize("gracefully", [True, False])
async def test_closing_ends_a_receive_of_another_task(lib: Any, open_pair: OpenPair, gracefully: bool) -> None:
    async with open_pair(lib) as (_, receiver), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, receiver.receive_some)
        if gracefully:
            await receiver.aclose()
        else:
            receiver.close()
    assert isinstance(call.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
@pytest.mark.parametrize("gracefully", [True, False])
async def test_closing_ends_a_send_of_another_task(lib: Any, gracefully: bool) -> None:
    async with open_pipe(lib) as (sender, _), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, sender.send_all, PATTERN)
        if gracefully:
            await sender.aclose()
        else:
            sender.close()
    assert isinstance(call.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_closing_ends_a_wait_for_room(lib: Any) -> None:
    async with open_pipe(lib) as (sender, _), lib.open_nursery() as nursery:
        with lib.move_on_after(0.001):
            await sender.send_all(PATTERN)
        call = await blocked(lib, nursery, sender.wait_send_all_might_not_block)
        await sender.aclose()
    assert isinstance(call.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_a_closed_stream_refuses_everything_also_sending_nothing(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await sender.aclose()
        await receiver.aclose()
        for call, *args in (
            (sender.send_all, b"x"),
            (sender.send_all, b""),
            (sender.wait_send_all_might_not_block,),
            (receiver.receive_some,),
        ):
            with pytest.raises(lib.ClosedResourceError):
                await call(*args)


@both_kinds
@pytest.mark.parametrize("is_used", [False, True])
async def test_the_descriptor_is_closed_when_aclose_returns(lib: Any, open_pair: OpenPair, is_used: bool) -> None:
    async with open_pair(lib) as (_, receiver), lib.open_nursery() as nursery:
        number = receiver.fileno()
        if is_used:
            await blocked(lib, nursery, receiver.receive_some)
        await receiver.aclose()
        assert not is_open(number)
        assert receiver.fileno() == -1


@pytest.mark.semantics(31)
@pytest.mark.parametrize("is_used", [False, True])
async def test_aclose_closes_also_when_it_is_cancelled(lib: Any, is_used: bool) -> None:
    async with open_pipe(lib) as (_, receiver), lib.open_nursery() as nursery:
        number = receiver.fileno()
        if is_used:
            await blocked(lib, nursery, receiver.receive_some)
        with cancelled_block(lib):
            await receiver.aclose()
        assert not is_open(number)


async def test_the_peer_sees_the_end_of_a_stream_that_was_closed_in_use(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver), lib.open_nursery() as nursery:
        await blocked(lib, nursery, receiver.receive_some)
        receiver.close()
        await lib.testing.wait_all_tasks_blocked()
        with pytest.raises(lib.BrokenResourceError):
            await sender.send_all(b"x")


async def test_a_number_that_was_given_away_is_not_read_from(lib: Any) -> None:
    """The receive may have begun in this very tick; closing must not let it meet the next file of that number."""
    for _ in range(20):
        reader, writer = os.pipe()
        receiver = lib.lowlevel.FdStream(reader)
        has_begun = False
        new: list[int] = []

        async def receive() -> None:
            nonlocal has_begun
            has_begun = True
            with pytest.raises(lib.ClosedResourceError):
                await receiver.receive_some()  # noqa: B023

        async def close() -> None:
            while not has_begun:  # noqa: B023
                await lib.lowlevel.checkpoint()
            receiver.close()  # noqa: B023
            new.extend(os.pipe())  # noqa: B023
            os.write(new[1], b"to be kept")  # noqa: B023

        async with lib.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(close)
        assert os.read(new[0], 100) == b"to be kept"
        for descriptor in (writer, *new):
            os.close(descriptor)


async def test_closing_twice_is_harmless_and_a_checkpoint(lib: Any) -> None:
    async with open_pipe(lib) as (_, receiver):
        await receiver.aclose()
        receiver.close()
        assert await is_schedule_point(lib, receiver.aclose)


async def test_a_dropped_stream_closes_its_descriptor(lib: Any) -> None:
    reader, writer = os.pipe()
    stream = lib.lowlevel.FdStream(reader)
    del stream
    gc.collect()
    assert not is_open(reader)
    os.close(writer)


@pytest.mark.semantics(31)
async def test_nobody_can_receive_any_more(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        await receiver.aclose()
        with pytest.raises(lib.BrokenResourceError):
            await sender.send_all(b"x")


@pytest.mark.semantics(31)
async def test_the_receiver_goes_away_while_a_send_waits(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, sender.send_all, PATTERN)
        await receiver.aclose()
    assert isinstance(call.error, lib.BrokenResourceError)


async def test_a_terminal_whose_other_end_is_gone_is_broken(lib: Any) -> None:
    async with open_terminal(lib) as (near, far), lib.open_nursery() as nursery:
        call = await blocked(lib, nursery, near.receive_some)
        await far.aclose()
    assert isinstance(call.error, lib.BrokenResourceError)


@pytest.mark.semantics(31)
async def test_the_wrong_end_of_a_pipe_is_refused(lib: Any) -> None:
    async with open_pipe(lib) as (sender, receiver):
        for call, *args in ((sender.receive_some,), (receiver.send_all, b"x")):
            with pytest.raises(lib.ClosedResourceError):  # EBADF says both "closed" and "not open for that"
                await call(*args)


# The open file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("was_blocking", [True, False])
@pytest.mark.parametrize("is_used", [False, True])
async def test_blocking_mode_is_as_before_when_the_stream_is_closed(
    lib: Any, was_blocking: bool, is_used: bool
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, was_blocking)
    duplicate = os.dup(reader)
    stream = lib.lowlevel.FdStream(reader)
    assert not os.get_blocking(duplicate)
    async with lib.open_nursery() as nursery:
        if is_used:
            nursery.start_soon(_receive_until_closed, lib, stream)
            await lib.testing.wait_all_tasks_blocked()
        await stream.aclose()
    assert os.get_blocking(duplicate) == was_blocking
    os.close(duplicate)
    os.close(writer)


async def _receive_until_closed(lib: Any, stream: Any) -> None:
    with pytest.raises(lib.ClosedResourceError):
        await stream.receive_some()


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptor", [None, "1", 1.0])
def test_what_is_no_number_is_refused(lib: Any, descriptor: Any) -> None:
    with pytest.raises(TypeError):
        lib.lowlevel.FdStream(descriptor)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # real Trio closes it once more
def test_a_closed_descriptor_is_refused(lib: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError):
        lib.lowlevel.FdStream(reader)


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (1.5, TypeError)])
async def test_a_bad_number_of_bytes_is_refused(lib: Any, size: Any, error: type[Exception]) -> None:
    async with open_pipe(lib) as (_, receiver):
        with pytest.raises(error):
            await receiver.receive_some(size)


async def test_text_cannot_be_sent(lib: Any) -> None:
    async with open_pipe(lib) as (sender, _):
        with pytest.raises(TypeError):
            await sender.send_all("text")


def test_there_are_no_subclasses(lib: Any) -> None:
    with pytest.raises(TypeError):
        type("Subclass", (lib.lowlevel.FdStream,), {})
