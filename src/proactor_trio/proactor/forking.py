"""fork(): a child must touch nothing that it shares with its parent's kernel objects.

A ring's mappings do not exist in the child, an epoll object is the parent's own. So in the child each proactor that was
open is marked as inherited, and its descriptors are closed; whoever touches it there is told whose it is.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inheritable(Protocol):
    """What is open when the process forks."""

    def abandon(self) -> None:
        """Called in the child."""
        ...


_open: weakref.WeakSet[Inheritable] = weakref.WeakSet()


def watch(inheritable: Inheritable) -> None:
    """Abandon it in every child that is forked from now on."""
    _open.add(inheritable)


def unwatch(inheritable: Inheritable) -> None:
    """It is closed."""
    _open.discard(inheritable)


def open_now() -> list[Inheritable]:
    """Those that are open in this process."""
    return list(_open)


def _abandon_all() -> None:
    for inheritable in open_now():
        inheritable.abandon()


os.register_at_fork(after_in_child=_abandon_all)
