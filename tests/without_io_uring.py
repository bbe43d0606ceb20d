"""A program that forbids io_uring to itself and then becomes Python with the arguments that follow.

    python without_io_uring.py EPERM -m proactor_trio

The first argument is the error that io_uring_setup(2) answers with from then on: EPERM is what most container runtimes
do, ENOSYS what some of them and kernels without io_uring do. It is a seccomp filter, which cannot be taken off again
and goes on through exec, as in a container. Tests start it as a child; it is no test itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Final

_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SECCOMP_RET_ERRNO: Final = 0x00050000
_SECCOMP_RET_ALLOW: Final = 0x7FFF0000

_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER_OFFSET: Final = 0  # of the system call's number in struct seccomp_data
_IO_URING_SETUP: Final = 425  # the same on all architectures

_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, constant


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def forbid_io_uring(error: int) -> None:
    """Let io_uring_setup(2) fail with this errno from now on, in this process and all that it becomes or starts."""
    instructions = (
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
        (_JUMP_IF_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | error),
        (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions))
    program = _Program(len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    unused = ctypes.c_ulong(0)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), unused, unused, unused), "PR_SET_NO_NEW_PRIVS")
    _check(libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program)), "PR_SET_SECCOMP")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({what}): {os.strerror(code)}")


if __name__ == "__main__":
    forbid_io_uring(getattr(errno, sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
