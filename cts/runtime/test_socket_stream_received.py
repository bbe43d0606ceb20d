"""SocketStream: what the kernel has received ahead of the reader is bounded, exact when it is cancelled, in order."""

from __future__ import annotations

import contextlib
import random
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.runtime.connections import (
    LARGEST_PIECE,
    arm,
    connection,
    connection_to,
    listening,
    lying_in,
    receive_all,
    received_of,
    some_turns,
)
from cts.runtime.support import MORE_THAN_FITS
from cts.support import close_with_reset, pattern
from proactor_trio import (
    BrokenResourceError,
    CancelScope,
    SocketStream,
    fail_after,
    open_nursery,
)
from proactor_trio._kernel.context import current_run
from proactor_trio.backends.io_uring import buffer_ring
from proactor_trio.lowlevel import checkpoint
from proactor_trio.sockets.received import ARMED_BYTES

# ---- bounded ----------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(8)
async def test_little_lies_in_the_process_when_nobody_reads() -> None:
    """The rest waits in the kernel, which holds the peer back."""
    async with connection() as (stream, peer):
        await arm(stream)
        sent = 0
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                sent += peer.send(pattern(LARGEST_PIECE))
            await checkpoint()
            assert lying_in(stream) < ARMED_BYTES + LARGEST_PIECE
        assert sent > ARMED_BYTES
        assert len(await receive_all(stream, sent)) == sent


@pytest.mark.ring_rule(8)
async def test_a_kernel_that_cannot_count_is_stopped() -> None:
    """One turn may bring some more: the kernel goes on until it hears of it."""
    async with connection() as (stream, peer):
        backend: Any = current_run().proactor._backend
        if hasattr(backend, "_counts_receives"):
            backend._counts_receives = False
            backend._choose_encoders()
        await arm(stream)
        sent, most = 0, 0
        for _ in range(300):
            with contextlib.suppress(BlockingIOError):
                sent += peer.send(bytes(LARGEST_PIECE))
            await checkpoint()
            most = max(most, lying_in(stream))
        assert most < ARMED_BYTES + 40 * LARGEST_PIECE and sent > 2 * ARMED_BYTES
        assert len(await receive_all(stream, sent)) == sent


async def test_a_peer_that_sends_a_lot_is_received_whole_and_in_order() -> None:
    data = pattern(MORE_THAN_FITS)
    async with connection() as (stream, peer):
        sender = SocketStream(proactor_trio.socket.from_stdlib_socket(peer.dup()))
        async with sender, open_nursery() as nursery:
            nursery.start_soon(sender.send_all, data)
            assert await receive_all(stream, len(data)) == data


@pytest.mark.ring_rule(8)
async def test_one_fast_peer_does_not_starve_the_others() -> None:
    """Each of many streams makes as many exchanges as it likes while one is flooded and reads as fast as it can."""
    others = 60
    async with listening() as listener:
        fast, flood = await connection_to(listener)
        slow = [await connection_to(listener) for _ in range(others)]
    finished = 0

    async def exchange(stream: SocketStream, peer: stdlib_socket.socket) -> None:
        nonlocal finished
        for number in range(20):
            peer.send(b"%03d" % number)
            assert await receive_all(stream, 3) == b"%03d" % number
        finished += 1

    async with open_nursery() as nursery:

        async def read_flood() -> None:
            while True:
                assert await fast.receive_some()
                with contextlib.suppress(BlockingIOError):
                    flood.send(bytes(LARGEST_PIECE * 4))

        with contextlib.suppress(BlockingIOError):
            while True:
                flood.send(bytes(LARGEST_PIECE))
        nursery.start_soon(read_flood)
        async with open_nursery() as exchanges:
            for stream, peer in slow:
                exchanges.start_soon(exchange, stream, peer)
        nursery.cancel_scope.cancel()
    assert finished == others
    for stream, peer in [(fast, flood), *slow]:
        await stream.aclose()
        peer.close()


