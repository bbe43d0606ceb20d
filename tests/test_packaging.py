"""What a stranger installs: names, metadata, types, and what importing does and does not do."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import proactor_trio

ROOT = Path(__file__).parents[1]
#: Where a module has another name than what is installed for it.
DISTRIBUTIONS = {"OpenSSL": "pyopenssl"}
#: What only modules need that are imported when somebody uses what they are for.
NEEDED_LATER = {"OpenSSL"}


def output_of(program: str) -> str:
    """What a fresh interpreter prints that runs this."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_version_is_that_of_the_distribution() -> None:
    assert proactor_trio.__version__ == importlib.metadata.version("proactor_trio")


def test_the_licence_and_the_oldest_python_are_said() -> None:
    metadata = importlib.metadata.metadata("proactor_trio")
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_types_are_shipped() -> None:
    assert (Path(proactor_trio.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "proactor_trio.backends",
        "proactor_trio.backends.io_uring",
        "proactor_trio.backends.posix",
        "proactor_trio.proactor",
    ],
)
def test_every_package_is_there_under_its_name(name: str) -> None:
    assert importlib.util.find_spec(name) is not None


def test_nobody_sees_a_top_level_backends() -> None:
    assert output_of("import importlib.util as u; print(u.find_spec('backends'))") == "None"


@pytest.mark.parametrize(
    "module", ["proactor_trio", "proactor_trio.lowlevel", "proactor_trio.proactor", "proactor_trio.testing"]
)
def test_every_public_name_exists(module: str) -> None:
    imported = importlib.import_module(module)
    assert [name for name in imported.__all__ if not hasattr(imported, name)] == []
    assert len(set(imported.__all__)) == len(imported.__all__)


def test_public_names_are_sorted() -> None:
    assert proactor_trio.__all__ == sorted(proactor_trio.__all__, key=lambda name: (not name.isupper(), name))


def test_importing_starts_nothing_and_imports_neither_trio_nor_asyncios_loop() -> None:
    program = """
import os, sys, threading
before = set(os.listdir("/proc/self/fd"))
import proactor_trio
assert threading.active_count() == 1
assert set(os.listdir("/proc/self/fd")) == before
print(sorted({"trio", "anyio", "pytest", "uvloop"} & set(sys.modules)))
"""
    assert output_of(program) == "[]"


def test_the_layer_of_operations_can_be_imported_alone() -> None:
    program = """
import time
from proactor_trio.proactor import Nop, Proactor
with Proactor(backend="poll") as proactor:
    done = []
    proactor.submit(Nop(lambda operation, flags: done.append(operation)))
    while not done:
        proactor.poll(1)
print("done")
"""
    assert output_of(program) == "done"


def imported_names(*folders: str, left_out: str = "") -> set[str]:
    """The top-level modules that the files of these folders, without those of one name, import first thing."""
    names = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if left_out in path.parts:
                continue
            for statement in ast.parse(path.read_text()).body:
                if isinstance(statement, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in statement.names}
                elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                    names.add(statement.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


def requirements(extra: str | None) -> str:
    """The requirements of one extra, or those without one."""
    all_of_them = importlib.metadata.requires("proactor_trio") or []
    marker = "extra ==" if extra is None else f'extra == "{extra}"'
    return " ".join(line for line in all_of_them if (marker in line) == (extra is not None))


def test_everything_that_is_needed_to_run_is_declared() -> None:
    """An integration is imported where that is installed which it is for."""
    others = imported_names("src", left_out="integrations") - {"proactor_trio", "_cffi_backend"} - NEEDED_LATER
    assert {name for name in others if name not in requirements(None)} == set()


@pytest.mark.parametrize("extra", ["anyio", "dtls", "test", "docs"])
def test_the_extras_exist(extra: str) -> None:
    assert extra in (importlib.metadata.metadata("proactor_trio").get_all("Provides-Extra") or [])


def test_what_the_tests_import_is_in_the_test_extra() -> None:
    ours = {
        "proactor_trio",
        "cts",
        "tests",
        "examples",
        "docs",
        *(path.stem for path in (ROOT / "tests").rglob("*.py")),
    }
    declared = requirements("test") + requirements(None)
    names = {DISTRIBUTIONS.get(name, name) for name in imported_names("tests", "cts") - ours}
    assert {name for name in names if name not in declared} == set()
