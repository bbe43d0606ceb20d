"""`python -m cts --against-reference`: which cases of the reference have a test here, which are explained, which miss.

The same for the faults of the reference that are not to be repeated, and for the rules of rings and chains.

What counts is what pytest collects: a mark on a test that is never collected covers nothing, and a name that the
reference does not have is a mistake.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from cts.reference.cases import ALL_CASES, REFERENCE_SUITES
from cts.reference.divergences import DIVERGENCES, NOT_REPEATABLE
from cts.reference.ring_rules import EXPLAINED, RING_RULES
from cts.reference.without_meaning import WITHOUT_MEANING
from cts.running import ROOT, run_pytest


class Collector:
    """A pytest plugin that notes which marks the collected tests bear."""

    def __init__(self) -> None:
        #: Reference case, divergence or rule to the names of the tests that bear it.
        self.cases: defaultdict[str, set[str]] = defaultdict(set)
        self.divergences: defaultdict[str, set[str]] = defaultdict(set)
        self.ring_rules: defaultdict[int, set[str]] = defaultdict(set)
        self.test_names: set[str] = set()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        name = getattr(item, "originalname", item.name)
        self.test_names.add(name)
        test = f"{item.nodeid.partition('::')[0]}::{name}"
        marks: tuple[tuple[str, Any], ...] = (
            ("reference", self.cases),
            ("regression", self.divergences),
            ("ring_rule", self.ring_rules),
        )
        for mark, found in marks:
            for marker in item.iter_markers(mark):
                for case in marker.args:
                    found[case].add(test)


class Coverage:
    """What a collection covers, and what is wrong with it."""

    def __init__(self, collected: Collector) -> None:
        self._collected = collected
        self.covered = [case for case in ALL_CASES if case in collected.cases]
        self.explained = [case for case in ALL_CASES if case in WITHOUT_MEANING and case not in collected.cases]
        known = {*self.covered, *self.explained}
        self.missing = [case for case in ALL_CASES if case not in known]
        self.missing_divergences = [name for name in DIVERGENCES if name not in collected.divergences]
        self.missing_rules = [
            number for number in RING_RULES if number not in collected.ring_rules and number not in EXPLAINED
        ]
        self.mistakes = [*self._unknown_marks(), *self._wrong_explanations()]

    def _unknown_marks(self) -> list[str]:
        tables: tuple[tuple[Any, set[Any]], ...] = (
            (self._collected.cases, set(ALL_CASES)),
            (self._collected.divergences, set(DIVERGENCES)),
            (self._collected.ring_rules, set(RING_RULES)),
        )
        return [
            f"{case}: in no table, but borne by {', '.join(sorted(tests))}"
            for found, known in tables
            for case, tests in found.items()
            if case not in known
        ]

    def _wrong_explanations(self) -> list[str]:
        both = [f"{case}: explained, although it has a test" for case in WITHOUT_MEANING if case in self.covered]
        strange = [f"{case}: explained, but not in the reference" for case in set(WITHOUT_MEANING) - set(ALL_CASES)]
        gone = [
            f"{case}: covered by {test}, which does not exist"
            for case, explanation in WITHOUT_MEANING.items()
            for test in explanation.covered_by
            if test not in self._collected.test_names
        ]
        return both + strange + gone

    @property
    def is_complete(self) -> bool:
        """Whether nothing misses and no table says what is not so."""
        return not (self.missing or self.missing_divergences or self.missing_rules or self.mistakes)

    def tests_of(self, case: str) -> list[str]:
        """The tests that bear a case."""
        return sorted(self._collected.cases[case])

    def lines(self) -> list[str]:
        """The report; its last line is `missing: N`."""
        lines = []
        for suite in REFERENCE_SUITES:
            covered = sum(name in self.covered for name in suite.full_names)
            explained = [name for name in suite.full_names if name in self.explained]
            missing = [name for name in suite.full_names if name in self.missing]
            count = f"{covered}/{len(suite.cases)}"
            lines.append(f"{suite.path:<28} {suite.name:<26} covered {count:>6}")
            lines += [f"    explained  {name}: {WITHOUT_MEANING[name].reason}" for name in explained]
            lines += [f"    MISSING    {name}" for name in missing]
        lines.append("")
        tested = len(DIVERGENCES) - len(self.missing_divergences)
        lines.append(f"divergences of the reference with a regression test: {tested}/{len(DIVERGENCES)}")
        lines += [f"    not repeatable  {name}: {reason}" for name, reason in NOT_REPEATABLE.items()]
        lines += [f"    MISSING         {name}: {DIVERGENCES[name]}" for name in self.missing_divergences]
        lines += self._rule_lines()
        lines += [f"MISTAKE {mistake}" for mistake in self.mistakes]
        missing_count = len(self.missing) + len(self.missing_divergences) + len(self.missing_rules)
        lines.append(f"cases: {len(ALL_CASES)}, covered: {len(self.covered)}, explained: {len(self.explained)}")
        lines.append(f"missing: {missing_count}")
        return lines

    def _rule_lines(self) -> list[str]:
        borne = [number for number in RING_RULES if number in self._collected.ring_rules]
        explained = [number for number in EXPLAINED if number not in borne]
        return [
            f"rules of rings and chains: {len(borne)}/{len(RING_RULES)}",
            *(f"    explained  {number}. {RING_RULES[number]}: {EXPLAINED[number]}" for number in explained),
            *(f"    MISSING    {number}. {RING_RULES[number]}" for number in self.missing_rules),
        ]


def collect() -> Coverage:
    """Collect the whole suite, without running it, and compare. Raises RuntimeError if it cannot be collected."""
    collector = Collector()
    arguments = ["--collect-only", "-p", "no:terminal", "-p", "no:cacheprovider", str(ROOT / "cts")]
    status = run_pytest(arguments, collector)
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"the suite could not be collected: {pytest.ExitCode(status).name}")
    return Coverage(collector)