@pytest.mark.ring_rule(8)
def test_many_fast_peers_and_few_buffers_lose_nothing_and_nobody_fails(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receive that finds no buffer goes on when there is one."""
    monkeypatch.setattr(buffer_ring, "BUFFER_COUNT", 4)
    monkeypatch.setattr(buffer_ring, "_MASK", 3)
    each, count = 300_000, 20

    async def main() -> None:
        async with listening() as listener:
            pairs = [await connection_to(listener) for _ in range(count)]
        received = []

        async def read(stream: SocketStream) -> None:
            received.append(await receive_all(stream, each))

        with fail_after(10):
            async with open_nursery() as nursery:
                for number, (stream, peer) in enumerate(pairs):
                    nursery.start_soon(read, stream)
                    sender = SocketStream(proactor_trio.socket.from_stdlib_socket(peer))
                    nursery.start_soon(send_and_close, sender, pattern(each, number))
        assert sorted(received) == sorted(pattern(each, number) for number in range(count))
        for stream, _ in pairs:
            await stream.aclose()

    run(main)


async def send_and_close(stream: SocketStream, data: bytes) -> None:
    async with stream:
        await stream.send_all(data)


async def test_taking_single_bytes_of_large_pieces_copies_no_rest() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(bytes(LARGEST_PIECE))
        assert await stream.receive_some(1) == b"\0"
        head = received_of(stream).head
        for _ in range(100):
            assert await stream.receive_some(1) == b"\0"
            assert received_of(stream).head is head
        assert len(await receive_all(stream, LARGEST_PIECE - 101)) == LARGEST_PIECE - 101


@pytest.mark.parametrize("seed", range(4))
async def test_pieces_of_any_size_are_taken_in_any_size(seed: int) -> None:
    choice = random.Random(seed)
    data = pattern(200_000, seed)
    sent, got = 0, bytearray()
    async with connection() as (stream, peer):
        while len(got) < len(data):
            for _ in range(choice.randrange(1, 4)):
                with contextlib.suppress(BlockingIOError):
                    sent += peer.send(data[sent : sent + choice.randrange(1, 9000)])
            if len(got) < sent:
                most = choice.choice((1, 7, 100, 5000, 100_000))
                piece = await stream.receive_some(most)
                assert 0 < len(piece) <= most
                got += piece
    assert got == data


# ---- exact when it is cancelled ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
async def test_bytes_and_a_cancellation_in_one_tick_are_exact(seed: int) -> None:
    """25 races each: whatever the receive said, the stream gives each byte once."""
    choice = random.Random(seed)
    sent, got = b"", b""
    async with connection() as (stream, peer):
        for number in range(25):
            message = b"<%d>" % number
            with CancelScope() as scope:
                async with open_nursery() as nursery:

                    async def receive() -> None:
                        nonlocal got
                        got += await stream.receive_some(choice.choice((1, 3, 100)))

                    nursery.start_soon(receive)
                    for _ in range(choice.randrange(4)):
                        await checkpoint()
                    if choice.random() < 0.5:
                        scope.cancel()
                        peer.send(message)
                    else:
                        peer.send(message)
                        for _ in range(choice.randrange(3)):
                            await checkpoint()
                        scope.cancel()
            sent += message
        peer.shutdown(stdlib_socket.SHUT_WR)
        while piece := await stream.receive_some():
            got += piece
    assert got == sent


async def test_what_comes_after_a_cancelled_receive_is_for_the_next_one() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"for the next")
        await some_turns()
        assert await stream.receive_some() == b"for the next"


async def test_a_receive_that_is_cancelled_already_takes_nothing() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"kept")
        await some_turns()
        with CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        assert await stream.receive_some() == b"kept"


# ---- ends -------------------------------------------------------------------------------------------------------


async def test_the_end_comes_behind_the_bytes_and_again_and_again() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"last words")
        peer.shutdown(stdlib_socket.SHUT_WR)
        await some_turns()
        assert await stream.receive_some(4) == b"last"
        assert await stream.receive_some() == b" words"
        assert [await stream.receive_some() for _ in range(3)] == [b""] * 3
        await stream.send_all(b"still open here")
        assert peer.recv(100) == b"still open here"


async def test_a_reset_is_told_also_if_nobody_was_receiving() -> None:
    async with connection() as (stream, peer):
        await arm(stream)
        peer.send(b"last words")
        await some_turns()
        assert await stream.receive_some() == b"last words"
        await arm(stream)
        close_with_reset(peer)
        await some_turns()
        with pytest.raises(BrokenResourceError) as caught:
            await stream.receive_some()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
