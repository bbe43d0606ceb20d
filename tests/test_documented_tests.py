"""The tests that documents name as proof exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`((?:[\w/]+/)?test_\w+\.py)(?:::(\w+))?`")
DOCUMENTS = ("differences-from-the-reference.md", "proactor-threads.md")


def named_tests() -> list[tuple[str, str, str]]:
    found = []
    for document in DOCUMENTS:
        for path, function in NAMED.findall((ROOT / "docs" / document).read_text()):
            found.append((document, path if "/" in path else f"cts/suites/{path}", function))
    return sorted(set(found))


@pytest.mark.parametrize(("document", "path", "function"), named_tests())
def test_a_test_that_is_named_exists(document: str, path: str, function: str) -> None:
    assert f"def {function}" in (ROOT / path).read_text()


def test_documents_name_tests() -> None:
    assert {document for document, _path, _function in named_tests()} == set(DOCUMENTS)
