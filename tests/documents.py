"""The code in documents, and how it is run.

The blocks of a page are one program: its ```python blocks run in order in one namespace, in an empty folder, with
warnings as errors, each under its own line numbers.

* A block that awaits outside of a function runs in a `proactor_trio.run()` of its own.
* A block whose first line is a comment with the name of a file (`# store.py`, `# pytest.ini`) is written to that file
  instead. Files named `test_*.py` are run by pytest at the end of the page.
* A block within an HTML comment runs, too: it prepares what readers need not see.
* An ```output block is what the python block before it prints.
* In a ```console block the commands that begin with `$ python ` are run, and have to succeed; of what they print
  nothing is checked.
* ```toml and ```json blocks have to be valid. All other blocks are only shown.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 50

_BLOCK = re.compile(r"^```([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page. line: of its first line of code, from 1."""

    language: str
    code: str
    line: int

    @property
    def file_name(self) -> str | None:
        """The file that it is to be written to, if it says so."""
        found = _FILE.match(self.code)
        return found[1] if found else None


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks with a language, in order."""
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in _BLOCK.finditer(text)]


def run_in_child(arguments: list[str], folder: Path, backend: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with `arguments` in `folder`, on a backend, warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "PROACTOR_TRIO_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def run_page(page: Path) -> None:
    """Run all blocks of a page in this process, in the current folder. Raises what goes wrong."""
    sys.path.insert(0, os.getcwd())
    namespace: dict[str, Any] = {"__name__": "__page__"}
    printed = ""
    for block in blocks_of(page.read_text()):
        place = f"{page}:{block.line}"
        if block.file_name is not None:
            Path(block.file_name).write_text(block.code)
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                _run_block(block, page, namespace)
            printed = output.getvalue()
        elif block.language == "output":
            if printed != block.code:
                raise AssertionError(f"{place}: this is not what the block before it printed, which was\n{printed}")
        elif block.language == "console":
            _run_commands(block, place)
        elif block.language in ("toml", "json"):
            (tomllib.loads if block.language == "toml" else json.loads)(block.code)
    _run_tests()


def _run_block(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", flags, dont_inherit=True)
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, namespace)
        return
    import proactor_trio

    async def awaited() -> None:
        await eval(code, namespace)

    proactor_trio.run(awaited)


def _run_commands(block: Block, place: str) -> None:
    for command in re.findall(r"^\$ python (.*)$", block.code, re.MULTILINE):
        child = subprocess.run([sys.executable, *shlex.split(command)], capture_output=True, text=True, check=False)
        if child.returncode != 0:
            raise AssertionError(f"{place}: {command} ended with {child.returncode}\n{child.stdout}{child.stderr}")


def _run_tests() -> None:
    if not list(Path().glob("test_*.py")):
        return
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        raise AssertionError(f"the tests of the page failed\n{child.stdout}{child.stderr}")


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file
    run_page(Path(sys.argv[1]))
