"""The table of configurations: which backend, on which system, with what switched off, and whether it runs here.

Every suite runs on each configuration whose tags it needs (tags.py). The masked ones are io_uring with capabilities
switched off, which forces its slower paths.

A configuration that cannot be made here is left out of every suite and said once, with its reason: in the report's
header, as the one skipped test of `cts/test_configurations.py`, and by `python -m cts`.

Authors of a further backend enter theirs through the entry point group `proactor_trio.cts_configurations`: each value
is a function that is given the class `Configuration` and returns some of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from cts.tags import TAGS, reason_against_tag
from proactor_trio.proactor import (
    BackendUnavailable,
    Capability,
    CapabilityReport,
    Proactor,
    ProactorOptions,
)

ENTRY_POINT_GROUP: Final = "proactor_trio.cts_configurations"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run the suites.

    name: unique; the part of a test's name in brackets.
    backend: the name that `Proactor()` and `run()` are given.
    tags: what it is meant to have (tags.py).
    present: the capabilities that it must have, natively or emulated.
    allowed: what may be used of the capabilities; less than all makes it a masked configuration.
    systems: with which of these `sys.platform` begins where it exists (none: everywhere); `elsewhere`: what is said on
        other systems.
    """

    name: str
    backend: str
    tags: frozenset[str]
    present: Capability = Capability.NONE
    allowed: Capability = Capability.ALL
    systems: tuple[str, ...] = ()
    elsewhere: str = ""

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

    def reason_against(self, tag: str) -> str | None:
        """Why a tag is not met by it on this machine; None if it is. The configuration must be usable here."""
        return reason_against_tag(tag, self.name, self.tags, capability_reports(self))


_BASE: Final = Capability.MULTISHOT | Capability.LINKED_OPERATIONS | Capability.ABSOLUTE_TIMEOUT

_EVERYWHERE: Final = frozenset({"multishot", "links", "messages", "registered_buffers", "files"})
_POSIX: Final = _EVERYWHERE | {"fences", "descriptors", "unix_sockets", "signals", "fork", "shared_notification"}
_LINUX: Final = _POSIX | {"abstract_names"}
_IO_URING: Final = _LINUX | {
    "one_entry",
    "native_multishot",
    "native_links",
    "zerocopy",
    "futex",
    "native_messages",
    "fixed_files",
    "native_buffers",
    "dmabuf",
}


def _on_linux(name: str, backend: str, tags: Iterable[str], allowed: Capability = Capability.ALL) -> Configuration:
    return Configuration(name, backend, frozenset(tags), _BASE, allowed, ("linux",), "Linux only")


def _io_uring_without(name: str, missing: Capability) -> Configuration:
    return _on_linux(name, "io_uring", _IO_URING, Capability.ALL & ~missing)


def _on_windows(name: str, allowed: Capability) -> Configuration:
    tags = _EVERYWHERE | {"file_threads", "windows"}
    return Configuration(name, "iocp", tags, _BASE, allowed, ("win32",), "Windows only")


#: io_uring and its slower forms, posix with each event set, Windows.
BUILT_IN_CONFIGURATIONS: Final = (
    _on_linux("io_uring", "io_uring", _IO_URING),
    _on_linux("io_uring_abi", "io_uring_abi", _IO_URING),
    _io_uring_without("io_uring_no_zerocopy", Capability.ZERO_COPY_SEND),
    _io_uring_without("io_uring_no_multishot", Capability.MULTISHOT),
    _io_uring_without("io_uring_no_messaging", Capability.PROACTOR_MESSAGING),
    _io_uring_without("io_uring_no_futex", Capability.FUTEX_OPERATIONS),
    _io_uring_without("io_uring_minimal", Capability.ZERO_COPY_SEND | Capability.MULTISHOT),
    _on_linux("posix_epoll", "epoll", _LINUX | {"file_threads"}),
    Configuration(
        "posix_poll",
        "poll",
        (_LINUX if sys.platform == "linux" else _POSIX) | {"file_threads"},
        _BASE,
    ),
    Configuration(
        "posix_kqueue",
        "kqueue",
        _POSIX | {"file_threads"},
        _BASE,
        systems=("darwin", "freebsd", "netbsd", "openbsd", "dragonfly"),
        elsewhere="BSD and macOS only",
    ),
    _on_windows("iocp", Capability.ALL),
    _on_windows("iocp_legacy_wait", Capability.ALL & ~Capability.WAIT_COMPLETION_PACKET),
)


def external_configurations() -> Iterable[Configuration]:
    """Those of other distributions."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        make: Callable[[type[Configuration]], Iterable[Configuration]] = entry_point.load()
        yield from make(Configuration)


def checked(configurations: Iterable[Configuration]) -> tuple[Configuration, ...]:
    """These, if the names differ and the tags exist. Raises ValueError naming what is wrong."""
    found: dict[str, Configuration] = {}
    for configuration in configurations:
        if configuration.name in found:
            raise ValueError(f"two configurations are named {configuration.name!r}")
        if strange := configuration.tags - TAGS.keys():
            raise ValueError(f"{configuration.name} has tags that do not exist: {', '.join(sorted(strange))}")
        found[configuration.name] = configuration
    return tuple(found.values())


ALL_CONFIGURATIONS: Final = checked((*BUILT_IN_CONFIGURATIONS, *external_configurations()))
#: Those of which nothing is switched off.
CONFIGURATIONS: Final = tuple(each for each in ALL_CONFIGURATIONS if not each.is_masked)
MASKED_CONFIGURATIONS: Final = tuple(each for each in ALL_CONFIGURATIONS if each.is_masked)


@cache
def reason_against(configuration: Configuration) -> str | None:
    """Why it cannot be used here, None if it can. Tried once."""
    if configuration.systems and not sys.platform.startswith(configuration.systems):
        return configuration.elsewhere
    try:
        Proactor(configuration.backend, configuration.restrict()).close()
    except BackendUnavailable as error:
        return error.reason
    except ValueError as error:
        return str(error)  # a backend that this version does not have
    return None


@cache
def capability_reports(configuration: Configuration) -> Mapping[Capability, CapabilityReport]:
    """What its proactor says of the capabilities on this machine."""
    with Proactor(configuration.backend, configuration.restrict()) as proactor:
        return proactor.capability_reports


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
