"""Files: opening, reading, writing, positions, closing, cancelling."""

from __future__ import annotations

import array
import functools
import io
import os
import random
import socket as stdlib_socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.configurations import Configuration
from cts.runtime.support import Outcome, Ticker, cancelled_scope, is_open
from cts.support import open_descriptors, pattern
from proactor_trio import AsyncFile, CancelScope, ClosedResourceError, open_file, open_nursery
from proactor_trio.testing import wait_all_tasks_blocked

MODES_THAT_READ = ("rb", "r+b", "w+b", "a+b", "x+b")
MODES_THAT_WRITE = ("r+b", "wb", "w+b", "xb", "x+b", "ab", "a+b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path where there is no file yet."""
    return tmp_path / "file"


def existing(path: Path, mode: str, contents: bytes = b"0123456789") -> Path:
    """The path, with a file where the mode asks for one."""
    if "x" not in mode:
        path.write_bytes(contents)
    return path


# Opening ----------------------------------------------------------------------------------------------------------


async def test_reading_needs_a_file_that_exists(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        await open_file(path)
    assert failure.value.filename == path


@pytest.mark.parametrize("mode", ["wb", "w+b", "ab", "a+b", "xb", "x+b"])
async def test_modes_that_create_create(path: Path, mode: str) -> None:
    async with await open_file(path, mode):
        pass
    assert path.read_bytes() == b""


@pytest.mark.parametrize("mode", ["rb", "r+b", "ab", "a+b"])
async def test_modes_that_keep_keep_what_is_there(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode):
        pass
    assert path.read_bytes() == b"0123456789"


@pytest.mark.parametrize("mode", ["wb", "w+b"])
async def test_modes_that_empty_empty(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode):
        pass
    assert path.read_bytes() == b""


@pytest.mark.parametrize("mode", ["xb", "x+b"])
async def test_exclusive_creation_refuses_a_file_that_is_there(path: Path, mode: str) -> None:
    path.write_bytes(b"")
    with pytest.raises(FileExistsError):
        await open_file(path, mode)


@pytest.mark.parametrize("mode", ["", "b", "r", "w", "rt", "rwb", "rbb", "rb++", "zb", "br+w", "Ub"])
async def test_other_modes_are_refused(path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="mode"):
        await open_file(path, mode)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["br", "b+r", "rb+"])
async def test_the_letters_of_a_mode_come_in_any_order(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert await file.read() == b"0123456789"


@pytest.mark.parametrize("buffering", [-1, 1, 4096, None])
async def test_only_unbuffered_files_are_opened(path: Path, buffering: int) -> None:
    with pytest.raises(ValueError, match="buffering"):
        await open_file(existing(path, "rb"), "rb", buffering)


@pytest.mark.parametrize("mode", ["rb", "wb", "r+b"])
async def test_what_can_be_done_is_what_the_mode_says(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert (file.readable(), file.writable()) == (mode != "wb", mode != "rb")
        assert file.seekable() and file.mode == mode and file.name == path


@pytest.mark.parametrize("form", [str, os.fsencode, Path])
async def test_a_path_has_many_forms(path: Path, form: Callable[[Path], Any]) -> None:
    async with await open_file(form(existing(path, "rb"))) as file:
        assert await file.read() == b"0123456789"


async def test_a_path_may_contain_any_character(tmp_path: Path) -> None:
    path = tmp_path / "ünïcödé \udcff\n"
    async with await open_file(path, "wb") as file:
        await file.write(b"x")
    assert path.read_bytes() == b"x"


async def test_a_path_with_a_null_character_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="null"):
        await open_file(f"{path}\0x")


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(IsADirectoryError) as failure:
        await open_file(tmp_path, "wb")
    assert failure.value.filename == tmp_path
    assert open_descriptors() == before


async def test_reading_a_folder_is_an_error_at_the_latest_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        async with await open_file(tmp_path) as file:
            await file.read(1)


async def test_a_file_is_no_folder(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        await open_file(path / "inside")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    path.touch(mode=0)
    with pytest.raises(PermissionError) as failure:
        await open_file(path)
    assert failure.value.filename == path


async def test_what_has_no_positions_is_refused_and_closed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    other_end = os.open(fifo, os.O_RDWR)
    try:
        before = open_descriptors()
        with pytest.raises(OSError, match="seek"):
            await open_file(fifo, "rb")
        assert open_descriptors() == before
    finally:
        os.close(other_end)


async def test_opening_what_does_not_open_yet_is_not_in_the_way_of_others(tmp_path: Path) -> None:
    """A fifo without a writer blocks open(2). Other tasks go on; when it opens after all, nothing is left open."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ticker = Ticker()
    before = open_descriptors()
    async with open_nursery() as nursery:
        nursery.start_soon(Outcome().of, open_file, fifo)
        nursery.start_soon(ticker)
        while ticker.count < 1000:
            await proactor_trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
        with CancelScope(shield=True):
            await wait_all_tasks_blocked()
        os.close(os.open(fifo, os.O_RDWR))
    assert open_descriptors() == before


async def test_a_descriptor_is_not_inherited_by_programs(path: Path) -> None:
    async with await open_file(path, "wb") as file:
        assert not os.get_inheritable(file.fileno())


async def test_a_created_file_has_the_permissions_of_the_umask(path: Path) -> None:
    mask = os.umask(0o027)
    try:
        async with await open_file(path, "wb"):
            pass
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640


async def test_opening_in_a_cancelled_scope_opens_nothing(path: Path) -> None:
    with cancelled_scope():
        await open_file(path, "wb")
    assert not path.exists()


# Reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, None])
async def test_reading_everything_gives_everything_and_then_nothing(path: Path, size: int | None) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.read(size) == b"0123456789"
        assert await file.read(size) == b""


async def test_reading_moves_the_position(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert [await file.read(4) for _ in range(4)] == [b"0123", b"4567", b"89", b""]
        assert file.tell() == 10


async def test_reading_no_bytes_gives_none(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.read(0) == b""
        assert file.tell() == 0


async def test_readall_gives_the_rest(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        await file.read(3)
        assert await file.readall() == b"3456789"


@pytest.mark.parametrize("size", [1, 65536, 262144, 262145, 1_000_003])
async def test_a_file_of_any_size_is_read_whole(path: Path, size: int) -> None:
    path.write_bytes(pattern(size))
    async with await open_file(path) as file:
        assert await file.read() == pattern(size)


async def test_a_file_without_a_size_is_read_whole() -> None:
    async with await open_file("/proc/self/status") as file:
        assert b"Pid:" in await file.read()


async def test_reading_everything_includes_what_was_written_meanwhile(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        await file.read()
        with path.open("ab") as other:
            other.write(b"more")
        assert await file.read() == b"more"


@pytest.mark.parametrize("buffer", [bytearray(4), memoryview(bytearray(4)), array.array("H", [0, 0])])
async def test_reading_into_memory_fills_it(path: Path, buffer: Any) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.readinto(buffer) == 4
        assert bytes(memoryview(buffer).cast("B")) == b"0123"
        assert file.tell() == 4


async def test_reading_into_more_memory_than_there_are_bytes_says_how_many_came(path: Path) -> None:
    buffer = bytearray(20)
    async with await open_file(existing(path, "rb")) as file:
        assert await file.readinto(buffer) == 10
        assert buffer == b"0123456789" + bytes(10)
        assert await file.readinto(buffer) == 0


@pytest.mark.parametrize("buffer", [b"1234", "text", 5])
async def test_memory_that_cannot_be_written_to_is_refused(path: Path, buffer: Any) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises(TypeError, match="buffer"):
            await file.readinto(buffer)
        assert await file.read(1) == b"0"


async def test_reading_at_an_offset_leaves_the_position(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.pread(3, 5) == b"567"
        assert await file.pread(3, 9) == b"9"
        assert await file.pread(3, 100) == b""
        assert file.tell() == 0


@pytest.mark.parametrize(
    ("nbytes", "offset", "argument"), [(-1, 0, "nbytes"), (1, -1, "offset"), (1, 1 << 63, "offset")]
)
async def test_a_read_of_an_impossible_place_is_refused(path: Path, nbytes: int, offset: int, argument: str) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises(ValueError, match=argument):
            await file.pread(nbytes, offset)


@pytest.mark.parametrize("mode", ["wb", "ab", "xb"])
@pytest.mark.parametrize("call", ["read", "pread", "pread of nothing", "readinto", "readall"])
async def test_a_file_that_was_opened_for_writing_refuses_to_be_read(path: Path, mode: str, call: str) -> None:
    async with await open_file(path, mode) as file:
        calls: dict[str, Callable[[], Any]] = {
            "read": file.read,
            "pread": lambda: file.pread(1, 0),
            "pread of nothing": lambda: file.pread(0, 0),
            "readinto": lambda: file.readinto(bytearray(1)),
            "readall": file.readall,
        }
        with pytest.raises(OSError):
            await calls[call]()


@pytest.mark.parametrize("mode", ["rb", "wb"])
async def test_what_the_mode_does_not_allow_is_the_error_of_the_standard_library(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        with pytest.raises(io.UnsupportedOperation):
            await (file.write(b"x") if mode == "rb" else file.read())


async def test_sixty_four_reads_at_once_each_get_their_own_bytes(path: Path) -> None:
    path.write_bytes(pattern(64 * 4096))
    pieces: dict[int, bytes] = {}

    async with await open_file(path) as file:

        async def read(number: int) -> None:
            pieces[number] = await file.pread(4096, number * 4096)

        async with open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(read, number)
    assert b"".join(pieces[number] for number in range(64)) == pattern(64 * 4096)


# Writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES_THAT_WRITE)
async def test_what_is_written_stands_in_the_file(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode, b""), mode) as file:
        assert await file.write(b"some ") == 5
        assert await file.write(b"bytes") == 5
    assert path.read_bytes() == b"some bytes"


@pytest.mark.parametrize("data", [b"1234", bytearray(b"1234"), memoryview(b"1234"), array.array("H", [1, 2])])
async def test_every_kind_of_memory_can_be_written(path: Path, data: Any) -> None:
    async with await open_file(path, "wb") as file:
        assert await file.write(data) == 4
        assert file.tell() == 4
    assert path.read_bytes() == bytes(memoryview(data).cast("B"))


async def test_writing_nothing_writes_nothing(path: Path) -> None:
    async with await open_file(path, "wb") as file:
        assert await file.write(b"") == 0


@pytest.mark.parametrize("data", ["text", 5, None])
async def test_what_is_no_memory_is_not_written(path: Path, data: Any) -> None:
    async with await open_file(path, "wb") as file:
        with pytest.raises(TypeError, match=r"data|buffer"):
            await file.write(data)


async def test_writing_overwrites_at_the_position(path: Path) -> None:
    async with await open_file(existing(path, "r+b"), "r+b") as file:
        await file.seek(3)
        await file.write(b"xyz")
        assert await file.read() == b"6789"
    assert path.read_bytes() == b"012xyz6789"


async def test_writing_at_an_offset_leaves_the_position(path: Path) -> None:
    async with await open_file(existing(path, "r+b"), "r+b") as file:
        assert await file.pwrite(b"xyz", 3) == 3
        assert file.tell() == 0
        assert await file.read() == b"012xyz6789"


async def test_writing_beyond_the_end_fills_with_zeros(path: Path) -> None:
    async with await open_file(path, "w+b") as file:
        await file.pwrite(b"x", 5)
        assert await file.read() == b"\0\0\0\0\0x"


@pytest.mark.parametrize("mode", ["ab", "a+b"])
async def test_appending_writes_at_the_end_wherever_the_position_is(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert file.tell() == 10
        await file.seek(2)
        await file.write(b"x")
        assert file.tell() == 11
        with path.open("ab") as other:
            other.write(b"other")
        await file.write(b"y")
        assert file.tell() == 17
    assert path.read_bytes() == b"0123456789xothery"


async def test_appending_and_reading_share_a_position(path: Path) -> None:
    async with await open_file(existing(path, "a+b"), "a+b") as file:
        assert await file.read() == b""
        await file.seek(8)
        assert await file.read() == b"89"


@pytest.mark.parametrize("call", ["write", "pwrite"])
async def test_a_file_that_was_opened_for_reading_refuses_to_be_written(path: Path, call: str) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises(OSError):
            await (file.write(b"x") if call == "write" else file.pwrite(b"x", 0))


async def test_a_full_device_is_an_error() -> None:
    async with await open_file("/dev/full", "wb") as file:
        with pytest.raises(OSError) as failure:
            await file.write(b"x")
    assert failure.value.errno == 28


@pytest.mark.parametrize("data_only", [False, True])
async def test_what_was_written_can_be_brought_to_the_device(path: Path, data_only: bool) -> None:
    async with await open_file(path, "wb") as file:
        await file.write(b"x")
        await file.flush()
        await file.fsync(data_only=data_only)


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
        assert file.tell() == 0


async def test_an_unknown_origin_is_refused(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with pytest.raises(ValueError, match="whence"):
            await file.seek(0, 9)


async def test_a_cancelled_seek_moves_nothing(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        with cancelled_scope():
            await file.seek(5)
        assert file.tell() == 0


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
    for call in (file.tell, file.fileno):
        with pytest.raises(ClosedResourceError):
            call()


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
        assert file.tell() == 0
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
            assert file.tell() == read


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
            assert file.tell() == len(written)
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


async def test_the_kernel_works_on_files_without_python_threads(configuration: Configuration, path: Path) -> None:
    if "file_threads" in configuration.tags:
        pytest.skip("this configuration works on files with threads")
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
