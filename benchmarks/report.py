"""How the results are shown: a table for people, and the same figures for programs (``--json``)."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .child_processes import choose_cpus
from .measuring import Outcome, Workload


def machine_line() -> str:
    """The machine that the figures are from."""
    measured_cpu, generator_cpu = choose_cpus()
    pinning = (
        "all processes share it"
        if measured_cpu is None
        else f"measured process on CPU {measured_cpu}, load generator on CPU {generator_cpu}"
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs ({pinning})"
    )


def print_workload(workload: Workload, outcomes: Sequence[Outcome], rounds: int) -> None:
    """Print one table for each row of the workload."""
    print(f"\n{workload.name}: {workload.title}")
    print(f"{workload.quantity} per {workload.unit}; interleaved rounds: {rounds}")
    for row in workload.rows:
        print()
        _print_row(workload, row, [outcome for outcome in outcomes if outcome.figures(row)])
    _print_missing(outcomes)
    sys.stdout.flush()


def _print_row(workload: Workload, row: str, measured: Sequence[Outcome]) -> None:
    title = f"  {row}" if len(workload.rows) > 1 else ""
    headings = "".join(f"{'÷ ' + baseline:>20}" for baseline in workload.baselines)
    print(f"{title:<38}{'median':>9}{'min - max':>19}{'user':>7}{'sleeps':>8}{headings}")
    for outcome in measured:
        print(_outcome_line(workload, row, outcome, measured).rstrip())


def _print_missing(outcomes: Sequence[Outcome]) -> None:
    missing = [outcome for outcome in outcomes if outcome.reason is not None]
    if missing:
        print()
    for outcome in missing:
        rounds = sum(samples is not None for samples in outcome.rounds)
        what = f"failed after {rounds} rounds" if rounds else "not measured"
        print(f"    {outcome.contender.name:<34}{what}: {outcome.reason}")


def _outcome_line(workload: Workload, row: str, outcome: Outcome, outcomes: Sequence[Outcome]) -> str:
    name = f"    {outcome.contender.name:<34}"
    figures = outcome.figures(row)
    spread = f"{min(figures):.2f} - {max(figures):.2f}"
    share = outcome.user_share(row)
    user = "" if share is None else f"{100 * share:.0f} %"
    ratios = ratios_to_baselines(workload, row, outcome, outcomes)
    columns = "".join(
        f"{'' if ratios[baseline] is None else f'{ratios[baseline]:.2f}':>20}" for baseline in workload.baselines
    )
    remarks = ", ".join(verdicts(workload, row, outcome, ratios))
    sleeps_per_unit = outcome.sleeps_per_unit(row)
    sleeps = "" if sleeps_per_unit is None else f"{sleeps_per_unit:.3f}"
    return f"{name}{statistics.median(figures):>9.2f}{spread:>19}{user:>7}{sleeps:>8}{columns}   {remarks}"


def ratios_to_baselines(
    workload: Workload, row: str, outcome: Outcome, outcomes: Sequence[Outcome]
) -> dict[str, float | None]:
    """The ratio to each baseline of the workload; None to one that was not measured."""
    by_name = {other.contender.name: other for other in outcomes}
    return {
        baseline: outcome.ratio(row, by_name[baseline]) if baseline in by_name else None
        for baseline in workload.baselines
    }


def verdicts(workload: Workload, row: str, outcome: Outcome, ratios: dict[str, float | None]) -> list[str]:
    """What each mark of this contender says of its ratios, naming the baseline where there are several."""
    texts = []
    for mark in workload.marks:
        ratio = ratios.get(mark.baseline)
        if ratio is None or not mark.is_about(outcome.contender, row):
            continue
        against = f" ({mark.baseline})" if len(workload.baselines) > 1 else ""
        texts.append(mark.verdict(ratio) + against)
    return texts


def as_json(workload: Workload, outcomes: Sequence[Outcome], parameters: dict[str, Any]) -> dict[str, Any]:
    """All figures of a workload."""
    return {
        "title": workload.title,
        "quantity": workload.quantity,
        "unit": workload.unit,
        "parameters": parameters,
        "contenders": {
            outcome.contender.name: {
                "reason": outcome.reason,
                "rows": {row: _row_as_json(workload, row, outcome, outcomes) for row in workload.rows},
            }
            for outcome in outcomes
        },
    }


def _row_as_json(workload: Workload, row: str, outcome: Outcome, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    ratios = ratios_to_baselines(workload, row, outcome, outcomes)
    figures = outcome.figures(row)
    return {
        "median": statistics.median(figures) if figures else None,
        "rounds": [None if samples is None else asdict(samples[row]) for samples in outcome.rounds],
        "ratios": ratios,
        "marks": [
            {"baseline": mark.baseline, "at_most": mark.at_most, "reached": ratio <= mark.at_most}
            for mark in workload.marks
            if mark.is_about(outcome.contender, row) and (ratio := ratios.get(mark.baseline)) is not None
        ],
    }
