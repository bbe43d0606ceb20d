"""The tables of the reference and what is counted against them: complete, without a name that does not exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cts.reference import coverage
from cts.reference.cases import ALL_CASES, REFERENCE_SUITES
from cts.reference.coverage import Collector, Coverage
from cts.reference.divergences import DIVERGENCES, NOT_REPEATABLE
from cts.reference.ring_rules import EXPLAINED, RING_RULES
from cts.reference.without_meaning import WITHOUT_MEANING, Explanation

ROOT = Path(__file__).parents[1]


def complete() -> Collector:
    """A collection in which each case, divergence and rule that is not explained has a test."""
    collected = Collector()
    for case in set(ALL_CASES) - set(WITHOUT_MEANING):
        collected.cases[case].add("a test")
    for name in DIVERGENCES:
        collected.divergences[name].add("a test")
    for number in RING_RULES.keys() - EXPLAINED.keys():
        collected.ring_rules[number].add("a test")
    for explanation in WITHOUT_MEANING.values():
        collected.test_names.update(explanation.covered_by)
    return collected


# The tables ----------------------------------------------------------------------------------------------------------


def test_the_reference_has_44_suites_and_364_cases() -> None:
    assert (len(REFERENCE_SUITES), len(ALL_CASES)) == (44, 364)


def test_no_case_is_named_twice() -> None:
    assert len(set(ALL_CASES)) == len(ALL_CASES)
    assert len({suite.name for suite in REFERENCE_SUITES}) == len(REFERENCE_SUITES)


def test_a_divergence_is_repeatable_or_not() -> None:
    assert not DIVERGENCES.keys() & NOT_REPEATABLE.keys()


def test_rules_are_numbered_from_1_to_25() -> None:
    assert list(RING_RULES) == list(range(1, 26))
    assert EXPLAINED.keys() <= RING_RULES.keys()


def test_few_cases_have_no_meaning() -> None:
    assert len(WITHOUT_MEANING) <= 5


# Counting ------------------------------------------------------------------------------------------------------------


def test_a_complete_collection_lacks_nothing() -> None:
    found = Coverage(complete())
    assert (found.is_complete, found.mistakes, found.lines()[-1]) == (True, [], "missing: 0")


def test_a_case_without_a_test_is_missing() -> None:
    collected = complete()
    del collected.cases["TimerTest.BasicTimer"]
    found = Coverage(collected)
    assert (found.missing, found.is_complete) == (["TimerTest.BasicTimer"], False)
    assert found.lines()[-1] == "missing: 1"


def test_a_divergence_without_a_test_is_missing() -> None:
    collected = complete()
    del collected.divergences["batch-split"]
    found = Coverage(collected)
    assert (found.missing_divergences, found.lines()[-1]) == (["batch-split"], "missing: 1")


def test_a_rule_without_a_test_or_a_reason_is_missing() -> None:
    collected = complete()
    del collected.ring_rules[10]
    found = Coverage(collected)
    assert (found.missing_rules, found.is_complete, found.lines()[-1]) == ([10], False, "missing: 1")


def test_how_many_rules_have_a_test_is_said() -> None:
    borne = len(RING_RULES) - len(EXPLAINED)
    assert f"rules of rings and chains: {borne}/25" in Coverage(complete()).lines()


@pytest.mark.parametrize(
    ("table", "name"), [("cases", "TimerTest.NoSuchCase"), ("divergences", "no-such-fault"), ("ring_rules", 26)]
)
def test_a_mark_with_an_unknown_name_is_a_mistake(table: str, name: object) -> None:
    collected = complete()
    getattr(collected, table)[name].add("cts/suites/test_some.py::test_one")
    found = Coverage(collected)
    assert found.mistakes == [f"{name}: in no table, but borne by cts/suites/test_some.py::test_one"]
    assert not found.is_complete


def test_an_explanation_that_names_a_test_that_does_not_exist_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = complete()
    case = "LifecycleTest.RetainRelease"
    monkeypatch.setattr(coverage, "WITHOUT_MEANING", {**WITHOUT_MEANING, case: Explanation("words", ("test_gone",))})
    found = Coverage(collected)
    assert found.mistakes == [f"{case}: covered by test_gone, which does not exist"]


def test_a_case_that_is_explained_and_tested_is_a_mistake() -> None:
    collected = complete()
    collected.cases["LifecycleTest.RetainRelease"].add("a test")
    assert Coverage(collected).mistakes == ["LifecycleTest.RetainRelease: explained, although it has a test"]


def test_an_explanation_of_a_case_that_does_not_exist_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    strange = {**WITHOUT_MEANING, "TimerTest.NoSuchCase": Explanation("words", ())}
    monkeypatch.setattr(coverage, "WITHOUT_MEANING", strange)
    assert Coverage(complete()).mistakes == ["TimerTest.NoSuchCase: explained, but not in the reference"]


# The suite as it is --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_the_suite_lacks_nothing() -> None:
    command = [sys.executable, "-m", "cts", "--against-reference"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = [line for line in ended.stdout.splitlines() if "MISSING" in line or "MISTAKE" in line]
    assert (wrong, ended.stdout.splitlines()[-1], ended.returncode) == ([], "missing: 0", 0), ended.stderr
