"""buffer/pool: leases of buffers."""

from __future__ import annotations

from collections.abc import Iterator

from cts.benchmarks.measuring import Benchmark, Flat, Linear, Work, register
from proactor_trio.proactor import Access, BufferPool, Proactor, Slab, register_slab

BUFFER_BYTES = (64, 512, 4096, 65536)


def acquire_release(proactor: Proactor, size: int) -> Iterator[Work]:
    """One lease of a buffer of so many bytes."""
    with (
        Slab.allocate(size, 64) as slab,
        register_slab(proactor, slab, Access.READ | Access.WRITE) as region,
        BufferPool(region) as pool,
    ):

        def work(units: int) -> None:
            for _ in range(units):
                pool.acquire().release()

        yield work


def batch_acquire_release(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many leases at a time."""
    with (
        Slab.allocate(4096, 64) as slab,
        register_slab(proactor, slab, Access.READ | Access.WRITE) as region,
        BufferPool(region) as pool,
    ):

        def work(units: int) -> None:
            for _ in range(units):
                for lease in [pool.acquire() for _ in range(size)]:
                    lease.release()

        yield work


def acquire_write_release(proactor: Proactor, size: int) -> Iterator[Work]:
    """One lease whose memory is used."""
    with (
        Slab.allocate(size, 64) as slab,
        register_slab(proactor, slab, Access.READ | Access.WRITE) as region,
        BufferPool(region) as pool,
    ):

        def work(units: int) -> None:
            for _ in range(units):
                lease = pool.acquire()
                lease.view[0] = 1
                lease.release()

        yield work


register(Benchmark("buffer/pool/BufferPoolAcquireRelease", acquire_release, BUFFER_BYTES, Flat(1.5), limit_us=1.0))
register(Benchmark("buffer/pool/BufferPoolBatchAcquireRelease", batch_acquire_release, (4, 16, 64), Linear(1.5)))
register(Benchmark("buffer/pool/BufferPoolAcquireWriteRelease", acquire_write_release, BUFFER_BYTES, Flat(1.5)))
