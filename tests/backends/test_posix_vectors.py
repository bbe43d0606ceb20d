"""What is left of several buffers after so many bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proactor_trio.backends.posix.vectors import rest_of

pieces_and_done = st.lists(st.binary(max_size=5), min_size=1, max_size=8).flatmap(
    lambda pieces: st.tuples(st.just(pieces), st.integers(0, sum(map(len, pieces))))
)


@given(pieces_and_done)
def test_the_rest_is_what_comes_after_so_many_bytes(case: tuple[list[bytes], int]) -> None:
    pieces, done = case
    rest = rest_of(tuple(map(memoryview, pieces)), done)
    assert b"".join(rest) == b"".join(pieces)[done:]


@given(pieces_and_done)
def test_something_is_left_even_of_nothing(case: tuple[list[bytes], int]) -> None:
    pieces, done = case
    assert rest_of(tuple(map(memoryview, pieces)), done)
