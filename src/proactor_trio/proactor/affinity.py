"""Which processors a thread may run on, and which there are.

Facts: /sys/devices/system/node/node*/cpulist names the processors of each NUMA node that are on line, and is empty for
a node that has only memory. /sys/devices/system/cpu/cpu*/topology/core_cpus_list names the processors that share a
core; older kernels call it thread_siblings_list. A kernel without NUMA, and many sandboxes, have no such folder for
nodes. What a container may use of them is another matter: the kernel binds to the part that it may use, and refuses
where nothing is left of it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proactor_trio.proactor.arguments import check_integer

#: The value of `Affinity.numa_node` for memory and threads that may be anywhere.
ANY_NODE: Final = None

_NODES: Final = "devices/system/node"
_PROCESSORS: Final = "devices/system/cpu"
_CORE_FILES: Final = ("core_cpus_list", "thread_siblings_list")
_LARGEST_NODE: Final = (1 << 32) - 1
_LARGEST_PROCESSOR: Final = (1 << 16) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Affinity:
    """A place in the machine. A value: equal when all of it is equal.

    id: its number among those that `query_affinities()` gives.
    processors: where a thread may run; empty: anywhere.
    numa_node: where memory is to lie (`Slab.allocate(node=...)`); ANY_NODE, which is None: wherever it is first used.
    cores: the same processors, those of one core together.
    user_context: whatever the caller wants to keep with it.

    Raises TypeError or ValueError naming the wrong field.
    """

    id: int = 0
    processors: frozenset[int] = frozenset()
    numa_node: int | None = ANY_NODE
    cores: tuple[frozenset[int], ...] = ()
    user_context: object = None

    def __post_init__(self) -> None:
        check_integer(self.id, "id", 0, _LARGEST_NODE)
        if self.numa_node is not ANY_NODE:
            check_integer(self.numa_node, "numa_node", 0, _LARGEST_NODE)
        for processor in self.processors:
            check_integer(processor, "processors", 0, _LARGEST_PROCESSOR)

    @property
    def is_any(self) -> bool:
        """Whether it restricts nothing."""
        return not self.processors and self.numa_node is ANY_NODE


def affinity_any() -> Affinity:
    """The affinity that restricts nothing."""
    return Affinity()


def query_affinities(sysfs_root: str | os.PathLike[str] = "/sys") -> list[Affinity]:
    """One affinity for each NUMA node that has processors, in the order of their numbers.

    sysfs_root: where the kernel's sysfs is mounted, or a recorded tree of another machine.

    A tree without nodes gives one affinity for all processors on line, and one that names none either, or a system
    without sysfs, gives `affinity_any()` alone. Raises OSError for a tree that cannot be read, ValueError for one that
    cannot be understood. Any thread.
    """
    root = Path(sysfs_root)
    nodes = sorted((_number(folder), folder) for folder in (root / _NODES).glob("node[0-9]*"))
    places: list[tuple[int | None, frozenset[int]]] = [(number, _list(folder / "cpulist")) for number, folder in nodes]
    if not nodes:
        places = [(ANY_NODE, _list(root / _PROCESSORS / "online"))]
    places = [(node, processors) for node, processors in places if processors]
    return [
        Affinity(id=index, processors=processors, numa_node=node, cores=_cores(root, processors))
        for index, (node, processors) in enumerate(places)
    ] or [affinity_any()]


def parse_processor_list(text: str) -> frozenset[int]:
    """The numbers of a list in the form that sysfs has: "0-3,8,10-11". Raises ValueError.

    Source: cpumap_print_list_to_buf() and Documentation/ABI/stable/sysfs-devices-node of the kernel.
    """
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        lowest, highest = int(first), int(last if dash else first)
        if not 0 <= lowest <= highest <= _LARGEST_PROCESSOR:
            raise ValueError(f"{part!r} is no range of processors")
        numbers.update(range(lowest, highest + 1))
    return frozenset(numbers)


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("node"))


def _list(path: Path) -> frozenset[int]:
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return frozenset()
    try:
        return parse_processor_list(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _cores(root: Path, processors: Iterable[int]) -> tuple[frozenset[int], ...]:
    """The processors by core, in the order of their lowest numbers; each alone where that is not told."""
    left = set(processors)
    cores = []
    while left:
        lowest = min(left)
        topology = root / _PROCESSORS / f"cpu{lowest}" / "topology"
        siblings = next(filter(None, (_list(topology / name) for name in _CORE_FILES)), frozenset())
        core = (siblings & left) | {lowest}
        left -= core
        cores.append(core)
    return tuple(cores)


def bind_thread(processors: Collection[int]) -> set[int]:
    """Bind the calling thread to processors; return those that it was bound to before.

    Raises ValueError, naming affinity, for processors that do not exist here, TypeError for what are no numbers.
    Source: sched_setaffinity(2).
    """
    previous = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, processors)
    except TypeError:
        raise TypeError(f"affinity must be an Affinity or processor numbers, not {processors!r}") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"affinity={processors!r}: {reason}") from error
    return previous
