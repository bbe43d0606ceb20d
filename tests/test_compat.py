"""`python -m proactor_trio compat`: nothing of Trio is missing, and what differs is found."""

from __future__ import annotations

import types
from typing import Any

import pytest

from proactor_trio.command import compat
from proactor_trio.command.compat import Name

_THEIR_SENTINEL = object()
_OUR_SENTINEL = object()


def difference(theirs: Any, ours: Any) -> str:
    return compat._difference(theirs, ours)


def of_state(state: str) -> list[str]:
    return [str(name) for name in compat.compare() if name.state == state]


def test_no_public_name_of_trio_is_missing() -> None:
    assert of_state("missing") == []


def test_no_signature_differs() -> None:
    assert of_state("signature differs") == []


def test_there_are_the_names_that_trio_has() -> None:
    names = [name for name in compat.compare() if name.module != "socket" or not name.name.isupper()]
    assert len(names) >= 169


def test_the_exit_status_says_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compat, "compare", lambda: [Name("lowlevel", "something", "missing")])
    assert compat.run_compat() == 1
    assert "missing: lowlevel.something" in capsys.readouterr().out


def test_a_missing_name_is_found() -> None:
    theirs = types.ModuleType("theirs")
    assert compat._compare_name("", "name", theirs, types.ModuleType("ours")).state == "missing"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda a: a, lambda: None),
        (lambda a: a, lambda b: b),
        (lambda a, b: a, lambda b, a: a),
        (lambda a=1: a, lambda a=2: a),
        (lambda a=1: a, lambda a: a),
        (lambda *, a: a, lambda b: b),
        (lambda *a: a, lambda a: a),
        (lambda: None, lambda a: a),
        (lambda: None, 3),
    ],
)
def test_a_difference_of_signatures_is_found(theirs: Any, ours: Any) -> None:
    assert difference(theirs, ours)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda a: a, lambda a, b=1: a),
        (lambda a, *, b=1: a, lambda a, *, c=2, b=1: a),
        (lambda a=_THEIR_SENTINEL: a, lambda a=_OUR_SENTINEL: a),
        (lambda **a: a, lambda **b: b),
        (lambda *, a=1: a, lambda **b: b),
        (3, 4),
    ],
)
def test_what_makes_no_difference_to_a_call_is_none(theirs: Any, ours: Any) -> None:
    assert difference(theirs, ours) == ""


def test_an_attribute_that_a_class_lacks_is_found() -> None:
    class Theirs:
        def method(self) -> None: ...

    class Ours: ...

    assert difference(Theirs, Ours) == "lacks method"


def test_a_method_that_is_called_otherwise_is_found() -> None:
    class Theirs:
        def method(self, a: int) -> None: ...

    class Ours:
        def method(self, b: int) -> None: ...

    assert difference(Theirs, Ours).startswith("method(): ")
