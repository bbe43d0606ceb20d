"""Views of memory: how many there are, and a kind that can be taken back.

Facts about CPython's memoryview:

* Slices and copies of a memoryview do not count as its exports. `view.release()` succeeds while a slice of it lives,
  and the slice still reads and writes the memory. All of them share one managed buffer, which holds the exporting
  object (an mmap, a bytearray, ...) until the last of them is gone.
* What asks a memoryview for its buffer by the C interface (an array of numpy, a ctypes object, a PickleBuffer) does
  count: `release()` raises BufferError meanwhile.
* `memoryview(PickleBuffer(inner))` makes a view with a managed buffer of its own, for which `inner` is the exporting
  object. So `inner.release()` raises BufferError exactly while that view or anything that was made from it lives.
* A released memoryview still refers to its managed buffer until it is freed.

What that means for us: memory that is to be taken back (a lease's buffer) is handed out as such a second-level view,
and taking it back is `inner.release()`, which cannot be fooled by slices. Memory that is to be unmapped belongs to an
object that counts its exports itself (mmap) and goes with the last of them at the earliest; `count_other_views()` finds
the number to say.
"""

from __future__ import annotations

import gc
import sys
from pickle import PickleBuffer
from typing import Any, Final


def _managed_buffer(view: memoryview) -> Any:
    return gc.get_referents(view)[0]


# The references to a managed buffer that has one view only: that view's, and one of this expression.
_OWN_REFERENCES: Final = sys.getrefcount(_managed_buffer(memoryview(bytearray(1))))


def count_other_views(view: memoryview) -> int:
    """How many other memoryviews of the same memory were made from `view`, or it from them, and are not released.

    Looks through all objects of the process when there may be some.
    """
    if sys.getrefcount(_managed_buffer(view)) == _OWN_REFERENCES:
        return 0
    others = [other for other in gc.get_referrers(_managed_buffer(view)) if other is not view]
    return sum(isinstance(other, memoryview) and _is_usable(other) for other in others)


def second_level_view(inner: memoryview) -> memoryview:
    """A view of the same memory with a managed buffer of its own; see above. `inner` can be released after it only."""
    return memoryview(PickleBuffer(inner))


def _is_usable(view: memoryview) -> bool:
    try:
        return view.ndim >= 0
    except ValueError:  # it was released
        return False


def release_or_refuse(view: memoryview, owner: str) -> None:
    """Release the view of an owner that is being closed. Raises BufferError, naming the owner, while it is exported."""
    try:
        view.release()
    except BufferError:
        raise BufferError(f"{owner} cannot be closed: objects that were made from its view exist") from None


def byte_view(memory: object, argument: str) -> memoryview:
    """A view of all of `memory` as bytes. Raises TypeError naming the argument."""
    try:
        view = memoryview(memory)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{argument} must be a bytes-like object, not {type(memory).__name__}") from None
    if not view.c_contiguous:
        raise TypeError(f"{argument} must be contiguous")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
