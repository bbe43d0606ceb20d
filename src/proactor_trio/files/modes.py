"""What the mode of open() says, and the flags of open(2) that belong to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

_BASE_FLAGS: Final = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


@dataclass(frozen=True, slots=True)
class OpenMode:
    """A mode, taken apart.

    base: one of r, w, x, a. updates: "+". text: neither "b" nor unbuffered.
    """

    base: str
    updates: bool
    text: bool

    @property
    def reads(self) -> bool:
        """Whether it may be read."""
        return self.updates or self.base == "r"

    @property
    def writes(self) -> bool:
        """Whether it may be written."""
        return self.updates or self.base != "r"

    @property
    def appends(self) -> bool:
        """Whether what is written goes to the end."""
        return self.base == "a"

    @property
    def open_flags(self) -> int:
        """The flags of open(2)."""
        flags = _BASE_FLAGS[self.base]
        return flags & ~os.O_ACCMODE | os.O_RDWR if self.updates else flags

    @property
    def of_raw_file(self) -> str:
        """What io.FileIO says of it: w+ is rb+."""
        base = "r" if self.base == "w" and self.updates else self.base
        return f"{base}b{'+' if self.updates else ''}"


def parse_mode(mode: str) -> OpenMode:
    """Take a mode of the builtin open() apart. Raises TypeError, or ValueError for one that does not exist."""
    if not isinstance(mode, str):
        raise TypeError(f"mode must be a str, not {type(mode).__name__}")
    letters = set(mode)
    if len(letters) != len(mode) or not letters <= {*_BASE_FLAGS, "b", "t", "+"}:
        raise ValueError(f"mode must be one of r, w, x, a with b or t and perhaps +, each once, not {mode!r}")
    bases = letters & set(_BASE_FLAGS)
    if len(bases) != 1:
        raise ValueError(f"mode must contain exactly one of r, w, x, a, which {mode!r} does not")
    if letters >= {"b", "t"}:
        raise ValueError(f"mode cannot be both binary and text, as {mode!r} says")
    return OpenMode(bases.pop(), "+" in letters, "b" not in letters)
