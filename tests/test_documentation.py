"""The documentation: its code runs, its links lead somewhere, and its reference has every public name, and no other."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from docs.extensions.house_docstrings import as_restructured_text
from docs.extensions.public_names import all_public_names, public_modules, reference_sections
from proactor_trio.proactor import BackendUnavailable, Proactor
from tests import documents
from tests.documents import blocks_of, run_in_child

DOCS = Path(__file__).parent.parent / "docs"

PAGES = sorted(DOCS.rglob("*.md"))
PAGES_WITH_CODE = [page for page in PAGES if "\n```python\n" in page.read_text()]


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("backend", ["io_uring", "epoll", "poll"])
@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(page: Path, backend: str, tmp_path: Path) -> None:
    try:
        Proactor(backend).close()
    except BackendUnavailable as error:
        pytest.skip(f"{backend}: {error.reason}")
    child = run_in_child([documents.__file__, str(page)], tmp_path, backend)
    assert (child.stderr, child.returncode) == ("", 0)


def test_most_code_of_the_documentation_is_run() -> None:
    """A block that is only shown has a language of its own: no Python hides among them."""
    languages = {block.language for page in PAGES for block in blocks_of(page.read_text())}
    assert languages <= {"python", "output", "console", "toml", "json", "ini", "text"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_files_that_a_page_links_to_exist(page: Path) -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text())
    assert [path for path in linked if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("module", public_modules())
def test_every_name_in_the_list_of_a_module_exists(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in found.__all__ if not hasattr(found, name)] == []


def test_every_public_name_is_in_the_reference_once_and_no_other() -> None:
    documented = [name for section in reference_sections(DOCS / "reference") for name in section.full_names()]
    assert sorted(documented) == sorted(all_public_names())


def test_every_public_class_and_function_of_ours_has_a_docstring() -> None:
    bare = []
    for full_name in all_public_names():
        module, _, name = full_name.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        is_ours = (getattr(value, "__module__", None) or "").startswith("proactor_trio")
        if is_ours and (inspect.isclass(value) or inspect.isroutine(value)) and not (value.__doc__ or "").strip():
            bare.append(full_name)
    assert bare == []


def test_pages_are_in_the_table_of_contents() -> None:
    entries = set()
    for page in PAGES:
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            entries |= {(page.parent / line).resolve() for line in tree.split("\n") if line and line[0] != ":"}
    assert {page.with_suffix("") for page in PAGES} - entries == {DOCS / "index"}


def allowed_by_profile() -> dict[str, bool]:
    """The system calls that the profile allows, and whether with all arguments."""
    profile = json.loads((DOCS / "guides" / "seccomp-io-uring.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowing = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    return {name: "args" not in rule for rule in allowing for name in rule["names"]}


def test_the_seccomp_profile_allows_the_three_calls_of_io_uring() -> None:
    allowed = allowed_by_profile()
    assert all(allowed[f"io_uring_{name}"] for name in ("setup", "enter", "register"))


@pytest.mark.parametrize("name", ["bpf", "mount", "unshare", "setns", "ptrace", "keyctl", "init_module", "clone3"])
def test_the_seccomp_profile_does_not_allow_what_reaches_out_of_a_container(name: str) -> None:
    assert name not in allowed_by_profile()


@pytest.mark.parametrize("name", ["clone", "personality", "socket"])
def test_the_seccomp_profile_allows_by_arguments_what_reaches_out_with_some_of_them(name: str) -> None:
    assert allowed_by_profile()[name] is False


class TestDocstrings:
    def test_lines_of_arguments_become_definitions(self) -> None:
        text = as_restructured_text(["Does it.", "", "first: one thing", "    and more.", "Raises nothing."])
        assert text == ["Does it.", "", "``first``", "    one thing and more.", "", "Raises nothing.", ""]

    def test_the_first_paragraph_is_never_an_argument(self) -> None:
        assert as_restructured_text(["backend: its name"]) == ["backend: its name", ""]

    def test_what_would_be_markup_is_escaped(self) -> None:
        assert as_restructured_text(["2 * 3, _a, x|y"]) == ["2 \\* 3, \\_a, x\\|y", ""]

    def test_code_stays_as_it_is(self) -> None:
        assert as_restructured_text(["See `a * b_`."]) == ["See ``a * b_``.", ""]

    def test_an_example_is_a_literal_block(self) -> None:
        text = as_restructured_text(["So:", "", "    async with x:", "", "        ...", "", "End."])
        assert text == ["So:", "", "::", "", "    async with x:", "", "        ...", "", "End.", ""]


class TestRunningAPage:
    """The tests of documents can fail."""

    def run(self, text: str, folder: Path) -> str:
        page = folder / "page.md"
        page.write_text(text)
        return run_in_child([documents.__file__, str(page)], folder, "poll").stderr

    def test_an_error_is_told_with_the_line_of_the_page(self, tmp_path: Path) -> None:
        assert 'page.md", line 4' in self.run("text\n\n```python\n1 / 0\n```\n", tmp_path)

    def test_another_output_is_an_error(self, tmp_path: Path) -> None:
        assert "which was\n1" in self.run("```python\nprint(1)\n```\n\n```output\n2\n```\n", tmp_path)

    def test_a_block_may_await(self, tmp_path: Path) -> None:
        text = "```python\nfrom proactor_trio import sleep\nawait sleep(0)\nprint(1)\n```\n\n```output\n1\n```\n"
        assert self.run(text, tmp_path) == ""

    def test_a_test_that_fails_is_an_error(self, tmp_path: Path) -> None:
        assert "1 failed" in self.run("```python\n# test_it.py\ndef test_it():\n    assert 0\n```\n", tmp_path)

    def test_a_command_that_fails_is_an_error(self, tmp_path: Path) -> None:
        assert "ended with 3" in self.run('```console\n$ python -c "raise SystemExit(3)"\n```\n', tmp_path)
