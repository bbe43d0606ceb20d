"""A buffer pool that processes share: one fills buffers, another reads them, and a death takes nothing away for good.

The buffers and the pool's storage lie in one memfd, which each process maps for itself. What the child sends to its
parent through a pipe is an index, never the bytes.
"""

from __future__ import annotations

import mmap
import os
import signal

from proactor_trio.proactor import SharedBufferPool, Slab, shared_pool_storage_size

BUFFER_BYTES, COUNT = 4096, 8
BUFFERS_OFFSET = mmap.PAGESIZE


def child(memory: int, pipe: int) -> None:
    """Opens the pool as any other process would, fills two buffers, says where they are, and is killed."""
    with mmap.mmap(memory, shared_pool_storage_size(COUNT)) as storage:
        slab = Slab.from_descriptor(memory, BUFFERS_OFFSET, BUFFER_BYTES, COUNT)
        pool = SharedBufferPool.open(storage, slab, lock_descriptor=memory)
        leases = [pool.acquire(), pool.acquire()]
        for number, lease in enumerate(leases):
            lease.view[:8] = f"number {number}".encode()
        os.write(pipe, bytes(lease.index for lease in leases))
        signal.pause()


def main() -> None:
    memory = os.memfd_create("pool")
    os.ftruncate(memory, BUFFERS_OFFSET + COUNT * BUFFER_BYTES)
    storage = mmap.mmap(memory, shared_pool_storage_size(COUNT))
    with Slab.from_descriptor(memory, BUFFERS_OFFSET, BUFFER_BYTES, COUNT) as slab:
        with SharedBufferPool.create(storage, slab, lock_descriptor=memory) as pool:
            print(pool)
            reader, writer = os.pipe()
            process = os.fork()
            if not process:
                child(memory, writer)
            for index in os.read(reader, 2):
                with slab.buffer(index) as buffer:
                    print(f"buffer {index}: {bytes(buffer[:8]).decode()}")

            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            print(f"{pool.available} buffers are free; the dead process holds {pool.owners()[process]}")
            print(f"reclaimed: {pool.reclaim_by_owner(process)}; free: {pool.available}")
    storage.close()
    for descriptor in (reader, writer, memory):
        os.close(descriptor)


if __name__ == "__main__":
    main()
