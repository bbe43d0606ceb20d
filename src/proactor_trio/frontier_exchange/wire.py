"""Frames: what hosts say to each other over a byte stream.

A frame is a header and a body. All numbers are in network byte order.

| bytes | header                                          |
|-------|-------------------------------------------------|
| 2     | "FX", by which strangers are told               |
| 1     | version, now 1                                  |
| 1     | kind                                            |
| 4     | length of the body, at most LARGEST_BODY        |

| kind        | body                                                                                             |
|-------------|--------------------------------------------------------------------------------------------------|
| 1 hello     | session epoch (1), machine index (1), incarnation (16), lease in milliseconds (4)                |
| 2 update    | number of epochs (2), of failures (2), the epochs: axis (8), epoch (8); the failures: axis (8), length of the reason (2), reason (UTF-8) |
| 3 goodbye   | nothing                                                                                          |
| 4 refusal   | why the connection ends (UTF-8)                                                                  |

Whatever is not exactly this raises BadFrame.
"""  # noqa: E501 (a row of a table)

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from proactor_trio.frontier_exchange.errors import BadFrame
from proactor_trio.frontier_exchange.transport import (
    AXES_PER_UPDATE,
    FAILURES_PER_UPDATE,
    INCARNATION_BYTES,
    LARGEST_REASON,
    HostIdentity,
    Update,
)

MAGIC: Final = b"FX"
VERSION: Final = 1
LARGEST_BODY: Final = 65536

_HEADER: Final = struct.Struct("!2sBBI")
HEADER_BYTES: Final = _HEADER.size
_HELLO: Final = struct.Struct(f"!BB{INCARNATION_BYTES}sI")
_COUNTS: Final = struct.Struct("!HH")
_EPOCH: Final = struct.Struct("!QQ")
_FAILURE: Final = struct.Struct("!QH")

_HELLO_KIND: Final = 1
_UPDATE_KIND: Final = 2
_GOODBYE_KIND: Final = 3
_REFUSAL_KIND: Final = 4

assert (
    _COUNTS.size + AXES_PER_UPDATE * _EPOCH.size + FAILURES_PER_UPDATE * (_FAILURE.size + LARGEST_REASON)
    <= LARGEST_BODY
)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The sender leaves the exchange."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The sender ends the connection. reason: its words."""

    reason: str


Message = HostIdentity | Update | Goodbye | Refusal


def encode(message: Message) -> bytes:
    """The frame of a message."""
    kind, body = _encoded_body(message)
    return _HEADER.pack(MAGIC, VERSION, kind, len(body)) + body


def _encoded_body(message: Message) -> tuple[int, bytes]:
    if isinstance(message, Update):
        return _UPDATE_KIND, _encoded_update(message)
    if isinstance(message, HostIdentity):
        milliseconds = round(message.lease * 1000)
        fields = message.session_epoch, message.machine_index, message.incarnation, milliseconds
        return _HELLO_KIND, _HELLO.pack(*fields)
    if isinstance(message, Refusal):
        return _REFUSAL_KIND, _encoded_text(message.reason)
    return _GOODBYE_KIND, b""


def _encoded_update(update: Update) -> bytes:
    parts = [_COUNTS.pack(len(update.epochs), len(update.failures))]
    parts += [_EPOCH.pack(axis, epoch) for axis, epoch in update.epochs.items()]
    for axis, reason in update.failures.items():
        text = _encoded_text(reason)
        parts += [_FAILURE.pack(axis, len(text)), text]
    return b"".join(parts)


def _encoded_text(text: str) -> bytes:
    """At most LARGEST_REASON bytes, which end with a whole character."""
    cut = text.encode("utf-8", "replace")[:LARGEST_REASON]
    return cut.decode("utf-8", "ignore").encode()


def decode_header(header: bytes | bytearray) -> tuple[int, int]:
    """The kind of a frame and the length of its body. Raises BadFrame."""
    magic, version, kind, length = _HEADER.unpack(header)
    if magic != MAGIC:
        raise BadFrame(f"this is not the protocol of a frontier exchange: a frame begins with {magic!r}")
    if version != VERSION:
        raise BadFrame(f"a frame of version {version}; this host speaks version {VERSION}")
    if length > LARGEST_BODY:
        raise BadFrame(f"a frame of {length} bytes, where {LARGEST_BODY} are the most")
    return kind, length


def decode_body(kind: int, body: bytes) -> Message:
    """The message of a frame. Raises BadFrame."""
    try:
        if kind == _UPDATE_KIND:
            return _decoded_update(body)
        if kind == _HELLO_KIND:
            session_epoch, machine_index, incarnation, milliseconds = _HELLO.unpack(body)
            return HostIdentity(session_epoch, machine_index, incarnation, milliseconds / 1000)
        if kind == _REFUSAL_KIND:
            return Refusal(body.decode())
    except (struct.error, UnicodeDecodeError) as error:
        raise BadFrame(f"a frame of kind {kind} with a body that cannot be read: {error}") from None
    if kind != _GOODBYE_KIND:
        raise BadFrame(f"a frame of kind {kind}, which there is not in version {VERSION}")
    if body:
        raise BadFrame("a goodbye with something behind it")
    return Goodbye()


def _decoded_update(body: bytes) -> Update:
    epochs_count, failures_count = _COUNTS.unpack_from(body)
    position = _COUNTS.size
    end = position + epochs_count * _EPOCH.size
    epochs: dict[int, int] = dict(_EPOCH.iter_unpack(body[position:end]))
    failures: dict[int, str] = {}
    for _ in range(failures_count):
        axis, length = _FAILURE.unpack_from(body, end)
        position = end + _FAILURE.size
        end = position + length
        failures[axis] = body[position:end].decode()
    if end != len(body):
        raise BadFrame(f"an update of {len(body)} bytes, where its counts make {end}")
    return Update(epochs, failures)
