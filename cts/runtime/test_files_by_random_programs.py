"""Files: random programs do what they do with the files of the standard library."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

import proactor_trio
from cts.configurations import Configuration
from proactor_trio import open_file

Step = tuple[Any, ...]

_EXAMPLES = os.environ.get("CTS_EXAMPLES")
_SETTINGS = hypothesis.settings(
    max_examples=40 if _EXAMPLES is None else int(_EXAMPLES),
    deadline=None,
    database=None,
    derandomize=_EXAMPLES is None,
    phases=(hypothesis.Phase.generate,) if _EXAMPLES is None else (hypothesis.Phase.generate, hypothesis.Phase.shrink),
    suppress_health_check=list(hypothesis.HealthCheck),
)
_SIZES = st.integers(0, 40)
_COUNTS = st.one_of(st.none(), st.integers(-1, 40))
_BINARY = st.binary(max_size=40)
_WHENCES = st.sampled_from([0, 1, 2, 3])

_STEPS_OF_ANY = (
    st.tuples(st.just("read"), _COUNTS),
    st.tuples(st.just("readline"), _COUNTS),
    st.tuples(st.just("readlines"), st.integers(-1, 20)),
    st.tuples(st.just("next")),
    st.tuples(st.just("tell")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("truncate"), st.one_of(st.none(), st.integers(-1, 40))),
)
_STEPS_OF_BYTES = (
    st.tuples(st.just("readinto"), _SIZES),
    st.tuples(st.just("write"), st.one_of(_BINARY, st.binary(min_size=20, max_size=200))),
    st.tuples(st.just("writelines"), st.lists(_BINARY, max_size=3)),
    st.tuples(st.just("seek"), st.integers(-50, 50), _WHENCES),
)
_RAW_STEPS = st.one_of(
    *_STEPS_OF_ANY,
    *_STEPS_OF_BYTES,
    st.tuples(st.just("readall")),
    st.tuples(st.just("pread"), _SIZES, _SIZES),
    st.tuples(st.just("pwrite"), _BINARY, _SIZES),
)
_BUFFERED_STEPS = st.one_of(*_STEPS_OF_ANY, *_STEPS_OF_BYTES, st.tuples(st.just("peeked")))

_LETTERS = st.text(st.sampled_from("ab é日\n\r"), max_size=30)
_TEXT_STEPS = st.one_of(
    *_STEPS_OF_ANY[:-1],
    st.tuples(st.just("write"), _LETTERS),
    st.tuples(st.just("writelines"), st.lists(_LETTERS, max_size=3)),
    st.tuples(st.just("mark")),
    st.tuples(st.just("return")),
    # No other place: one that tell() did not give may crash the interpreter by its own files.
    st.sampled_from([("seek", 0, 0), ("seek", -1, 0), ("seek", 0, 1), ("seek", 1, 1), ("seek", 0, 2), ("seek", 1, 2)]),
    st.tuples(st.just("encoding")),
)

_MODES = ["rb", "r+b", "w+b", "wb", "ab", "a+b"]


def kind_of(error: BaseException) -> str:
    """The class that programs ask for."""
    for kind in (io.UnsupportedOperation, UnicodeError, ValueError, TypeError, OSError):
        if isinstance(error, kind):
            return kind.__name__
    raise error


class Ours:
    """Makes the steps of a program with a file of ours."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._mark: int | None = None

    async def answer(self, step: Step) -> Any:
        try:
            return await self._make(step)
        except (OSError, ValueError, TypeError) as error:
            return kind_of(error)

    async def _make(self, step: Step) -> Any:
        file = self._file
        match step:
            case ("readinto", size):
                buffer = bytearray(size)
                return await file.readinto(buffer), bytes(buffer)
            case ("next",):
                async for line in file:
                    return line
                return "the end"
            case ("peeked",):
                return (await file.peek())[:1]
            case ("mark",):
                self._mark = await file.tell()
                return self._mark
            case ("return",):
                return None if self._mark is None else await file.seek(self._mark)
            case ("encoding",):
                return file.encoding, file.errors, file.readable(), file.writable(), file.closed
            case (name, *arguments):
                return await getattr(file, name)(*arguments)


