"""System tasks that a run has from its beginning, of rooms above the scheduler: they enter themselves here once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Called without arguments at the beginning of each run, inside it, before the main task; may spawn system tasks.
COMPANIONS: Final[list[Callable[[], None]]] = []
