"""What this machine, this installation and its backends are like: gathered by trying, for the doctor to show.

A backend is looked at by creating a proactor on it and closing it again, which is what a run would do. Broken external
backends are part of the picture and no reason to stop: whatever keeps one from being loaded is its reason.
"""

from __future__ import annotations

import importlib
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proactor_trio import __version__
from proactor_trio.backends.select import AUTO, PREFERENCE, backend_names, requested_name
from proactor_trio.command.data_paths import DataPath, data_paths
from proactor_trio.proactor import BackendUnavailable, Capability, CapabilityReport, Proactor

_HELPER: Final = "proactor_trio.backends.io_uring._native"
_SWITCH: Final = Path("/proc/sys/kernel/io_uring_disabled")
#: What may keep an external backend from being created: not installed, wrongly registered, made for another contract.
_NOT_LOADED: Final = (ImportError, AttributeError, TypeError, OSError)


@dataclass(frozen=True, slots=True)
class BackendDiagnosis:
    """One backend. works: it ran a moment ago. variant: what exactly would run. reason: why not, else None.
    rank: its place in the order of preference, None if it runs only when named."""

    name: str
    works: bool
    chosen: bool
    rank: int | None
    variant: str | None
    reason: str | None
    errno_value: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that a run would take now, why, and what it can do."""

    name: str
    variant: str
    reason: str
    capabilities: dict[Capability, CapabilityReport]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that the doctor knows.

    requested, requested_by: the backend's name that decides and where it came from. choice: None if nothing runs, and
    then `failure` says why. memlock: soft and hard limit in bytes, each None where it is unlimited; None where the
    system has no such limits. io_uring_disabled: the sysctl, None where the kernel does not have it.
    """

    requested: str
    requested_by: str
    choice: Choice | None
    failure: str | None
    backends: list[BackendDiagnosis]
    compiled_helper: bool
    memlock: tuple[int | None, int | None] | None
    io_uring_disabled: int | None
    version: str
    python: str
    system: str
    kernel: str
    machine: str
    data_paths: list[DataPath]


def _choose(backend: str | None) -> tuple[Choice | None, str | None]:
    try:
        with Proactor(backend) as proactor:
            reports = dict(proactor.capability_reports)
            choice = Choice(proactor.backend_name, proactor.backend_variant, proactor.selection_reason, reports)
    except BackendUnavailable as error:
        return None, error.reason
    except _NOT_LOADED as error:
        return None, f"{type(error).__name__}: {error}"
    return choice, None


def _try_backend(name: str, chosen_name: str | None) -> BackendDiagnosis:
    rank = PREFERENCE.index(name) + 1 if name in PREFERENCE else None
    variant: str | None = None
    reason: str | None = None
    errno_value: int | None = None
    try:
        with Proactor(name) as proactor:
            variant = proactor.backend_variant
    except BackendUnavailable as error:
        cause = error.__cause__  # says the same without "was named by"
        reason = cause.reason if isinstance(cause, BackendUnavailable) else error.reason
        errno_value = error.errno_value
    except _NOT_LOADED as error:
        reason = f"{type(error).__name__}: {error}"
    return BackendDiagnosis(name, reason is None, name == chosen_name, rank, variant, reason, errno_value)


def _memlock_limits() -> tuple[int | None, int | None] | None:
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = resource.RLIM_INFINITY
    return (None if soft == unlimited else soft, None if hard == unlimited else hard)


def _io_uring_disabled() -> int | None:
    try:
        return int(_SWITCH.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _has_compiled_helper() -> bool:
    try:
        importlib.import_module(_HELPER)
    except ImportError:
        return False
    return True


def diagnose(backend: str | None) -> Diagnosis:
    """Look at everything. backend: as that of run()."""
    requested, origin = requested_name(backend)
    choice, failure = _choose(backend)
    chosen_name: str | None = None
    if choice is not None:
        # A variant that was named (io_uring_abi) calls itself by the name of its backend.
        chosen_name = choice.name if requested == AUTO else requested
    return Diagnosis(
        requested=requested,
        requested_by=origin,
        choice=choice,
        failure=failure,
        backends=[_try_backend(name, chosen_name) for name in backend_names() if name != AUTO],
        compiled_helper=_has_compiled_helper(),
        memlock=_memlock_limits(),
        io_uring_disabled=_io_uring_disabled(),
        version=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=sys.platform,
        kernel=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        data_paths=data_paths(backend),
    )
