"""The README: the programs of its section about the proactor run as they stand, on every backend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proactor_trio.proactor import BackendUnavailable, Proactor

README = Path(__file__).parent.parent / "README.md"
SECONDS = 50


def programs() -> list[str]:
    """The code of the section, block by block."""
    text = README.read_text()
    section = text[text.index("\n## The proactor alone\n") :]
    section = section[: section.index("\n## ", 1)]
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


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
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", programs()[number]],
        cwd=tmp_path,
        env={**os.environ, "PROACTOR_TRIO_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (child.stderr, child.returncode) == ("", 0)


def test_the_files_that_it_links_to_exist() -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README.read_text())
    assert [path for path in linked if not (README.parent / path).exists()] == []
