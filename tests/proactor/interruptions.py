"""Interrupting a call at every place where a signal handler could, one after the other."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


class Interrupted(BaseException):
    """What a signal handler raises."""


def interrupt_at(point: int, call: Callable[[], object], spared: CodeType | None = None) -> bool:
    """Make a call and raise Interrupted at its point-th entry of a function or return from C; whether it came so far.

    These are the places where CPython runs signal handlers, but for jumps backward. Those in a function with the code
    `spared`, and in what it calls, do not count; nor do those in finalisers, where Python drops what is raised. The
    garbage collector rests meanwhile: it drops what is raised in its callbacks, too.
    """
    points = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal points
        if event in ("call", "c_return") and not _is_inside(spared, frame):
            points += 1
            if points == point:
                sys.setprofile(None)
                raise Interrupted

    before = sys.getprofile()
    collects = gc.isenabled()
    gc.disable()
    sys.setprofile(profile)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return False


def _is_inside(code: CodeType | None, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is code or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
