"""Axis: the name of one timeline of work, as a 64-bit number.

| bits    | what                                                                        |
|---------|-----------------------------------------------------------------------------|
| 63 – 56 | session epoch: which run of the whole system                                |
| 55 – 48 | machine index                                                               |
| 47 – 40 | domain: what kind of timeline (AxisDomain)                                   |
| 39 – 0  | ordinal within the domain                                                   |

In the domain QUEUE the ordinal is the device index (bits 39 – 32), the queue index (bits 31 – 24) and 24 bits that are
reserved and 0. Axes sort as numbers: by session, machine, domain, ordinal. An Axis is an `int`, so a plain number that
came from elsewhere serves wherever an axis is expected.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from proactor_trio.proactor.arguments import check_integer

LARGEST_AXIS: Final = (1 << 64) - 1
_ORDINAL_MASK: Final = (1 << 40) - 1
_BYTE: Final = 0xFF


class AxisDomain(IntEnum):
    """What kind of timeline an axis is: a device's queue, a collective, the end of a host's work, a host context."""

    QUEUE = 0
    COLLECTIVE = 1
    EPILOGUE = 2
    HOST = 3


class Axis(int):
    """One timeline. `Axis(number)`: 0 to 2**64 - 1, else ValueError. Immutable: any thread."""

    __slots__ = ()

    def __new__(cls, number: int) -> Axis:
        check_integer(number, "number", 0, LARGEST_AXIS)
        return super().__new__(cls, number)

    @classmethod
    def make(cls, session_epoch: int, machine_index: int, domain: int, ordinal: int) -> Axis:
        """Put an axis together. The first three: 0 to 255, else ValueError. Of the ordinal the low 40 bits are used."""
        check_integer(session_epoch, "session_epoch", 0, _BYTE)
        check_integer(machine_index, "machine_index", 0, _BYTE)
        check_integer(domain, "domain", 0, _BYTE)
        return cls(session_epoch << 56 | machine_index << 48 | domain << 40 | ordinal & _ORDINAL_MASK)

    @classmethod
    def make_queue(cls, session_epoch: int, machine_index: int, device_index: int, queue_index: int) -> Axis:
        """The axis of one queue of one device. Each number: 0 to 255, else ValueError."""
        check_integer(device_index, "device_index", 0, _BYTE)
        check_integer(queue_index, "queue_index", 0, _BYTE)
        return cls.make(session_epoch, machine_index, AxisDomain.QUEUE, device_index << 32 | queue_index << 24)

    @property
    def session_epoch(self) -> int:
        """Which run of the whole system."""
        return self >> 56

    @property
    def machine_index(self) -> int:
        """The machine within the session."""
        return self >> 48 & _BYTE

    @property
    def domain(self) -> int:
        """An AxisDomain; a plain number where it is none of those that are defined."""
        number = self >> 40 & _BYTE
        return AxisDomain(number) if number <= AxisDomain.HOST else number

    @property
    def ordinal(self) -> int:
        """The timeline's number within its domain: 40 bits."""
        return self & _ORDINAL_MASK

    @property
    def device_index(self) -> int:
        """The device of a QUEUE axis."""
        return self >> 32 & _BYTE

    @property
    def queue_index(self) -> int:
        """The queue of a QUEUE axis on its device."""
        return self >> 24 & _BYTE

    def __repr__(self) -> str:
        place = f"session {self.session_epoch}, machine {self.machine_index}"
        domain = self.domain
        if not isinstance(domain, AxisDomain):
            return f"<Axis {self:#018x}: {place}, domain {domain}, ordinal {self.ordinal}>"
        if domain is AxisDomain.QUEUE:
            return f"<Axis {self:#018x}: {place}, device {self.device_index}, queue {self.queue_index}>"
        return f"<Axis {self:#018x}: {place}, {domain.name} {self.ordinal}>"
