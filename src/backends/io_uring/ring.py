"""One submission and completion ring, driven from Python.

Facts (io_uring(7), io_uring_setup(2), and what was measured):

* The kernel reads the submission tail only inside io_uring_enter(2), and with DEFER_TASKRUN it posts completions only
  inside system calls of the ring's own thread. So plain stores and loads of the mapped words are ordered by the system
  call itself. Without DEFER_TASKRUN that holds on x86-64 alone; elsewhere the compiled helper's acquire load is needed.
* Packing an entry straight into the mapped array with one `Struct.pack_into` is the cheapest way from Python; a call
  into compiled code costs more by its arguments alone.
* What was submitted must be read from the kernel's head and never from a return value: a signal handler may raise
  between the system call and its caller.
* A tick may stay out of the kernel when nothing is to be submitted and the doorbell is silent: no unread completion
  and neither TASKRUN nor CQ_OVERFLOW in the submission flags.

What this means for us: `tail` is an integer here and is stored for the kernel on entry; `enter()` computes the number
of entries from the kernel's head; the caller takes completions with `completions()`, keeps them, and only then gives
their places back with `acknowledge()`, so that an exception at any point between loses none.

The ladder of set-up flags goes from everything to nothing in four steps, since the flags depend on each other and a
kernel refuses wrong combinations with EINVAL.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, Final

from proactor_trio.backends.contract import BackendUnavailable
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.mapping import NULL, SYSCALL, Mapping, address_of, last_errno, pin

try:
    _native: Any = import_module("proactor_trio.backends.io_uring._native")
except ImportError:
    _native = None

HAS_NATIVE_HELPER: Final = _native is not None

_COMMON: Final = c.SETUP_CQSIZE | c.SETUP_CLAMP | c.SETUP_SUBMIT_ALL
_DEFERRED: Final = _COMMON | c.SETUP_SINGLE_ISSUER | c.SETUP_DEFER_TASKRUN | c.SETUP_TASKRUN_FLAG
_LADDER: Final = (
    (_DEFERRED | c.SETUP_NO_SQARRAY, "DEFER_TASKRUN, NO_SQARRAY"),
    (_DEFERRED, "DEFER_TASKRUN"),
    (_COMMON | c.SETUP_COOP_TASKRUN | c.SETUP_TASKRUN_FLAG, "COOP_TASKRUN"),
    (c.SETUP_CQSIZE | c.SETUP_CLAMP, "plain"),
)
_COMPLETIONS_PER_SUBMISSION: Final = 16
_NANOSECONDS: Final = 1_000_000_000


def explain_setup_failure(code: int) -> str:
    """Why io_uring_setup(2) failed, in words that say which knob to turn."""
    if code == errno.ENOSYS:
        return "ENOSYS: this kernel has no io_uring (Linux 5.1), or a sandbox hides it"
    if code == errno.EPERM:
        try:
            with open("/proc/sys/kernel/io_uring_disabled", encoding="ascii") as knob:
                value = knob.read().strip()
        except OSError:
            value = "0"
        if value != "0":
            return f"EPERM: the sysctl kernel.io_uring_disabled is {value}; 0 allows it"
        return "EPERM: forbidden, most likely by a seccomp filter (the default of many container runtimes)"
    if code == errno.ENOMEM:
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return f"ENOMEM: too little lockable memory (RLIMIT_MEMLOCK is {soft} of {hard} bytes); raise `ulimit -l`"
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"


class Ring:
    """The rings of one thread.

    entries: submission entries, rounded up to a power of two by the kernel.
    disabled: create it for another thread; that thread calls `enable()`.
    native: use the compiled helper (None: where it is there).
    """

    #: The compiled helper, if `native`.
    native_module: ClassVar[Any] = _native

    __slots__ = (
        "_completion_head",
        "_completion_mapping",
        "_completion_mask",
        "_completion_tail",
        "_completions",
        "_enter",
        "_entries_mapping",
        "_getevents_argument",
        "_getevents_pointer",
        "_ring_mapping",
        "_submission_flags",
        "_submission_head",
        "_submission_tail",
        "_timespec",
        "_wait_flags",
        "_words",
        "deferred",
        "descriptor",
        "enters",
        "entries",
        "features",
        "is_silent",
        "limit",
        "mask",
        "native",
        "sqes",
        "tail",
        "variant",
    )

    def __init__(self, entries: int, *, disabled: bool = False, native: bool | None = None) -> None:
        self.native = HAS_NATIVE_HELPER if native is None else native
        if self.native and not HAS_NATIVE_HELPER:
            raise BackendUnavailable("the compiled helper of io_uring is not in this installation")
        parameters = self._set_up(entries, c.SETUP_R_DISABLED if disabled else 0)
        try:
            self._require_features()
            self._map(parameters)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._wait_flags = c.ENTER_GETEVENTS | c.ENTER_EXT_ARG
        if self.features & c.FEATURE_NO_IOWAIT:
            self._wait_flags |= c.ENTER_NO_IOWAIT
        self._timespec = bytearray(c.TIMESPEC.size)
        self._getevents_argument = bytearray(c.GETEVENTS_ARG.size)
        self.tail = self._submission_head[0]
        self.limit = self.tail + self.entries
        self.enters = 0
        self._enter = self._choose_enter()
        self.is_silent = self._make_is_silent()

    def _set_up(self, entries: int, extra_flags: int) -> tuple[Any, ...]:
        code = errno.EINVAL
        for flags, words in _LADDER:
            parameters = bytearray(c.PARAMS.size)
            extra = extra_flags if flags & c.SETUP_SINGLE_ISSUER else 0
            c.PARAMS.pack_into(parameters, 0, 0, entries * _COMPLETIONS_PER_SUBMISSION, flags | extra, *[0] * 25)
            pointer = pin(parameters)
            descriptor = SYSCALL(c.SYS_IO_URING_SETUP, entries, address_of(parameters), 0, 0, NULL, 0)
            del pointer
            if descriptor >= 0:
                self.descriptor = int(descriptor)
                self.variant = words
                self.deferred = bool(flags & c.SETUP_DEFER_TASKRUN)
                return c.PARAMS.unpack(parameters)
            code = last_errno()
            if code != errno.EINVAL:
                break
        raise BackendUnavailable(explain_setup_failure(code), code)

    def _require_features(self) -> None:
        if not self.native and not self.deferred and platform.machine() != "x86_64":
            raise BackendUnavailable("without DEFER_TASKRUN (Linux 6.1) this processor needs the compiled helper")

    def _map(self, parameters: tuple[Any, ...]) -> None:
        sq_entries, cq_entries, flags, _, _, self.features = parameters[:6]
        for feature, name in (
            (c.FEATURE_SINGLE_MMAP, "SINGLE_MMAP"),
            (c.FEATURE_NODROP, "NODROP"),
            (c.FEATURE_FAST_POLL, "FAST_POLL"),
            (c.FEATURE_EXT_ARG, "EXT_ARG (Linux 5.11)"),
        ):
            if not self.features & feature:
                raise BackendUnavailable(f"this kernel's io_uring lacks {name}")
        sq_head, sq_tail, sq_mask, _, sq_flags, _, sq_array = parameters[10:17]
        cq_head, cq_tail, cq_mask, _, _, cq_cqes = parameters[19:25]
        self.entries = sq_entries
        length = max(sq_array + 4 * sq_entries, cq_cqes + cq_entries * c.CQE.size)
        ring = self._ring_mapping = Mapping(length, self.descriptor, c.OFFSET_SQ_RING)
        try:
            self._entries_mapping = Mapping(sq_entries * c.SQE.size, self.descriptor, c.OFFSET_SQES)
        except BackendUnavailable:
            ring.close()
            raise
        self.sqes = self._entries_mapping.view
        self._submission_head = ring.words(sq_head)
        self._submission_tail = ring.words(sq_tail)
        self._submission_flags = ring.words(sq_flags)
        self._completion_head = ring.words(cq_head)
        self._completion_tail = ring.words(cq_tail)
        self._completions = ring.view[cq_cqes : cq_cqes + cq_entries * c.CQE.size]
        self._words = [
            self._submission_head,
            self._submission_tail,
            self._submission_flags,
            self._completion_head,
            self._completion_tail,
            self._completions,
        ]
        self.mask = ring.words(sq_mask)[0]
        self._completion_mask = ring.words(cq_mask)[0]
        if not flags & c.SETUP_NO_SQARRAY:
            array = ring.view[sq_array : sq_array + 4 * sq_entries].cast("I")
            for index in range(sq_entries):
                array[index] = index
            array.release()

    # Entering the kernel -----------------------------------------------------------------------------------------

    def _choose_enter(self) -> Callable[[int, int, int], int]:
        if self.native:
            return self._make_native_enter()
        self._getevents_pointer = pin(self._getevents_argument)
        return self._enter_by_libc

    def _make_native_enter(self) -> Callable[[int, int, int], int]:
        ffi = _native.ffi
        enter = _native.lib.proactor_ring_enter
        void = ffi.typeof("void *")
        head, tail, completion_tail = (
            ffi.cast(void, address_of(word))
            for word in (self._submission_head, self._submission_tail, self._completion_tail)
        )
        descriptor = self.descriptor

        def enter_by_helper(minimum_completions: int, flags: int, timeout_nanoseconds: int) -> int:
            result: int = enter(
                descriptor, head, tail, completion_tail, self.tail & 0xFFFFFFFF, minimum_completions, flags,
                timeout_nanoseconds,
            )  # fmt: skip
            return result

        return enter_by_helper

    def _enter_by_libc(self, minimum_completions: int, flags: int, timeout_nanoseconds: int) -> int:
        tail = self.tail & 0xFFFFFFFF
        self._submission_tail[0] = tail
        to_submit = (tail - self._submission_head[0]) & 0xFFFFFFFF
        timespec_address = 0
        if timeout_nanoseconds > 0:
            c.TIMESPEC.pack_into(
                self._timespec, 0, timeout_nanoseconds // _NANOSECONDS, timeout_nanoseconds % _NANOSECONDS
            )
            timespec_address = address_of(self._timespec)
        c.GETEVENTS_ARG.pack_into(self._getevents_argument, 0, 0, 0, 0, timespec_address)
        result = SYSCALL(
            c.SYS_IO_URING_ENTER, self.descriptor, to_submit, minimum_completions, flags, self._getevents_pointer,
            c.GETEVENTS_ARG.size,
        )  # fmt: skip
        return -last_errno() if result < 0 else self._completion_tail[0]

    def _make_is_silent(self) -> Callable[[], bool]:
        completion_tail, completion_head = self._completion_tail, self._completion_head
        submission_flags = self._submission_flags
        work = c.SQ_TASKRUN | c.SQ_CQ_OVERFLOW
        entries = self.entries

        def is_silent() -> bool:
            """Nothing to submit, nothing to read, nothing for the kernel to do on our behalf."""
            return (
                self.tail + entries == self.limit
                and completion_tail[0] == completion_head[0]
                and not submission_flags[0] & work
            )

        return is_silent

    def turn(self, timeout: float | None) -> int:
        """Submit, let the kernel work, wait for one completion or `timeout` seconds. Returns 0 or -errno.

        Does not wait while unread completions are there. -ETIME is reported as 0.
        """
        if timeout == 0 or self._completion_tail[0] != self._completion_head[0]:
            minimum, nanoseconds = 0, 0
        else:
            minimum, nanoseconds = 1, 0 if timeout is None else int(timeout * _NANOSECONDS) + 1
        self.enters += 1
        result = self._enter(minimum, self._wait_flags, nanoseconds)
        self.limit = self._first_taken_entry()
        return 0 if result >= 0 or result == -errno.ETIME else result

    def flush(self) -> int:
        """Submit without waiting and without running completions. Returns 0 or -errno."""
        self.enters += 1
        result = self._enter(0, c.ENTER_EXT_ARG, 0)
        self.limit = self._first_taken_entry()
        return 0 if result >= 0 else result

    def _first_taken_entry(self) -> int:
        # `tail` is a Python integer and does not wrap; the kernel's head wraps at 32 bits.
        limit: int = self.tail + self.entries - ((self.tail - self._submission_head[0]) & 0xFFFFFFFF)
        return limit

    # Completions -------------------------------------------------------------------------------------------------

    def completions(self) -> tuple[int, list[tuple[int, int, int]]]:
        """All unread completions as (user_data, result, flags), and the tail to acknowledge them with."""
        head = self._completion_head[0]
        tail = self._completion_tail[0]
        count = (tail - head) & 0xFFFFFFFF
        if count == 0:
            return tail, []
        first = head & self._completion_mask
        if count == 1:
            return tail, [c.CQE.unpack_from(self._completions, first << c.CQE_SHIFT)]
        end = first + count
        size = self._completion_mask + 1
        if end <= size:
            return tail, list(c.CQE.iter_unpack(self._completions[first << c.CQE_SHIFT : end << c.CQE_SHIFT]))
        entries = list(c.CQE.iter_unpack(self._completions[first << c.CQE_SHIFT :]))
        entries += c.CQE.iter_unpack(self._completions[: (end - size) << c.CQE_SHIFT])
        return tail, entries

    def acknowledge(self, tail: int) -> None:
        """Give the places of completions up to `tail` back to the kernel. May be repeated."""
        self._completion_head[0] = tail

    # Registration and the end ------------------------------------------------------------------------------------

    def register(self, opcode: int, argument: Any, count: int) -> int:
        """io_uring_register(2); returns its result or -errno. Owner thread only."""
        pointer = NULL if argument is None else pin(argument)
        result = SYSCALL(
            c.SYS_IO_URING_REGISTER, self.descriptor, opcode, 0 if argument is None else address_of(argument), count,
            NULL, 0,
        )  # fmt: skip
        del pointer
        return -last_errno() if result < 0 else int(result)

    def enable(self) -> int:
        """Make a ring that was created disabled this thread's own. Returns 0 or -errno."""
        return self.register(c.REGISTER_ENABLE_RINGS, None, 0)

    def close(self) -> None:
        """Unmap, then close. Nothing is in flight."""
        for word in self._words:
            word.release()
        self._entries_mapping.close()
        self._ring_mapping.close()
        os.close(self.descriptor)

    def abandon(self) -> None:
        """In a forked child, where the mappings do not exist: close the inherited descriptor and touch nothing else."""
        os.close(self.descriptor)
