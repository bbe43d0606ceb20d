"""Files, wrapped files and paths: what programs for Trio do with them."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import pickle
import shutil
from typing import Any

import pytest

from cts.semantics.support import cancelled_block, is_cancel_point, is_schedule_point


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "file"
    path.write_text("first\nsecond\nthird", encoding="utf-8")
    return path


# open_file ---------------------------------------------------------------------------------------------------------


async def test_a_file_is_opened_for_reading_text_by_default(lib: Any, path: pathlib.Path) -> None:
    async with await lib.open_file(path) as file:
        assert await file.read() == "first\nsecond\nthird"
    assert file.closed


async def test_iterating_gives_the_lines(lib: Any, path: pathlib.Path) -> None:
    async with await lib.open_file(path) as file:
        assert [line async for line in file] == ["first\n", "second\n", "third"]


@pytest.mark.semantics(2)
@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_each_line_of_an_iteration_is_a_checkpoint(lib: Any, path: pathlib.Path, mode: str) -> None:
    async with await lib.open_file(path, mode) as file:
        for _ in range(3):
            assert await is_schedule_point(lib, file.__anext__)
        with pytest.raises(StopAsyncIteration):
            await file.__anext__()


@pytest.mark.semantics(1)
@pytest.mark.parametrize("mode", ["r+", "r+b"])
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("read", ()),
        ("read", (1,)),
        ("readline", ()),
        ("readlines", ()),
        ("write", ("x",)),
        ("writelines", ([],)),
        ("flush", ()),
        ("seek", (0,)),
        ("tell", ()),
        ("truncate", ()),
        ("__anext__", ()),
    ],
)
async def test_every_call_is_a_checkpoint_and_without_effect_when_cancelled(
    lib: Any, path: pathlib.Path, mode: str, call: str, arguments: tuple[Any, ...]
) -> None:
    if mode == "r+b" and call == "write":
        arguments = (b"x",)
    async with await lib.open_file(path, mode) as file:
        assert await is_cancel_point(lib, getattr(file, call), *arguments)
        assert await file.tell() == 0
        assert await is_schedule_point(lib, getattr(file, call), *arguments)


async def test_a_cancelled_opening_creates_nothing(lib: Any, tmp_path: pathlib.Path) -> None:
    with cancelled_block(lib):
        await lib.open_file(tmp_path / "new", "w")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mode", ["w", "wb"])
async def test_closing_hands_over_what_was_written_also_when_cancelled(
    lib: Any, tmp_path: pathlib.Path, mode: str
) -> None:
    file = await lib.open_file(tmp_path / "new", mode)
    await file.write("written" if mode == "w" else b"written")
    with cancelled_block(lib):
        await file.aclose()
    assert file.closed
    assert (tmp_path / "new").read_bytes() == b"written"


@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize("call", ["read", "readline", "tell", "flush"])
async def test_a_closed_file_refuses_with_a_value_error(lib: Any, path: pathlib.Path, mode: str, call: str) -> None:
    file = await lib.open_file(path, mode)
    await file.aclose()
    with pytest.raises(ValueError):
        await getattr(file, call)()


async def test_what_does_not_exist_is_named_by_the_error(lib: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        await lib.open_file(tmp_path / "nothing")
    assert failure.value.filename == str(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "rw"}, ValueError),
        ({"mode": "q"}, ValueError),
        ({"mode": "rbt"}, ValueError),
        ({"mode": "rb", "encoding": "utf-8"}, ValueError),
        ({"mode": "rb", "errors": "strict"}, ValueError),
        ({"mode": "rb", "newline": "\n"}, ValueError),
        ({"mode": "r", "newline": "x"}, ValueError),
        ({"mode": "r", "buffering": 0}, ValueError),
        ({"mode": "r", "closefd": False}, ValueError),
        ({"mode": "r", "encoding": "no such encoding"}, LookupError),
        ({"mode": 5}, TypeError),
        ({"mode": "r", "buffering": "x"}, TypeError),
        ({"mode": "r", "encoding": 5}, TypeError),
    ],
)
async def test_wrong_arguments_are_refused_as_by_the_builtin(
    lib: Any, path: pathlib.Path, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await lib.open_file(path, **arguments)


async def test_a_descriptor_can_be_opened_and_is_closed(lib: Any, path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    async with await lib.open_file(descriptor, "rb") as file:
        assert await file.read(5) == b"first"
    with pytest.raises(OSError):
        os.fstat(descriptor)


async def test_a_borrowed_descriptor_stays_open(lib: Any, path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    async with await lib.open_file(descriptor, "rb", closefd=False) as file:
        assert await file.read(5) == b"first"
    os.close(descriptor)


async def test_an_opener_opens_the_file(lib: Any, path: pathlib.Path) -> None:
    def opener(name: str, flags: int) -> int:
        return os.open(path, flags)

    async with await lib.open_file("another name", opener=opener) as file:
        assert await file.readline() == "first\n"


@pytest.mark.parametrize("result", [-1, "x"])
async def test_an_opener_has_to_return_a_descriptor(lib: Any, result: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        await lib.open_file("name", opener=lambda name, flags: result)


@pytest.mark.parametrize("mode", ["r", "rb"])
async def test_a_pipe_is_read_to_its_end(lib: Any, mode: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"some\nlines")
    os.close(writer)
    async with await lib.open_file(reader, mode) as file:
        assert not file.seekable()
        lines = [line async for line in file]
    assert lines == (["some\n", "lines"] if mode == "r" else [b"some\n", b"lines"])


async def test_a_pipe_is_written(lib: Any) -> None:
    reader, writer = os.pipe()
    async with await lib.open_file(writer, "w") as file:
        await file.write("text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)


async def test_a_full_device_is_an_error_at_the_latest_when_the_file_is_closed(lib: Any) -> None:
    file = await lib.open_file("/dev/full", "w")
    await file.write("lost")
    with pytest.raises(OSError) as failure:
        await file.aclose()
    assert failure.value.errno == errno.ENOSPC
    assert file.closed


async def test_what_a_duplicate_of_the_descriptor_writes_is_not_overwritten(lib: Any, tmp_path: pathlib.Path) -> None:
    async with await lib.open_file(tmp_path / "log", "w") as file:
        await file.write("header\n")
        await file.flush()
        os.write(file.fileno(), b"of a child\n")
        await file.write("footer\n")
    assert (tmp_path / "log").read_text() == "header\nof a child\nfooter\n"


async def test_tasks_that_write_lines_to_one_file_do_not_tear_them(lib: Any, tmp_path: pathlib.Path) -> None:
    async def log(file: Any, number: int) -> None:
        for _ in range(20):
            await file.write(f"{number}" * 50 + "\n")

    async with await lib.open_file(tmp_path / "log", "wb", 64) as raw:
        pass
    async with await lib.open_file(tmp_path / "log", "w") as file, lib.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(log, file, number)
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{number}" * 50 for number in range(5) for _ in range(20))
    assert raw.closed


# wrap_file ---------------------------------------------------------------------------------------------------------


async def test_a_file_in_memory_is_wrapped(lib: Any) -> None:
    original = io.StringIO("one\ntwo\n")
    file = lib.wrap_file(original)
    assert file.wrapped is original
    assert await file.readline() == "one\n"
    assert [line async for line in file] == ["two\n"]
    assert file.getvalue() == "one\ntwo\n"
    await file.aclose()
    assert original.closed


@pytest.mark.parametrize("wrong", [None, 5, "text", object()])
def test_what_is_no_file_is_not_wrapped(lib: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        lib.wrap_file(wrong)


def test_a_wrapped_file_has_what_the_file_has_and_nothing_else(lib: Any) -> None:
    class OnlyReads:
        def read(self) -> str:
            return ""

        def close(self) -> None:
            pass

        def other(self) -> None:
            pass

    file = lib.wrap_file(OnlyReads())
    assert "read" in dir(file) and "write" not in dir(file) and "other" not in dir(file)
    assert not hasattr(file, "other") and not hasattr(file, "write")


async def test_a_wrapped_file_closes_also_when_cancelled(lib: Any) -> None:
    original = io.BytesIO()
    with cancelled_block(lib):
        await lib.wrap_file(original).aclose()
    assert original.closed


async def test_a_wrapped_file_can_be_detached(lib: Any) -> None:
    raw = io.BytesIO(b"below")
    below = await lib.wrap_file(io.BufferedReader(raw)).detach()
    assert below.wrapped is raw


# Path --------------------------------------------------------------------------------------------------------------


def test_a_path_is_a_pure_path_and_equal_to_those_of_pathlib(lib: Any) -> None:
    path = lib.Path("folder", "file.txt")
    assert isinstance(path, pathlib.PurePath) and isinstance(path, lib.PosixPath) and type(path) is lib.PosixPath
    assert path == pathlib.PurePosixPath("folder/file.txt") and hash(path) == hash(pathlib.PurePath("folder/file.txt"))
    assert os.fspath(path) == str(path) == "folder/file.txt"
    assert pickle.loads(pickle.dumps(path)) == path


def test_pure_methods_give_paths_of_the_same_class(lib: Any) -> None:
    path = lib.Path("folder") / "file.txt"
    for made in (
        path,
        path.parent,
        path.with_suffix(".py"),
        path.joinpath("x"),
        "root" / path,
        path.relative_to("folder"),
    ):
        assert type(made) is lib.PosixPath
    assert sorted([lib.Path("b"), lib.Path("a")]) == [lib.Path("a"), lib.Path("b")]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stat", ()),
        ("lstat", ()),
        ("exists", ()),
        ("is_file", ()),
        ("is_dir", ()),
        ("is_symlink", ()),
        ("is_fifo", ()),
        ("is_socket", ()),
        ("is_block_device", ()),
        ("is_char_device", ()),
        ("is_mount", ()),
        ("owner", ()),
        ("group", ()),
        ("read_bytes", ()),
        ("read_text", ("utf-8",)),
        ("absolute", ()),
        ("resolve", ()),
        ("expanduser", ()),
    ],
)
@pytest.mark.parametrize("which", ["file", "folder", "nothing", "link", "broken", "file/inside"])
async def test_a_path_answers_as_that_of_pathlib(
    lib: Any, path: pathlib.Path, which: str, name: str, arguments: tuple[Any, ...]
) -> None:
    (path.parent / "folder").mkdir()
    (path.parent / "link").symlink_to("file")
    (path.parent / "broken").symlink_to("nothing")
    path.read_bytes()
    wanted, asked = path.parent / which, lib.Path(path.parent, which)
    try:
        expected = getattr(wanted, name)(*arguments)
    except OSError as error:
        with pytest.raises(type(error)) as failure:
            await getattr(asked, name)(*arguments)
        assert (failure.value.errno, failure.value.filename) == (error.errno, os.fspath(error.filename))
        return
    answer = await getattr(asked, name)(*arguments)
    if isinstance(expected, os.stat_result):
        for field in (field for field in dir(expected) if field.startswith("st_") and "atime" not in field):
            assert getattr(answer, field) == getattr(expected, field), field
    else:
        assert answer == expected


@pytest.mark.semantics(1)
@pytest.mark.parametrize("name", ["stat", "exists", "read_bytes", "read_text", "iterdir", "resolve", "absolute"])
async def test_calls_of_a_path_are_checkpoints(lib: Any, path: pathlib.Path, name: str) -> None:
    asked = lib.Path(path.parent if name == "iterdir" else path)
    assert await is_cancel_point(lib, getattr(asked, name))
    assert await is_schedule_point(lib, getattr(asked, name))


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 300_000])
async def test_a_file_of_any_size_is_written_and_read_whole(lib: Any, tmp_path: pathlib.Path, size: int) -> None:
    data = os.urandom(size)
    path = lib.Path(tmp_path, "file")
    assert await path.write_bytes(data) == size
    assert await path.read_bytes() == data


async def test_a_file_without_a_length_is_read_whole(lib: Any) -> None:
    assert b"Pid:" in await lib.Path("/proc/self/status").read_bytes()
    assert len(await lib.Path("/proc/self/maps").read_bytes()) > 4096


async def test_a_fifo_is_read_until_its_writer_closes(lib: Any, tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def write() -> None:
        async with await lib.open_file(tmp_path / "fifo", "wb", 0) as file:
            for piece in (b"first ", b"second ", b"third"):
                await file.write(piece)
                await lib.lowlevel.checkpoint()

    async with lib.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await lib.Path(tmp_path, "fifo").read_bytes() == b"first second third"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "utf-8-sig"])
async def test_text_is_written_and_read_with_translated_ends_of_lines(
    lib: Any, tmp_path: pathlib.Path, encoding: str
) -> None:
    path = lib.Path(tmp_path, "file")
    assert await path.write_text("é\nx\n", encoding, newline="\r\n") == 4
    assert pathlib.Path(path).read_bytes() == "é\r\nx\r\n".encode(encoding)
    assert await path.read_text(encoding) == "é\nx\n"


async def test_bytes_are_not_written_as_text_nor_text_as_bytes(lib: Any, tmp_path: pathlib.Path) -> None:
    path = lib.Path(tmp_path, "file")
    with pytest.raises(TypeError):
        await path.write_text(b"bytes")
    with pytest.raises(TypeError):
        await path.write_bytes("text")


async def test_directories_are_made_listed_and_removed(lib: Any, tmp_path: pathlib.Path) -> None:
    path = lib.Path(tmp_path, "a", "b")
    with pytest.raises(FileNotFoundError):
        await path.mkdir()
    await path.mkdir(parents=True)
    with pytest.raises(FileExistsError):
        await path.mkdir(parents=True)
    await path.mkdir(exist_ok=True)
    await (path / "file.py").touch()
    assert list(await path.iterdir()) == [path / "file.py"]
    assert [type(found) for found in await lib.Path(tmp_path).rglob("*.py")] == [lib.PosixPath]
    assert list(await path.glob("*.txt")) == []
    with pytest.raises(OSError):
        await path.rmdir()
    await (path / "file.py").unlink()
    await path.rmdir()
    assert not await path.exists()


async def test_files_are_renamed_linked_and_removed(lib: Any, path: pathlib.Path) -> None:
    old = lib.Path(path)
    new = await old.rename(path.with_name("new"))
    assert type(new) is lib.PosixPath and await new.exists() and not await old.exists()
    assert await new.replace(str(path)) == old
    await lib.Path(path.with_name("link")).symlink_to("file")
    assert await lib.Path(path.with_name("link")).readlink() == lib.Path("file")
    await lib.Path(path.with_name("hard")).hardlink_to(path)
    assert await old.samefile(path.with_name("hard"))
    await old.chmod(0o600)
    assert (await old.stat()).st_mode & 0o777 == 0o600
    await old.unlink()
    await old.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError) as failure:
        await old.unlink()
    assert failure.value.filename == str(path)


async def test_a_failed_rename_names_both(lib: Any, path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        await lib.Path(path.with_name("nothing")).rename(path.with_name("new"))
    names = failure.value.filename, failure.value.filename2
    assert tuple(map(os.fspath, names)) == (str(path.with_name("nothing")), str(path.with_name("new")))


async def test_a_path_opens_its_file(lib: Any, path: pathlib.Path) -> None:
    async with await lib.Path(path).open("r") as file:
        assert await file.readline() == "first\n"


async def test_the_current_and_the_home_directory_are_paths(lib: Any) -> None:
    assert await lib.Path.cwd() == pathlib.Path.cwd()
    assert type(await lib.Path.home()) is lib.PosixPath


def test_a_path_has_everything_that_the_path_of_trio_has(lib: Any) -> None:
    import trio

    missing = {name for name in dir(trio.Path) if not name.startswith("_")} - set(dir(lib.Path))
    assert not missing


async def test_copying_with_the_standard_library_sees_what_was_written(lib: Any, tmp_path: pathlib.Path) -> None:
    await lib.Path(tmp_path, "source").write_bytes(b"x" * 100_000)
    shutil.copyfile(tmp_path / "source", tmp_path / "target")
    assert await lib.Path(tmp_path, "target").read_bytes() == b"x" * 100_000
