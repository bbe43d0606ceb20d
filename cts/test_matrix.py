"""The matrix and what it rests on: who runs where, and how it is counted."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from cts.applicability import NotApplicable, reason_against_test, suite_of, summary, take_out
from cts.configurations import Configuration
from cts.matrix import ANYWHERE, WORKER_OUTPUT, Matrix, aligned

EVERYWHERE = Configuration("everywhere", "poll", frozenset({"files"}))
LACKING: NotApplicable = Counter({("suites/test_some", "posix_poll", "posix_poll has no futex operations"): 2})


class Item:
    """As much of a collected test as is looked at."""

    nodeid = "cts/suites/test_some.py::test_it[everywhere]"

    def __init__(self, marks: dict[str, tuple[str, ...]]) -> None:
        self.callspec = SimpleNamespace(params={"configuration": EVERYWHERE})
        self.user_properties: list[tuple[str, str]] = []
        self._marks = marks

    def iter_markers(self, name: str) -> list[Any]:
        return [SimpleNamespace(args=self._marks[name])] if name in self._marks else []


def item_with(**marks: tuple[str, ...]) -> Any:
    return Item(marks)


def report(outcome: str, configuration: str | None = "posix_poll", when: str = "call", why: object = None) -> Any:
    """As much of a test's report as is looked at."""
    return SimpleNamespace(
        nodeid="cts/suites/test_some.py::test_it",
        when=when,
        outcome=outcome,
        user_properties=[] if configuration is None else [("configuration", configuration)],
        longrepr=why,
    )


# Who runs where ------------------------------------------------------------------------------------------------------


def test_a_test_without_marks_runs_everywhere() -> None:
    assert reason_against_test(item_with(), EVERYWHERE) is None


def test_a_test_runs_where_its_tags_are_met() -> None:
    assert reason_against_test(item_with(needs=("files",)), EVERYWHERE) is None


def test_a_tag_that_is_not_met_is_the_reason() -> None:
    assert reason_against_test(item_with(needs=("files", "fork")), EVERYWHERE) == "everywhere has no fork()"


def test_a_test_that_is_for_those_who_lack_a_tag_does_not_run_where_it_is_met() -> None:
    reason = reason_against_test(item_with(lacks=("files",)), EVERYWHERE)
    assert reason == "everywhere has what the test does without: files"


def test_an_unknown_tag_is_a_mistake_of_the_test() -> None:
    with pytest.raises(pytest.UsageError, match=r"test_it\[everywhere\]: there is no tag 'fast'"):
        reason_against_test(item_with(needs=("fast",)), EVERYWHERE)


def test_what_does_not_apply_is_taken_out_and_counted() -> None:
    stays, goes = item_with(), item_with(needs=("fork",))
    items = [stays, goes]
    taken, counts = take_out(items)
    assert (items, taken) == ([stays], [goes])
    assert counts == {("suites/test_some", "everywhere", "everywhere has no fork()"): 1}


def test_a_suite_is_its_file() -> None:
    assert suite_of("cts/suites/test_chains.py::test_one[io_uring]") == "suites/test_chains"


def test_the_summary_has_a_line_for_each_reason() -> None:
    assert list(summary(LACKING)) == ["posix_poll: 2 not applicable: posix_poll has no futex operations"]


# How it is counted ---------------------------------------------------------------------------------------------------


def row_of(matrix: Matrix, suite: str = "suites/test_some") -> str:
    """The line of a suite, without the spaces between."""
    return next(" ".join(line.split()) for line in matrix.lines() if line.startswith(suite))


def test_outcomes_are_counted_by_suite_and_configuration() -> None:
    matrix = Matrix()
    for outcome in ("passed", "passed", "failed"):
        matrix.pytest_runtest_logreport(report(outcome))
    assert row_of(matrix) == "suites/test_some 2/1/0"


def test_a_setup_that_passed_counts_for_nothing() -> None:
    matrix = Matrix()
    matrix.pytest_runtest_logreport(report("passed", when="setup"))
    matrix.pytest_runtest_logreport(report("passed"))
    assert row_of(matrix) == "suites/test_some 1/0/0"


def test_an_error_behind_the_test_is_a_failure() -> None:
    matrix = Matrix()
    matrix.pytest_runtest_logreport(report("passed"))
    matrix.pytest_runtest_logreport(report("failed", when="teardown"))
    assert row_of(matrix) == "suites/test_some 1/1/0"


def test_a_skip_is_counted_and_its_reason_is_said() -> None:
    matrix = Matrix()
    matrix.pytest_runtest_logreport(report("skipped", when="setup", why=("file", 1, "Skipped: no IPv6")))
    assert row_of(matrix) == "suites/test_some 0/0/0 +1"
    assert "posix_poll: 1 skipped: no IPv6" in matrix.lines()


def test_a_test_for_no_configuration_has_a_column_of_its_own() -> None:
    matrix = Matrix()
    matrix.pytest_runtest_logreport(report("passed", configuration=None))
    assert matrix.columns == [ANYWHERE]


def test_what_is_not_applicable_comes_from_the_workers_once() -> None:
    matrix = Matrix()
    node = SimpleNamespace(workeroutput={WORKER_OUTPUT: [[list(key), count] for key, count in LACKING.items()]})
    for _ in range(2):
        matrix.pytest_testnodedown(node)
    assert row_of(matrix) == "suites/test_some 0/0/2"


def test_the_words_of_a_head_stand_one_below_the_other() -> None:
    assert list(aligned([["", "row"], ["io_uring", "1/0/0"]])) == ["        io", "     uring", "row  1/0/0"]
