"""Which ways data can take between devices without the processor: looked for on this machine, and never guessed.

A path needs several pieces at once: devices, their drivers, interfaces of the kernel, and code of ours that uses them.
Each piece is a question that this machine answers: a device node, a driver's folder, a socket option, an opcode of
io_uring. A path with all its pieces but without code of ours is not usable, and says that. What can be tried without
such devices is tried: a dma-buf is made of ordinary memory (/dev/udmabuf) and registered.
"""

from __future__ import annotations

import errno
import glob
import os
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proactor_trio.proactor import BackendUnavailable, Proactor
from proactor_trio.proactor.errors import ProactorError
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.registration import register_dmabuf

if sys.platform != "win32":
    import fcntl

_UDMABUF: Final = "/dev/udmabuf"
# struct udmabuf_create: descriptor of a memfd, flags, offset, size. Source: linux/udmabuf.h.
_UDMABUF_REQUEST: Final = struct.Struct("<IIQQ")
_UDMABUF_CREATE: Final = 0x40187542
_UDMABUF_CLOEXEC: Final = 1
_TRIAL_BYTES: Final = 65536
#: Source: asm-generic/socket.h. A kernel without devmem TCP does not know the option.
_SO_DEVMEM_DONTNEED: Final = 80


@dataclass(frozen=True, slots=True)
class DataPath:
    """One way between devices. reason: how it was tried, or everything that is missing, in words."""

    name: str
    usable: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """Something that a path needs. is_there: asks this machine."""

    words: str
    is_there: Callable[[], bool]


def _any_of(*patterns: str) -> Callable[[], bool]:
    return lambda: any(glob.glob(pattern) for pattern in patterns)


def _count_gpus() -> int:
    """Graphics processors that can compute: those with a driver's own node, else render nodes."""
    return max(len(glob.glob("/dev/nvidia[0-9]*")), len(glob.glob("/dev/dri/renderD*")))


def _has_devmem_tcp() -> bool:
    """Whether the kernel's TCP can receive into device memory; asked by a call that is wrong in any case."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, _SO_DEVMEM_DONTNEED, bytes(4))
        except OSError as error:
            return error.errno not in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)
    return True


_GPU: Final = _Piece("a GPU with its driver (/dev/nvidia*, /dev/dri/renderD*)", lambda: _count_gpus() > 0)
_TWO_GPUS: Final = _Piece("two GPUs with their drivers (/dev/nvidia*, /dev/dri/renderD*)", lambda: _count_gpus() > 1)
_RDMA_CARD: Final = _Piece("an RDMA network card (/sys/class/infiniband)", _any_of("/sys/class/infiniband/*"))
_PEER_MEMORY: Final = _Piece(
    "GPU memory for network cards (module nvidia_peermem or amdkfd with peer access)",
    _any_of("/sys/module/nvidia_peermem", "/sys/module/ib_peer_mem", "/sys/class/kfd/kfd"),
)
_DEVMEM_TCP: Final = _Piece("devmem TCP in this kernel (SO_DEVMEM_DONTNEED)", _has_devmem_tcp)
_NVME: Final = _Piece("an NVMe device (/sys/class/nvme)", _any_of("/sys/class/nvme/*"))
_STORAGE_DRIVER: Final = _Piece(
    "GPU Direct Storage (module nvidia_fs)", _any_of("/proc/driver/nvidia-fs/version", "/sys/module/nvidia_fs")
)


def _not_built(what: str) -> _Piece:
    return _Piece(f"{what} in proactor_trio, which is not built", lambda: False)


_PATHS: Final[dict[str, tuple[_Piece, ...]]] = {
    "GPU to NIC": (_GPU, _RDMA_CARD, _PEER_MEMORY, _not_built("an RDMA transport")),
    "NIC to GPU": (_GPU, _DEVMEM_TCP, _not_built("a receive into device memory")),
    "GPU to NVMe": (_GPU, _NVME, _STORAGE_DRIVER, _not_built("GPU Direct Storage")),
    "NVMe to GPU": (_GPU, _NVME, _STORAGE_DRIVER, _not_built("GPU Direct Storage")),
    "GPU to GPU, same host": (_TWO_GPUS, _not_built("a driver's export and import of dma-bufs")),
    "GPU to GPU, cross host": (_GPU, _RDMA_CARD, _PEER_MEMORY, _not_built("an RDMA transport")),
}


def create_udmabuf(memory: int, length: int) -> int:
    """A dma-buf made of the first bytes of a memfd, which must be sealed against shrinking. Raises OSError."""
    device = os.open(_UDMABUF, os.O_RDWR | os.O_CLOEXEC)
    try:
        request = bytearray(_UDMABUF_REQUEST.pack(memory, _UDMABUF_CLOEXEC, 0, length))
        descriptor: int = fcntl.ioctl(device, _UDMABUF_CREATE, request, True)
        return descriptor
    finally:
        os.close(device)


def _try_dmabuf(backend: str | None) -> DataPath:
    """Register a dma-buf of ordinary memory and look through it."""
    name = "dma-buf import"
    if not os.path.exists(_UDMABUF):
        return DataPath(name, False, f"missing: a dma-buf to try it with ({_UDMABUF})")
    memory = os.memfd_create("doctor", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, _TRIAL_BYTES)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        os.pwrite(memory, b"doctor", 0)
        dmabuf = create_udmabuf(memory, _TRIAL_BYTES)
        try:
            return _register_trial(name, backend, dmabuf)
        finally:
            os.close(dmabuf)
    except OSError as error:
        return DataPath(name, False, f"{_UDMABUF}: {error.strerror}")
    finally:
        os.close(memory)


def _register_trial(name: str, backend: str | None, dmabuf: int) -> DataPath:
    try:
        with Proactor(backend) as proactor:
            with register_dmabuf(proactor, dmabuf, 0, _TRIAL_BYTES, Access.READ | Access.WRITE) as region:
                usable = bytes(region.view[:6]) == b"doctor"
                reason = "tried with /dev/udmabuf: mapped, " + region.reason
                return DataPath(name, usable, reason if usable else "its memory is not what was written to it")
    except BackendUnavailable as error:
        return DataPath(name, False, error.reason)
    except (ProactorError, OSError) as error:
        return DataPath(name, False, str(error))


def data_paths(backend: str | None) -> list[DataPath]:
    """Every path, the reference's six and the import of a dma-buf. backend: as that of run()."""
    found = []
    for name, pieces in _PATHS.items():
        missing = [piece.words for piece in pieces if not piece.is_there()]
        found.append(DataPath(name, not missing, "missing: " + "; ".join(missing) if missing else "all of it is there"))
    return [*found, _try_dmabuf(backend)]
