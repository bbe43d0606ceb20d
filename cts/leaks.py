"""What a test may not leave behind: descriptors, mappings of rings, proactors, tasks, threads.

A snapshot is taken before a test and compared after it. Everything here is read from the kernel or from lists that are
kept anyway, since it is done thousands of times: never from a walk through all objects.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import pytest

from cts.support import open_descriptors
from proactor_trio._kernel.run import Run
from proactor_trio.proactor import forking

_RING: Final = "[io_uring]"
#: A ring has one for its queues and one for its entries.
_MAPPINGS_OF_A_RING: Final = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the process holds at one moment."""

    descriptors: dict[int, str]
    proactors: frozenset[int]
    threads: frozenset[threading.Thread]

    def leaked_since(self, before: Snapshot) -> list[str]:
        """What this one of just now holds and the other did not, in words. Mappings are counted when it is asked."""
        found = [
            f"descriptor {number}: {target}"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
        ]
        rings = sum(_RING in target for target in self.descriptors.values())
        if (left := _ring_mappings() - rings * _MAPPINGS_OF_A_RING) > 0:
            found.append(f"{left} mappings of rings that are closed")
        if new := self.proactors - before.proactors:
            found.append(f"{len(new)} proactors that nobody closed")
        found += [f"thread {thread.name}" for thread in self.threads - before.threads]
        return found


def snapshot() -> Snapshot:
    """What the process holds now. Threads are those that keep the process alive."""
    return Snapshot(
        open_descriptors(),
        frozenset(id(proactor) for proactor in forking.open_now()),
        frozenset(thread for thread in threading.enumerate() if not thread.daemon),
    )


def _ring_mappings() -> int:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return maps.read().count(_RING)


class AbandonedTasks:
    """Notes, while it is entered, each run that gives its thread back with tasks that have not ended."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> AbandonedTasks:
        finish = Run.finish

        def finish_and_count(run: Run) -> None:
            finish(run)
            if run.task_count:
                self._found.append(f"{run.task_count} tasks of a run that is over, of {run.main_task!r}")

        self._patch.setattr(Run, "finish", finish_and_count)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def take(self) -> list[str]:
        """What was noted since the last call, in words."""
        found, self._found = self._found, []
        return found
