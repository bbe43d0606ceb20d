"""Session: one association as OpenSSL sees it. The only place that knows pyOpenSSL, which need not be installed.

A context of pyOpenSSL cannot be changed once it was used, so what we need of it is set before the first use, and once.
Cookies are our own affair (cookies.py): by the time that OpenSSL sees one it is known to be good.
"""

from __future__ import annotations

import weakref
from typing import Final

from OpenSSL import SSL

from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio.streams.dtls.records import is_one_record

#: The most that a record holds (RFC 6347, section 4.1).
_RECORD_BYTES: Final = 16 * 1024

#: How much is read from the buffer of what is to be sent in one go: more than most flights have.
_READ_BYTES: Final = 4 * 1024

_prepared: Final[weakref.WeakSet[SSL.Context]] = weakref.WeakSet()


def prepare(context: SSL.Context) -> None:
    """Set in a context what sessions need. Raises TypeError for anything else."""
    if not isinstance(context, SSL.Context):
        raise TypeError(f"ssl_context must be an OpenSSL.SSL.Context, not {type(context).__name__}")
    if context in _prepared:
        return
    # A buffer in memory knows no MTU; and a second handshake would come at a time when nobody expects one.
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    context.set_cookie_generate_callback(lambda connection: b"")
    context.set_cookie_verify_callback(lambda connection, cookie: True)
    _prepared.add(context)


class Session:
    """What OpenSSL knows of an association: packets go in and out as bytes."""

    __slots__ = ("_connection",)

    def __init__(self, context: SSL.Context, mtu: int) -> None:
        self._connection = SSL.Connection(context, None)
        self.set_ciphertext_mtu(mtu)

    @classmethod
    def of_client(cls, context: SSL.Context, mtu: int) -> Session:
        """For who connects."""
        session = cls(context, mtu)
        session._connection.set_connect_state()
        return session

    @classmethod
    def of_server(cls, context: SSL.Context, mtu: int, hello: bytes) -> Session | None:
        """For who was sent a ClientHello with a good cookie; None if OpenSSL does not want it."""
        session = cls(context, mtu)
        session._connection.set_accept_state()
        session.feed(hello)
        try:
            session._connection.DTLSv1_listen()
        except SSL.Error:
            return None
        return session

    def feed(self, packet: bytes) -> None:
        """A datagram has come; what is asked next looks at it."""
        self._connection.bio_write(packet)

    def shake_hands(self) -> bool:
        """Go on with the handshake. Returns whether it is done. Raises BrokenResourceError when it has failed."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise BrokenResourceError(f"the DTLS handshake failed: {error}") from error
        return True

    def take_output(self) -> bytes:
        """All records that are to be sent."""
        output = bytearray()
        while True:
            try:
                piece = self._connection.bio_read(_READ_BYTES)
            except SSL.WantReadError:
                return bytes(output)
            output += piece
            if len(piece) < _READ_BYTES:
                return bytes(output)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """A record with this data. Raises OpenSSL.SSL.Error if it is too much for one."""
        self._connection.write(bytes(data) if isinstance(data, memoryview) else data)
        return self.take_output()

    def decrypt(self, packet: bytes) -> tuple[list[bytes], bool]:
        """The data in a datagram, none if it is not the peer's or came before; and whether that was the end."""
        self.feed(packet)
        received: list[bytes] = []
        is_one_record_only = is_one_record(packet)
        room = min(len(packet), _RECORD_BYTES)
        while True:
            try:
                received.append(self._connection.recv(room))
                if is_one_record_only:
                    return received, False
            except SSL.ZeroReturnError:
                return received, True
            except SSL.Error:  # also: there is no more
                return received, False

    def set_ciphertext_mtu(self, mtu: int) -> None:
        """The size of datagrams."""
        self._connection.set_ciphertext_mtu(mtu)

    def get_cleartext_mtu(self) -> int:
        """How much data fits into a datagram of that size, after the handshake."""
        return self._connection.get_cleartext_mtu()
