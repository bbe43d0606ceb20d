"""`python -m cts --matrix`: runs the suites and prints suites × configurations with counts.

A cell says how many tests passed, failed, were skipped and are not applicable; below the table stand the reasons, each
once. Further arguments go to pytest: `python -m cts --matrix -n auto`, `python -m cts --matrix cts/suites -k chain`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest

from cts.applicability import CONFIGURATION_PROPERTY, NOT_APPLICABLE, NotApplicable, suite_of, summary
from cts.configurations import ALL_CONFIGURATIONS, reason_against
from cts.running import ROOT, run_pytest

#: The column of tests that are for no configuration.
ANYWHERE: Final = "anywhere"
#: Under which name a worker process of pytest-xdist hands over what is not applicable.
WORKER_OUTPUT: Final = "cts_not_applicable"


class Matrix:
    """A pytest plugin that counts outcomes by suite and configuration."""

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._skips: Counter[tuple[str, str]] = Counter()
        self._not_applicable: NotApplicable = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        configuration = dict(report.user_properties).get(CONFIGURATION_PROPERTY, ANYWHERE)
        self._cells[suite_of(report.nodeid), str(configuration)][report.outcome] += 1
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            self._skips[str(configuration), report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._add_not_applicable(session.config.stash.get(NOT_APPLICABLE, Counter()))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        found = getattr(node, "workeroutput", {}).get(WORKER_OUTPUT)
        if found is not None:  # each worker has collected the same
            self._not_applicable.clear()
            self._add_not_applicable(Counter({tuple(key): count for key, count in found}))

    def _add_not_applicable(self, counts: NotApplicable) -> None:
        self._not_applicable.update(counts)

    @property
    def columns(self) -> list[str]:
        """The configurations that ran, in the order of their table, then what is for none."""
        ran = {configuration for _, configuration in self._cells} | {key[1] for key in self._not_applicable}
        names = [*(configuration.name for configuration in ALL_CONFIGURATIONS), ANYWHERE]
        return [name for name in names if name in ran] + sorted(ran.difference(names))

    def lines(self) -> Iterable[str]:
        """The table, the totals, the reasons."""
        absent: Counter[tuple[str, str]] = Counter()
        for (suite, configuration, _), count in self._not_applicable.items():
            absent[suite, configuration] += count
        suites = sorted({suite for suite, _ in self._cells} | {suite for suite, _ in absent})
        columns = [["", *suites, "all"]]
        for name in self.columns:
            cells = [self._cell([suite], name, absent) for suite in suites]
            columns.append([name, *cells, self._cell(suites, name, absent)])
        yield "passed/failed/not applicable +skipped"
        yield from aligned(columns)
        yield ""
        yield from summary(self._not_applicable)
        for (configuration, reason), count in sorted(self._skips.items()):
            yield f"{configuration}: {count} skipped: {reason}"
        for each in ALL_CONFIGURATIONS:
            if reason := reason_against(each):
                yield f"{each.name}: not here: {reason}"

    def _cell(self, suites: Sequence[str], configuration: str, absent: Counter[tuple[str, str]]) -> str:
        counts: Counter[str] = Counter()
        for suite in suites:
            counts += self._cells.get((suite, configuration), Counter())
        not_applicable = sum(absent[suite, configuration] for suite in suites)
        if not counts and not not_applicable:
            return ""
        text = f"{counts['passed']}/{counts['failed']}/{not_applicable}"
        return f"{text} +{counts['skipped']}" if counts["skipped"] else text


def aligned(columns: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns as lines; the first entry of each is its head, whose words, divided by "_", stand one below the other."""
    heads = [column[0].split("_") for column in columns]
    height = max(len(words) for words in heads)
    full = [[*[""] * (height - len(words)), *words, *column[1:]] for words, column in zip(heads, columns, strict=True)]
    widths = [max(len(cell) for cell in column) for column in full]
    for row in zip(*full, strict=True):
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()


def run_matrix(arguments: Sequence[str]) -> int:
    """Run what the arguments of pytest say, all suites if they name none; print the table. Returns the exit status."""
    matrix = Matrix()
    names_suites = any(argument.startswith("cts") for argument in arguments)
    status = run_pytest(["-q", *arguments, *([] if names_suites else [str(ROOT / "cts")])], matrix)
    print("\n".join(matrix.lines()))
    return status
