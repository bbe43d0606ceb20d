"""Builds the two cffi modules of the io_uring backend.

`_abi` is a generated Python module: the few libc functions that set a ring up, called without any compiler.
`_native` is the compiled helper, two functions: one stores the tail, enters the kernel and loads the completion tail
with acquire order, the other gives receive buffers back. The ring works with either; the helper halves the price of a
turn.
"""

from __future__ import annotations

import os

from cffi import FFI

abi = FFI()
abi.set_source("proactor_trio.backends.io_uring._abi", None)
abi.cdef("""
    long syscall(long number, long first, long second, long third, long fourth, void *fifth, long sixth);
    void *mmap(void *address, size_t length, int protection, int flags, int descriptor, long offset);
    int munmap(void *address, size_t length);
    int madvise(void *address, size_t length, int advice);
""")

ENTER_DECLARATION = """
    long long proactor_ring_enter(int descriptor, void *submission_head, void *submission_tail, void *completion_tail,
                                  unsigned int tail, unsigned int minimum_completions, unsigned int flags,
                                  long long timeout_nanoseconds);
"""

OFFER_DECLARATION = """
    void proactor_offer_buffers(void *entries, void *tail_word, unsigned int mask, unsigned int tail,
                                unsigned long long memory, unsigned int length, void *identifiers, unsigned int count);
"""

SOURCE = r"""
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#define PROACTOR_SYS_IO_URING_ENTER 426

struct proactor_timespec { int64_t seconds; int64_t nanoseconds; };
struct proactor_getevents_arg { uint64_t sigmask; uint32_t sigmask_size; uint32_t minimum_wait; uint64_t timespec; };

/* Returns the completion tail (0 .. 2^32-1), or -errno of io_uring_enter(2). What was submitted is not returned: the
   kernel's own head says so, also after a signal handler raised between this call and its caller. */
static long long proactor_ring_enter(int descriptor, void *submission_head, void *submission_tail,
                                     void *completion_tail, unsigned int tail, unsigned int minimum_completions,
                                     unsigned int flags, long long timeout_nanoseconds)
{
    struct proactor_timespec timespec;
    struct proactor_getevents_arg argument;
    unsigned int head;
    long result;

    __atomic_store_n((unsigned int *)submission_tail, tail, __ATOMIC_RELEASE);
    head = __atomic_load_n((unsigned int *)submission_head, __ATOMIC_ACQUIRE);
    memset(&argument, 0, sizeof argument);
    if (timeout_nanoseconds > 0) {
        timespec.seconds = timeout_nanoseconds / 1000000000;
        timespec.nanoseconds = timeout_nanoseconds % 1000000000;
        argument.timespec = (uint64_t)(uintptr_t)&timespec;
    }
    result = syscall(PROACTOR_SYS_IO_URING_ENTER, descriptor, tail - head, minimum_completions, flags,
                     &argument, sizeof argument);
    if (result < 0)
        return -(long long)errno;
    return __atomic_load_n((unsigned int *)completion_tail, __ATOMIC_ACQUIRE);
}

struct proactor_buffer { uint64_t address; uint32_t length; uint16_t identifier; uint16_t reserved; };

/* Gives provided buffers back. The tail lies in the last two bytes of the first entry, which are not written here. */
static void proactor_offer_buffers(void *entries, void *tail_word, unsigned int mask, unsigned int tail,
                                   unsigned long long memory, unsigned int length, void *identifiers,
                                   unsigned int count)
{
    struct proactor_buffer *ring = entries;
    uint16_t *returned = identifiers;
    unsigned int index;

    for (index = 0; index < count; index++) {
        struct proactor_buffer *entry = &ring[(tail + index) & mask];
        entry->address = memory + (uint64_t)returned[index] * length;
        entry->length = length;
        entry->identifier = returned[index];
    }
    __atomic_store_n((uint16_t *)tail_word, (uint16_t)(tail + count), __ATOMIC_RELEASE);
}
"""

native = FFI()
native.cdef(ENTER_DECLARATION + OFFER_DECLARATION)
native.set_source(
    "proactor_trio.backends.io_uring._native",
    SOURCE,
    py_limited_api=True,
    optional=os.environ.get("PROACTOR_TRIO_REQUIRE_NATIVE") != "1",
)
