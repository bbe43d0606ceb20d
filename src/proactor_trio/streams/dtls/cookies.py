"""The cookie exchange: a server keeps nothing of a client, and does no work for it, before it knows the address is its.

UDP lets everybody send in everybody's name. So a first ClientHello is answered by a HelloVerifyRequest with a cookie,
which only comes back from who can receive at that address (RFC 6347, section 4.2.1). The cookie is a MAC of the
address, of what the client asks for, and of the time; so the server need not remember that it has given it.

The hello must be in one piece: to put fragments together is to remember. The answer is no longer than the question, so
nobody is flooded by means of it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final

from proactor_trio._kernel.run import current_time
from proactor_trio.streams.dtls.records import (
    CLIENT_HELLO,
    HANDSHAKE,
    HELLO_VERIFY_REQUEST,
    OLDEST_VERSION,
    Fragment,
    MalformedPacket,
    Record,
    fragments_of,
    records_of,
)

#: A cookie is good for this long at least, and for twice as long at most.
COOKIE_SECONDS: Final = 30.0

_COOKIE_BYTES: Final = 32  # the most that DTLS 1.0 allows
_VERSION_AND_RANDOM_BYTES: Final = 2 + 32


@dataclass(frozen=True, slots=True)
class ClientHello:
    """A client's first message. record_sequence: of its record. parameters: all of it but the cookie."""

    record_sequence: int
    cookie: bytes
    parameters: tuple[bytes, bytes]

    @classmethod
    def decode(cls, packet: bytes) -> ClientHello:
        """Raises MalformedPacket if it is none, or not in one piece."""
        record = next(records_of(packet))
        if record.content_type != HANDSHAKE or record.epoch != 0:
            raise MalformedPacket("this is no handshake in the clear")
        hello = next(fragments_of(record.payload))
        if hello.message_type != CLIENT_HELLO or not hello.is_whole:
            raise MalformedPacket("this is no ClientHello in one piece")
        before, rest = _split_vector(hello.data, _VERSION_AND_RANDOM_BYTES)  # the session to be resumed
        position = len(before)
        before_cookie, rest = _split_vector(hello.data, position)
        cookie = before_cookie[position + 1 :]
        return cls(record.sequence, cookie, (before, rest))


def _split_vector(data: bytes, position: int) -> tuple[bytes, bytes]:
    """What ends with the vector at `position` (a byte that says how many follow), and what comes after it."""
    if position >= len(data):
        raise MalformedPacket("a ClientHello is cut off")
    end = position + 1 + data[position]
    if end > len(data):
        raise MalformedPacket("a ClientHello is cut off")
    return data[:end], data[end:]


class CookieJar:
    """Makes cookies, and knows its own."""

    __slots__ = ("_secret",)

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def is_valid(self, hello: ClientHello, address: Any) -> bool:
        """Whether the client has got the cookie that it shows at this address, and not long ago."""
        if len(hello.cookie) != _COOKIE_BYTES:
            return False
        period = _current_period()
        # Both in any case, and each without a hint of where they differ.
        valid = [hmac.compare_digest(hello.cookie, self._bake(hello, address, each)) for each in (period, period - 1)]
        return any(valid)

    def challenge(self, hello: ClientHello, address: Any) -> bytes:
        """The HelloVerifyRequest that answers a hello without a valid cookie."""
        cookie = self._bake(hello, address, _current_period())
        body = OLDEST_VERSION + bytes([len(cookie)]) + cookie
        message = Fragment(HELLO_VERIFY_REQUEST, len(body), 0, 0, body)
        return Record(HANDSHAKE, OLDEST_VERSION, 0, hello.record_sequence, message.encode()).encode()

    def _bake(self, hello: ClientHello, address: Any, period: int) -> bytes:
        mac = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in (str(period).encode(), repr(address).encode(), *hello.parameters):
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
        return mac.digest()


def _current_period() -> int:
    return int(current_time() // COOKIE_SECONDS)
