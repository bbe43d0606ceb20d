"""Which processors a thread may run on."""

from __future__ import annotations

import os
from collections.abc import Collection


def bind_thread(processors: Collection[int]) -> set[int]:
    """Bind the calling thread to processors; return those that it was bound to before.

    Raises ValueError, naming affinity, for processors that do not exist here. Source: sched_setaffinity(2).
    """
    previous = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, processors)
    except OSError as error:
        raise ValueError(f"affinity={processors!r}: {error.strerror}") from error
    return previous
