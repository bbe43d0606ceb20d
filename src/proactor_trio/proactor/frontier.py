"""Frontier: how far each of several timelines has come, as one value that can be compared and merged.

A frontier is a set of entries (axis, epoch), one for each axis that is known, in ascending order of the axes. An axis
that is missing stands at epoch 0. `a` is BEFORE `b` when everything that `a` knows has come about in `b`, and more has;
two frontiers of which each knows something that the other does not are CONCURRENT. Merging takes the later epoch of
each axis: associative, commutative, idempotent, and the result dominates both.

A Frontier never changes, so it can be shared between threads, and "the accumulated frontier is left as it was" needs
no copy. Axes and epochs stand in two tuples for the case that both frontiers have the same axes, which costs one pass
of C code, and in one dictionary for all others.

On the wire it is a header of 8 bytes (the number of entries, then seven zeros) and 16 bytes an entry: axis and epoch,
little-endian, 64 bits each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from itertools import repeat
from operator import le
from typing import Any, Final

from proactor_trio.proactor.arguments import check_integer, readable_view
from proactor_trio.proactor.axis import LARGEST_AXIS
from proactor_trio.proactor.errors import ResourceExhausted

#: Entries of one frontier: their number is one byte on the wire.
LARGEST_FRONTIER: Final = 255
LARGEST_EPOCH: Final = (1 << 64) - 1

_HEADER_BYTES: Final = 8
_ENTRY: Final = struct.Struct("<QQ")


class FrontierComparison(IntEnum):
    """How one frontier stands to another."""

    EQUAL = 0
    BEFORE = 1
    AFTER = 2
    CONCURRENT = 3


class Frontier(Mapping[int, int]):
    """A mapping from axes to epochs, ascending, that never changes.

    entries: pairs (axis, epoch), strictly ascending by axis, epochs from 1, at most 255. ValueError naming `entries`
        for anything else. `Frontier.from_epochs()` sorts by itself.
    """

    __slots__ = ("_axes", "_epochs", "_table")

    _axes: tuple[int, ...]
    _epochs: tuple[int, ...]
    _table: dict[int, int]  # the same for look-ups, in any order

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        kept = tuple(entries)
        self.validate(kept)
        self._axes = tuple(axis for axis, _ in kept)
        self._epochs = tuple(epoch for _, epoch in kept)
        self._table = dict(kept)

    @classmethod
    def from_epochs(cls, epochs: Mapping[int, int]) -> Frontier:
        """The frontier of a mapping from axis to epoch in any order; entries at epoch 0 are left out."""
        return cls(sorted((axis, epoch) for axis, epoch in epochs.items() if epoch != 0))

    @staticmethod
    def validate(entries: Iterable[tuple[int, int]]) -> None:
        """Raise TypeError or ValueError unless these are the entries of a frontier."""
        previous = -1
        kept = tuple(entries)
        for entry in kept:
            try:
                axis, epoch = entry
            except (TypeError, ValueError):
                raise TypeError(f"entries must be pairs (axis, epoch), not {entry!r}") from None
            check_integer(axis, "entries: axis", 0, LARGEST_AXIS)
            check_integer(epoch, "entries: epoch", 1, LARGEST_EPOCH)
            if axis <= previous:
                raise ValueError(f"entries must be strictly ascending: axis {axis:#x} comes after {previous:#x}")
            previous = axis
        if len(kept) > LARGEST_FRONTIER:
            raise ValueError(f"entries must be at most {LARGEST_FRONTIER}, not {len(kept)}")

    # What it knows -----------------------------------------------------------------------------------------------

    def __getitem__(self, axis: int) -> int:
        return self._table[axis]

    def __len__(self) -> int:
        return len(self._axes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._axes)

    def __contains__(self, axis: object) -> bool:
        return axis in self._table

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frontier):
            return NotImplemented
        return self._axes == other._axes and self._epochs == other._epochs

    def __hash__(self) -> int:
        return hash((self._axes, self._epochs))

    def __repr__(self) -> str:
        entries = ", ".join(f"{axis:#x}: {epoch}" for axis, epoch in self.items())
        return f"<Frontier {{{entries}}}>"

    # Comparing ---------------------------------------------------------------------------------------------------

    def compare(self, other: Frontier) -> FrontierComparison:
        """How this one stands to the other: EQUAL, BEFORE, AFTER or CONCURRENT."""
        if self._axes == other._axes:
            mine, theirs = self._epochs, other._epochs
            if mine == theirs:
                return FrontierComparison.EQUAL
            is_covered = all(map(le, mine, theirs))
            covers = not is_covered and all(map(le, theirs, mine))
        else:
            is_covered = other._covers(self)
            covers = not is_covered and self._covers(other)
        if is_covered:
            return FrontierComparison.BEFORE
        return FrontierComparison.AFTER if covers else FrontierComparison.CONCURRENT

    def _covers(self, other: Frontier) -> bool:
        return all(map(le, other._epochs, map(self._table.get, other._axes, repeat(0))))

    def is_satisfied(self, current: Mapping[int, int]) -> bool:
        """Whether every axis has come at least as far as this frontier says. An empty one is always satisfied.

        current: the epoch of each axis now, as a Frontier or another mapping.
        """
        if isinstance(current, Frontier):
            return current._covers(self)
        return all(map(le, self._epochs, map(current.get, self._axes, repeat(0))))

    def find_undominated(self, reference: Mapping[int, int]) -> Frontier:
        """The entries that `reference` does not cover: its epoch is earlier, or it does not know the axis."""
        known = reference._table if isinstance(reference, Frontier) else reference
        entries = zip(self._axes, self._epochs, strict=True)
        table = {axis: epoch for axis, epoch in entries if known.get(axis, 0) < epoch}
        return _frontier(tuple(table), tuple(table.values()), table)

    # Merging -----------------------------------------------------------------------------------------------------

    def merge(self, source: Frontier, capacity: int = LARGEST_FRONTIER) -> Frontier:
        """The frontier that has the later epoch of each axis of both.

        capacity: how many entries the result may have. Raises ResourceExhausted if it had more.
        """
        if self._axes == source._axes:
            _check_capacity(len(self._axes), capacity)
            return self._merge_same_axes(source)
        mine = self._table
        theirs = source._table
        table = mine | theirs
        if len(table) < len(mine) + len(theirs):
            for axis, epoch in mine.items():
                if table[axis] < epoch:
                    table[axis] = epoch
        _check_capacity(len(table), capacity)
        axes = self._axes if len(table) == len(mine) else tuple(sorted(table))
        return _frontier(axes, tuple(map(table.__getitem__, axes)), table)

    def _merge_same_axes(self, source: Frontier) -> Frontier:
        mine, theirs = self._epochs, source._epochs
        if all(map(le, theirs, mine)):
            return self
        if all(map(le, mine, theirs)):
            return source
        epochs = tuple([mine if mine > theirs else theirs for mine, theirs in zip(mine, theirs, strict=True)])
        return _frontier(self._axes, epochs, dict(zip(self._axes, epochs, strict=True)))

    def merge_with_dominance(self, source: Frontier, capacity: int = LARGEST_FRONTIER) -> tuple[Frontier, bool]:
        """`merge()`, and whether `source` alone covered all of this frontier: the result is `source` itself then.

        Raises ResourceExhausted as `merge()` does.
        """
        if not source._covers(self):
            return self.merge(source, capacity), False
        _check_capacity(len(source), capacity)
        return source, True

    # On the wire -------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The form in which it is stored and sent."""
        header = len(self._axes).to_bytes(_HEADER_BYTES, "little")
        return header + b"".join(map(_ENTRY.pack, self._axes, self._epochs))

    @classmethod
    def from_bytes(cls, data: Any) -> Frontier:
        """Back from `to_bytes()`. Raises ValueError naming `data` for whatever is not exactly one valid frontier."""
        view = readable_view(data, "data")
        if len(view) < _HEADER_BYTES:
            raise ValueError(f"data must have a header of {_HEADER_BYTES} bytes, not {len(view)}")
        count = view[0]
        if any(view[1:_HEADER_BYTES]):
            raise ValueError("data: the reserved bytes 1 to 7 must be 0")
        length = _HEADER_BYTES + count * _ENTRY.size
        if len(view) != length:
            raise ValueError(f"data must have {length} bytes for {count} entries, not {len(view)}")
        try:
            return cls(_ENTRY.iter_unpack(view[_HEADER_BYTES:]))
        except ValueError as error:
            raise ValueError(f"data: {error}") from None


def _check_capacity(length: int, capacity: int) -> None:
    if length > capacity:
        raise ResourceExhausted(f"capacity: the merged frontier has {length} entries, at most {capacity} fit")


def _frontier(axes: tuple[int, ...], epochs: tuple[int, ...], table: dict[int, int]) -> Frontier:
    """A frontier of what is known to be valid: the fast way."""
    frontier = object.__new__(Frontier)
    frontier._axes = axes
    frontier._epochs = epochs
    frontier._table = table
    return frontier
