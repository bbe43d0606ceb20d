"""Builds `_atomics`, the compiled helper of pools that are shared between processes: operations on 64-bit words of
shared memory that no other processor sees half-done.

It is optional, like the helper of io_uring, and built by the same rules (setup.py). Without it shared pools use a lock
(slot_words.py).
"""

from __future__ import annotations

import os

from cffi import FFI

DECLARATIONS = """
    unsigned long long proactor_load_acquire(void *words, unsigned int index);
    void proactor_store_release(void *words, unsigned int index, unsigned long long value);
    unsigned long long proactor_fetch_add(void *words, unsigned int index, unsigned long long increment);
    int proactor_compare_exchange(void *words, unsigned int index, unsigned long long expected,
                                  unsigned long long desired);
    int proactor_claim_slot(void *words, unsigned int count, unsigned int first, unsigned int owner,
                            unsigned long long *claimed);
    int proactor_return_slot(void *words, unsigned long long *claimed);
"""

SOURCE = r"""
#include <stdint.h>

static unsigned long long proactor_load_acquire(void *words, unsigned int index)
{
    return __atomic_load_n((uint64_t *)words + index, __ATOMIC_ACQUIRE);
}

static void proactor_store_release(void *words, unsigned int index, unsigned long long value)
{
    __atomic_store_n((uint64_t *)words + index, (uint64_t)value, __ATOMIC_RELEASE);
}

static unsigned long long proactor_fetch_add(void *words, unsigned int index, unsigned long long increment)
{
    return __atomic_fetch_add((uint64_t *)words + index, (uint64_t)increment, __ATOMIC_ACQ_REL);
}

/* Whether the word was the expected one and is the desired one now. */
static int proactor_compare_exchange(void *words, unsigned int index, unsigned long long expected,
                                     unsigned long long desired)
{
    uint64_t found = expected;
    return __atomic_compare_exchange_n((uint64_t *)words + index, &found, (uint64_t)desired, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* Takes a slot whose owner (the low half of its word) is 0: raises its epoch (the high half) and sets the owner, in one
   exchange. Writes the slot's index and its new word to `claimed` and returns 1, or 0 when every slot has an owner. */
static int proactor_claim_slot(void *words, unsigned int count, unsigned int first, unsigned int owner,
                               unsigned long long *claimed)
{
    uint64_t *slots = words;
    unsigned int step;

    for (step = 0; step < count; step++) {
        unsigned int index = first + step < count ? first + step : first + step - count;
        uint64_t found = __atomic_load_n(&slots[index], __ATOMIC_RELAXED);
        while ((uint32_t)found == 0) {
            uint64_t desired = (((found >> 32) + 1) << 32) | owner;
            if (__atomic_compare_exchange_n(&slots[index], &found, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
                claimed[0] = index;
                claimed[1] = desired;
                return 1;
            }
        }
    }
    return 0;
}

/* Sets the owner of a claimed slot to 0, and `claimed[1]`, its word, too. Of several threads that do so one does it.
   Returns 0 if the slot was not the claimer's any more. */
static int proactor_return_slot(void *words, unsigned long long *claimed)
{
    uint64_t *slots = words;
    uint64_t found = __atomic_exchange_n((uint64_t *)&claimed[1], 0, __ATOMIC_ACQ_REL);
    uint64_t word = found;

    if (word == 0)
        return 1;
    return __atomic_compare_exchange_n(&slots[claimed[0]], &found, word >> 32 << 32, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}
"""

atomics = FFI()
atomics.cdef(DECLARATIONS)
atomics.set_source(
    "proactor_trio.proactor.memory._atomics",
    SOURCE,
    py_limited_api=True,
    optional=os.environ.get("PROACTOR_TRIO_REQUIRE_NATIVE") != "1",
)
