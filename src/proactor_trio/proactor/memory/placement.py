"""Where the pages of a mapping lie: on which NUMA node, and in pages of which size.

Facts: mbind(2) sets a policy for pages that do not exist yet; a page is made when it is first touched. MPOL_PREFERRED
takes other nodes when the wished one is full, where MPOL_BIND would end the process for want of memory. In mappings of
reserved huge pages mbind(2) takes whole pages only. get_mempolicy(2) with MPOL_F_NODE | MPOL_F_ADDR says on which node
the page of an address lies, and touches it for that. Transparent huge pages need an aligned range, and come or do not
come at the kernel's discretion; /proc/self/smaps says how many came.

So a wish is passed on before anything is touched, and whether it came true is measured and never assumed. Containers
often forbid mbind(2), most machines have one node, and some have no huge pages: none of these is a reason to fail. What
could not be had is said in words.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import re
import sys
from enum import Enum
from functools import cache
from typing import Any, Final

_SYS_MBIND: Final = {"x86_64": 237, "aarch64": 235, "riscv64": 235, "loongarch64": 235}
_SYS_GET_MEMPOLICY: Final = {"x86_64": 239, "aarch64": 236, "riscv64": 236, "loongarch64": 236}
_MPOL_PREFERRED: Final = 1
_MPOL_F_NODE: Final = 1
_MPOL_F_ADDR: Final = 2
_MASK_WORDS: Final = 16
_LARGEST_NODE: Final = 64 * _MASK_WORDS - 1
_MAP_HUGETLB: Final = 0x40000
_TRANSPARENT_SWITCH: Final = "/sys/kernel/mm/transparent_hugepage/enabled"
_TRANSPARENT_BYTES: Final = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
_USUAL_HUGE_PAGE: Final = 2 * 1024 * 1024


class HugePages(Enum):
    """Which pages a slab is to lie in.

    NONE: ordinary ones. TRANSPARENT: large ones where the kernel finds some (MADV_HUGEPAGE). RESERVED: from the pool of
    large pages that the machine's owner has set aside (MAP_HUGETLB), else TRANSPARENT.
    """

    NONE = "ordinary pages"
    TRANSPARENT = "transparent huge pages"
    RESERVED = "reserved huge pages"


def map_anonymous(length: int, huge_pages: HugePages, notes: list[str]) -> tuple[mmap.mmap, int]:
    """Private memory of at least `length` bytes, and the offset at which to begin using it.

    notes: gets a line for each wish that could not be met. Raises OSError (ENOMEM) when there is no memory.
    """
    if huge_pages is HugePages.RESERVED:
        size = _meminfo_bytes("Hugepagesize") or _USUAL_HUGE_PAGE
        try:
            return _map(-(-length // size) * size, _MAP_HUGETLB), 0
        except OSError as error:
            notes.append(f"no reserved huge pages: {os.strerror(error.errno or 0)} (see vm.nr_hugepages)")
    if huge_pages is HugePages.NONE:
        return _map(length, 0), 0
    size = _transparent_page_bytes()
    mapping = _map(length + size, 0)
    start = -address_of(memoryview(mapping)) % size
    _advise_transparent(mapping, start, length, notes)
    return mapping, start


def _map(length: int, extra_flags: int) -> mmap.mmap:
    if length > sys.maxsize:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    if sys.platform == "win32":
        return mmap.mmap(-1, length)
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | extra_flags)


def _advise_transparent(mapping: mmap.mmap, start: int, length: int, notes: list[str]) -> None:
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None:
        notes.append("no transparent huge pages: this system does not have them")
        return
    try:
        mapping.madvise(advice, start, length)
    except OSError as error:
        notes.append(f"no transparent huge pages: MADV_HUGEPAGE: {os.strerror(error.errno or 0)}")
        return
    if "[never]" in _read(_TRANSPARENT_SWITCH):
        notes.append(f"no transparent huge pages: {_TRANSPARENT_SWITCH} says never")


def prefer_node(view: memoryview, node: int, notes: list[str]) -> None:
    """Let the pages of `view`, none of which has been touched, be made on this NUMA node. Source: mbind(2)."""
    number = _SYS_MBIND.get(platform.machine())
    if sys.platform != "linux" or number is None:
        notes.append(f"node {node}: this system places memory by itself")
        return
    if node > _LARGEST_NODE:
        notes.append(f"node {node}: there is no such node")
        return
    mask = (ctypes.c_uint64 * _MASK_WORDS)()
    mask[node // 64] = 1 << node % 64
    # The kernel reads one bit less than it is told.
    error = _system_call(number, address_of(view), view.nbytes, _MPOL_PREFERRED, mask, 64 * _MASK_WORDS + 1, 0)
    if error == errno.EINVAL:
        notes.append(f"node {node}: there is no such node, or it has no memory")
    elif error:
        notes.append(f"node {node}: mbind: {os.strerror(error)}")


def node_of(view: memoryview) -> int | None:
    """The NUMA node on which the first page of `view` lies, None where that cannot be told. Touches the page."""
    number = _SYS_GET_MEMPOLICY.get(platform.machine())
    if sys.platform != "linux" or number is None or view.readonly:
        return None
    node = ctypes.c_int(-1)
    error = _system_call(
        number, ctypes.byref(node), None, 0, ctypes.c_void_p(address_of(view)), _MPOL_F_NODE | _MPOL_F_ADDR
    )
    return None if error else node.value


def huge_bytes_of(view: memoryview) -> int:
    """How many bytes of the mappings that `view` lies in are in huge pages now. 0 where that cannot be told."""
    if view.readonly:
        return 0
    first = address_of(view)
    last = first + view.nbytes
    found = 0
    inside = False
    for line in _read("/proc/self/smaps").splitlines():
        place = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if place:
            inside = int(place[1], 16) < last and int(place[2], 16) > first
        elif inside and line.startswith(("AnonHugePages:", "Private_Hugetlb:", "ShmemPmdMapped:")):
            found += int(line.split()[1]) * 1024
    return found


def address_of(view: memoryview) -> int:
    """The address of the writable memory behind a view, which is its own as long as the view lives."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _system_call(number: int, *arguments: Any) -> int:
    """0 or the errno."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return ctypes.get_errno() if _libc().syscall(ctypes.c_long(number), *wide) < 0 else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _meminfo_bytes(name: str) -> int:
    found = re.search(rf"^{name}: +(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _transparent_page_bytes() -> int:
    text = _read(_TRANSPARENT_BYTES).strip()
    return int(text) if text else _USUAL_HUGE_PAGE
