"""check_two_way_stream() and check_half_closeable_stream()."""

from __future__ import annotations

import random
from typing import Any, Final

from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.abc import HalfCloseableStream, Stream
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.testing.stream_checks.one_way import check_one_way_stream
from proactor_trio.testing.stream_checks.scene import (
    AsyncCall,
    Check,
    StreamMaker,
    checked,
    raises,
    raises_in_nursery,
    require,
    run_checks,
    together,
)
from proactor_trio.testing.waiting import wait_all_tasks_blocked

#: What goes in each direction when both are in use, and the largest piece of it.
_DUPLEX_BYTES: Final = 1024 * 1024
_LARGEST_PIECE: Final = 16 * 1024


async def it_has_both_interfaces(left: Stream, right: Stream) -> None:
    for end in (left, right):
        require(isinstance(end, Stream), f"{end!r} is no Stream")


async def both_directions_work_at_a_time(left: Stream, right: Stream) -> None:
    rightward = random.Random("rightward").randbytes(_DUPLEX_BYTES)
    leftward = random.Random("leftward").randbytes(_DUPLEX_BYTES)
    await together(
        lambda: _send_in_pieces(left, rightward),
        lambda: _send_in_pieces(right, leftward),
        lambda: _receive_in_pieces(right, rightward),
        lambda: _receive_in_pieces(left, leftward),
    )


async def _send_in_pieces(stream: Stream, data: bytes) -> None:
    sizes = random.Random(data[:8])
    unsent = memoryview(data)
    while unsent:
        size = sizes.randint(1, _LARGEST_PIECE)
        await stream.send_all(unsent[:size])
        unsent = unsent[size:]


async def _receive_in_pieces(stream: Stream, expected: bytes) -> None:
    sizes = random.Random(expected[8:16])
    received = bytearray()
    while len(received) < len(expected):
        piece = await stream.receive_some(sizes.randint(1, _LARGEST_PIECE))
        require(piece, f"the stream ended after {len(received)} of {len(expected)} bytes")
        received += piece
    require(received == expected, "what was received is not what was sent")


async def closing_one_end_ends_the_other(left: Stream, right: Stream) -> None:
    async def receive_end() -> None:
        require(await right.receive_some(10) == b"", "data came out of a stream that was closed without sending any")
        await right.aclose()

    await together(receive_end, left.aclose)


TWO_WAY_CHECKS: Final[tuple[Check, ...]] = (
    it_has_both_interfaces,
    both_directions_work_at_a_time,
    closing_one_end_ends_the_other,
)


async def check_two_way_stream(
    stream_maker: StreamMaker[Stream, Stream], clogged_stream_maker: StreamMaker[Stream, Stream] | None
) -> None:
    """Check two connected Streams: each direction as check_one_way_stream() does, and both together.

    The arguments are those of check_one_way_stream(); a clogged pair is clogged in both directions.
    """
    await check_one_way_stream(stream_maker, clogged_stream_maker)
    await check_one_way_stream(
        _turned_around(stream_maker), None if clogged_stream_maker is None else _turned_around(clogged_stream_maker)
    )
    await run_checks(TWO_WAY_CHECKS, stream_maker)


def _turned_around(make: StreamMaker[Any, Any]) -> StreamMaker[Any, Any]:
    async def make_turned_around() -> tuple[Any, Any]:
        left, right = await make()
        return right, left

    return make_turned_around


async def it_has_the_half_closeable_interface(left: HalfCloseableStream, right: HalfCloseableStream) -> None:
    for end in (left, right):
        require(isinstance(end, HalfCloseableStream), f"{end!r} is no HalfCloseableStream")


async def an_ended_direction_leaves_the_other_open(left: HalfCloseableStream, right: HalfCloseableStream) -> None:
    await _send_last(left, right)
    with raises(ClosedResourceError):
        await left.send_all(b"y")
    await checked(left.send_eof())  # again
    await _send_last(right, left)


async def _send_last(sender: HalfCloseableStream, receiver: HalfCloseableStream) -> None:
    async def send() -> None:
        await sender.send_all(b"x")
        await checked(sender.send_eof())

    async def receive() -> None:
        await wait_all_tasks_blocked()  # the sender has ended, or as far as it gets without a receiver
        require(await receiver.receive_some(10) == b"x", "what was sent before send_eof() did not arrive")
        require(await receiver.receive_some(10) == b"", "send_eof() was not the end of the stream")

    await together(send, receive)


HALF_CLOSEABLE_CHECKS: Final[tuple[Check, ...]] = (
    it_has_the_half_closeable_interface,
    an_ended_direction_leaves_the_other_open,
)


async def a_task_cannot_end_the_sending_side_while_another_sends(
    left: HalfCloseableStream, right: HalfCloseableStream
) -> None:
    await _expect_conflict_with_send_eof(left, lambda: left.send_all(b"x"))


async def a_task_cannot_end_the_sending_side_while_another_waits_for_room(
    left: HalfCloseableStream, right: HalfCloseableStream
) -> None:
    await _expect_conflict_with_send_eof(left, left.wait_send_all_might_not_block)


async def _expect_conflict_with_send_eof(stream: HalfCloseableStream, call: AsyncCall) -> None:
    with raises_in_nursery(BusyResourceError):
        async with open_nursery() as nursery:
            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            nursery.start_soon(stream.send_eof)


CLOGGED_HALF_CLOSEABLE_CHECKS: Final[tuple[Check, ...]] = (
    a_task_cannot_end_the_sending_side_while_another_sends,
    a_task_cannot_end_the_sending_side_while_another_waits_for_room,
)


async def check_half_closeable_stream(
    stream_maker: StreamMaker[HalfCloseableStream, HalfCloseableStream],
    clogged_stream_maker: StreamMaker[HalfCloseableStream, HalfCloseableStream] | None,
) -> None:
    """Check two connected HalfCloseableStreams: all that check_two_way_stream() does, and send_eof()."""
    await check_two_way_stream(stream_maker, clogged_stream_maker)
    await run_checks(HALF_CLOSEABLE_CHECKS, stream_maker)
    if clogged_stream_maker is not None:
        await run_checks(CLOGGED_HALF_CLOSEABLE_CHECKS, clogged_stream_maker)
