"""TLS over TCP: listeners, serving, connecting, and the stdlib's own TLS as the peer."""

from __future__ import annotations

import contextlib
import inspect
import socket as stdlib_socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK, blocked, port_of, receive_exactly
from cts.semantics.tls_scenes import Certificates


async def echo(stream: Any) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


@contextlib.asynccontextmanager
async def served(lib: Any, certificates: Certificates, handler: Any = echo, **options: Any) -> AsyncIterator[int]:
    """A server on the port that this gives."""
    async with lib.open_nursery() as nursery:
        context = certificates.server_context()
        serve = lib.serve_ssl_over_tcp
        (listener,) = await nursery.start(
            lambda task_status: serve(handler, 0, context, host=LOOPBACK, task_status=task_status, **options)
        )
        assert isinstance(listener, lib.SSLListener)
        yield port_of(listener.transport_listener)
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(31)
async def test_what_a_client_sends_comes_back(lib: Any, certificates: Certificates) -> None:
    async with served(lib, certificates) as port:
        context = certificates.client_context()
        async with await lib.open_ssl_over_tcp_stream("localhost", port, ssl_context=context) as client:
            assert isinstance(client.transport_stream, lib.SocketStream)
            assert client.server_hostname == "localhost"
            await client.send_all(b"there and back")
            assert await receive_exactly(client, 14) == b"there and back"


async def test_a_numeric_host_is_checked_as_an_address(lib: Any, certificates: Certificates) -> None:
    async with served(lib, certificates) as port:
        context = certificates.client_context()
        async with await lib.open_ssl_over_tcp_stream(LOOPBACK, port, ssl_context=context) as client:
            await client.do_handshake()
            assert client.getpeercert()["subjectAltName"]


async def test_by_default_only_known_authorities_are_trusted(lib: Any, certificates: Certificates) -> None:
    async def expect_refusal(stream: Any) -> None:
        with pytest.raises(lib.BrokenResourceError):
            await stream.do_handshake()
        await lib.aclose_forcefully(stream)

    async with served(lib, certificates, expect_refusal) as port:
        client = await lib.open_ssl_over_tcp_stream("localhost", port)
        with pytest.raises(lib.BrokenResourceError) as caught:
            await client.do_handshake()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        await client.aclose()


async def test_a_refused_connection_raises_as_without_tls(lib: Any, certificates: Certificates) -> None:
    with stdlib_socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        with pytest.raises(OSError):
            await lib.open_ssl_over_tcp_stream(LOOPBACK, unused.getsockname()[1])


async def test_accepting_does_not_wait_for_the_handshake(lib: Any, certificates: Certificates) -> None:
    (listener,) = await lib.open_ssl_over_tcp_listeners(0, certificates.server_context(), host=LOOPBACK)
    async with listener:
        silent = await lib.open_tcp_stream(LOOPBACK, port_of(listener.transport_listener))
        async with silent:
            accepted = await listener.accept()
            assert accepted.server_side
            await lib.aclose_forcefully(accepted)


async def test_a_closed_listener_ends_those_who_accept(lib: Any, certificates: Certificates) -> None:
    (listener,) = await lib.open_ssl_over_tcp_listeners(0, certificates.server_context(), host=LOOPBACK)
    async with lib.open_nursery() as nursery:
        accepting = await blocked(lib, nursery, listener.accept)
        await listener.aclose()
    assert isinstance(accepting.error, lib.ClosedResourceError)


async def test_listeners_hand_https_compatible_on(lib: Any, certificates: Certificates) -> None:
    received: list[bytes] = []

    async def receive_all(stream: Any) -> None:
        async for data in stream:
            received.append(bytes(data))
        done.set()

    done = lib.Event()
    async with served(lib, certificates, receive_all, https_compatible=True) as port:
        context = certificates.client_context()
        client = await lib.open_ssl_over_tcp_stream("localhost", port, ssl_context=context, https_compatible=True)
        await client.send_all(b"no goodbye")
        await client.aclose()
        await done.wait()
    assert received == [b"no goodbye"]


async def test_a_port_can_be_shared(lib: Any, certificates: Certificates) -> None:
    """A keyword that Trio does not have."""
    if lib.is_trio:
        assert "reuse_port" not in inspect.signature(lib.open_ssl_over_tcp_listeners).parameters
        return
    context = certificates.server_context()
    (first,) = await lib.open_ssl_over_tcp_listeners(0, context, host=LOOPBACK, reuse_port=True)
    port = port_of(first.transport_listener)
    async with first, served(lib, certificates, reuse_port=True):
        (second,) = await lib.open_ssl_over_tcp_listeners(port, context, host=LOOPBACK, reuse_port=True)
        await second.aclose()


# ---- the stdlib as the peer -------------------------------------------------------------------------------------


def stdlib_server(listening: stdlib_socket.socket, context: ssl.SSLContext, talk: Callable[[Any], None]) -> None:
    accepted, _ = listening.accept()
    with accepted, context.wrap_socket(accepted, server_side=True, suppress_ragged_eofs=False) as tls:
        talk(tls)


async def test_our_client_talks_with_a_server_of_the_stdlib(lib: Any, certificates: Certificates) -> None:
    received: list[bytes] = []

    def talk(tls: ssl.SSLSocket) -> None:
        while data := tls.recv(100):
            received.append(data)
            tls.sendall(data.upper())
        tls.unwrap()

    with stdlib_socket.create_server((LOOPBACK, 0)) as listening:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.to_thread.run_sync, stdlib_server, listening, certificates.server_context(), talk)
            port = listening.getsockname()[1]
            client = await lib.open_ssl_over_tcp_stream(LOOPBACK, port, ssl_context=certificates.client_context())
            await client.send_all(b"abc")
            assert await receive_exactly(client, 3) == b"ABC"
            transport, trailing = await client.unwrap()
            assert trailing == b""
            await transport.aclose()
    assert b"".join(received) == b"abc"


async def test_a_server_of_the_stdlib_that_says_no_goodbye_breaks_our_client(
    lib: Any, certificates: Certificates
) -> None:
    def talk(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"cut")

    with stdlib_socket.create_server((LOOPBACK, 0)) as listening:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(lib.to_thread.run_sync, stdlib_server, listening, certificates.server_context(), talk)
            port = listening.getsockname()[1]
            client = await lib.open_ssl_over_tcp_stream(LOOPBACK, port, ssl_context=certificates.client_context())
            assert await receive_exactly(client, 3) == b"cut"
            with pytest.raises(lib.BrokenResourceError):
                await client.receive_some()
            await client.aclose()


async def test_our_server_talks_with_a_client_of_the_stdlib(lib: Any, certificates: Certificates) -> None:
    def client(port: int) -> bytes:
        context = certificates.client_context()
        with stdlib_socket.create_connection((LOOPBACK, port)) as raw:
            with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as tls:
                tls.sendall(bytes(200_000))
                received = 0
                while received < 200_000:
                    received += len(tls.recv(65536))
                plain = tls.unwrap()
                plain.close()
                return b"done"

    async with served(lib, certificates) as port:
        assert await lib.to_thread.run_sync(client, port) == b"done"
