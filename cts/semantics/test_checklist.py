"""The checklist is complete, and every point of it is tested."""

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


@pytest.mark.parametrize("number", list(CHECKLIST))
def test_a_point_has_several_tests(number: int) -> None:
    assert marks_of_points().get(number, 0) >= 3, CHECKLIST[number]


def test_no_test_names_a_point_that_does_not_exist() -> None:
    assert set(marks_of_points()) <= set(CHECKLIST)
