"""SocketStream: sending, receiving, ending, closing, cancelling, on TCP and Unix sockets."""

from __future__ import annotations

import array
import os
import random
import socket as stdlib_socket
import struct
from collections.abc import Callable

import pytest

from cts.runtime.conftest import Pair
from cts.runtime.support import (
    MORE_THAN_FITS,
    Outcome,
    Ticker,
    cancelled_scope,
    error_when,
    is_open,
    receive_exactly,
    receive_until_end,
)
from cts.support import LOOPBACK, Sockets, close_with_reset, fill, pattern
from proactor_trio import (
    BrokenResourceError,
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    SocketStream,
    move_on_after,
    open_nursery,
    open_tcp_listeners,
    open_tcp_stream,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Recv, Socket
from proactor_trio.testing import wait_all_tasks_blocked

# What a stream is made of -----------------------------------------------------------------------------------------


async def test_a_stream_needs_a_socket_of_the_proactor() -> None:
    with stdlib_socket.socket() as plain, pytest.raises(TypeError, match="socket must be"):
        SocketStream(plain)  # type: ignore[arg-type]


async def test_a_stream_needs_a_stream_socket(sockets: Sockets) -> None:
    datagrams = sockets.keep(Socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM))
    with pytest.raises(ValueError, match="stream socket"):
        SocketStream(datagrams)


async def test_a_stream_needs_a_connected_socket(sockets: Sockets) -> None:
    with pytest.raises(OSError):
        SocketStream(sockets.tcp())


async def test_tcp_streams_do_not_delay_small_sends(tcp_pair: Pair) -> None:
    for stream in tcp_pair:
        assert stream.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)


async def test_connected_and_accepted_streams_do_not_delay_small_sends() -> None:
    (listener,) = await open_tcp_listeners(0, host=LOOPBACK)
    async with listener:
        port = listener.socket.getsockname()[1]
        async with await open_tcp_stream(LOOPBACK, port) as near, await listener.accept() as far:
            for stream in (near, far):
                assert stream.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)


async def test_options_that_are_set_are_read_back(pair: Pair) -> None:
    near, _ = pair
    near.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1)
    assert near.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE) == 1


async def test_an_option_is_read_as_bytes_of_the_size_that_is_asked_for(pair: Pair) -> None:
    near, _ = pair
    raw = near.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_TYPE, 4)
    assert raw == struct.pack("i", stdlib_socket.SOCK_STREAM)


async def test_setting_an_option_takes_a_value_or_a_length(pair: Pair) -> None:
    near, _ = pair
    with pytest.raises(TypeError, match="value"):
        near.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE)
    with pytest.raises(TypeError, match="value"):
        near.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE, 1, 4)


async def test_options_of_a_closed_stream_are_refused(pair: Pair) -> None:
    near, _ = pair
    await near.aclose()
    with pytest.raises(ClosedResourceError):
        near.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_KEEPALIVE)


# Sending and receiving --------------------------------------------------------------------------------------------


async def test_what_is_sent_is_received(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"request")
    assert await far.receive_some() == b"request"
    await far.send_all(b"answer")
    assert await near.receive_some() == b"answer"


