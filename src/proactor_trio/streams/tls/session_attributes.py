"""What an SSLStream tells of its session: the attributes of `ssl.SSLObject`, by the same names."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any


class NeedHandshakeError(Exception):
    """An SSLStream was asked for something that only a handshake decides, before there was one."""


class SessionAttributes:
    """The attributes of `tls`. Some have no meaning before the handshake, and raise NeedHandshakeError then."""

    @property
    def _tls(self) -> ssl.SSLObject:
        raise NotImplementedError

    @property
    def _tls_after_handshake(self) -> ssl.SSLObject:
        """Raises NeedHandshakeError."""
        raise NotImplementedError

    @property
    def context(self) -> ssl.SSLContext:
        """The context in use; exchanging it is what a callback for server names does."""
        return self._tls.context

    @context.setter
    def context(self, context: ssl.SSLContext) -> None:
        self._tls.context = context

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session; a client may set one to be resumed, before the handshake (else ValueError)."""
        return self._tls.session

    @session.setter
    def session(self, session: ssl.SSLSession) -> None:
        self._tls.session = session

    @property
    def server_side(self) -> bool:
        """Whether this is the server."""
        return self._tls.server_side

    @property
    def server_hostname(self) -> str | None:
        """The name that the server must prove to have; None on the server's side."""
        return self._tls.server_hostname

    @property
    def pending(self) -> Callable[[], int]:
        """pending(): bytes that are decrypted already."""
        return self._tls.pending

    @property
    def session_reused(self) -> bool | None:
        """Whether a session was resumed. Raises NeedHandshakeError."""
        return self._tls_after_handshake.session_reused

    @property
    def getpeercert(self) -> Callable[..., Any]:
        """getpeercert(binary_form=False): the peer's certificate. Raises NeedHandshakeError."""
        return self._tls_after_handshake.getpeercert

    @property
    def cipher(self) -> Callable[[], tuple[str, str, int] | None]:
        """cipher(): name, protocol and bits of the cipher. Raises NeedHandshakeError."""
        return self._tls_after_handshake.cipher

    @property
    def shared_ciphers(self) -> Callable[[], list[tuple[str, str, int]] | None]:
        """shared_ciphers(): what both sides could use, on the server's side. Raises NeedHandshakeError."""
        return self._tls_after_handshake.shared_ciphers

    @property
    def compression(self) -> Callable[[], str | None]:
        """compression(): its name. Raises NeedHandshakeError."""
        return self._tls_after_handshake.compression

    @property
    def get_channel_binding(self) -> Callable[..., bytes | None]:
        """get_channel_binding(cb_type="tls-unique"): what identifies the connection. Raises NeedHandshakeError."""
        return self._tls_after_handshake.get_channel_binding

    @property
    def selected_alpn_protocol(self) -> Callable[[], str | None]:
        """selected_alpn_protocol(): what both sides agreed to speak. Raises NeedHandshakeError."""
        return self._tls_after_handshake.selected_alpn_protocol

    @property
    def selected_npn_protocol(self) -> Callable[[], str | None]:
        """selected_npn_protocol(): the forerunner of ALPN. Raises NeedHandshakeError."""
        return self._tls_after_handshake.selected_npn_protocol

    @property
    def version(self) -> Callable[[], str | None]:
        """version(): the protocol in use, such as "TLSv1.3". Raises NeedHandshakeError."""
        return self._tls_after_handshake.version
