"""Files: opening, reading, writing."""

from __future__ import annotations

import array
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.runtime.support import MODES_THAT_WRITE, Ticker, cancelled_scope, existing
from cts.runtime.support import open_raw as open_file
from cts.support import open_descriptors, pattern
from proactor_trio import CancelScope, open_nursery
from proactor_trio.testing import wait_all_tasks_blocked

# Opening ----------------------------------------------------------------------------------------------------------


async def test_reading_needs_a_file_that_exists(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        await open_file(path)
    assert failure.value.filename == str(path)


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


@pytest.mark.parametrize("mode", ["", "b", "rtb", "rwb", "rbb", "rb++", "zb", "br+w", "Ub"])
async def test_other_modes_are_refused(path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="mode"):
        await open_file(path, mode)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["br", "b+r", "rb+"])
async def test_the_letters_of_a_mode_come_in_any_order(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert await file.read() == b"0123456789"


@pytest.mark.parametrize("mode", ["rb", "wb", "r+b"])
async def test_what_can_be_done_is_what_the_mode_says(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert (file.readable(), file.writable()) == (mode != "wb", mode != "rb")
        assert file.seekable() and file.mode == {"r+b": "rb+"}.get(mode, mode) and file.name == str(path)


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
    assert failure.value.filename == str(tmp_path)
    assert open_descriptors() == before


async def test_a_folder_is_not_opened_for_reading_either(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(IsADirectoryError) as failure:
        await open_file(tmp_path)
    assert failure.value.filename == str(tmp_path)
    assert open_descriptors() == before


async def test_a_file_is_no_folder(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        await open_file(path / "inside")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    path.touch(mode=0)
    with pytest.raises(PermissionError) as failure:
        await open_file(path)
    assert failure.value.filename == str(path)


async def test_opening_what_does_not_open_yet_is_not_in_the_way_of_others(tmp_path: Path) -> None:
    """A fifo without a writer blocks open(2). Other tasks go on; when it opens after all, nothing is left open."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ticker = Ticker()
    before = open_descriptors()

    async def open_and_close() -> None:
        async with await open_file(fifo):
            pass

    async with open_nursery() as nursery:
        nursery.start_soon(open_and_close)
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
        assert await file.tell() == 10


async def test_reading_no_bytes_gives_none(path: Path) -> None:
    async with await open_file(existing(path, "rb")) as file:
        assert await file.read(0) == b""
        assert await file.tell() == 0


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
        assert await file.tell() == 4


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
        assert await file.tell() == 0


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
        assert await file.tell() == 4
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
        assert await file.tell() == 0
        assert await file.read() == b"012xyz6789"


async def test_writing_beyond_the_end_fills_with_zeros(path: Path) -> None:
    async with await open_file(path, "w+b") as file:
        await file.pwrite(b"x", 5)
        assert await file.read() == b"\0\0\0\0\0x"


@pytest.mark.parametrize("mode", ["ab", "a+b"])
async def test_appending_writes_at_the_end_wherever_the_position_is(path: Path, mode: str) -> None:
    async with await open_file(existing(path, mode), mode) as file:
        assert await file.tell() == 10
        await file.seek(2)
        await file.write(b"x")
        assert await file.tell() == 11
        with path.open("ab") as other:
            other.write(b"other")
        await file.write(b"y")
        assert await file.tell() == 17
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
