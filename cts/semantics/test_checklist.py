"""The checklist is complete, and every point of it that can be tested is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cts.semantics.checklist import CHECKLIST

_MARK = re.compile(r"pytest\.mark\.semantics\(([\d, ]+)\)")


def marks_of_points() -> dict[int, int]:
    """How many marks name each point."""
    counted: dict[int, int] = {}
    for path in Path(__file__).parent.glob("test_*.py"):
        for match in _MARK.finditer(path.read_text()):
            for number in map(int, match[1].split(",")):
                counted[number] = counted.get(number, 0) + 1
    return counted


def test_the_checklist_has_33_points() -> None:
    assert list(CHECKLIST) == list(range(1, 34))


@pytest.mark.parametrize("number", [number for number, point in CHECKLIST.items() if point.is_here])
def test_a_point_that_is_here_has_several_tests(number: int) -> None:
    assert marks_of_points().get(number, 0) >= 3, CHECKLIST[number].title


def test_a_point_that_is_not_here_says_when_it_comes() -> None:
    for point in CHECKLIST.values():
        assert point.is_here or "arrives with" in point.missing


def test_a_point_that_has_tests_is_not_called_missing() -> None:
    assert {number for number in marks_of_points() if not CHECKLIST[number].is_here} == set()