async def test_a_receive_waits_for_bytes(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        assert not outcome.done
        await far.send_all(b"x")
    assert outcome.value == b"x"


async def test_received_bytes_are_bytes(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"x")
    assert type(await far.receive_some()) is bytes


async def test_the_end_of_the_stream_is_empty_and_stays(pair: Pair) -> None:
    near, far = pair
    await near.aclose()
    assert [await far.receive_some() for _ in range(3)] == [b"", b"", b""]


async def test_bytes_that_were_sent_before_the_end_come_before_it(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"last words")
    await near.aclose()
    assert await receive_until_end(far) == b"last words"


async def test_iterating_gives_all_bytes_up_to_the_end(pair: Pair) -> None:
    near, far = pair
    received = bytearray()

    async def iterate() -> None:
        async for piece in far:
            received.extend(piece)

    async with open_nursery() as nursery:
        nursery.start_soon(iterate)
        for number in range(50):
            await near.send_all(pattern(100, number))
        await near.aclose()
    assert received == b"".join(pattern(100, number) for number in range(50))


@pytest.mark.parametrize("max_bytes", [1, 3, 7, 100])
async def test_a_receive_gives_at_most_what_was_asked_for_and_keeps_the_rest(pair: Pair, max_bytes: int) -> None:
    near, far = pair
    await near.send_all(b"0123456")
    await near.aclose()
    pieces = [await far.receive_some(max_bytes) for _ in range(8)]
    assert b"".join(pieces) == b"0123456"
    assert all(len(piece) <= max_bytes for piece in pieces)


async def test_the_limit_of_one_receive_does_not_stay_for_the_next(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"0123456")
    assert await far.receive_some(2) == b"01"
    assert await far.receive_some() == b"23456"


@pytest.mark.parametrize("max_bytes", [65536, 65537, 1 << 20])
async def test_a_large_limit_is_no_obstacle(pair: Pair, max_bytes: int) -> None:
    near, far = pair
    await near.send_all(b"x")
    assert await far.receive_some(max_bytes) == b"x"


@pytest.mark.parametrize("max_bytes", [(1 << 31) - 1, 1 << 32, 1 << 40, 1 << 70])
async def test_a_limit_beyond_all_memory_is_no_obstacle(pair: Pair, max_bytes: int) -> None:
    """It is a limit, not an amount that is to be made ready."""
    near, far = pair
    await near.send_all(b"x")
    assert await far.receive_some(max_bytes) == b"x"


@pytest.mark.parametrize("max_bytes", [0, -1])
async def test_a_limit_below_one_is_refused(pair: Pair, max_bytes: int) -> None:
    near, _ = pair
    with pytest.raises(ValueError, match="max_bytes"):
        await near.receive_some(max_bytes)


@pytest.mark.parametrize("max_bytes", [1.5, "1", b"1"])
async def test_a_limit_that_is_no_integer_is_refused(pair: Pair, max_bytes: int) -> None:
    near, _ = pair
    with pytest.raises(TypeError, match="max_bytes"):
        await near.receive_some(max_bytes)


async def test_a_refused_receive_leaves_the_stream_usable(pair: Pair) -> None:
    near, far = pair
    with pytest.raises(ValueError):
        await near.receive_some(0)
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_every_kind_of_byte_memory_can_be_sent(pair: Pair, kind: Callable[[bytes], bytes]) -> None:
    near, far = pair
    await near.send_all(kind(b"some bytes"))
    assert await receive_exactly(far, 10) == b"some bytes"


async def test_memory_of_items_that_are_no_bytes_is_sent_as_its_bytes(pair: Pair) -> None:
    near, far = pair
    numbers = array.array("I", range(1000))
    await near.send_all(memoryview(numbers))
    assert await receive_exactly(far, len(numbers) * numbers.itemsize) == numbers.tobytes()


async def test_much_memory_of_items_that_are_no_bytes_is_sent_whole(pair: Pair) -> None:
    near, far = pair
    numbers = array.array("Q", range(500_000))
    async with open_nursery() as nursery:
        nursery.start_soon(near.send_all, memoryview(numbers))
        assert await receive_exactly(far, len(numbers) * numbers.itemsize) == numbers.tobytes()


async def test_memory_of_which_the_kernel_takes_as_many_bytes_as_there_are_items_is_sent_whole(
    make_pair: Callable[[str], Pair], sockets: Sockets
) -> None:
    """A partial send whose count equals `len(data)` is not all of it."""
    taken_at_once = sockets.unix_pair()[0].stdlib.send(bytes(MORE_THAN_FITS))
    near, far = make_pair("unix")
    numbers = array.array("Q", range(taken_at_once))

    async def send() -> None:
        await near.send_all(memoryview(numbers))
        await near.aclose()

    async with open_nursery() as nursery:
        nursery.start_soon(send)
        received = await receive_until_end(far)
    assert len(received) == len(numbers) * numbers.itemsize
    assert received == numbers.tobytes()


async def test_sending_memory_of_wide_items_lets_other_tasks_run(pair: Pair) -> None:
    near, far = pair
    ticker = Ticker()
    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        for _ in range(20):
            await near.send_all(memoryview(array.array("Q", [1, 2])))
        assert ticker.count >= 19
        nursery.cancel_scope.cancel()
    assert len(await receive_exactly(far, 320)) == 320


async def test_sending_nothing_sends_nothing(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"")
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


@pytest.mark.parametrize("data", ["text", 5, None])
async def test_sending_what_is_no_memory_is_refused_and_leaves_the_stream_usable(pair: Pair, data: bytes) -> None:
    near, far = pair
    with pytest.raises(TypeError):
        await near.send_all(data)
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


async def test_a_large_transfer_both_ways_at_once_with_slow_readers_is_exact(pair: Pair) -> None:
    length = 10 * 1024 * 1024
    results: dict[int, bytes] = {}

    async def receive_slowly(stream: SocketStream, number: int) -> None:
        received = bytearray()
        while piece := await stream.receive_some(random.Random(number).choice([8192, 65536])):
            received += piece
            if len(received) % 7 == 0:
                await checkpoint()
        results[number] = bytes(received)

    async def send(stream: SocketStream, number: int) -> None:
        await stream.send_all(pattern(length, number))
        await stream.send_eof()

    async with open_nursery() as nursery:
        for number, stream in enumerate(pair):
            nursery.start_soon(send, stream, number)
            nursery.start_soon(receive_slowly, stream, number)
    assert results[0] == pattern(length, 1)
    assert results[1] == pattern(length, 0)


async def test_a_sender_waits_for_a_reader(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.send_all, bytes(MORE_THAN_FITS))
        await wait_all_tasks_blocked()
        assert not outcome.done
        assert len(await receive_exactly(far, MORE_THAN_FITS)) == MORE_THAN_FITS


async def test_the_memory_of_a_blocked_send_cannot_be_resized(pair: Pair) -> None:
    near, far = pair
    data = bytearray(MORE_THAN_FITS)
    async with open_nursery() as nursery:
        nursery.start_soon(near.send_all, data)
        await wait_all_tasks_blocked()
        with pytest.raises(BufferError):
            data.append(0)
        await receive_exactly(far, MORE_THAN_FITS)
    data.append(0)


# Two tasks at once ------------------------------------------------------------------------------------------------


async def test_a_second_receive_at_the_same_time_is_refused(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError, match="receiving"):
            await near.receive_some()
        await far.send_all(b"x")
    assert outcome.value == b"x"


async def test_a_second_send_at_the_same_time_is_refused(pair: Pair) -> None:
    near, far = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(MORE_THAN_FITS))
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError, match="sending"):
            await near.send_all(b"x")
        await receive_exactly(far, MORE_THAN_FITS)


