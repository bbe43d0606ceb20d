"""Handshake: flights to and fro over a network that loses, repeats and reorders datagrams (RFC 6347, section 4.2.4).

A flight is sent, and sent again, ever more rarely, until the peer has answered with something that lets OpenSSL go on.
Where nothing comes back several times the datagrams may be too large for the path, so they are made smaller.

OpenSSL has a clock and an opinion about sending again, too. It is asked only when something has come, and when what it
writes then is what it wrote before, that is not an answer.

Who has sent the last flight gets no answer to it. If it is lost, the peer repeats its own; so the flight is kept, and
sent again at each such repetition.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from proactor_trio._kernel.errors import BrokenResourceError
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.streams.dtls.flights import HandshakeMessage, Packer, Part, parts_of
from proactor_trio.streams.dtls.records import is_well_formed
from proactor_trio.timeouts import move_on_after

if TYPE_CHECKING:
    from proactor_trio.streams.dtls.session import Session

#: Waiting for an answer never gets longer than this.
LONGEST_WAIT_SECONDS: Final = 60.0

#: After so many flights without an answer datagrams are made smaller.
UNANSWERED_BEFORE_SMALLER: Final = 2

SendPacket = Callable[[bytes], Awaitable[object]]
NextPacket = Callable[[], Awaitable[bytes]]


class Handshake:
    """One handshake. It may be given up in run() at any time, and goes on with the next run().

    mtu: the largest datagram that it makes. smallest_mtu: what it comes down to when nothing gets through.
    """

    __slots__ = ("_final", "_flight", "_is_done", "_last_message", "_packer", "_session", "_smallest_mtu", "mtu")

    def __init__(self, session: Session, mtu: int, smallest_mtu: int, first_sequence: int) -> None:
        self._session = session
        self._packer = Packer(first_sequence)
        self._flight: list[Part] = []
        self._final: list[Part] = []
        self._last_message = -1
        self._is_done = False
        self.mtu = mtu
        self._smallest_mtu = smallest_mtu

    async def run(self, send: SendPacket, next_packet: NextPacket, initial_timeout: float) -> None:
        """Shake hands. Raises BrokenResourceError if the two cannot agree, and what `send` and `next_packet` raise.

        initial_timeout: seconds to wait for the first answer before a flight is sent again.
        """
        if not initial_timeout > 0:
            raise ValueError(f"initial_retransmit_timeout must be a positive number of seconds, not {initial_timeout}")
        await self._go_on(send)
        timeout = initial_timeout
        unanswered = 0
        while True:
            await self._send_parts(self._flight, send)
            if self._is_done:
                return
            if await self._is_answered(send, next_packet, timeout):
                if self._is_done and not self._final:
                    return
                timeout = initial_timeout
                unanswered = 0
                continue
            timeout = min(2 * timeout, LONGEST_WAIT_SECONDS)
            unanswered += 1
            if unanswered == UNANSWERED_BEFORE_SMALLER:
                self.mtu = min(self.mtu, self._smallest_mtu)

    def final_packets(self) -> list[bytes]:
        """The last flight, to be sent again, if it was ours."""
        return self._packer.pack(self._final, self.mtu)

    async def _is_answered(self, send: SendPacket, next_packet: NextPacket, timeout: float) -> bool:
        with move_on_after(timeout):
            while True:
                packet = await next_packet()
                if is_well_formed(packet):
                    self._session.feed(packet)
                    if await self._go_on(send):
                        return True
        return False

    async def _go_on(self, send: SendPacket) -> bool:
        """Let OpenSSL look at what has come. Returns whether it got further: there is a new flight, or it is done."""
        try:
            self._is_done = self._session.shake_hands()
        except BrokenResourceError:
            with contextlib.suppress(OSError, ClosedResourceError):
                await self._send_parts(parts_of(self._session.take_output()), send)  # the peer should know why
            raise
        output = parts_of(self._session.take_output())
        if self._is_done:
            self._flight = self._final = output
            return True
        messages = [part.sequence for part in output if isinstance(part, HandshakeMessage)]
        if messages and messages[0] > self._last_message:
            self._flight = output
            self._last_message = messages[-1]
            return True
        return False

    async def _send_parts(self, parts: Sequence[Part], send: SendPacket) -> None:
        while True:
            try:
                for packet in self._packer.pack(parts, self.mtu):
                    await send(packet)
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE or self.mtu <= self._smallest_mtu:
                    raise
                self.mtu = self._smallest_mtu
