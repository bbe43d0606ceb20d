"""Spans: descriptions of memory, which hold nothing in place until they are used."""

from __future__ import annotations

import pytest

from proactor_trio.proactor import Span
from proactor_trio.proactor.arguments import readable_view, writable_view


def test_a_span_is_all_of_its_memory_by_default() -> None:
    span = Span(b"hello")
    assert (len(span), span.offset, span.region) == (5, 0, None)
    assert bytes(span.view()) == b"hello"


def test_a_span_may_be_a_part() -> None:
    assert bytes(Span(b"hello", 1, 3).view()) == b"ell"
    assert bytes(Span(b"hello", 2).view()) == b"llo"


def test_an_empty_span_is_a_span() -> None:
    assert Span(b"hello", 5).view().nbytes == Span(b"", 0, 0).view().nbytes == 0


def test_parts_of_parts() -> None:
    part = Span(b"0123456789", 2, 6).sub(1, 3)
    assert (part.offset, len(part), bytes(part.view())) == (3, 3, b"345")


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [(6, None, ValueError), (-1, None, ValueError), (0, 6, ValueError), (3, 3, ValueError), (0, -1, ValueError),
     ("0", None, TypeError), (0, "1", TypeError)],
)  # fmt: skip
def test_what_is_outside_is_refused(offset: int, length: int, error: type[Exception]) -> None:
    for make in (lambda: Span(b"hello", offset, length), lambda: Span(b"hello").sub(offset, length)):
        with pytest.raises(error):
            make()


def test_memory_of_other_items_counts_in_bytes() -> None:
    words = memoryview(bytearray(8)).cast("I")
    assert Span(words, 1, 6).view().format == "B"


def test_plain_memory_has_no_place_in_a_table() -> None:
    assert Span(b"hello").slot_of(None) == -1


def test_spans_are_taken_where_buffers_are() -> None:
    assert bytes(readable_view(Span(b"hello", 1, 2), "data")) == b"el"
    memory = bytearray(4)
    writable_view(Span(memory, 2), "buffer")[:] = b"ab"
    assert memory == b"\0\0ab"


def test_read_only_plain_memory_is_not_filled() -> None:
    with pytest.raises(TypeError, match="buffer must be writable"):
        writable_view(Span(b"constant"), "buffer")


def test_what_it_says_of_itself() -> None:
    assert repr(Span(b"hello", 1, 2)) == "<Span of 2 bytes at 1 of plain memory>"