async def test_a_send_that_goes_through_at_once_refuses_another_until_it_returns(pair: Pair) -> None:
    near, far = pair
    errors = []

    async def send() -> None:
        try:
            await near.send_all(b"x")
        except BusyResourceError as error:
            errors.append(error)

    async with open_nursery() as nursery:
        nursery.start_soon(send)
        nursery.start_soon(send)
    assert len(errors) == 1
    assert await far.receive_some() == b"x"


@pytest.mark.parametrize("call", ["send_eof", "wait_send_all_might_not_block"])
async def test_ending_and_waiting_for_room_conflict_with_a_send(pair: Pair, call: str) -> None:
    near, far = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(MORE_THAN_FITS))
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError, match="sending"):
            await getattr(near, call)()
        await receive_exactly(far, MORE_THAN_FITS)


async def test_a_send_that_comes_while_the_end_is_under_way_sends_nothing(make_pair: Callable[[str], Pair]) -> None:
    for _ in range(10):  # the order of the two in a tick is random
        near, far = make_pair("unix")
        outcome = Outcome()
        async with open_nursery() as nursery:
            nursery.start_soon(outcome.of, near.send_all, b"x")
            await near.send_eof()
        assert isinstance(outcome.error, (BusyResourceError, ClosedResourceError))
        assert await far.receive_some() == b""


