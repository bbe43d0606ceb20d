"""The event by which a loop that is not ours waits for a ring: an eventfd that the kernel sets for each completion.

Facts (io_uring_register(2), and measured on Linux 6.18):

* On a DEFER_TASKRUN ring a poll or epoll that already waits on the ring's own descriptor is never woken by a
  completion: the work stands on the ring's list until its thread enters the kernel. A fresh poll does see it, so a
  naive test of such a loop passes. A registered eventfd is set when the first work is put on that list, and wakes.
* It is set for the first work only. What joins a list that is not empty, and what one enter leaves over, shows in the
  submission flags (TASKRUN) and in nothing else.
* It is also set by completions that our own enter posts, and by those that do not go over the list.
* IORING_REGISTER_EVENTFD_ASYNC sets it for the latter only: for us, never.
* Registering is for the ring's own thread (SINGLE_ISSUER).

So: the event is registered when a loop first asks for it. It is emptied *before* the completions and the flags are
looked at for the last time, and the loop waits only if these are silent. What comes after the emptying has set the
event again; what came before is seen by the look. As our own enter comes before the emptying, what it has posted
itself does not wake the loop once more.
"""

from __future__ import annotations

import errno
import os
from array import array

from proactor_trio.backends.contract import BackendUnavailable
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.ring import Ring


class WaitEvent:
    """One eventfd, registered with one ring until that is closed. Owner thread only."""

    __slots__ = ("descriptor",)

    def __init__(self, ring: Ring) -> None:
        #: Readable when there may be something to do.
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        result = ring.register(c.REGISTER_EVENTFD, array("i", [self.descriptor]), 1)
        if result < 0:
            os.close(self.descriptor)
            raise BackendUnavailable(
                f"this ring takes no eventfd: {errno.errorcode.get(-result, result)}: {os.strerror(-result)}", -result
            )

    def clear(self) -> None:
        """Make it unreadable; what happens from now on makes it readable again."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass  # nothing was there

    def close(self) -> None:
        """Close it; the ring is closed already, or belongs to the parent of this process."""
        os.close(self.descriptor)
