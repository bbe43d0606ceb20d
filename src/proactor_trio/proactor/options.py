"""What a proactor is created with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proactor_trio.backends.contract import Capability
from proactor_trio.proactor.arguments import check_integer

_LARGEST_COUNT: Final = 1 << 20
_LARGEST_PROCESSOR: Final = (1 << 16) - 1


class ThreadingMode(Enum):
    """SAME_THREAD: the creating thread polls. CROSS_THREAD: the first thread that polls does, for good."""

    SAME_THREAD = "same thread"
    CROSS_THREAD = "cross thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProactorOptions:
    """Options of a proactor; every field has a sound default.

    max_concurrent_operations: how many operations are expected at a time, a hint for queue sizes; more are queued.
    allowed_capabilities: what is not in this mask is not used; forces the slower paths, for tests.
    message_pool_capacity: messages from other proactors that may wait at a time.
    threading_mode: which thread polls.
    affinity: processors to which a run binds its thread while it lasts; None leaves it where it is.
    debug_name: shown in reports.
    """

    max_concurrent_operations: int = 256
    allowed_capabilities: Capability = Capability.ALL
    message_pool_capacity: int = 256
    threading_mode: ThreadingMode = ThreadingMode.SAME_THREAD
    affinity: Collection[int] | None = None
    debug_name: str = ""

    def check(self) -> None:
        """Raise ValueError or TypeError naming the wrong field."""
        for name in ("max_concurrent_operations", "message_pool_capacity"):
            value = getattr(self, name)
            check_integer(value, name, 1, _LARGEST_COUNT)
        if self.affinity is not None:
            if not isinstance(self.affinity, Collection) or not self.affinity:
                raise TypeError(f"affinity must be a collection of processor numbers or None, not {self.affinity!r}")
            for processor in self.affinity:
                check_integer(processor, "affinity", 0, _LARGEST_PROCESSOR)
        if not isinstance(self.allowed_capabilities, Capability):
            raise TypeError(f"allowed_capabilities must be a Capability mask, not {self.allowed_capabilities!r}")
        if not isinstance(self.threading_mode, ThreadingMode):
            raise TypeError(f"threading_mode must be a ThreadingMode, not {self.threading_mode!r}")
