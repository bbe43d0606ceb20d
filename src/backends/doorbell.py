"""The doorbell of a backend: a socket pair of which the backend watches one end, and anybody may write to the other.

`ring()` takes no lock and may come from any thread or signal handler. Its flag says that a byte is there or about to
be. Only the owner clears the flag, after it took the byte and before anybody looks at what the wake-up was for; so
nobody who rings in between is missed, and of many only the first makes a system call.
"""

from __future__ import annotations

import socket
from typing import Final

_READ_BYTES: Final = 4096


class Doorbell:
    """One socket pair. `ring()` from anywhere, everything else by the owner."""

    __slots__ = ("_reader", "_writer", "is_ringing")

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        #: Whether a byte is there or about to be.
        self.is_ringing = False

    def reader(self) -> int:
        """The descriptor to watch."""
        return self._reader.fileno()

    def writer(self) -> int:
        """The descriptor for `signal.set_wakeup_fd()`."""
        return self._writer.fileno()

    def ring(self) -> None:
        """Make the reader readable; several count as one."""
        if self.is_ringing:
            return
        try:
            self.is_ringing = True
            self._writer.send(b"\0")
        except OSError:
            return  # full: then it is readable anyway; closed: then nobody is left to be woken
        except BaseException:
            self.is_ringing = False  # a signal handler raised: the flag must not stand for a byte that was not sent
            raise

    def answer(self) -> None:
        """Take all bytes, then clear the flag."""
        try:
            while True:
                if len(self._reader.recv(_READ_BYTES)) < _READ_BYTES:
                    break
        except BlockingIOError:
            pass  # what made it readable was taken already
        self.is_ringing = False

    def close(self) -> None:
        """Close both ends; idempotent."""
        self._reader.close()
        self._writer.close()
