"""`python -m cts.benchmarks`: measure, print a table, and say which shapes hold; `--json FILE` writes the figures."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from cts.benchmarks import (  # noqa: F401 - they register themselves
    buffers,
    core,
    events,
    frontier_trackers,
    frontiers,
    relays,
    sockets,
)
from cts.benchmarks.measuring import REGISTERED, Benchmark, Outcome, Verdict, measure
from cts.configurations import ALL_CONFIGURATIONS, CONFIGURATIONS, Configuration, find, reason_against, variant


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for. Returns 1 if a shape does not hold."""
    parser = argparse.ArgumentParser(prog="python -m cts.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names of benchmarks; all of them without any")
    parser.add_argument("--configuration", action="append", default=[], help="one of the conformance suite's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args(arguments)
    configurations = [find(name, ALL_CONFIGURATIONS) for name in chosen.configuration] or list(CONFIGURATIONS)
    rounds = 1 if chosen.quick else chosen.rounds
    records = [
        record
        for configuration in configurations
        for record in _run(configuration, _choose(chosen.names), rounds, quick=chosen.quick)
    ]
    if chosen.json is not None:
        report = {"python": platform.python_version(), "kernel": platform.release(), "benchmarks": records}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(verdict["holds"] for record in records for verdict in record["verdicts"]) else 1


def _choose(parts: list[str]) -> list[Benchmark]:
    chosen = [one for one in REGISTERED if not parts or any(part.lower() in one.name.lower() for part in parts)]
    needed = {one.compared_with for one in chosen}
    return [one for one in REGISTERED if one in chosen or one.name in needed]


def _run(
    configuration: Configuration, benchmarks: list[Benchmark], rounds: int, *, quick: bool
) -> list[dict[str, Any]]:
    """Measure on one configuration and print; one record a benchmark."""
    print(f"\n{configuration.name}")
    reason = reason_against(configuration)
    if reason is not None:
        print(f"  not here: {reason}")
        return []
    outcomes = measure(configuration, benchmarks, rounds, quick=quick)
    by_name = {outcome.benchmark.name: outcome for outcome in outcomes}
    records = []
    for outcome in outcomes:
        verdicts = [] if outcome.reason else outcome.verdicts(by_name)
        _print(outcome, verdicts)
        records.append(
            {"configuration": configuration.name, "variant": variant(configuration)} | outcome.record(verdicts)
        )
    return records


def _print(outcome: Outcome, verdicts: list[Verdict]) -> None:
    benchmark = outcome.benchmark
    if outcome.reason is not None:
        print(f"  {benchmark.name}: left out, {outcome.reason}")
        return
    figures = "  ".join(f"{size}: {outcome.nanoseconds(size) / 1000:.2f}" for size in benchmark.sizes)
    print(f"  {benchmark.name}  [µs of CPU]  {figures}")
    for verdict in verdicts:
        print(f"      {'✓' if verdict.holds else '✗'} {verdict.text}")


if __name__ == "__main__":
    sys.exit(main())
