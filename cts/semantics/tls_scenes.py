"""What the tests of TLS are written with: certificates, pairs of streams, transports with habits, OpenSSL as a peer."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trustme
from OpenSSL import SSL

HOSTNAME = "tls.example"

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate that it has given to HOSTNAME, localhost and 127.0.0.1."""

    authority: trustme.CA
    server: trustme.LeafCert

    @classmethod
    def issue(cls) -> Certificates:
        authority = trustme.CA()
        return cls(authority, authority.issue_cert(HOSTNAME, "localhost", "127.0.0.1"))

    def client_context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """For a client that trusts the authority; version: the newest that it speaks."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return _as_strict(context, version)

    def server_context(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """For the server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.configure_cert(context)
        return _as_strict(context, version)


def _as_strict(context: ssl.SSLContext, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    if hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF"):
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if version is not None:
        context.maximum_version = version
    return context


def tls_pair(lib: Any, certificates: Certificates, transports: Pair, **options: Any) -> Pair:
    """A client and a server over two connected transports. version: the newest they speak; others are SSLStream's."""
    version = options.pop("version", None)
    near, far = transports
    client = lib.SSLStream(near, certificates.client_context(version), server_hostname=HOSTNAME, **options)
    server = lib.SSLStream(far, certificates.server_context(version), server_side=True, **options)
    return client, server


async def shake_hands(lib: Any, *streams: Any) -> None:
    """All of them, together."""
    async with lib.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(stream.do_handshake)


async def shaken_pair(lib: Any, certificates: Certificates, transports: Pair | None = None, **options: Any) -> Pair:
    """tls_pair() that have shaken hands; by default in memory."""
    pair = tls_pair(lib, certificates, transports or lib.testing.memory_stream_pair(), **options)
    await shake_hands(lib, *pair)
    return pair


def wrapped_transport(lib: Any, inner: Any, **hooks: Callable[..., Any]) -> Any:
    """A stream that is `inner`, but for the methods given here, which get `inner` as their first argument."""

    def method(name: str) -> Callable[..., Any]:
        async def call(self: Any, *arguments: Any) -> Any:
            if name in hooks:
                return await hooks[name](inner, *arguments)
            return await getattr(inner, name)(*arguments)

        return call

    names = ("send_all", "wait_send_all_might_not_block", "receive_some", "aclose")
    return type("WrappedTransport", (lib.abc.Stream,), {name: method(name) for name in names})()


class OpenSslPeer:
    """The server's side by pyOpenSSL, which can renegotiate. It does what it is told, step by step."""

    def __init__(self, lib: Any, certificates: Certificates, transport: Any) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        certificates.server.configure_cert(context)
        self._wants_read = SSL.WantReadError
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()
        self.transport = transport

    async def step(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Repeat a call of the connection until it has a result."""
        while True:
            try:
                result = call(*arguments)
            except self._wants_read:
                await self.flush()
                data = await self.transport.receive_some()
                if data:
                    self.connection.bio_write(bytes(data))
                else:
                    self.connection.bio_shutdown()
            else:
                await self.flush()
                return result

    async def flush(self) -> None:
        """Send what the connection has written."""
        try:
            data = self.connection.bio_read(1024 * 1024)
        except self._wants_read:
            return
        await self.transport.send_all(data)

    async def do_handshake(self) -> None:
        await self.step(self.connection.do_handshake)

    def read_until_renegotiated(self) -> None:
        """A call for step()."""
        try:
            self.connection.recv(1)
        except SSL.WantReadError:
            if self.connection.renegotiate_pending():
                raise