async def test_sending_and_receiving_at_the_same_time_is_no_conflict(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        await near.send_all(b"x")
        assert await far.receive_some() == b"x"
        await far.send_all(b"y")
    assert outcome.value == b"y"


async def test_a_conflict_does_not_end_the_first_receive(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        for _ in range(3):
            with pytest.raises(BusyResourceError):
                await near.receive_some(1)
        await far.send_all(b"whole")
    assert outcome.value == b"whole"


# Closing ----------------------------------------------------------------------------------------------------------


async def test_a_receive_ends_when_its_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    assert isinstance(await error_when(near.aclose, near.receive_some), ClosedResourceError)


async def test_a_send_ends_when_its_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    assert isinstance(await error_when(near.aclose, near.send_all, bytes(MORE_THAN_FITS)), ClosedResourceError)


async def test_both_directions_end_when_their_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    outcomes = [Outcome(), Outcome()]
    async with open_nursery() as nursery:
        nursery.start_soon(outcomes[0].of, near.receive_some)
        nursery.start_soon(outcomes[1].of, near.send_all, bytes(MORE_THAN_FITS))
        await wait_all_tasks_blocked()
        await near.aclose()
    assert [type(outcome.error) for outcome in outcomes] == [ClosedResourceError, ClosedResourceError]


async def test_the_peer_sees_the_end_when_a_stream_is_closed_under_a_receive(pair: Pair) -> None:
    near, far = pair
    await error_when(near.aclose, near.receive_some)
    assert await far.receive_some() == b""


async def test_closing_twice_is_harmless(pair: Pair) -> None:
    near, _ = pair
    await near.aclose()
    await near.aclose()


async def test_two_tasks_may_close_at_once(pair: Pair) -> None:
    near, _ = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.aclose)
        nursery.start_soon(near.aclose)


async def test_the_descriptor_is_gone_when_aclose_returns(pair: Pair) -> None:
    near, _ = pair
    descriptor = near.socket.fileno()
    await near.aclose()
    assert not is_open(descriptor)


async def test_the_descriptor_is_gone_when_aclose_returns_that_ended_a_receive(pair: Pair) -> None:
    near, _ = pair
    descriptor = near.socket.fileno()
    await error_when(near.aclose, near.receive_some)
    assert not is_open(descriptor)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("receive_some", ()), ("send_all", (b"x",)), ("send_all", (b"",)), ("send_eof", ()),
     ("wait_send_all_might_not_block", ())],
)  # fmt: skip
async def test_a_closed_stream_refuses_to_be_used(pair: Pair, call: str, arguments: tuple[bytes, ...]) -> None:
    near, _ = pair
    await near.aclose()
    with pytest.raises(ClosedResourceError):
        await getattr(near, call)(*arguments)


