"""Files: random programs do what they do with the unbuffered files of the standard library."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

import proactor_trio
from cts.configurations import Configuration
from proactor_trio import AsyncFile, open_file

_SIZES = st.integers(0, 40)
_STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)),
    st.tuples(st.just("readinto"), _SIZES),
    st.tuples(st.just("write"), st.binary(max_size=40)),
    st.tuples(st.just("seek"), st.integers(-50, 50), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("pread"), _SIZES, _SIZES),
    st.tuples(st.just("pwrite"), st.binary(max_size=40), _SIZES),
    st.tuples(st.just("tell")),
)
Step = tuple[Any, ...]


async def answer_of(file: AsyncFile, step: Step) -> Any:
    """What our file answers, "refused" for any error."""
    try:
        match step:
            case ("readinto", size):
                buffer = bytearray(size)
                return await file.readinto(buffer), bytes(buffer)
            case ("tell",):
                return file.tell()
            case (name, *arguments):
                return await getattr(file, name)(*arguments)
    except (OSError, ValueError):
        return "refused"


def answer_of_reference(file: io.FileIO, step: Step) -> Any:
    """What io.FileIO answers, with the system's calls at offsets."""
    try:
        match step:
            case ("readinto", size):
                buffer = bytearray(size)
                return file.readinto(buffer), bytes(buffer)
            case ("pread" | "pwrite", argument, offset):
                return getattr(os, step[0])(file.fileno(), argument, offset)
            case (name, *arguments):
                return getattr(file, name)(*arguments)
    except (OSError, ValueError):
        return "refused"


@pytest.mark.parametrize("mode", ["rb", "r+b", "w+b", "wb", "ab", "a+b"])
def test_a_random_program_does_what_it_does_with_the_files_of_the_standard_library(
    configuration: Configuration, tmp_path: Path, mode: str
) -> None:
    @hypothesis.settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.binary(max_size=60), st.lists(_STEPS, max_size=15))
    def check(contents: bytes, steps: Sequence[Step]) -> None:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        ours.write_bytes(contents)
        theirs.write_bytes(contents)

        async def answers() -> list[Any]:
            async with await open_file(ours, mode) as file:
                return [await answer_of(file, step) for step in steps]

        with io.FileIO(theirs, mode.replace("b", "")) as reference:
            expected = [answer_of_reference(reference, step) for step in steps]
        assert proactor_trio.run(answers, backend=configuration.backend) == expected
        assert ours.read_bytes() == theirs.read_bytes()

    check()
