"""The README: the programs of its section about the proactor run as they stand, on every backend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proactor_trio.proactor import BackendUnavailable, Proactor
from tests.documents import blocks_of, run_in_child

README = Path(__file__).parent.parent / "README.md"


def programs() -> list[str]:
    """The code of the section, block by block."""
    text = README.read_text()
    section = text[text.index("\n## The proactor alone\n") :]
    section = section[: section.index("\n## ", 1)]
    return [block.code for block in blocks_of(section) if block.language == "python"]


NAMES = ["creation", "timer", "semaphore to send", "dedicated thread", "capabilities"]


def test_there_are_as_many_as_there_are_names() -> None:
    assert len(programs()) == len(NAMES)


@pytest.mark.parametrize("backend", ["io_uring", "epoll", "poll"])
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_it_runs_as_it_stands(number: int, backend: str, tmp_path: Path) -> None:
    try:
        Proactor(backend).close()
    except BackendUnavailable as error:
        pytest.skip(f"{backend}: {error.reason}")
    child = run_in_child(["-c", programs()[number]], tmp_path, backend)
    assert (child.stderr, child.returncode) == ("", 0)


def test_the_files_that_it_links_to_exist() -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README.read_text())
    assert [path for path in linked if not (README.parent / path).exists()] == []
