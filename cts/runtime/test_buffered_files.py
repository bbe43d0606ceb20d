"""Buffered and text files: what is particular to them when they are cancelled, closed, dropped, or used by several."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.runtime.support import Outcome, cancelled_scope, error_when, is_open
from cts.support import open_descriptors, pattern
from proactor_trio import CancelScope, ClosedResourceError, open_file, open_nursery
from proactor_trio.lowlevel import checkpoint
from proactor_trio.testing import wait_all_tasks_blocked

MODES = pytest.mark.parametrize("mode", ["r", "rb"])


@contextmanager
def pipe_ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        for descriptor in (reader, writer):
            if is_open(descriptor):
                os.close(descriptor)


def in_mode(mode: str, data: bytes) -> Any:
    return data if "b" in mode else data.decode()


# Reading ---------------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize(("call", "arguments"), [("read", (10,)), ("read", ()), ("readline", ())])
async def test_a_cancelled_read_of_a_pipe_loses_nothing(mode: str, call: str, arguments: tuple[Any, ...]) -> None:
    with pipe_ends() as (reader, writer):
        async with await open_file(reader, mode) as file:
            async with open_nursery() as nursery:
                nursery.start_soon(Outcome().of, getattr(file, call), *arguments)
                os.write(writer, b"some")
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            os.write(writer, b"thing\n")
            assert await file.readline() == in_mode(mode, b"something\n")


async def test_a_cancelled_read_of_an_unbuffered_pipe_loses_nothing() -> None:
    with pipe_ends() as (reader, writer):
        async with await open_file(reader, "rb", 0) as file:
            for call in (file.readall, file.readline):
                async with open_nursery() as nursery:
                    nursery.start_soon(Outcome().of, call)
                    os.write(writer, b"some")
                    await wait_all_tasks_blocked()
                    nursery.cancel_scope.cancel()
            os.write(writer, b"thing\n")
            assert await file.readline() == b"somesomething\n"


@MODES
async def test_cancelled_reads_of_a_file_lose_nothing(path: Path, mode: str) -> None:
    contents = b"".join(b"line %d of a file\n" % number for number in range(20_000))
    path.write_bytes(contents)
    choose = random.Random(3)
    got: list[Any] = []
    async with await open_file(path, mode) as file:

        async def read() -> None:
            if choose.random() < 0.5:
                got.append(await file.read(choose.randrange(1, 30_000)))
            else:
                got.append(await file.readline())

        while not got or got[-1]:
            async with open_nursery() as nursery:
                nursery.start_soon(read)
                for _ in range(choose.randrange(4)):
                    await checkpoint()
                nursery.cancel_scope.cancel()
    assert in_mode(mode, b"").join(got) == in_mode(mode, contents)


@MODES
async def test_a_position_is_right_after_a_cancelled_long_line(mode: str) -> None:
    with pipe_ends() as (reader, writer):
        async with await open_file(reader, mode) as file:
            async with open_nursery() as nursery:
                nursery.start_soon(Outcome().of, file.readline)
                for _ in range(5):
                    os.write(writer, b"x" * 9000)
                    await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            os.write(writer, b"\n")
            assert len(await file.readline()) == 45_001


# Writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("size", [10, 5_000, 200_000])
async def test_what_was_reported_as_written_stands_in_the_file_and_nothing_else(
    path: Path, mode: str, size: int
) -> None:
    choose = random.Random(size)
    written: list[bytes] = []
    async with await open_file(path, mode) as file:
        for number in range(60):
            piece = (b"%05d" % number) * (size // 5)

            async def write(piece: bytes = piece) -> None:
                await file.write(in_mode(mode, piece))
                written.append(piece)

            async with open_nursery() as nursery:
                nursery.start_soon(write)
                for _ in range(choose.randrange(4)):
                    await checkpoint()
                nursery.cancel_scope.cancel()
    assert path.read_bytes() == b"".join(written)


@pytest.mark.parametrize("mode", ["w", "wb"])
async def test_a_failed_flush_keeps_what_is_left_and_says_so_each_time(mode: str) -> None:
    file = await open_file("/dev/full", mode)
    await file.write(in_mode(mode, b"lost"))
    for _ in range(2):
        with pytest.raises(OSError) as failure:
            await file.flush()
        assert failure.value.errno == errno.ENOSPC
    descriptor = file.fileno()
    with pytest.raises(OSError):
        await file.aclose()
    assert not is_open(descriptor)
    await file.aclose()


async def test_a_cancelled_close_gives_a_pipe_what_it_has_room_for() -> None:
    with pipe_ends() as (reader, writer):
        file = await open_file(writer, "wb")
        await file.write(b"written")
        with cancelled_scope():
            await file.aclose()
        assert not is_open(writer)
        assert os.read(reader, 100) == b"written"


async def test_a_close_that_waits_for_the_reader_of_a_pipe_can_be_cancelled() -> None:
    with pipe_ends() as (_, writer):
        file = await open_file(writer, "wb", 1 << 20)
        await file.write(bytes(1 << 20))
        async with open_nursery() as nursery:
            nursery.start_soon(file.aclose)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert file.closed and not is_open(writer)


async def test_what_was_written_is_handed_over_when_a_file_is_dropped(
    path: Path, collected: Callable[[], None]
) -> None:
    file: Any = await open_file(path, "wb")
    await file.write(b"written")
    with pytest.warns(ResourceWarning, match="unclosed"):
        file = None
        collected()
    assert path.read_bytes() == b"written"
    assert file is None


# Closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("closefd", [True, False])
async def test_closing_ends_the_read_of_another_task(buffering: int, closefd: bool) -> None:
    with pipe_ends() as (reader, _):
        file = await open_file(reader, "rb", buffering, closefd=closefd)
        error = await error_when(file.aclose, file.read, 10)
        assert isinstance(error, ClosedResourceError)
        assert is_open(reader) is not closefd


async def test_a_borrowed_descriptor_stays_open_when_its_file_is_dropped(
    path: Path, collected: Callable[[], None]
) -> None:
    path.write_bytes(b"x")
    descriptor = os.open(path, os.O_RDONLY)
    file: Any = await open_file(descriptor, closefd=False)
    file = None
    collected()
    assert is_open(descriptor) and file is None
    os.close(descriptor)


async def test_a_detached_file_is_used_up_and_the_one_below_goes_on(path: Path) -> None:
    path.write_bytes(b"first\nsecond\n")
    text = await open_file(path)
    buffered = await text.detach()
    assert await buffered.readline() == b"first\n"
    raw = await buffered.detach()
    assert await raw.readline() == b"second\n"
    for used_up in (text, buffered):
        with pytest.raises(ValueError, match="detached"):
            await used_up.read()
    await raw.aclose()


async def test_an_opening_that_fails_late_leaves_nothing_open(path: Path) -> None:
    os.mkfifo(path)
    both = os.open(path, os.O_RDWR)
    before = open_descriptors()
    with pytest.raises(OSError):
        await open_file(path, "r+")
    assert open_descriptors() == before
    os.close(both)


# Several tasks ---------------------------------------------------------------------------------------------------


@MODES
async def test_lines_are_given_to_several_tasks_each_once(path: Path, mode: str) -> None:
    path.write_bytes(b"".join(b"%d\n" % number for number in range(3000)))
    got: list[int] = []

    async def take(file: Any) -> None:
        async for line in file:
            got.append(int(line))

    async with await open_file(path, mode, 1024 if "b" in mode else -1) as file, open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(take, file)
    assert sorted(got) == list(range(3000))


async def test_a_task_that_waits_for_its_turn_can_be_cancelled_and_the_next_gets_it() -> None:
    with pipe_ends() as (reader, writer):
        async with await open_file(reader, "rb") as file, open_nursery() as nursery:
            outcomes = [Outcome() for _ in range(3)]
            scopes = [CancelScope() for _ in range(3)]

            async def read(number: int) -> None:
                with scopes[number]:
                    await outcomes[number].of(file.readline)

            for number in range(3):
                nursery.start_soon(read, number)
                await wait_all_tasks_blocked()
            scopes[1].cancel()
            await wait_all_tasks_blocked()
            os.write(writer, b"one\ntwo\n")
            await wait_all_tasks_blocked()
            assert [outcome.value for outcome in outcomes] == [b"one\n", None, b"two\n"]


async def test_cancelled_file_contents_leave_nothing_open(path: Path) -> None:
    path.write_bytes(pattern(1000))
    before = open_descriptors()
    for number in range(30):
        async with open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(proactor_trio.Path(path).read_bytes)
            for _ in range(number % 3):
                await checkpoint()
            nursery.cancel_scope.cancel()
    assert await proactor_trio.Path(path).read_bytes() == pattern(1000)
    assert open_descriptors() == before
