"""Positions in text files: from a number to what it says, and from what was read to a number.

The number is laid out like that of io.TextIOWrapper, 64 bits for each part, so that one can be used with the other: a
byte position, the flags of the decoder there, how many bytes are to be fed to it, whether these are the last ones, and
how many of the characters that come are to be skipped. Mostly only the first is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1


class Decoder(Protocol):
    """An incremental decoder, with or without io.IncrementalNewlineDecoder around it."""

    def decode(self, input: bytes, final: bool = False, /) -> str:
        """The text of these bytes."""
        ...

    def getstate(self) -> tuple[bytes, int]:
        """What it has kept, and its flags."""
        ...

    def setstate(self, state: tuple[bytes, int], /) -> None:
        """Go back to a state."""
        ...

    def reset(self) -> None:
        """Go back to the beginning."""
        ...


@dataclass(frozen=True, slots=True)
class TextPosition:
    """A place in a text file.

    start: where in the bytes. flags: of the decoder there. fed, at_end: how many bytes are to be decoded, and whether
    these are the last ones. skipped: how many of the characters that come stand before the place.
    """

    start: int
    flags: int = 0
    fed: int = 0
    at_end: bool = False
    skipped: int = 0

    def as_number(self) -> int:
        """For tell()."""
        return (
            self.start
            | self.flags << _BITS
            | self.fed << 2 * _BITS
            | self.skipped << 3 * _BITS
            | self.at_end << 4 * _BITS
        )

    @classmethod
    def of_number(cls, number: int) -> TextPosition:
        """For seek()."""
        start, flags, fed, skipped = ((number >> part * _BITS) & _MASK for part in range(4))
        return cls(start, flags, fed, bool(number >> 4 * _BITS), skipped)


def find_position(decoder: Decoder, begin: TextPosition, data: bytes, used: int) -> TextPosition:
    """The place behind `used` characters of what the decoder, in the state of `begin`, makes of `data`.

    The decoder is as it was when this returns.
    """
    if not used:
        return begin
    state = decoder.getstate()
    try:
        return _search(decoder, begin, data, used)
    finally:
        decoder.setstate(state)


def _search(decoder: Decoder, begin: TextPosition, data: bytes, used: int) -> TextPosition:
    def decoded(length: int) -> int:
        decoder.setstate((b"", begin.flags))
        return len(decoder.decode(data[:length]))

    if decoded(len(data)) < used:  # some came only with the end of the file
        return TextPosition(begin.start, begin.flags, len(data), True, used)
    low, high = 0, len(data)  # the fewest bytes that give so many characters
    while low < high:
        middle = (low + high) // 2
        if decoded(middle) < used:
            low = middle + 1
        else:
            high = middle
    if decoded(high) == used:
        kept, flags = decoder.getstate()
        if not kept:
            return TextPosition(begin.start + high, flags)
    before = decoded(high - 1)
    kept, flags = decoder.getstate()
    if not kept:
        return TextPosition(begin.start + high - 1, flags, 1, False, used - before)
    return TextPosition(begin.start, begin.flags, high, False, used)
