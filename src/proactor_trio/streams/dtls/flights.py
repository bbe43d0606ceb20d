"""Flights: what OpenSSL wants to send in one go in a handshake, and datagrams made of it.

OpenSSL writes into a buffer, where the limits of its datagrams are lost, and would send a flight again by a clock of
its own. So its records are taken apart here, handshake messages in the clear are put together again, and each time a
flight is sent it is packed anew, into datagrams of the size that seems right then. Records in the clear get numbers of
our own, since cutting smaller makes more of them. Those of later epochs are sealed, with their numbers, and go as they
are; they are short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proactor_trio.streams.dtls.records import (
    FRAGMENT_HEADER_BYTES,
    HANDSHAKE,
    RECORD_HEADER_BYTES,
    Fragment,
    Record,
    fragments_of,
    records_of,
)


@dataclass(frozen=True, slots=True)
class HandshakeMessage:
    """A whole handshake message, in the clear."""

    version: bytes
    message_type: int
    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ClearRecord:
    """A record in the clear that is no handshake: a change of ciphers, an alert."""

    content_type: int
    version: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record of a later epoch, as it is sent."""

    encoded: bytes


Part = HandshakeMessage | ClearRecord | SealedRecord


def parts_of(output: bytes) -> list[Part]:
    """What OpenSSL has written, which is whole records and, in their order, whole messages."""
    parts: list[Part] = []
    if not output:
        return parts
    body = bytearray()
    for record in records_of(output):
        if record.epoch:
            parts.append(SealedRecord(record.encode()))
        elif record.content_type != HANDSHAKE:
            parts.append(ClearRecord(record.content_type, record.version, record.payload))
        else:
            for fragment in fragments_of(record.payload):
                body += fragment.data
                if len(body) == fragment.length:
                    message = HandshakeMessage(
                        record.version, fragment.message_type, fragment.message_sequence, bytes(body)
                    )
                    parts.append(message)
                    body.clear()
    return parts


class Packer:
    """Packs parts into datagrams. next_sequence: the number of the next record in the clear."""

    __slots__ = ("next_sequence",)

    def __init__(self, next_sequence: int = 0) -> None:
        self.next_sequence = next_sequence

    def pack(self, parts: Sequence[Part], mtu: int) -> list[bytes]:
        """As few datagrams of at most `mtu` bytes as keep the order; a sealed record that is longer goes alone."""
        packets: list[bytearray] = [bytearray()]
        for part in parts:
            if isinstance(part, HandshakeMessage):
                self._pack_message(part, packets, mtu)
            elif isinstance(part, ClearRecord):
                self._append(self._encoded(part.content_type, part.version, part.payload), packets, mtu)
            else:
                self._append(part.encoded, packets, mtu)
        return [bytes(packet) for packet in packets if packet]

    def _append(self, record: bytes, packets: list[bytearray], mtu: int) -> None:
        if packets[-1] and len(packets[-1]) + len(record) > mtu:
            packets.append(bytearray())
        packets[-1] += record

    def _pack_message(self, message: HandshakeMessage, packets: list[bytearray], mtu: int) -> None:
        headers = RECORD_HEADER_BYTES + FRAGMENT_HEADER_BYTES
        length = len(message.body)
        offset = 0
        while True:
            room = mtu - len(packets[-1]) - headers
            if room < min(length - offset, 1) and packets[-1]:
                packets.append(bytearray())
                continue
            data = message.body[offset : offset + max(room, 1)]
            fragment = Fragment(message.message_type, length, message.sequence, offset, data)
            packets[-1] += self._encoded(HANDSHAKE, message.version, fragment.encode())
            offset += len(data)
            if offset == length:
                return

    def _encoded(self, content_type: int, version: bytes, payload: bytes) -> bytes:
        sequence = self.next_sequence
        self.next_sequence += 1
        return Record(content_type, version, 0, sequence, payload).encode()
