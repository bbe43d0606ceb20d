"""What the tests of DTLS are written with: endpoints, contexts, and a network that loses, repeats and reorders."""

from __future__ import annotations

import random
import socket as stdlib_socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from OpenSSL import SSL

from cts.semantics.support import LOOPBACK
from cts.semantics.tls_scenes import Certificates

Carry = Callable[[bytes, Any, Any], list[tuple[float, bytes]]]


def dtls_server_context(certificates: Certificates) -> SSL.Context:
    """For one serve()."""
    context = SSL.Context(SSL.DTLS_METHOD)
    certificates.server.configure_cert(context)
    return context


def dtls_client_context(certificates: Certificates) -> SSL.Context:
    """For one connect(): Trio changes each context that it is given, which new versions of pyOpenSSL allow once."""
    context = SSL.Context(SSL.DTLS_METHOD)
    certificates.authority.configure_trust(context)
    context.set_verify(SSL.VERIFY_PEER)
    return context


async def new_endpoint(lib: Any, **options: Any) -> Any:
    """On a free port."""
    socket = lib.socket.socket(type=lib.socket.SOCK_DGRAM)
    await socket.bind((LOOPBACK, 0))
    return lib.DTLSEndpoint(socket, **options)


async def echo(channel: Any) -> None:
    """Send back all that comes."""
    async for packet in channel:
        await channel.send(packet)


@asynccontextmanager
async def serving(lib: Any, certificates: Certificates, handler: Any = echo, **options: Any) -> AsyncIterator[Any]:
    """An endpoint that serves."""
    server = await new_endpoint(lib, **options)
    with server:
        async with lib.open_nursery() as nursery:
            await nursery.start(server.serve, dtls_server_context(certificates), handler)
            try:
                yield server
            finally:
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(lib: Any, certificates: Certificates, server: Any, **options: Any) -> AsyncIterator[Any]:
    """A channel of a new client, which has not shaken hands."""
    with await new_endpoint(lib, **options) as client:
        with client.connect(server.socket.getsockname(), dtls_client_context(certificates)) as channel:
            yield channel


def straight(packet: bytes, source: Any, target: Any) -> list[tuple[float, bytes]]:
    """Each packet arrives, at once."""
    return [(0.0, packet)]


class Network:
    """Datagrams between sockets that are objects only. carry: when, and how often, a packet arrives.

    `sent`: all packets with source and target, in order. Only under a clock that jumps are delays worth their time.
    """

    def __init__(self, lib: Any, nursery: Any) -> None:
        self.lib = lib
        self.carry: Carry = straight
        self.sent: list[tuple[bytes, Any, Any]] = []
        self.errors: list[OSError] = []
        self.nursery = nursery
        self._endpoints: list[Any] = []
        self._sockets: dict[Any, Any] = {}
        self._socket_type = _socket_type(lib)

    def socket(self) -> Any:
        """A new socket, bound."""
        address = (f"10.0.0.{len(self._sockets) + 1}", 4433)
        socket = self._socket_type(self, address)
        self._sockets[address] = socket
        return socket

    def endpoint(self, **options: Any) -> Any:
        """A new endpoint, closed at the end of the network."""
        endpoint = self.lib.DTLSEndpoint(self.socket(), **options)
        self._endpoints.append(endpoint)
        return endpoint

    def close(self) -> None:
        """Close all endpoints."""
        for endpoint in self._endpoints:
            endpoint.close()

    def send(self, packet: bytes, source: Any, target: Any) -> None:
        if self.errors:
            raise self.errors.pop()
        self.sent.append((packet, source, target))
        for delay, copy in self.carry(packet, source, target):
            self.nursery.start_soon(self._arrive, delay, copy, source, target)

    async def _arrive(self, delay: float, packet: bytes, source: Any, target: Any) -> None:
        await self.lib.sleep(delay)
        socket = self._sockets.get(target)
        if socket is not None:
            socket.put(packet, source)

    def packets_from(self, endpoint: Any) -> list[bytes]:
        address = endpoint.socket.getsockname()
        return [packet for packet, source, _ in self.sent if source == address]


@asynccontextmanager
async def network(lib: Any) -> AsyncIterator[Network]:
    async with lib.open_nursery() as nursery:
        net = Network(lib, nursery)
        try:
            yield net
        finally:
            nursery.cancel_scope.cancel()
            net.close()


def _socket_type(lib: Any) -> Any:
    class VirtualSocket(lib.socket.SocketType):  # type: ignore[misc, name-defined]
        family = stdlib_socket.AF_INET
        type = stdlib_socket.SOCK_DGRAM

        def __init__(self, net: Network, address: Any) -> None:
            super().__init__()
            self._net = net
            self._address = address
            self._put, self._take = lib.open_memory_channel(1000)

        def getsockname(self) -> Any:
            return self._address

        def fileno(self) -> int:
            return 1

        def put(self, packet: bytes, source: Any) -> None:
            try:
                self._put.send_nowait((packet, source))
            except lib.BrokenResourceError:
                return  # it was closed

        async def sendto(self, data: Any, address: Any) -> int:
            await lib.lowlevel.checkpoint()
            self._net.send(bytes(data), self._address, address)
            return len(data)

        async def recvfrom(self, count: int) -> Any:
            return await self._take.receive()

        def close(self) -> None:
            self._take.close()

    return VirtualSocket


def troubled(seed: int, *, loss: float = 0.2, repetition: float = 0.2, delay: float = 0.5) -> Carry:
    """A network on a bad day, the same for each seed: losses, copies, and delays that let packets overtake."""
    chance = random.Random(seed)

    def carry(packet: bytes, source: Any, target: Any) -> list[tuple[float, bytes]]:
        copies = 2 if chance.random() < repetition else 1
        return [(chance.uniform(0, delay), packet) for _ in range(copies) if chance.random() >= loss]

    return carry
