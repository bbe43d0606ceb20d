"""Reading a small file whole as one chain: open into the kernel's table, read, close.

Facts (io_uring_enter(2), and measured): a link behind OPENAT can name a place of the table of files, since that is
known before the file is open; with a descriptor it could not. A file that is shorter than the buffer makes a short
read, which breaks a soft link: the close would be cancelled, and the file stay in its place for ever. A hard link goes
on whatever the read came to, also when it was cancelled. An entry with CQE_SKIP_SUCCESS that fails posts, and those
behind it post nothing. O_CLOEXEC is refused for a file that gets no descriptor.

So: a soft link behind the open (nothing is read or closed where nothing was opened), a hard one behind the read. The
open posts only if it fails, and that is the end of the chain; else the read says what was read, and the close says that
the place is empty. Only then the operation is reported and the place lent to the next one. The open does not wait for
the writer of a fifo, which is nothing to be read in this way.

A cancel names the open and the read, since nobody can tell which of them runs; the one that is not found is repeated
like every other (repeated_cancels.py). The close is never cancelled.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from struct import Struct
from typing import Final

from proactor_trio.backends.contract import CompletionHook, OperationFields, TablePlace
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.fixed_files import FixedFiles
from proactor_trio.backends.io_uring.mapping import address_of
from proactor_trio.backends.io_uring.ring import Ring

CONTENTS_ENTRIES: Final = 3

#: What stands above so many bits of user data says that it is of a step of these chains, and of which.
STEP_SHIFT: Final = 58
STEPS: Final = range(1, 4)
_IDENTIFIERS: Final = (1 << STEP_SHIFT) - 1
_OPEN: Final = 1 << STEP_SHIFT
_READ: Final = 2 << STEP_SHIFT
_CLOSE: Final = 3 << STEP_SHIFT
_READ_ONLY: Final = os.O_RDONLY | os.O_NONBLOCK
_OPEN_FLAGS: Final = c.SQE_IO_LINK | c.SQE_CQE_SKIP_SUCCESS
_READ_FLAGS: Final = c.SQE_IO_HARDLINK | c.SQE_FIXED_FILE

_pack_into: Final = c.SQE.pack_into
_pack_three_into: Final = Struct("<" + 3 * c.SQE.format.removeprefix("<")).pack_into


class _Reading:
    """One chain in flight: the place of its file, and what the operation is going to end with."""

    __slots__ = ("path", "place", "result")

    def __init__(self, path: bytes) -> None:
        self.path = path  # the kernel reads it while the open is in flight
        self.place = TablePlace()
        self.result = -errno.ECANCELED


class WholeFiles:
    """The chains of one ring. Owner thread only."""

    __slots__ = ("_complete", "_files", "_in_flight", "_readings", "_ring")

    def __init__(
        self, complete: CompletionHook, in_flight: Mapping[int, OperationFields], ring: Ring, files: FixedFiles
    ) -> None:
        self._complete = complete
        self._in_flight = in_flight
        self._ring = ring
        self._files = files
        self._readings: dict[int, _Reading] = {}

    def start(self, operation: OperationFields) -> bool:
        """Begin one, with room for three entries. False: it has to wait for a place in the table."""
        identifier = operation.identifier
        reading = self._readings.get(identifier)
        if reading is None:  # else an interruption came before it was handed over
            reading = self._readings[identifier] = _Reading(operation.path + b"\0")
        error = self._files.lend(reading.place) if reading.place.number < 0 else 0
        if error == -errno.EAGAIN:
            del self._readings[identifier]
            return False
        ring = self._ring
        tail = ring.tail
        if error:
            reading.result = error
            _pack_into(
                ring.sqes, (tail & ring.mask) << c.SQE_SHIFT, c.OP_NOP, 0, 0, -1, 0, 0, 0, 0, identifier | _CLOSE,
                0, 0, 0, 0, 0,
            )  # fmt: skip
            tail += 1
        else:
            self._pack_chain(tail, operation, reading)
            tail += CONTENTS_ENTRIES
        operation.started = True
        ring.tail = tail
        return True

    def _pack_chain(self, tail: int, operation: OperationFields, reading: _Reading) -> None:
        identifier, number, view = operation.identifier, reading.place.number, operation.view
        sqes, mask = self._ring.sqes, self._ring.mask
        if tail & mask <= mask + 1 - CONTENTS_ENTRIES:  # one behind the other, without the end of the ring in between
            _pack_three_into(
                sqes, (tail & mask) << c.SQE_SHIFT,
                c.OP_OPENAT, _OPEN_FLAGS, 0, c.AT_FDCWD, 0, address_of(reading.path), 0, _READ_ONLY, identifier | _OPEN,
                0, 0, number + 1, 0, 0,
                c.OP_READ, _READ_FLAGS, 0, number, 0, address_of(view), view.nbytes, 0, identifier | _READ,
                0, 0, 0, 0, 0,
                c.OP_CLOSE, 0, 0, 0, 0, 0, 0, 0, identifier | _CLOSE, 0, 0, number + 1, 0, 0,
            )  # fmt: skip
            return
        _pack_into(
            sqes, (tail & mask) << c.SQE_SHIFT, c.OP_OPENAT, _OPEN_FLAGS, 0, c.AT_FDCWD, 0,
            address_of(reading.path), 0, _READ_ONLY, identifier | _OPEN, 0, 0, number + 1, 0, 0,
        )  # fmt: skip
        _pack_into(
            sqes, (tail + 1 & mask) << c.SQE_SHIFT, c.OP_READ, _READ_FLAGS, 0, number, 0,
            address_of(view), view.nbytes, 0, identifier | _READ, 0, 0, 0, 0, 0,
        )  # fmt: skip
        _pack_into(
            sqes, (tail + 2 & mask) << c.SQE_SHIFT, c.OP_CLOSE, 0, 0, 0, 0, 0, 0, 0, identifier | _CLOSE, 0, 0,
            number + 1, 0, 0,
        )  # fmt: skip

    def cancel(self, operation: OperationFields, user_data: int) -> None:
        """Ask for one to end, with room for two entries."""
        ring = self._ring
        tail = ring.tail
        for step in (_OPEN, _READ):
            _pack_into(
                ring.sqes, (tail & ring.mask) << c.SQE_SHIFT, c.OP_ASYNC_CANCEL, c.SQE_CQE_SKIP_SUCCESS, 0, -1, 0,
                operation.identifier | step, 0, 0, user_data, 0, 0, 0, 0, 0,
            )  # fmt: skip
            tail += 1
        ring.tail = tail

    def completed(self, user_data: int, result: int) -> None:
        """A completion of a step. May be called again for the same one."""
        identifier, step = user_data & _IDENTIFIERS, user_data & ~_IDENTIFIERS
        reading = self._readings.get(identifier)
        if reading is None:
            return
        if step != _CLOSE:
            reading.result = result
            if step == _READ:
                return
        elif result < 0:
            self._files.clear(reading.place)  # not by itself, then
        self._files.take_back(reading.place)
        operation = self._in_flight.get(identifier)
        if operation is not None:
            self._complete(operation, reading.result, 0)
        self._readings.pop(identifier, None)
