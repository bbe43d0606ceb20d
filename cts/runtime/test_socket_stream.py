"""SocketStream: what it is made of, sending and receiving, and two tasks at once."""

from __future__ import annotations

import array
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
    receive_exactly,
    receive_until_end,
)
from cts.support import LOOPBACK, Sockets, pattern
from proactor_trio import (
    BusyResourceError,
    ClosedResourceError,
    SocketStream,
    open_nursery,
    open_tcp_listeners,
    open_tcp_stream,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Socket
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
