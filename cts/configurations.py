"""The table of configurations that exist: which backend, what its kernel does by itself, and whether it runs here.

A configuration that cannot be made here is left out of every suite and said once, with its reason: in the report's
header, as the one skipped test of `cts/test_configurations.py`, and by `python -m cts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from proactor_trio.proactor import BackendUnavailable, Capability, Proactor


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run the suites.

    backend: the name that `Proactor()` and `run()` are given.
    tags: what a suite may ask for: "linked_native" (the kernel links chains), "file_threads" (Python threads do the
        work on files), "abi" (no compiled helper).
    present: the capabilities that it must have, natively or emulated.
    """

    name: str
    backend: str
    tags: frozenset[str]
    present: Capability


_BASE: Final = Capability.MULTISHOT | Capability.LINKED_OPERATIONS | Capability.ABSOLUTE_TIMEOUT

CONFIGURATIONS: Final = (
    Configuration("io_uring", "io_uring", frozenset({"linked_native"}), _BASE),
    Configuration("io_uring_abi", "io_uring_abi", frozenset({"linked_native", "abi"}), _BASE),
    Configuration("posix_epoll", "epoll", frozenset({"file_threads"}), _BASE),
    Configuration("posix_poll", "poll", frozenset({"file_threads"}), _BASE),
)


@cache
def reason_against(configuration: Configuration) -> str | None:
    """Why it cannot be used here, None if it can. Tried once."""
    try:
        Proactor(backend=configuration.backend).close()
    except BackendUnavailable as error:
        return error.reason
    return None


@cache
def variant(configuration: Configuration) -> str:
    """What exactly runs under this name here."""
    with Proactor(backend=configuration.backend) as proactor:
        return proactor.backend_variant


def find(name: str) -> Configuration:
    """The configuration of this name. Raises LookupError naming those that exist."""
    for configuration in CONFIGURATIONS:
        if configuration.name == name:
            return configuration
    known = ", ".join(configuration.name for configuration in CONFIGURATIONS)
    raise LookupError(f"there is no configuration {name!r}; known are {known}")
