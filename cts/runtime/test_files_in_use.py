"""Files: positions, closing, cancelling, and what the loop does meanwhile."""

from __future__ import annotations

import functools
import os
import random
import socket as stdlib_socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.runtime.support import Ticker, cancelled_scope, existing, is_open
from cts.runtime.support import open_raw as open_file
from cts.support import open_descriptors, pattern
from proactor_trio import AsyncFile, ClosedResourceError, open_nursery
from proactor_trio.testing import wait_all_tasks_blocked

# Positions --------------------------------------------------------------------------------------------------------


async def test_the_position_is_moved_from_the_beginning_from_itself_and_from_the_end(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.seek(4) == 4
        assert await file.seek(2, os.SEEK_CUR) == 6
        assert await file.seek(-1, os.SEEK_CUR) == 5
        assert await file.seek(-3, os.SEEK_END) == 7
        assert await file.seek(5, os.SEEK_END) == 15
        assert await file.read() == b""


@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-1, 1), (-11, 2)])
async def test_a_position_before_the_beginning_is_refused_and_changes_nothing(
    path: Path, offset: int, whence: int
) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises((ValueError, OSError)):
            await file.seek(offset, whence)
        assert await file.tell() == 0


async def test_an_unknown_origin_is_refused(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises(OSError):
            await file.seek(0, 9)


async def test_a_cancelled_seek_moves_nothing(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with cancelled_scope():
            await file.seek(5)
        assert await file.tell() == 0


async def test_two_files_on_one_path_have_positions_of_their_own(path: Path) -> None:
    existing(path, "rb")
    async with await open_file(path) as first, await open_file(path) as second:
        assert await first.read(5) == b"01234"
        assert await second.read(2) == b"01"
        assert await first.read(2) == b"56"


# Closing ----------------------------------------------------------------------------------------------------------


async def test_a_block_closes_its_file(path: Path) -> None:
    async with await open_file(path, "wb") as file:
        descriptor = file.fileno()
        assert not file.closed
    assert file.closed
    assert not is_open(descriptor)


async def test_closing_twice_is_harmless(path: Path) -> None:
    file = await open_file(path, "wb")
    await file.aclose()
    await file.aclose()


async def test_a_cancelled_close_closes_all_the_same(path: Path) -> None:
    file = await open_file(path, "wb")
    descriptor = file.fileno()
    with cancelled_scope():
        await file.aclose()
    while is_open(descriptor):
        await wait_all_tasks_blocked(0.001)


CALLS_ON_A_FILE: dict[str, Callable[[AsyncFile], Any]] = {
    "read": lambda file: file.read(1),
    "read nothing": lambda file: file.read(0),
    "read everything": lambda file: file.read(),
    "readinto": lambda file: file.readinto(bytearray(1)),
    "pread": lambda file: file.pread(1, 0),
    "pread nothing": lambda file: file.pread(0, 0),
    "write": lambda file: file.write(b"x"),
    "write nothing": lambda file: file.write(b""),
    "pwrite": lambda file: file.pwrite(b"x", 0),
    "seek": lambda file: file.seek(0),
    "flush": lambda file: file.flush(),
    "fsync": lambda file: file.fsync(),
}


@pytest.mark.parametrize("call", CALLS_ON_A_FILE)
async def test_a_closed_file_refuses_to_be_used(path: Path, call: str) -> None:
    file = await open_file(path, "w+b")
    await file.aclose()
    with pytest.raises(ClosedResourceError):
        await CALLS_ON_A_FILE[call](file)


async def test_a_closed_file_has_neither_position_nor_descriptor(path: Path) -> None:
    file = await open_file(path, "w+b")
    await file.aclose()
    with pytest.raises(ClosedResourceError):
        file.fileno()
    with pytest.raises(ValueError, match="closed"):
        await file.tell()


async def test_closing_waits_for_reads_that_are_under_way(path: Path) -> None:
    path.write_bytes(pattern(1 << 20))
    file = await open_file(path)
    pieces: list[bytes] = []

    async def read(number: int) -> None:
        try:
            pieces.append(await file.pread(1 << 16, number << 16))
        except ClosedResourceError:
            pieces.append(pattern(1 << 20)[number << 16 : (number + 1) << 16])

    async with open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(read, number)
        nursery.start_soon(file.aclose)
    assert sorted(pieces) == sorted(pattern(1 << 20)[number << 16 : (number + 1) << 16] for number in range(16))


async def test_a_file_that_is_dropped_open_warns_and_closes_its_descriptor(
    path: Path, collected: Callable[[], None]
) -> None:
    file: AsyncFile | None = await open_file(path, "wb")
    assert file is not None
    descriptor = file.fileno()
    with pytest.warns(ResourceWarning, match="unclosed"):
        file = None
        collected()
    assert not is_open(descriptor)


# Cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS_ON_A_FILE)
async def test_every_call_is_a_cancellation_point(path: Path, call: str) -> None:
    async with await open_file(existing(path, "r+b"), "r+b") as file:
        with cancelled_scope():
            await CALLS_ON_A_FILE[call](file)
        assert await file.tell() == 0
    assert path.read_bytes() == b"0123456789"


@pytest.mark.parametrize("call", CALLS_ON_A_FILE)
async def test_every_call_lets_other_tasks_run(path: Path, call: str) -> None:
    async with await open_file(existing(path, "r+b"), "r+b") as file:
        ticker = Ticker()
        async with open_nursery() as nursery:
            nursery.start_soon(ticker)
            for _ in range(10):
                await CALLS_ON_A_FILE[call](file)
            assert ticker.count >= 9
            nursery.cancel_scope.cancel()


async def test_a_cancelled_read_has_moved_the_position_only_if_it_returned(path: Path) -> None:
    path.write_bytes(pattern(100_000))
    choose = random.Random(1)
    async with await open_file(path) as file:
        read = 0
        for _ in range(100):
            data = b""
            async with open_nursery() as nursery:

                async def read_some() -> None:
                    nonlocal data
                    data = await file.read(500)

                nursery.start_soon(read_some)
                for _ in range(choose.randrange(3)):
                    await proactor_trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert data == pattern(100_000)[read : read + len(data)]
            read += len(data)
            assert await file.tell() == read


async def test_a_cancelled_write_has_moved_the_position_only_if_it_wrote(path: Path) -> None:
    choose = random.Random(1)
    written = bytearray()
    async with await open_file(path, "wb") as file:
        for number in range(100):
            piece = b"%05d" % number
            async with open_nursery() as nursery:

                async def write(piece: bytes = piece) -> None:
                    written.extend(piece[: await file.write(piece)])

                nursery.start_soon(write)
                for _ in range(choose.randrange(3)):
                    await proactor_trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert await file.tell() == len(written)
    assert path.read_bytes() == written


async def test_a_cancelled_opening_leaves_nothing_open(path: Path) -> None:
    existing(path, "rb")
    opened = []
    before = open_descriptors()

    async def open_it() -> None:
        opened.append(await open_file(path))

    for number in range(30):
        async with open_nursery() as nursery:
            nursery.start_soon(open_it)
            for _ in range(number % 3):
                await proactor_trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    for file in opened:
        await file.aclose()
    assert open_descriptors() == before


# Threads and the loop ---------------------------------------------------------------------------------------------


ATTEMPTS = 20
"""A machine that is busy with other things may let no tick come in between once or twice; a loop that is held never."""


async def ticks_during(call: Callable[[], Any]) -> int:
    """How often other tasks ran meanwhile."""
    ticker = Ticker()
    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        await proactor_trio.lowlevel.checkpoint()
        before = ticker.count
        await call()
        nursery.cancel_scope.cancel()
    return ticker.count - before


async def test_a_large_read_does_not_hold_the_loop(path: Path) -> None:
    size = 32 * 1024 * 1024
    path.write_bytes(pattern(size))
    buffer = bytearray(size)
    async with await open_file(path) as file:

        async def read() -> None:
            await file.seek(0)
            assert await file.readinto(buffer) == size

        ticks = 0
        for _ in range(ATTEMPTS):
            ticks = max(ticks, await ticks_during(read))
            if ticks >= 8:
                break
    assert buffer == pattern(size)
    assert ticks >= 8


async def test_a_large_write_does_not_hold_the_loop(path: Path) -> None:
    data = pattern(32 * 1024 * 1024)
    async with await open_file(path, "wb") as file:

        async def write() -> None:
            assert await file.pwrite(data, 0) == len(data)

        ticks = 0
        for _ in range(ATTEMPTS):
            ticks = max(ticks, await ticks_during(write))
            if ticks >= 8:
                break
    assert path.read_bytes() == data
    assert ticks >= 8


@pytest.mark.lacks("file_threads")
async def test_the_kernel_works_on_files_without_python_threads(path: Path) -> None:
    before = threading.active_count()
    most = 0

    async with await open_file(path, "w+b") as file:

        async def work(number: int) -> None:
            nonlocal most
            await file.pwrite(pattern(1 << 18, number), number << 18)
            assert await file.pread(1 << 18, number << 18) == pattern(1 << 18, number)
            most = max(most, threading.active_count())

        async with open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(work, number)
        await file.fsync()
    assert most <= before


async def test_files_and_sockets_are_served_at_the_same_time(path: Path, pair: Any) -> None:
    near, far = pair
    path.write_bytes(pattern(1 << 20))

    async def send_file() -> None:
        async with await open_file(path) as file:
            while piece := await file.read(10_000):
                await near.send_all(piece)
        await near.aclose()

    received = bytearray()
    async with open_nursery() as nursery:
        nursery.start_soon(send_file)
        async for piece in far:
            received += piece
    assert received == pattern(1 << 20)


async def test_random_programs_of_several_tasks_on_regions_of_their_own_do_not_meet(path: Path) -> None:
    size = 10_000

    async def work(file: AsyncFile, number: int) -> None:
        choose = random.Random(number)
        expected = bytearray(size)
        for _ in range(40):
            offset = choose.randrange(size - 1000)
            length = choose.randrange(1, 1000)
            if choose.random() < 0.5:
                data = choose.randbytes(length)
                expected[offset : offset + length] = data
                assert await file.pwrite(data, number * size + offset) == length
            else:
                assert await file.pread(length, number * size + offset) == expected[offset : offset + length]

    path.write_bytes(bytes(16 * size))
    async with await open_file(path, "r+b") as file, open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(functools.partial(work, file, number))


async def test_a_socket_is_no_file(tmp_path: Path) -> None:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError):
            await open_file(tmp_path / "socket")