class Theirs:
    """Makes the steps of a program with a file of the standard library."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._mark: int | None = None

    def answer(self, step: Step) -> Any:
        try:
            return self._make(step)
        except (OSError, ValueError, TypeError) as error:
            return kind_of(error)

    def _make(self, step: Step) -> Any:
        file = self._file
        match step:
            case ("readinto", size):
                buffer = bytearray(size)
                return file.readinto(buffer), bytes(buffer)
            case ("next",):
                if not file.readable():
                    raise io.UnsupportedOperation("read")
                return file.readline() or "the end"
            case ("peeked",):
                if not file.readable():
                    raise io.UnsupportedOperation("peek")
                return file.peek()[:1]
            case ("mark",):
                self._mark = file.tell()
                return self._mark
            case ("return",):
                return None if self._mark is None else file.seek(self._mark)
            case ("encoding",):
                return file.encoding, file.errors, file.readable(), file.writable(), file.closed
            case ("readlines", hint):
                return list(self._lines(hint))  # its own iterator would forbid tell() after an error
            case ("pread" | "pwrite", argument, offset):
                return getattr(os, step[0])(file.fileno(), argument, offset)
            case (name, *arguments):
                return getattr(file, name)(*arguments)

    def _lines(self, hint: int) -> Iterator[Any]:
        total = 0
        while line := self._file.readline():
            yield line
            total += len(line)
            if 0 < hint <= total:
                return


def settled(steps: Sequence[Step]) -> list[Step]:
    """With a flush between a write and a read: without it the builtin reads what was in its buffer before."""
    program: list[Step] = []
    has_written = False
    for step in steps:
        writes = step[0].startswith("write")
        if has_written and not writes:
            program.append(("flush",))
        program.append(step)
        has_written = writes
    return program


def are_same(step: Step, answer: Any, wanted: Any) -> bool:
    """Whether two answers mean the same."""
    if step[0] in ("tell", "mark", "seek", "return") and isinstance(answer, int) and isinstance(wanted, int):
        if max(answer, wanted) >> 64:
            return True  # there are several numbers for one place in a text; where they lead to is seen later
    if wanted == "OSError" and answer == "UnsupportedOperation":
        return True  # which is one, and says more
    if step == ("readline", 0) and answer == "UnsupportedOperation":
        return True  # the builtin does not look
    if step == ("readline", None) and wanted == "TypeError":
        return True  # of the builtin files only those of bytes take it
    if step == ("read", None) and (answer, wanted) == ("UnsupportedOperation", "TypeError"):
        return True  # what is only written has no read(); from Python 3.12 on the builtin looks at the argument first
    return bool(answer == wanted)


def compare(
    configuration: Configuration, folder: Path, contents: bytes, steps: Sequence[Step], mode: str, *options: Any
) -> None:
    """Run one program on both; the answers, positions and contents are the same."""
    steps = settled(steps)
    ours, theirs = folder / "ours", folder / "theirs"
    ours.write_bytes(contents)
    theirs.write_bytes(contents)
    with open(theirs, mode, *options) as file:
        reference = Theirs(file)
        expected = [reference.answer(step) for step in steps]

    async def answers() -> list[Any]:
        async with await open_file(ours, mode, *options) as file:
            program = Ours(file)
            return [await program.answer(step) for step in steps]

    found = proactor_trio.run(answers, backend=configuration.backend)
    for step, answer, wanted in zip(steps, found, expected, strict=True):
        assert are_same(step, answer, wanted), f"{step}: {answer!r} instead of {wanted!r}"
        if wanted == "UnicodeError":
            return  # what stands in the buffers afterwards is nobody's promise
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("mode", _MODES)
def test_an_unbuffered_file_does_what_the_builtin_does(configuration: Configuration, tmp_path: Path, mode: str) -> None:
    @_SETTINGS
    @hypothesis.given(st.binary(max_size=60), st.lists(_RAW_STEPS, max_size=15))
    def check(contents: bytes, steps: Sequence[Step]) -> None:
        compare(configuration, tmp_path, contents, steps, mode, 0)

    check()


@pytest.mark.parametrize("mode", _MODES)
def test_a_buffered_file_does_what_the_builtin_does(configuration: Configuration, tmp_path: Path, mode: str) -> None:
    lines = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"def\n", b"\r\n", b"\0" * 9]), max_size=30).map(b"".join)

    @_SETTINGS
    @hypothesis.given(lines, st.lists(_BUFFERED_STEPS, max_size=15), st.sampled_from([-1, 2, 3, 8, 16, 64]))
    def check(contents: bytes, steps: Sequence[Step], buffering: int) -> None:
        compare(configuration, tmp_path, contents, steps, mode, buffering)

    check()


@pytest.mark.parametrize("mode", ["r", "r+", "w+", "w", "a", "a+"])
@pytest.mark.parametrize(
    ("encoding", "errors"),
    [
        ("utf-8", None),
        ("utf-8", "surrogateescape"),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("latin-1", "replace"),
        ("cp932", "replace"),
        ("iso2022_jp", "replace"),
    ],
)
def test_a_text_file_does_what_the_builtin_does(
    configuration: Configuration, tmp_path: Path, mode: str, encoding: str, errors: str | None
) -> None:
    @hypothesis.settings(_SETTINGS, max_examples=_SETTINGS.max_examples // 3)
    @hypothesis.given(
        _LETTERS,
        st.binary(max_size=2),
        st.lists(_TEXT_STEPS, max_size=12),
        st.sampled_from([None, "", "\n", "\r", "\r\n"]),
    )
    def check(text: str, garbage: bytes, steps: Sequence[Step], newline: str | None) -> None:
        contents = text.encode(encoding, "ignore") + garbage
        compare(configuration, tmp_path, contents, steps, mode, -1, encoding, errors, newline)

    check()
