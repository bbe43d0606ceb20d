"""The command line: ``python -m benchmarks``, with workloads and options as ``--help`` shows them.

Measures and prints; it judges nothing. The exit status is 0 whether or not a mark is reached, 2 for
unusable arguments, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from types import FrameType
from typing import IO

from . import workloads
from .measuring import choose, run_rounds
from .report import as_json, machine_line, print_workload

FULL_ROUNDS = 9
QUICK_ROUNDS = 3
MOST_ROUNDS = 100


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the process with status 2 if it cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="CPU time per unit, as ratios.")
    names = ", ".join(workloads.BY_NAME)
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"any of: {names}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer units and rounds, about a minute in all")
    parser.add_argument("--json", metavar="FILE", help="also write every figure to FILE")
    parser.add_argument("--libraries", metavar="A,B", help="only these libraries or contenders")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {FULL_ROUNDS}, {QUICK_ROUNDS} with --quick")
    options = parser.parse_args(arguments)

    for name in options.workloads:
        if name not in workloads.BY_NAME:
            parser.error(f"unknown workload {name!r}; there are: {names}")
    options.workloads = [workloads.BY_NAME[name] for name in options.workloads or workloads.BY_NAME]
    if options.libraries is not None:
        options.libraries = [name.strip() for name in options.libraries.split(",")]
        _check_libraries(parser, options.libraries)
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else FULL_ROUNDS
    if not 1 <= options.rounds <= MOST_ROUNDS:
        parser.error(f"--rounds must be from 1 to {MOST_ROUNDS}")
    options.json_file = None
    if options.json is not None:
        try:
            options.json_file = open(options.json, "w", encoding="utf-8")  # noqa: SIM115  (closed by main)
        except OSError as error:
            parser.error(f"--json: {error}")
    return options


def _check_libraries(parser: argparse.ArgumentParser, libraries: list[str]) -> None:
    contenders = [contender for workload in workloads.ALL for contender in workload.contenders]
    known = dict.fromkeys(contender.library for contender in contenders)
    for name in libraries:
        if name not in known and not any(contender.name == name for contender in contenders):
            parser.error(f"--libraries: {name!r} is none of {', '.join(known)}, nor a contender's full name")


def show_progress(text: str) -> None:
    """Keep one line on a terminal up to date; an empty text clears it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def end_on_signal(number: int, frame: FrameType | None) -> None:
    """Leave through the `finally` blocks, which end the child processes."""
    sys.exit(128 + number)


def measure_all(options: argparse.Namespace) -> None:
    """Measure and print the chosen workloads."""
    report = {}
    for workload in options.workloads:
        contenders = choose(workload, options.libraries)
        if not contenders:
            print(f"\n{workload.name}: none of the chosen libraries takes part")
            continue
        outcomes = run_rounds(workload, contenders, options.rounds, quick=options.quick, progress=show_progress)
        show_progress("")
        print_workload(workload, outcomes, options.rounds)
        report[workload.name] = as_json(workload, outcomes, workload.parameters(quick=options.quick))
    print(f"\n{machine_line()}")
    if options.json_file is not None:
        write_json(options.json_file, {"machine": machine_line(), "rounds": options.rounds, "workloads": report})


def write_json(file: IO[str], report: dict[str, object]) -> None:
    """Write the report to the file of ``--json``."""
    with file:
        json.dump(report, file, indent=2)
        file.write("\n")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, end_on_signal)
    options = parse_arguments(sys.argv[1:])
    try:
        measure_all(options)
    except KeyboardInterrupt:
        show_progress("")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
