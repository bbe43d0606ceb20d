"""`python -m proactor_trio doctor`: a diagnosis as text for people, or as JSON for programs (docs/doctor.md)."""

from __future__ import annotations

import json
from typing import Any, Final

from proactor_trio.command.diagnosis import BackendDiagnosis, Choice, Diagnosis, diagnose
from proactor_trio.proactor import Capability

#: Raised when a key of the JSON form changes its meaning or goes away; new keys do not raise it.
FORMAT: Final = 1

_SWITCH_MEANINGS: Final = {
    0: "0: allowed to all",
    1: "1: only to the group of kernel.io_uring_group and to privileged processes",
    2: "2: forbidden to all",
}


def _name_of(capability: Capability) -> str:
    assert capability.name is not None, "a single bit has a name"
    return capability.name


def as_dictionary(diagnosis: Diagnosis) -> dict[str, Any]:
    """The JSON form."""
    choice = diagnosis.choice
    memlock = diagnosis.memlock
    return {
        "format": FORMAT,
        "version": diagnosis.version,
        "python": diagnosis.python,
        "system": diagnosis.system,
        "kernel": diagnosis.kernel,
        "machine": diagnosis.machine,
        "compiled_helper": diagnosis.compiled_helper,
        "memlock": None if memlock is None else {"soft": memlock[0], "hard": memlock[1]},
        "io_uring_disabled": diagnosis.io_uring_disabled,
        "requested": {"name": diagnosis.requested, "by": diagnosis.requested_by},
        "chosen": None if choice is None else {"name": choice.name, "variant": choice.variant, "reason": choice.reason},
        "failure": diagnosis.failure,
        "backends": [_backend_as_dictionary(backend) for backend in diagnosis.backends],
        "capabilities": {} if choice is None else _capabilities_as_dictionary(choice),
        "data_paths": [
            {"name": path.name, "usable": path.usable, "reason": path.reason} for path in diagnosis.data_paths
        ],
    }


def _capabilities_as_dictionary(choice: Choice) -> dict[str, Any]:
    return {
        _name_of(capability): {"support": report.support.value, "reason": report.reason}
        for capability, report in choice.capabilities.items()
    }


def _backend_as_dictionary(backend: BackendDiagnosis) -> dict[str, Any]:
    return {
        "name": backend.name,
        "works": backend.works,
        "chosen": backend.chosen,
        "rank": backend.rank,
        "variant": backend.variant,
        "reason": backend.reason,
        "errno": backend.errno_value,
    }


def _bytes(limit: int | None) -> str:
    return "unlimited" if limit is None else f"{limit} bytes"


def _rows(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of words, in columns as wide as they need."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def as_text(diagnosis: Diagnosis) -> str:
    """The form for people."""
    choice = diagnosis.choice
    helper = "there" if diagnosis.compiled_helper else "not there: io_uring runs by cffi's ABI mode"
    lines = ["chosen"]
    if choice is None:
        lines += _rows([("backend", "none"), ("reason", diagnosis.failure or "")])
    else:
        lines += _rows([("backend", choice.name), ("variant", choice.variant), ("reason", choice.reason)])
    lines += ["", "backends"]
    lines += _rows([_backend_row(backend) for backend in diagnosis.backends])
    lines += ["", "machine"]
    lines += _rows(
        [
            ("proactor_trio", diagnosis.version),
            ("python", diagnosis.python),
            ("kernel", f"{diagnosis.kernel} {diagnosis.machine}"),
            ("compiled helper", helper),
            ("memlock", _memlock(diagnosis.memlock)),
            ("kernel.io_uring_disabled", _meaning(diagnosis.io_uring_disabled)),
        ]
    )
    if choice is not None:
        lines += ["", f"capabilities of {choice.name}"]
        lines += _rows(
            [
                (_name_of(capability), report.support.value, report.reason)
                for capability, report in choice.capabilities.items()
            ]
        )
    lines += ["", "data paths between devices"]
    lines += _rows([(path.name, "usable" if path.usable else "no", path.reason) for path in diagnosis.data_paths])
    return "\n".join(lines)


def _memlock(limits: tuple[int | None, int | None] | None) -> str:
    if limits is None:
        return "does not exist here"
    soft, hard = limits
    return f"{_bytes(soft)} (hard limit: {_bytes(hard)})"


def _meaning(disabled: int | None) -> str:
    if disabled is None:
        return "does not exist here"
    return _SWITCH_MEANINGS.get(disabled, str(disabled))


def _backend_row(backend: BackendDiagnosis) -> tuple[str, ...]:
    mark = "*" if backend.chosen else " "
    if backend.works:
        only_named = "" if backend.rank is not None else " (only when named)"
        return mark, backend.name, "works", f"{backend.variant}{only_named}"
    return mark, backend.name, "no", backend.reason or ""


def run_doctor(backend: str | None, *, as_json: bool) -> int:
    """Print a diagnosis; 0 if a run would find a backend, else 1."""
    diagnosis = diagnose(backend)
    print(json.dumps(as_dictionary(diagnosis), indent=2) if as_json else as_text(diagnosis))
    return 0 if diagnosis.choice is not None else 1