async def test_a_closed_stream_refuses_its_end_also_when_that_was_sent_before(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    await near.aclose()
    with pytest.raises(ClosedResourceError):
        await near.send_eof()


async def test_a_block_closes_its_stream(pair: Pair) -> None:
    near, far = pair
    async with near:
        await near.send_all(b"x")
    assert await receive_until_end(far) == b"x"


async def test_a_cancelled_close_closes_all_the_same(pair: Pair) -> None:
    near, far = pair
    descriptor = near.socket.fileno()
    with cancelled_scope():
        await near.aclose()
    assert await far.receive_some() == b""
    assert not is_open(descriptor)


async def test_a_cancelled_block_closes_its_stream(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.01) as scope:
        async with near:
            await near.receive_some()
    assert scope.cancelled_caught
    assert await far.receive_some() == b""


async def test_closing_one_stream_ends_nothing_on_the_next_with_the_same_descriptor(
    make_pair: Callable[[str], Pair],
) -> None:
    first, _ = make_pair("unix")
    number = first.socket.fileno()
    await first.aclose()
    second, peer = make_pair("unix")
    assert number in (second.socket.fileno(), peer.socket.fileno())
    await second.send_all(b"x")
    assert await peer.receive_some() == b"x"


async def test_streams_that_reuse_descriptors_never_see_bytes_of_others(make_pair: Callable[[str], Pair]) -> None:
    for number in range(50):
        near, far = make_pair("unix")
        with move_on_after(0):
            await near.receive_some()
        await far.send_all(b"%d" % number)
        assert await near.receive_some() == b"%d" % number
        await near.aclose()
        await far.aclose()


# Ending the sending side ------------------------------------------------------------------------------------------


async def test_the_peer_sees_the_end_of_what_was_sent(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"x")
    await near.send_eof()
    assert await receive_until_end(far) == b"x"


async def test_receiving_goes_on_after_the_sending_side_was_ended(pair: Pair) -> None:
    near, far = pair
    await near.send_eof()
    await far.send_all(b"answer")
    assert await near.receive_some() == b"answer"


async def test_nothing_can_be_sent_after_the_end(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    for data in (b"x", b""):
        with pytest.raises(ClosedResourceError):
            await near.send_all(data)


async def test_waiting_for_room_after_the_end_is_refused_or_returns_at_once(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    outcome = Outcome()
    with move_on_after(1) as scope:
        await outcome.of(near.wait_send_all_might_not_block)
    assert not scope.cancelled_caught
    assert outcome.error is None or isinstance(outcome.error, ClosedResourceError)


async def test_the_sending_side_can_be_ended_twice(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    await near.send_eof()


async def test_the_end_is_a_checkpoint_and_a_cancellation_point(pair: Pair) -> None:
    near, far = pair
    with cancelled_scope():
        await near.send_eof()
    await near.send_all(b"still open")
    assert await far.receive_some() == b"still open"


# A connection that fails ------------------------------------------------------------------------------------------


async def test_a_reset_breaks_a_receive_that_waits(tcp_pair: Pair) -> None:
    near, far = tcp_pair

    async def reset() -> None:
        close_with_reset(far.socket)

    error = await error_when(reset, near.receive_some)
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, ConnectionResetError)


async def test_a_reset_breaks_the_next_receive(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket)
    with pytest.raises(BrokenResourceError) as failure:
        await near.receive_some()
    assert isinstance(failure.value.__cause__, ConnectionResetError)


async def test_a_reset_breaks_a_send_that_waits(tcp_pair: Pair) -> None:
    near, far = tcp_pair

    async def reset() -> None:
        close_with_reset(far.socket)

    error = await error_when(reset, near.send_all, bytes(MORE_THAN_FITS))
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, OSError)


async def test_a_reset_breaks_the_next_send(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket)
    with pytest.raises(BrokenResourceError) as failure:
        await near.send_all(b"x")
    assert isinstance(failure.value.__cause__, OSError)


async def test_a_peer_that_goes_breaks_a_send_that_waits(pair: Pair) -> None:
    near, far = pair
    error = await error_when(far.aclose, near.send_all, bytes(MORE_THAN_FITS))
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, OSError)


async def test_a_peer_that_has_gone_breaks_a_send_sooner_or_later(pair: Pair) -> None:
    near, far = pair
    await far.aclose()
    with pytest.raises(BrokenResourceError):
        while True:
            await near.send_all(b"x")


async def test_a_broken_stream_can_be_closed(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket)
    with pytest.raises(BrokenResourceError):
        await near.receive_some()
    await near.aclose()


async def test_bytes_that_came_before_a_unix_peer_went_are_received_after_a_failed_send(
    make_pair: Callable[[str], Pair],
) -> None:
    near, far = make_pair("unix")
    await far.send_all(b"last words")
    await far.aclose()
    with pytest.raises(BrokenResourceError):
        await near.send_all(b"x")
    assert await near.receive_some() == b"last words"


async def test_waiting_for_room_on_a_broken_connection_returns_at_once(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    fill(near.socket)
    close_with_reset(far.socket)
    await near.wait_send_all_might_not_block()
    with pytest.raises(BrokenResourceError):
        await near.send_all(b"x")


# Cancelling -------------------------------------------------------------------------------------------------------


async def test_a_receive_in_a_cancelled_scope_takes_no_byte(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"x")
    with cancelled_scope():
        await near.receive_some()
    assert await near.receive_some() == b"x"


async def test_a_receive_that_waits_is_cancelled_and_the_stream_stays_usable(pair: Pair) -> None:
    near, far = pair
    for number in range(5):
        with move_on_after(0.002) as scope:
            await near.receive_some()
        assert scope.cancelled_caught
        await far.send_all(b"%d" % number)
        assert await near.receive_some() == b"%d" % number


async def test_a_shielded_receive_outlives_the_cancellation_around_it(pair: Pair) -> None:
    near, far = pair
    received = []

    async def receive() -> None:
        with CancelScope(shield=True):
            received.append(await near.receive_some())

    async with open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert not received
            await far.send_all(b"x")
    assert received == [b"x"]


async def test_cancelling_a_receive_twice_is_as_once(pair: Pair) -> None:
    near, far = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.receive_some)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


async def test_a_receive_inside_of_two_cancelled_scopes_ends_at_the_outer_one(pair: Pair) -> None:
    near, far = pair
    with CancelScope() as outer:
        with CancelScope() as inner:
            async with open_nursery() as nursery:
                nursery.start_soon(near.receive_some)
                await wait_all_tasks_blocked()
                inner.cancel()
                outer.cancel()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


async def test_a_receive_that_is_being_cancelled_still_refuses_a_second_one(pair: Pair) -> None:
    near, far = pair
    scope = CancelScope()

    async def receive() -> None:
        with scope:
            await near.receive_some()

    async with open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        scope.cancel()
        with pytest.raises(BusyResourceError):
            await near.receive_some()
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


@pytest.mark.parametrize("seed", range(4))
async def test_no_byte_is_lost_however_cancellations_and_bytes_meet(pair: Pair, seed: int) -> None:
    near, far = pair
    choose = random.Random(seed)
    sent = bytearray()
    received = bytearray()

    def send() -> None:
        piece = choose.randbytes(choose.randrange(1, 50))
        sent.extend(piece)
        assert far.socket.stdlib.send(piece) == len(piece)

    async def receive(scope: CancelScope) -> None:
        with scope:
            while True:
                received.extend(await near.receive_some(choose.choice([1, 7, None])))

    for _ in range(200):
        async with open_nursery() as nursery:
            scope = CancelScope()
            nursery.start_soon(receive, scope)
            steps: list[Callable[[], None]] = [scope.cancel] + [send] * choose.randrange(3)
            choose.shuffle(steps)
            for step in steps:
                for _ in range(choose.randrange(4)):
                    await checkpoint()
                step()
    await far.aclose()
    received.extend(await receive_until_end(near))
    assert received == sent


async def test_bytes_and_a_cancellation_in_the_same_tick_give_the_one_or_the_other(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        far.socket.stdlib.send(b"x")
        nursery.cancel_scope.cancel()
    left = b"" if outcome.done else await near.receive_some()
    assert (outcome.value or b"") + left == b"x"


async def test_a_send_in_a_cancelled_scope_sends_nothing(pair: Pair) -> None:
    near, far = pair
    with cancelled_scope():
        await near.send_all(b"never")
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


async def test_a_blocked_send_is_cancelled_having_sent_a_beginning_of_its_data(pair: Pair) -> None:
    near, far = pair
    data = pattern(MORE_THAN_FITS)
    with move_on_after(0.02) as scope:
        await near.send_all(data)
    assert scope.cancelled_caught
    await near.aclose()
    received = await receive_until_end(far)
    assert 0 < len(received) < len(data)
    assert received == data[: len(received)]


async def test_a_send_that_was_cancelled_half_way_lets_go_of_its_memory(pair: Pair) -> None:
    near, _ = pair
    data = bytearray(MORE_THAN_FITS)
    with move_on_after(0.01):
        await near.send_all(data)
    data.clear()


async def test_a_stream_can_send_again_after_a_cancelled_send(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.01):
        await near.send_all(bytes(MORE_THAN_FITS))
    async with open_nursery() as nursery:

        async def send() -> None:
            await near.send_all(b"again")
            await near.aclose()

        nursery.start_soon(send)
        assert (await receive_until_end(far)).endswith(b"\0again")


# Waiting for room -------------------------------------------------------------------------------------------------


async def test_an_idle_stream_has_room(pair: Pair) -> None:
    near, _ = pair
    await near.wait_send_all_might_not_block()


async def test_a_full_stream_has_room_when_the_peer_has_read(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket)
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        assert not outcome.done
        await receive_exactly(far, filled)
    assert outcome.error is None


async def test_waiting_for_room_ends_when_the_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    fill(near.socket)
    error = await error_when(near.aclose, near.wait_send_all_might_not_block)
    assert isinstance(error, ClosedResourceError)


async def test_waiting_for_room_conflicts_with_a_send(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket)
    async with open_nursery() as nursery:
        nursery.start_soon(near.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.send_all(b"x")
        await receive_exactly(far, filled)


async def test_waiting_for_room_can_be_cancelled(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket)
    with move_on_after(0.01) as scope:
        await near.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    await receive_exactly(far, filled)
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


async def test_waiting_for_room_in_a_cancelled_scope_is_a_cancellation_point(pair: Pair) -> None:
    with cancelled_scope():
        await pair[0].wait_send_all_might_not_block()


# Fast paths are checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["receive", "send", "send nothing", "wait"])
async def test_calls_that_are_served_at_once_let_other_tasks_run(pair: Pair, call: str) -> None:
    near, far = pair
    await far.send_all(bytes(100))
    ticker = Ticker()
    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        for _ in range(100):
            if call == "receive":
                assert await near.receive_some(1)
            elif call == "wait":
                await near.wait_send_all_might_not_block()
            else:
                await near.send_all(b"x" if call == "send" else b"")
        assert ticker.count >= 99
        nursery.cancel_scope.cancel()


async def test_a_task_that_never_waits_for_the_kernel_does_not_starve_a_deadline(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.02) as scope:
        while True:
            await near.send_all(b"x")
            await far.receive_some()
    assert scope.cancelled_caught


# What is dropped --------------------------------------------------------------------------------------------------


async def test_a_stream_that_is_dropped_open_warns_and_closes_its_descriptor(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
    assert stream is not None
    descriptor = stream.socket.fileno()
    with far:
        with pytest.warns(ResourceWarning, match="unclosed"):
            stream = None
            collected()
        assert not is_open(descriptor)
        assert far.recv(1) == b""


async def test_a_stream_that_was_used_is_dropped_without_a_collection() -> None:
    near, far = stdlib_socket.socketpair()
    stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
    assert stream is not None
    with far:
        far.send(b"x")
        assert await stream.receive_some() == b"x"
        await stream.send_all(b"y")
        with pytest.warns(ResourceWarning, match="unclosed"):
            stream = None
        assert far.recv(2) == b"y"
        assert far.recv(1) == b""


async def test_a_stream_that_was_closed_is_dropped_silently(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    with far:
        stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
        assert stream is not None
        await stream.aclose()
        stream = None
        collected()


async def test_a_stream_in_use_is_kept_alive_by_its_receive(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    received = []

    async def receive() -> None:
        async with SocketStream(Socket.from_stdlib(near)) as stream:
            received.append(await stream.receive_some())

    with far:
        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            collected()
            far.send(b"x")
    assert received == [b"x"]


# Many at once -----------------------------------------------------------------------------------------------------


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def test_two_hundred_connections_at_once_are_answered(make_pair: Callable[[str], Pair]) -> None:
    pairs = [make_pair("unix" if number % 2 else "tcp") for number in range(200)]
    answers: dict[int, bytes] = {}
    everyone_has_sent = Event()
    sent = 0

    async def ask(number: int, stream: SocketStream) -> None:
        nonlocal sent
        question = pattern(number * 100 + 1, number)
        await stream.send_all(question)
        sent += 1
        if sent == len(pairs):
            everyone_has_sent.set()
        await everyone_has_sent.wait()
        answers[number] = await receive_exactly(stream, len(question))
        await stream.aclose()

    async with open_nursery() as nursery:
        for number, (near, far) in enumerate(pairs):
            nursery.start_soon(echo, far)
            nursery.start_soon(ask, number, near)
    assert all(answers[number] == pattern(number * 100 + 1, number) for number in range(200))


async def test_more_connections_than_receive_buffers_wait_for_bytes_that_come_all_at_once(
    make_pair: Callable[[str], Pair],
) -> None:
    pairs = [make_pair("unix") for _ in range(300)]
    received: dict[int, bytes] = {}

    async def receive(number: int, stream: SocketStream) -> None:
        received[number] = await receive_exactly(stream, 40_000)

    async with open_nursery() as nursery:
        for number, (near, _) in enumerate(pairs):
            nursery.start_soon(receive, number, near)
        await wait_all_tasks_blocked()
        for number, (_, far) in enumerate(pairs):
            assert far.socket.stdlib.send(pattern(40_000, number)) == 40_000
    assert all(received[number] == pattern(40_000, number) for number in range(300))


async def test_echo_on_sixty_four_connections_for_many_ticks_is_exact(make_pair: Callable[[str], Pair]) -> None:
    rounds = 50
    done = []

    async def ask(number: int, stream: SocketStream) -> None:
        for turn in range(rounds):
            question = b"%d of %d;" % (turn, number) * (1 + turn % 13)
            await stream.send_all(question)
            assert await receive_exactly(stream, len(question)) == question
        await stream.aclose()
        done.append(number)

    async with open_nursery() as nursery:
        for number in range(64):
            near, far = make_pair("tcp")
            nursery.start_soon(echo, far)
            nursery.start_soon(ask, number, near)
    assert sorted(done) == list(range(64))


async def test_a_stream_may_be_used_by_different_tasks_one_after_another(pair: Pair) -> None:
    near, far = pair
    received = []

    async def receive() -> None:
        received.append(await near.receive_some())

    for number in range(10):
        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            await far.send_all(b"%d" % number)
    assert b"".join(received) == b"0123456789"


async def test_an_operation_on_the_socket_of_a_stream_sees_the_bytes_that_the_stream_left(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"0123456789")
    assert await near.receive_some(4) == b"0123"
    buffer = bytearray(10)
    assert await Recv(near.socket, buffer) == 6
    assert buffer[:6] == b"456789"


def test_a_stream_can_be_made_outside_of_a_run_but_not_used(tcp_pair: Pair) -> None:
    near, _ = tcp_pair
    coroutine = near.receive_some()
    with pytest.raises(RuntimeError, match=r"async context|task"):
        coroutine.send(None)
    assert os.fstat(near.socket.fileno())
