"""SSLListener: a listener whose connections are encrypted by TLS."""

from __future__ import annotations

import ssl
from typing import Generic

from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio.abc import Listener
from proactor_trio.streams.closing import aclose_forcefully
from proactor_trio.streams.tls.stream import SSLStream, T_Stream


class SSLListener(Listener[SSLStream[T_Stream]], Generic[T_Stream]):
    """A listener that puts TLS over the connections of another one.

    transport_listener: where they come from; owned from now on, and an attribute.
    ssl_context: for a server, with a certificate. https_compatible: see SSLStream.
    """

    def __init__(
        self, transport_listener: Listener[T_Stream], ssl_context: ssl.SSLContext, *, https_compatible: bool = False
    ) -> None:
        self.transport_listener = transport_listener
        self._ssl_context = ssl_context
        self._https_compatible = https_compatible

    def __init_subclass__(cls) -> None:
        raise TypeError("SSLListener does not support subclassing")

    @enable_ki_protection
    async def accept(self) -> SSLStream[T_Stream]:
        """Wait for a connection. The handshake is not made here, where a slow client would keep the others waiting."""
        transport = await self.transport_listener.accept()
        try:
            return SSLStream(transport, self._ssl_context, server_side=True, https_compatible=self._https_compatible)
        except BaseException:
            await aclose_forcefully(transport)
            raise

    async def aclose(self) -> None:
        """Close the transport's listener."""
        await self.transport_listener.aclose()

    def __repr__(self) -> str:
        return f"<SSLListener over {self.transport_listener!r}>"
