"""`python -m cts`: the configurations, usable or the reason why not; `--against-reference`; `--matrix`."""

from __future__ import annotations

import argparse
import sys

from cts.configurations import ALL_CONFIGURATIONS, reason_against, variant
from cts.matrix import run_matrix
from cts.reference.coverage import collect
from proactor_trio.proactor import Capability


def print_configurations() -> None:
    """One line a configuration."""
    for configuration in ALL_CONFIGURATIONS:
        reason = reason_against(configuration)
        verdict = f"usable: {variant(configuration)}" if reason is None else f"not here: {reason}"
        if configuration.is_masked:
            verdict += f", without {(Capability.ALL & ~configuration.allowed).name}"
        print(f"{configuration.name:<22} {verdict}")


def print_coverage() -> int:
    """The coverage of the reference's cases; the exit status is 0 if none is missing."""
    coverage = collect()
    print("\n".join(coverage.lines()))
    return 0 if coverage.is_complete else 1


def main(arguments: list[str]) -> int:
    """See the parser's help. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cts", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--against-reference", action="store_true", help="which cases of the reference are covered")
    choice.add_argument(
        "--matrix", action="store_true", help="run all, or what pytest arguments say; suites by columns"
    )
    chosen, for_pytest = parser.parse_known_args(arguments)
    if for_pytest and not chosen.matrix:
        parser.error(f"unknown: {' '.join(for_pytest)}")
    if chosen.against_reference:
        return print_coverage()
    if chosen.matrix:
        return run_matrix(for_pytest)
    print_configurations()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
