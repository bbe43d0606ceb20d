"""What a test may need of a configuration, by name.

`@pytest.mark.needs("futex")` on a test (or in `pytestmark` of a module) lets it run where the tag is met and nowhere
else; `@pytest.mark.lacks("futex")` the other way round. A test that names nothing runs everywhere.

A configuration says in its table which tags it is meant to have. Where a tag stands for a capability, the machine has
to agree: an older kernel, or a capability that is switched off, takes the tag away, and the report's own words are the
reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proactor_trio.proactor import Capability, CapabilityReport, Support

_ANY_FORM: Final = frozenset({Support.NATIVE, Support.EMULATED})
_NATIVE: Final = frozenset({Support.NATIVE})


@dataclass(frozen=True, slots=True)
class Tag:
    """One thing that a test may need.

    lack: what is said of a configuration that does not have it.
    capability: the capability that it stands for, if any, and `support` the forms of it that are meant.
    """

    lack: str
    capability: Capability | None = None
    support: frozenset[Support] = _ANY_FORM


TAGS: Final[Mapping[str, Tag]] = {
    "multishot": Tag("has no operations with many completions", Capability.MULTISHOT),
    "native_multishot": Tag("begins multishot operations again by itself", Capability.MULTISHOT, _NATIVE),
    "links": Tag("has no chains", Capability.LINKED_OPERATIONS),
    "native_links": Tag("goes from step to step of a chain in user space", Capability.LINKED_OPERATIONS, _NATIVE),
    "zerocopy": Tag("copies what it sends", Capability.ZERO_COPY_SEND, _NATIVE),
    "futex": Tag("has no futex operations", Capability.FUTEX_OPERATIONS, _NATIVE),
    "messages": Tag("has no messages", Capability.PROACTOR_MESSAGING),
    "native_messages": Tag("sends messages through a queue", Capability.PROACTOR_MESSAGING, _NATIVE),
    "fixed_files": Tag("has no table of files", Capability.FIXED_FILES, _NATIVE),
    "registered_buffers": Tag("has no registered memory", Capability.REGISTERED_BUFFERS),
    "native_buffers": Tag("has no table of buffers", Capability.REGISTERED_BUFFERS, _NATIVE),
    "dmabuf": Tag("has no dma-bufs", Capability.DMABUF),
    "fences": Tag("has no device fences", Capability.DEVICE_FENCE),
    "one_entry": Tag("makes system calls for single operations, not one for all of a tick"),
    "files": Tag("has no operations on files"),
    "file_threads": Tag("works on files without threads"),
    "descriptors": Tag("waits for handles, not for descriptors"),
    "unix_sockets": Tag("has no Unix sockets"),
    "abstract_names": Tag("has no abstract names of Unix sockets"),
    "signals": Tag("has no POSIX signals"),
    "fork": Tag("has no fork()"),
    "shared_notification": Tag("has no notifications between processes"),
    "windows": Tag("is not on Windows"),
}


def reason_against_tag(
    name: str, configuration: str, tags: frozenset[str], reports: Mapping[Capability, CapabilityReport]
) -> str | None:
    """Why a tag is not met, in words; None if it is.

    configuration: its name, for the words; `tags`: those that it is meant to have; `reports`: what its proactor says.
    Raises LookupError for a name that is no tag.
    """
    if name not in TAGS:
        raise LookupError(f"there is no tag {name!r}; known are {', '.join(TAGS)}")
    tag = TAGS[name]
    if name not in tags:
        return f"{configuration} {tag.lack}"
    if tag.capability is None or reports[tag.capability].support in tag.support:
        return None
    return f"{configuration} {tag.lack}: {reports[tag.capability].reason}"
