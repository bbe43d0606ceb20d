"""The tables of configurations that exist: which backend, what its kernel does by itself, and whether it runs here.

Every suite runs on the base configurations. The masked ones are io_uring with capabilities switched off, which forces
its slower paths; they repeat only the tests that are marked with one of these capabilities.

A configuration that cannot be made here is left out of every suite and said once, with its reason: in the report's
header, as the one skipped test of `cts/test_configurations.py`, and by `python -m cts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from proactor_trio.proactor import BackendUnavailable, Capability, Proactor, ProactorOptions


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run the suites.

    backend: the name that `Proactor()` and `run()` are given.
    tags: what a suite may ask for: "linked_native" (the kernel links chains), "file_threads" (Python threads do the
        work on files), "abi" (no compiled helper).
    present: the capabilities that it must have, natively or emulated.
    allowed: what may be used of the capabilities; less than all makes it a masked configuration.
    """

    name: str
    backend: str
    tags: frozenset[str]
    present: Capability
    allowed: Capability = Capability.ALL

    @property
    def is_masked(self) -> bool:
        """Whether something is switched off."""
        return self.allowed != Capability.ALL

    def restrict(self, options: ProactorOptions | None = None) -> ProactorOptions:
        """These options, or the default ones, without what this configuration does not allow."""
        options = ProactorOptions() if options is None else options
        if not self.is_masked:
            return options
        return replace(options, allowed_capabilities=options.allowed_capabilities & self.allowed)


_BASE: Final = Capability.MULTISHOT | Capability.LINKED_OPERATIONS | Capability.ABSOLUTE_TIMEOUT

CONFIGURATIONS: Final = (
    Configuration("io_uring", "io_uring", frozenset({"linked_native"}), _BASE),
    Configuration("io_uring_abi", "io_uring_abi", frozenset({"linked_native", "abi"}), _BASE),
    Configuration("posix_epoll", "epoll", frozenset({"file_threads"}), _BASE),
    Configuration("posix_poll", "poll", frozenset({"file_threads"}), _BASE),
)


def _io_uring_without(name: str, missing: Capability) -> Configuration:
    return Configuration(name, "io_uring", frozenset({"linked_native"}), _BASE, Capability.ALL & ~missing)


MASKED_CONFIGURATIONS: Final = (
    _io_uring_without("io_uring_no_zerocopy", Capability.ZERO_COPY_SEND),
    _io_uring_without("io_uring_no_multishot", Capability.MULTISHOT),
    _io_uring_without("io_uring_no_messaging", Capability.PROACTOR_MESSAGING),
    _io_uring_without("io_uring_no_futex", Capability.FUTEX_OPERATIONS),
    _io_uring_without("io_uring_minimal", Capability.ZERO_COPY_SEND | Capability.MULTISHOT),
)

ALL_CONFIGURATIONS: Final = (*CONFIGURATIONS, *MASKED_CONFIGURATIONS)


@cache
def reason_against(configuration: Configuration) -> str | None:
    """Why it cannot be used here, None if it can. Tried once."""
    try:
        Proactor(configuration.backend, configuration.restrict()).close()
    except BackendUnavailable as error:
        return error.reason
    return None


@cache
def variant(configuration: Configuration) -> str:
    """What exactly runs under this name here."""
    with Proactor(configuration.backend, configuration.restrict()) as proactor:
        return proactor.backend_variant


def find(name: str, among: Sequence[Configuration] = CONFIGURATIONS) -> Configuration:
    """The configuration of this name. Raises LookupError naming those that exist."""
    for configuration in among:
        if configuration.name == name:
            return configuration
    known = ", ".join(configuration.name for configuration in among)
    raise LookupError(f"there is no configuration {name!r}; known are {known}")
