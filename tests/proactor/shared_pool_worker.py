"""A process that takes part in a shared pool: tests start it as a child; it is no test itself.

    python shared_pool_worker.py hammer DESCRIPTOR COUNT ROUNDS
    python shared_pool_worker.py hold DESCRIPTOR COUNT LEASES

`hammer` leases and gives back so many times, and says so after the first hundred. Each time it marks the buffer as its
own, looks whether the mark stays, and wipes it; a mark of somebody else who is alive is an error. SIGTERM ends it
earlier. `hold` takes so many leases, says so, and waits until it is killed.
The descriptor is that of a memfd: the storage at its beginning, the buffers behind (see `Arena`).
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
from typing import Final

from proactor_trio.proactor import ResourceExhausted, SharedBufferPool, Slab, Synchronization, shared_pool_storage_size

BUFFER_BYTES: Final = 64
_BUFFERS_OFFSET: Final = 65536
_GOING: Final = 100


class Arena:
    """A memfd, mapped here: storage and buffers. Use it as a context manager."""

    def __init__(self, buffer_count: int, descriptor: int | None = None) -> None:
        """descriptor: of an arena that another process has made; None makes a new one."""
        self._owned = descriptor is None
        self.descriptor = os.memfd_create("arena") if descriptor is None else descriptor
        if self._owned:
            os.ftruncate(self.descriptor, _BUFFERS_OFFSET + buffer_count * BUFFER_BYTES)
        self.storage = mmap.mmap(self.descriptor, shared_pool_storage_size(buffer_count))
        self.slab = Slab.from_descriptor(self.descriptor, _BUFFERS_OFFSET, BUFFER_BYTES, buffer_count)

    def create(self, synchronization: Synchronization | None = None) -> SharedBufferPool:
        """A new pool in it."""
        return SharedBufferPool.create(
            self.storage, self.slab, lock_descriptor=self.descriptor, synchronization=synchronization
        )

    def open(self) -> SharedBufferPool:
        """The pool that is in it."""
        return SharedBufferPool.open(self.storage, self.slab, lock_descriptor=self.descriptor)

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *exception: object) -> None:
        self.slab.close()
        self.storage.close()
        if self._owned:
            os.close(self.descriptor)


def _hammer(pool: SharedBufferPool, rounds: int) -> int:
    """How many times it met a buffer that was somebody else's at the same time."""
    own = os.getpid()
    conflicts = 0
    done = 0
    marks = pool.memory.cast("Q")
    step = BUFFER_BYTES // 8
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    while done < rounds and not stopped:
        try:
            lease = pool.acquire()
        except ResourceExhausted:
            time.sleep(0)
            continue
        place = lease.index * step
        conflicts += marks[place] != 0 and os.path.exists(f"/proc/{marks[place]}")
        marks[place] = own
        conflicts += marks[place] != own
        marks[place] = 0
        lease.release()
        done += 1
        if done == _GOING:
            print("going", flush=True)
    marks.release()
    return conflicts


def _main(task: str, descriptor: int, buffer_count: int, number: int) -> int:
    with Arena(buffer_count, descriptor) as arena, arena.open() as pool:
        if task == "hammer":
            sys.stdin.readline()  # so that all of them begin together
            return _hammer(pool, number)
        leases = [pool.acquire() for _ in range(number)]
        print(len(leases), flush=True)
        sys.stdin.readline()
        return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], *map(int, sys.argv[2:])))
