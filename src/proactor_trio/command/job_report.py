"""What a job of the main job hands back: what it did, how much, how fast, and what was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LABEL_WIDTH: Final = 10
_MEBIBYTE: Final = 1024 * 1024


class JobFailed(Exception):
    """A check found something wrong; the text says what, in words."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job that went well.

    work: what was done. transferred: bytes of content that arrived and were checked, each counted once. operations: how
    many of what `operation_name` says. seconds: for them, without preparation and without checks that stand apart.
    check: what was found to be right.
    """

    name: str
    work: str
    transferred: int
    operations: int
    operation_name: str
    seconds: float
    check: str


def labelled(label: str, lines: Sequence[str]) -> str:
    """Lines of text, the first of them with a label before it."""
    return "\n".join(f"{label if index == 0 else '':<{LABEL_WIDTH}}{line}" for index, line in enumerate(lines))


def format_report(report: JobReport) -> str:
    """A report as a few lines of plain text."""
    seconds = max(report.seconds, 1e-9)
    volume = f"{report.transferred / _MEBIBYTE:.1f} MiB"
    rate = f"{report.transferred / seconds / _MEBIBYTE:.1f} MiB/s"
    operations = f"{report.operations} {report.operation_name}"
    operation_rate = f"{report.operations / seconds:.0f} operations/s"
    return labelled(
        report.name,
        [
            report.work,
            f"{volume}, {operations} in {report.seconds:.2f} s: {rate}, {operation_rate}",
            f"checked: {report.check}",
        ],
    )
