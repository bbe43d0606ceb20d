"""Operations on datagrams with addresses: SendTo and RecvFrom.

One operation is one datagram, also of several buffers. On a socket that is connected Send and Recv do as well, and know
one peer. What ICMP reports (nobody listens there) fails the next operation and is forgotten then.
"""

from __future__ import annotations

import socket as stdlib_socket
from typing import Any, Final, NamedTuple, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.address import ADDRESS_FAMILIES, decode_address, encode_address
from proactor_trio.proactor.address_text import in_stdlib_form
from proactor_trio.proactor.operation import CompletionFunction, Limits
from proactor_trio.proactor.operations.buffers import scattered
from proactor_trio.proactor.operations.net import SendFlags, Transfer, Transmission
from proactor_trio.proactor.socket import Socket

_MSG_TRUNC: Final = stdlib_socket.MSG_TRUNC


class ReceivedDatagram(NamedTuple):
    """What a RecvFrom gives: how many bytes stand in the buffer, and where they came from.

    sender: in the stdlib's form, ready for SendTo; None or "" for a Unix socket without a name.
    """

    length: int
    sender: Any


class SendTo(Transmission):
    """Sends one datagram. Result: the number of bytes.

    data: a bytes-like object or a Span, or a list or tuple of at most 8 that make one datagram together; not to be
        changed until the final completion. No data is a datagram of no bytes.
    address: where to, an Address or in the stdlib's form for the socket's family, numeric.
    send_flags, zero-copy: as for Send. A datagram that is too long is refused by the kernel (EMSGSIZE).
    """

    __slots__ = ()
    kind = Kind.SEND_TO

    def __init__(
        self,
        socket: Socket,
        data: Any,
        address: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        send_flags: SendFlags = SendFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, data, completion_fn, user_data, flags, send_flags, **limits)
        self.address = address

    def _prepare(self) -> None:
        family = self.socket.family
        self.address = in_stdlib_form(family, self.address)
        self.address_bytes = encode_address(family, self.address)
        super()._prepare()


class RecvFrom(Transfer):
    """Receives one datagram. Result: a ReceivedDatagram: (length, sender); length is 0 for an empty datagram.

    buffer: writable memory or a Span, or a list or tuple of at most 8 of them that are filled in order; not to be
        touched until the final completion.
    truncated: after completion, whether the datagram was longer than the buffer; what had no room is gone.
    Cancelled: no datagram was taken; one that came first is delivered.
    Raises ValueError at submission for a socket whose family has other addresses than those of address.py.
    """

    __slots__ = ("buffer", "truncated")
    kind = Kind.RECV_FROM

    def __init__(
        self,
        socket: Socket,
        buffer: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(socket, completion_fn, user_data, flags, **limits)
        self.buffer = buffer
        self.truncated = False

    def _prepare(self) -> None:
        super()._prepare()
        if self.socket.family not in ADDRESS_FAMILIES:  # it would be found out when a datagram has been taken
            raise ValueError(f"socket: addresses of family {self.socket.family} are not known here")
        self.truncated = False
        self.view, self.length = scattered(self.buffer, "buffer")
        self._hold(self.buffer)

    def _finish(self, result: int) -> ReceivedDatagram:
        self._let_go()
        sender, sockaddr, message_flags = self.data
        self.truncated = bool(message_flags & _MSG_TRUNC)
        return ReceivedDatagram(result, decode_address(sockaddr) if sender is None else sender)
