"""DTLS on the wire (RFC 6347): a datagram holds records, a handshake record holds a fragment of a message.

    record:   type 1, version 2, epoch 2, sequence number 6, length 2, payload
    fragment: type 1, message length 3, message sequence 2, fragment offset 3, fragment length 3, bytes

Anybody may send anything to a UDP port, so what is read here is trusted in nothing: it is MalformedPacket, or has the
form that it should have. Epoch 0 is in the clear; what is inside later epochs only OpenSSL knows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

CLIENT_HELLO: Final = 1
HELLO_VERIFY_REQUEST: Final = 3

#: Of DTLS 1.0, by which the first messages of every version are sent.
OLDEST_VERSION: Final = b"\xfe\xff"

_RECORD: Final = struct.Struct(">B2sHHIH")  # the sequence number is 16 and 32 bits
_FRAGMENT: Final = struct.Struct(">BBHHBHBH")  # lengths and offset are 8 and 16 bits
RECORD_HEADER_BYTES: Final = _RECORD.size
FRAGMENT_HEADER_BYTES: Final = _FRAGMENT.size


class MalformedPacket(Exception):
    """This is no datagram of DTLS."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record. payload: in the clear if `epoch` is 0."""

    content_type: int
    version: bytes
    epoch: int
    sequence: int
    payload: bytes

    def encode(self) -> bytes:
        """As it is sent."""
        high, low = self.sequence >> 32, self.sequence & 0xFFFF_FFFF
        return _RECORD.pack(self.content_type, self.version, self.epoch, high, low, len(self.payload)) + self.payload


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a handshake message, from `offset` on. length: of the whole message."""

    message_type: int
    length: int
    message_sequence: int
    offset: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its message."""
        return self.offset == 0 and len(self.data) == self.length

    def encode(self) -> bytes:
        """As it is sent, in a record."""
        size = len(self.data)
        return (
            _FRAGMENT.pack(
                self.message_type,
                self.length >> 16,
                self.length & 0xFFFF,
                self.message_sequence,
                self.offset >> 16,
                self.offset & 0xFFFF,
                size >> 16,
                size & 0xFFFF,
            )
            + self.data
        )


def records_of(packet: bytes) -> Iterator[Record]:
    """The records of a datagram, one or more. Raises MalformedPacket, also after some."""
    position = 0
    while True:
        try:
            content_type, version, epoch, high, low, size = _RECORD.unpack_from(packet, position)
        except struct.error:
            raise MalformedPacket("a record's header is cut off") from None
        position += RECORD_HEADER_BYTES
        payload = packet[position : position + size]
        if len(payload) != size or version[0] != 0xFE:
            raise MalformedPacket("a record is cut off, or of another protocol")
        yield Record(content_type, version, epoch, high << 32 | low, payload)
        position += size
        if position == len(packet):
            return


def fragments_of(payload: bytes) -> Iterator[Fragment]:
    """The fragments in a handshake record in the clear, one or more. Raises MalformedPacket, also after some."""
    position = 0
    while True:
        try:
            kind, length_high, length, sequence, offset_high, offset, size_high, size = _FRAGMENT.unpack_from(
                payload, position
            )
        except struct.error:
            raise MalformedPacket("a fragment's header is cut off") from None
        length |= length_high << 16
        offset |= offset_high << 16
        size |= size_high << 16
        position += FRAGMENT_HEADER_BYTES
        data = payload[position : position + size]
        if len(data) != size or offset + size > length:
            raise MalformedPacket("a fragment is cut off, or longer than its message")
        yield Fragment(kind, length, sequence, offset, data)
        position += size
        if position == len(payload):
            return


def is_well_formed(packet: bytes) -> bool:
    """Whether OpenSSL should see it: all records have the form of records, and those in the clear that of fragments."""
    try:
        for record in records_of(packet):
            if not CHANGE_CIPHER_SPEC <= record.content_type <= APPLICATION_DATA:
                return False
            if record.epoch == 0 and record.content_type == HANDSHAKE:
                for _ in fragments_of(record.payload):
                    pass
    except MalformedPacket:
        return False
    return True


def is_one_record(packet: bytes) -> bool:
    """Whether there is one record in it, as in most; by its length."""
    return RECORD_HEADER_BYTES + int.from_bytes(packet[11:13], "big") == len(packet)


def seems_to_shake_hands(packet: bytes) -> bool:
    """Whether it claims to be a part of a handshake, in the clear or not."""
    return len(packet) >= RECORD_HEADER_BYTES and packet[0] in (CHANGE_CIPHER_SPEC, HANDSHAKE) and packet[1] == 0xFE


def seems_to_be_client_hello(packet: bytes) -> bool:
    """Whether it claims to be the first message of a client: a look at three bytes."""
    return (
        len(packet) > RECORD_HEADER_BYTES
        and packet[0] == HANDSHAKE
        and packet[3:5] == b"\x00\x00"
        and packet[RECORD_HEADER_BYTES] == CLIENT_HELLO
    )
