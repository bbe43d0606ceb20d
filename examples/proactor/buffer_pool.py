"""A buffer pool: a copy of a file through two buffers of a slab, without allocating anything on the way.

A lease is the right to one buffer until it is given back. Its view ends with it, so nobody reads what has become
another's; and a buffer that an operation still uses cannot be given back.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from proactor_trio.proactor import (
    Access,
    BufferPool,
    CompletionFlags,
    File,
    FileRead,
    FileWrite,
    Operation,
    Proactor,
    ResourceExhausted,
    Slab,
    register_slab,
)

BUFFER_BYTES = 64 * 1024


class Copy:
    """Copies block by block; each block goes through whatever buffer is free."""

    def __init__(self, proactor: Proactor, pool: BufferPool, source: File, target: File) -> None:
        self.proactor, self.pool, self.source, self.target = proactor, pool, source, target
        self.offset = 0
        self.waited = 0
        self.blocks_left = -(-os.fstat(source.fileno()).st_size // BUFFER_BYTES)

    def read_next(self) -> None:
        while self.offset < os.fstat(self.source.fileno()).st_size:
            try:
                lease = self.pool.acquire()
            except ResourceExhausted:
                self.waited += 1
                self.pool.when_free(self.read_next)  # called once, by whoever gives a buffer back
                return
            self.proactor.submit(FileRead(self.source, lease.span, self.offset, self.write, lease))
            self.offset += BUFFER_BYTES

    def write(self, read: Operation, flags: CompletionFlags) -> None:
        assert isinstance(read, FileRead)
        lease = read.user_data
        self.proactor.submit(FileWrite(self.target, lease.span_of(0, read.result), read.offset, self.done, lease))

    def done(self, write: Operation, flags: CompletionFlags) -> None:
        self.blocks_left -= 1
        write.user_data.release()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Proactor() as proactor:
        (Path(folder) / "source").write_bytes(os.urandom(1_000_000))
        source = File(os.open(Path(folder) / "source", os.O_RDONLY))
        target = File(os.open(Path(folder) / "target", os.O_WRONLY | os.O_CREAT))
        with Slab.allocate(BUFFER_BYTES, 2) as slab:
            with register_slab(proactor, slab, Access.READ | Access.WRITE) as region, BufferPool(region) as pool:
                copy = Copy(proactor, pool, source, target)
                copy.read_next()
                while copy.blocks_left:
                    proactor.poll(1)
                print(f"copied through {pool}, waited {copy.waited} times for a buffer")
        source.close()
        target.close()
        assert (Path(folder) / "source").read_bytes() == (Path(folder) / "target").read_bytes()


if __name__ == "__main__":
    main()
