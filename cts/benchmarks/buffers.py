"""buffer/pool: leases of buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time_ns

from cts.benchmarks.measuring import Benchmark, Flat, Linear, Work, register
from proactor_trio.proactor import Access, BufferPool, Proactor, Slab, register_slab

BUFFER_BYTES = (64, 512, 4096, 65536)
MANY = 4096


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


def _many(proactor: Proactor, measured: Callable[[BufferPool, int], int]) -> Iterator[Work]:
    with (
        Slab.allocate(64, MANY) as slab,
        register_slab(proactor, slab, Access.READ) as region,
        BufferPool(region) as pool,
    ):

        def work(units: int) -> int:
            batches, rest = divmod(units, MANY)
            return sum(measured(pool, count) for count in (*[MANY] * batches, rest))

        yield work


def acquire_only(proactor: Proactor, size: int) -> Iterator[Work]:
    """Leases taken; giving them back is outside of what is measured."""

    def measured(pool: BufferPool, count: int) -> int:
        begun = process_time_ns()
        leases = [pool.acquire() for _ in range(count)]
        spent = process_time_ns() - begun
        for lease in leases:
            lease.release()
        return spent

    yield from _many(proactor, measured)


def release_only(proactor: Proactor, size: int) -> Iterator[Work]:
    """Leases given back; taking them is outside of what is measured."""

    def measured(pool: BufferPool, count: int) -> int:
        leases = [pool.acquire() for _ in range(count)]
        begun = process_time_ns()
        for lease in leases:
            lease.release()
        return process_time_ns() - begun

    yield from _many(proactor, measured)


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
register(Benchmark("buffer/pool/BufferPoolAcquireOnly", acquire_only, limit_us=1.0))
register(Benchmark("buffer/pool/BufferPoolReleaseOnly", release_only, limit_us=1.0))
register(Benchmark("buffer/pool/BufferPoolBatchAcquireRelease", batch_acquire_release, (4, 16, 64), Linear(1.5)))
register(Benchmark("buffer/pool/BufferPoolAcquireWriteRelease", acquire_write_release, BUFFER_BYTES, Flat(1.5)))
