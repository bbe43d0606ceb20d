"""The frames of frontier exchanges: what is written is read, and whatever else comes is BadFrame."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from proactor_trio.frontier_exchange import BadFrame, HostIdentity, Update
from proactor_trio.frontier_exchange.transport import AXES_PER_UPDATE, FAILURES_PER_UPDATE, LARGEST_REASON
from proactor_trio.frontier_exchange.wire import (
    HEADER_BYTES,
    LARGEST_BODY,
    Goodbye,
    Message,
    Refusal,
    decode_body,
    decode_header,
    encode,
)

U64 = st.integers(0, (1 << 64) - 1)
BYTE = st.integers(0, 255)
REASON = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
MESSAGES = st.one_of(
    st.builds(
        HostIdentity, BYTE, BYTE, st.binary(min_size=16, max_size=16), st.integers(0, 1 << 31).map(lambda ms: ms / 1000)
    ),
    st.builds(
        Update, st.dictionaries(U64, U64, max_size=50), st.dictionaries(U64, REASON, max_size=FAILURES_PER_UPDATE)
    ),
    st.just(Goodbye()),
    st.builds(Refusal, REASON),
)


def decoded(frame: bytes) -> Message:
    kind, length = decode_header(frame[:HEADER_BYTES])
    assert length == len(frame) - HEADER_BYTES
    return decode_body(kind, frame[HEADER_BYTES:])


@hypothesis.settings(deadline=None)
@hypothesis.given(MESSAGES)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decoded(encode(message)) == message


@hypothesis.settings(deadline=None)
@hypothesis.given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), BYTE, st.binary(max_size=200))
def test_any_other_bytes_are_a_bad_frame_at_worst(header: bytes, kind: int, body: bytes) -> None:
    for decode in (lambda: decode_header(header), lambda: decode_body(kind, body)):
        try:
            decode()
        except BadFrame:
            pass


@hypothesis.settings(deadline=None)
@hypothesis.given(MESSAGES, st.data())
def test_a_body_of_another_length_is_never_read_as_the_same_message(message: Message, data: st.DataObject) -> None:
    frame = encode(message)
    changed = frame + b"\0" if data.draw(st.booleans()) else frame[: data.draw(st.integers(HEADER_BYTES, len(frame)))]
    hypothesis.assume(changed != frame)
    kind, _ = decode_header(frame[:HEADER_BYTES])
    try:
        read = decode_body(kind, changed[HEADER_BYTES:])
    except BadFrame:
        return
    assert isinstance(read, Refusal) and read != message


def test_the_largest_update_fits_into_a_frame() -> None:
    epochs = dict.fromkeys(range(AXES_PER_UPDATE), (1 << 64) - 1)
    failures = dict.fromkeys(range(FAILURES_PER_UPDATE), "x" * 5000)
    frame = encode(Update(epochs, failures))
    assert len(frame) <= HEADER_BYTES + LARGEST_BODY
    assert decoded(frame) == Update(epochs, dict.fromkeys(failures, "x" * LARGEST_REASON))


@pytest.mark.parametrize("text", ["ü" * 1000, "x" + "€" * 1000])
def test_a_long_text_is_cut_between_characters(text: str) -> None:
    message = decoded(encode(Refusal(text)))
    assert isinstance(message, Refusal)
    assert text.startswith(message.reason)
    assert LARGEST_REASON - 3 <= len(message.reason.encode()) <= LARGEST_REASON


def test_a_text_that_cannot_be_encoded_is_sent_all_the_same() -> None:
    assert decoded(encode(Refusal("a\udc80b"))) == Refusal("a?b")
