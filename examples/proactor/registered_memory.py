"""Registered memory: the kernel knows it beforehand, and operations use it through spans.

On io_uring its pages are pinned once, and every read and write of it names a place in the kernel's table. Elsewhere it
is plain memory, and the region says so; the program is the same.
"""

from __future__ import annotations

import os
import tempfile

from proactor_trio.proactor import (
    Access,
    FailedPrecondition,
    File,
    FileRead,
    FileWrite,
    HugePages,
    Operation,
    OperationFlags,
    Proactor,
    Slab,
    register_buffer,
    register_slab,
)


def settle(proactor: Proactor, *operations: Operation) -> None:
    proactor.submit(*operations)
    while not all(operation.state.value == "done" for operation in operations):
        proactor.poll(1)


def main() -> None:
    with Proactor() as proactor, tempfile.TemporaryFile(buffering=0) as temporary:
        file = File(os.dup(temporary.fileno()))

        # Memory of our own, for reads and for writes.
        memory = bytearray(b"hello, registered world!")
        with register_buffer(proactor, memory, Access.READ | Access.WRITE) as region:
            print(f"{proactor.backend_name}: {region.reason}")
            write = FileWrite(file, region.span(0, 5), 0, flags=OperationFlags.LINKED)
            read = FileRead(file, region.span(7, 5), 0)
            proactor.submit(write, read)
            try:
                region.close()
            except FailedPrecondition as refusal:
                print(refusal)
            while read.state.value != "done":
                proactor.poll(1)
            print(bytes(memory))

        # A slab: many buffers in one block, on a NUMA node and in large pages where the machine has them.
        with Slab.allocate(64 * 1024, 32, node=0, huge_pages=HugePages.TRANSPARENT) as slab:
            with register_slab(proactor, slab, Access.READ) as region:
                settle(proactor, *(FileWrite(file, region.buffer_span(number), number * 65536) for number in range(32)))
            print(os.fstat(file.fileno()).st_size, "bytes written from", slab.placement())
        file.close()


if __name__ == "__main__":
    main()
