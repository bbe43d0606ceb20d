"""What belongs to the thread that polls a proactor, and is refused on every other one."""

from __future__ import annotations

import threading

from proactor_trio.proactor.errors import FailedPrecondition


def check_owner_thread(owner: int | None, call: str) -> None:
    """Raise FailedPrecondition that names `call` and the owner, unless this thread is the owner.

    owner: the identifier of the thread that the proactor belongs to, None before its first poll.
    """
    if owner == threading.get_ident():
        return
    if owner is None:
        raise FailedPrecondition(f"{call}: this proactor belongs to the first thread that polls it, and none has yet")
    names = [thread.name for thread in threading.enumerate() if thread.ident == owner] or ["which has ended"]
    raise FailedPrecondition(
        f"{call}: this proactor belongs to thread {owner} ({names[0]}), and this is {threading.current_thread().name}"
    )
