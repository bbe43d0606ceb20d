"""`python -m cts.benchmarks`: measure, print, and say which shapes hold."""

from __future__ import annotations

import argparse
import sys

from cts.benchmarks import buffers, core, events, frontiers, relays, sockets  # noqa: F401 - they register themselves
from cts.benchmarks.measuring import REGISTERED, Benchmark, Outcome, measure
from cts.configurations import CONFIGURATIONS, Configuration, find, reason_against


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for. Returns 1 if a shape does not hold."""
    parser = argparse.ArgumentParser(prog="python -m cts.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names of benchmarks; all of them without any")
    parser.add_argument("--configuration", action="append", default=[], help="one of the conformance suite's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that everything works")
    chosen = parser.parse_args(arguments)
    configurations = [find(name) for name in chosen.configuration] or list(CONFIGURATIONS)
    held = True
    for configuration in configurations:
        held &= _run(configuration, _choose(chosen.names), 1 if chosen.quick else chosen.rounds, quick=chosen.quick)
    return 0 if held else 1


def _choose(parts: list[str]) -> list[Benchmark]:
    chosen = [one for one in REGISTERED if not parts or any(part.lower() in one.name.lower() for part in parts)]
    needed = {one.compared_with for one in chosen}
    return [one for one in REGISTERED if one in chosen or one.name in needed]


def _run(configuration: Configuration, benchmarks: list[Benchmark], rounds: int, *, quick: bool) -> bool:
    print(f"\n{configuration.name}")
    reason = reason_against(configuration)
    if reason is not None:
        print(f"  not here: {reason}")
        return True
    outcomes = measure(configuration.backend, benchmarks, rounds, quick=quick)
    by_name = {outcome.benchmark.name: outcome for outcome in outcomes}
    verdicts = [_report(outcome, by_name) for outcome in outcomes]
    return all(verdicts)


def _report(outcome: Outcome, by_name: dict[str, Outcome]) -> bool:
    benchmark = outcome.benchmark
    if outcome.reason is not None:
        print(f"  {benchmark.name}: left out, {outcome.reason}")
        return True
    figures = "  ".join(f"{size}: {outcome.nanoseconds(size) / 1000:.2f}" for size in benchmark.sizes)
    print(f"  {benchmark.name}  [µs of CPU]  {figures}")
    verdicts: list[tuple[str, bool]] = []
    if benchmark.shape is not None:
        verdicts.append(benchmark.shape.judge(outcome.relative()))
    if benchmark.compared_with is not None and benchmark.at_most is not None:
        other = by_name[benchmark.compared_with]
        ratio = max(outcome.ratio_to(other, size) for size in benchmark.sizes)
        verdicts.append(
            (f"{ratio:.2f} × {other.benchmark.name} (at most {benchmark.at_most})", ratio <= benchmark.at_most)
        )
    if benchmark.limit_us is not None:
        most = max(outcome.nanoseconds(size) for size in benchmark.sizes) / 1000
        verdicts.append((f"{most:.2f} µs (less than {benchmark.limit_us})", most < benchmark.limit_us))
    for text, holds in verdicts:
        print(f"      {'✓' if holds else '✗'} {text}")
    return all(holds for _text, holds in verdicts)


if __name__ == "__main__":
    sys.exit(main())
