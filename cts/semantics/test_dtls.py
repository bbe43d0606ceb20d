"""DTLS over real sockets: serving, connecting, packets, closing, conflicts, mistakes."""

from __future__ import annotations

import gc
import socket as stdlib_socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from OpenSSL import SSL

from cts.semantics.dtls_scenes import (
    connected,
    dtls_client_context,
    dtls_server_context,
    echo,
    new_endpoint,
    serving,
)
from cts.semantics.support import LOOPBACK, blocked, cancelled_block, is_schedule_point
from cts.semantics.tls_scenes import Certificates


async def test_packets_come_out_as_they_went_in(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        for packet in (b"a", b"bc" * 300, bytearray(b"d"), bytes(1000)):
            await channel.send(packet)
            assert await channel.receive() == packet


async def test_one_endpoint_serves_many_peers(lib: Any, certificates: Certificates) -> None:
    async def talk(server: Any, word: bytes) -> None:
        async with connected(lib, certificates, server) as channel:
            for _ in range(3):
                await channel.send(word)
                assert await channel.receive() == word

    async with serving(lib, certificates) as server:
        async with lib.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(talk, server, b"%d" % number)


async def test_one_endpoint_is_client_and_server(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as one, serving(lib, certificates) as other:
        with one.connect(other.socket.getsockname(), dtls_client_context(certificates)) as channel:
            await channel.send(b"x")
            assert await channel.receive() == b"x"
            async with connected(lib, certificates, one) as third:
                await third.send(b"y")
                assert await third.receive() == b"y"


async def test_a_handler_gets_the_channel_and_its_arguments(lib: Any, certificates: Certificates) -> None:
    seen: list[Any] = []

    async def handler(channel: Any, *args: Any) -> None:
        seen.append((channel.endpoint, channel.peer_address, args))
        await channel.do_handshake()
        done.set()

    done = lib.Event()
    async with lib.open_nursery() as nursery:
        with await new_endpoint(lib) as server:
            await nursery.start(server.serve, dtls_server_context(certificates), handler, 1, "two")
            async with connected(lib, certificates, server) as channel:
                await channel.do_handshake()
                await done.wait()
                assert seen == [(server, channel.endpoint.socket.getsockname(), (1, "two"))]


async def test_a_channel_is_closed_when_its_handler_ends(lib: Any, certificates: Certificates) -> None:
    handled: list[Any] = []

    async def handler(channel: Any) -> None:
        await channel.do_handshake()
        handled.append(channel)

    async with serving(lib, certificates, handler) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        while not handled:
            await lib.lowlevel.checkpoint()
        await lib.lowlevel.checkpoint()
        with pytest.raises(lib.ClosedResourceError):
            await handled[0].send(b"x")


async def test_a_handshake_is_made_once_for_all_tasks_that_need_it(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        async with lib.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(channel.do_handshake)
            nursery.start_soon(channel.send, b"x")
            assert await channel.receive() == b"x"


async def test_a_handshake_that_was_made_is_a_checkpoint(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        assert await is_schedule_point(lib, channel.do_handshake)
        with cancelled_block(lib):
            await channel.do_handshake()


async def test_a_peer_that_is_not_trusted_is_refused(lib: Any, certificates: Certificates) -> None:
    """In Trio the handshake goes on for ever."""
    told: list[BaseException] = []

    async def handler(channel: Any) -> None:
        try:
            await channel.do_handshake()
        except lib.BrokenResourceError as error:
            told.append(error)

    async with serving(lib, certificates, handler) as server, open_client(lib) as client:
        channel = client.connect(server.socket.getsockname(), dtls_client_context(Certificates.issue()))
        if lib.is_trio:
            with lib.move_on_after(0.1) as scope:
                await channel.do_handshake()
            assert scope.cancelled_caught
            return
        for call in (channel.do_handshake, lambda: channel.send(b"secret"), channel.receive):
            with pytest.raises(lib.BrokenResourceError) as caught:
                await call()
            assert isinstance(caught.value.__cause__, SSL.Error)
        while not told:
            await lib.lowlevel.checkpoint()
        assert "alert" in str(told[0].__cause__)


@asynccontextmanager
async def open_client(lib: Any) -> AsyncIterator[Any]:
    """An endpoint, closed at the end."""
    with await new_endpoint(lib) as endpoint:
        yield endpoint


# ---- receiving --------------------------------------------------------------------------------------------------


async def test_packets_that_find_no_room_are_dropped_and_counted(lib: Any, certificates: Certificates) -> None:
    channels: list[Any] = []

    async def keep(channel: Any) -> None:
        await channel.do_handshake()
        channels.append(channel)
        await lib.sleep_forever()

    async with serving(lib, certificates, keep, incoming_packets_buffer=2) as server:
        assert server.incoming_packets_buffer == 2
        async with connected(lib, certificates, server) as channel:
            await channel.do_handshake()
            while not channels:
                await lib.lowlevel.checkpoint()
            for number in range(5):
                await channel.send(b"%d" % number)
            while channels[0].statistics().incoming_packets_dropped_in_trio < 3:
                await lib.lowlevel.checkpoint()
            assert [await channels[0].receive() for _ in range(2)] == [b"0", b"1"]
            assert channels[0].statistics() == lib.DTLSChannelStatistics(incoming_packets_dropped_in_trio=3)


async def test_a_cancelled_receive_loses_nothing(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, channel.receive)
            nursery.cancel_scope.cancel()
        await channel.send(b"x")
        with cancelled_block(lib):
            await channel.receive()
        assert await channel.receive() == b"x"


async def test_several_tasks_may_receive(lib: Any, certificates: Certificates) -> None:
    received: list[bytes] = []

    async def receive(channel: Any) -> None:
        received.append(await channel.receive())

    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        async with lib.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(receive, channel)
            for packet in (b"a", b"b", b"c"):
                await channel.send(packet)
    assert sorted(received) == [b"a", b"b", b"c"]


async def test_what_is_no_packet_of_the_peer_is_as_if_it_had_not_come(lib: Any, certificates: Certificates) -> None:
    handled: list[Any] = []

    async def handler(channel: Any) -> None:
        handled.append(channel)
        await echo(channel)

    async with serving(lib, certificates, handler) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        raw = channel.endpoint.socket
        target = server.socket.getsockname()
        sealed = b"\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x09"
        if not lib.is_trio:  # where an empty packet breaks the channel
            await raw.sendto(b"", target)
        alert = b"\x15\xfe\xfd" + bytes(9)
        for junk in (b"x", b"\x16" * 40, sealed + b"\x00\x04abcd", sealed + b"\xff\xff", alert):
            await raw.sendto(junk, target)
        await channel.send(b"genuine")
        assert await channel.receive() == b"genuine"


async def test_packets_from_strangers_are_not_answered(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server:
        with stdlib_socket.socket(type=stdlib_socket.SOCK_DGRAM) as stranger:
            stranger.bind((LOOPBACK, 0))
            stranger.setblocking(False)
            stranger.sendto(b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x04abcd", server.socket.getsockname())
            stranger.sendto(b"hello", server.socket.getsockname())
            async with connected(lib, certificates, server) as channel:
                await channel.do_handshake()  # what came before was looked at by now
            with pytest.raises(BlockingIOError):
                stranger.recv(1000)


# ---- sizes ------------------------------------------------------------------------------------------------------


async def test_a_packet_of_the_cleartext_mtu_fits_the_ciphertext_mtu(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        usual = channel.get_cleartext_mtu()
        assert 1400 < usual < 1472
        channel.set_ciphertext_mtu(1172)
        assert channel.get_cleartext_mtu() == usual - 300


async def test_the_cleartext_mtu_needs_a_handshake(lib: Any, certificates: Certificates) -> None:
    async with open_client(lib) as client:
        channel = client.connect((LOOPBACK, 9), dtls_client_context(certificates))
        with pytest.raises(lib.NeedHandshakeError):
            channel.get_cleartext_mtu()


async def test_an_empty_packet_is_refused(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        with pytest.raises(ValueError):
            await channel.send(b"")


async def test_a_packet_that_is_too_long_for_a_record_is_refused(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        with pytest.raises(SSL.Error):
            await channel.send(bytes(20_000))
        await channel.send(b"still open")
        assert await channel.receive() == b"still open"


# ---- closing ----------------------------------------------------------------------------------------------------


async def test_closing_a_channel_ends_those_who_use_it(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server, connected(lib, certificates, server) as channel:
        await channel.do_handshake()
        async with lib.open_nursery() as nursery:
            receiving = await blocked(lib, nursery, channel.receive)
            channel.close()
            channel.close()
        assert isinstance(receiving.error, lib.ClosedResourceError)
        for call in (lambda: channel.send(b"x"), channel.receive):
            with pytest.raises(lib.ClosedResourceError):
                await call()


async def test_closing_a_channel_asynchronously_is_a_checkpoint(lib: Any, certificates: Certificates) -> None:
    async with open_client(lib) as client:
        channel = client.connect((LOOPBACK, 9), dtls_client_context(certificates))
        assert await is_schedule_point(lib, channel.aclose)
        async with client.connect((LOOPBACK, 9), dtls_client_context(certificates)) as other:
            pass
        with pytest.raises(lib.ClosedResourceError):
            await other.receive()


async def test_closing_a_channel_ends_its_handshake(lib: Any, certificates: Certificates) -> None:
    async with open_client(lib) as client, open_client(lib) as silent:
        channel = client.connect(silent.socket.getsockname(), dtls_client_context(certificates))
        async with lib.open_nursery() as nursery:
            shaking = Shaking(channel)
            nursery.start_soon(shaking)
            await lib.testing.wait_all_tasks_blocked()
            channel.close()
        assert isinstance(shaking.error, lib.ClosedResourceError)


class Shaking:
    """A handshake, and what it raised. It has a deadline, so it does not count as blocked for good."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.error: BaseException | None = None

    async def __call__(self) -> None:
        try:
            await self._channel.do_handshake()
        except Exception as error:
            self.error = error


async def test_closing_an_endpoint_closes_its_channels_and_ends_the_serving(
    lib: Any, certificates: Certificates
) -> None:
    seen: list[type[BaseException]] = []

    async def handler(channel: Any) -> None:
        await channel.do_handshake()
        ready.set()
        try:
            await channel.receive()
        except lib.ClosedResourceError as error:
            seen.append(type(error))

    ready = lib.Event()
    server = await new_endpoint(lib)
    async with lib.open_nursery() as nursery:
        await nursery.start(server.serve, dtls_server_context(certificates), handler)
        async with connected(lib, certificates, server) as channel:
            await channel.do_handshake()
            await ready.wait()
            server.close()
            server.close()
    assert seen == [lib.ClosedResourceError]


async def test_a_closed_endpoint_serves_and_connects_no_more(lib: Any, certificates: Certificates) -> None:
    endpoint = await new_endpoint(lib)
    endpoint.close()
    with pytest.raises(lib.ClosedResourceError):
        endpoint.connect((LOOPBACK, 9), dtls_client_context(certificates))
    with pytest.raises(lib.ClosedResourceError):
        await endpoint.serve(dtls_server_context(certificates), echo)


async def test_an_endpoint_that_nobody_closed_warns(lib: Any, certificates: Certificates) -> None:
    endpoint = await new_endpoint(lib)
    endpoint.connect((LOOPBACK, 9), dtls_client_context(certificates))
    await lib.testing.wait_all_tasks_blocked()
    with pytest.warns(ResourceWarning, match="unclosed DTLS endpoint"):
        del endpoint
        gc.collect()
    await lib.testing.wait_all_tasks_blocked()


# ---- OpenSSL itself as the peer ----------------------------------------------------------------------------------


def connected_socket(address: Any) -> stdlib_socket.socket:
    socket = stdlib_socket.socket(type=stdlib_socket.SOCK_DGRAM)
    socket.connect(address)
    return socket


def openssl_connection(context: SSL.Context, socket: stdlib_socket.socket) -> SSL.Connection:
    context.set_options(SSL.OP_NO_QUERY_MTU)
    connection = SSL.Connection(context, socket)
    connection.set_ciphertext_mtu(1400)
    return connection


async def test_our_server_talks_with_a_client_of_openssl(lib: Any, certificates: Certificates) -> None:
    def talk(address: Any) -> bytes:
        with connected_socket(address) as socket:
            connection = openssl_connection(dtls_client_context(certificates), socket)
            connection.set_connect_state()
            connection.do_handshake()
            connection.send(b"there and back")
            return connection.recv(100)

    async with serving(lib, certificates) as server:
        assert await lib.to_thread.run_sync(talk, server.socket.getsockname()) == b"there and back"


async def test_our_client_talks_with_a_server_of_openssl(lib: Any, certificates: Certificates) -> None:
    def serve(socket: stdlib_socket.socket) -> bytes:
        connection = openssl_connection(dtls_server_context(certificates), socket)
        connection.set_accept_state()
        connection.do_handshake()
        received = connection.recv(100)
        connection.send(received.upper())
        return received

    async with open_client(lib) as client:
        with connected_socket(client.socket.getsockname()) as socket:
            async with lib.open_nursery() as nursery:
                nursery.start_soon(lib.to_thread.run_sync, serve, socket)
                channel = client.connect(socket.getsockname(), dtls_client_context(certificates))
                await channel.send(b"abc")
                assert await channel.receive() == b"ABC"


@pytest.mark.unlike_trio("Trio does not see it")
async def test_a_peer_that_says_goodbye_ends_the_channel(lib: Any, certificates: Certificates) -> None:
    """Trio does not see it."""
    received: list[bytes] = []

    async def collect(channel: Any) -> None:
        async for packet in channel:
            received.append(packet)
        with pytest.raises(lib.EndOfChannel):
            await channel.receive()
        ended.set()

    def talk(address: Any) -> None:
        with connected_socket(address) as socket:
            connection = openssl_connection(dtls_client_context(certificates), socket)
            connection.set_connect_state()
            connection.do_handshake()
            connection.send(b"last")
            connection.shutdown()

    ended = lib.Event()
    async with serving(lib, certificates, collect) as server:
        await lib.to_thread.run_sync(talk, server.socket.getsockname())
        await ended.wait()
    assert received == [b"last"]


# ---- conflicts and replacements ---------------------------------------------------------------------------------


async def test_an_endpoint_serves_once_at_a_time(lib: Any, certificates: Certificates) -> None:
    async with serving(lib, certificates) as server:
        with pytest.raises(lib.BusyResourceError):
            await server.serve(dtls_server_context(certificates), echo)


async def test_an_endpoint_may_serve_again(lib: Any, certificates: Certificates) -> None:
    with await new_endpoint(lib) as server:
        for _ in range(2):
            async with lib.open_nursery() as nursery:
                await nursery.start(server.serve, dtls_server_context(certificates), echo)
                async with connected(lib, certificates, server) as channel:
                    await channel.send(b"x")
                    assert await channel.receive() == b"x"
                nursery.cancel_scope.cancel()


async def test_connecting_again_replaces_the_channel_on_both_sides(lib: Any, certificates: Certificates) -> None:
    handled: list[Any] = []
    broken: list[Any] = []

    async def handler(channel: Any) -> None:
        handled.append(channel)
        try:
            await echo(channel)
        except lib.BrokenResourceError:
            broken.append(channel)

    async with serving(lib, certificates, handler) as server, open_client(lib) as client:
        first = client.connect(server.socket.getsockname(), dtls_client_context(certificates))
        await first.do_handshake()
        second = client.connect(server.socket.getsockname(), dtls_client_context(certificates))
        for call in (first.receive, lambda: first.send(b"x")):
            with pytest.raises(lib.BrokenResourceError):
                await call()
        await second.send(b"anew")
        assert await second.receive() == b"anew"
        first.close()
        await second.send(b"after it")
        assert await second.receive() == b"after it"
        assert broken == handled[:1]


@pytest.mark.unlike_trio("it refuses that with new versions of pyOpenSSL")
async def test_a_context_may_be_used_for_many_connections(lib: Any, certificates: Certificates) -> None:
    """With new versions of pyOpenSSL Trio refuses that."""
    context = dtls_client_context(certificates)
    async with serving(lib, certificates) as server:
        for _ in range(3):
            async with open_client(lib) as client:
                await client.connect(server.socket.getsockname(), context).do_handshake()


# ---- mistakes ---------------------------------------------------------------------------------------------------


async def test_an_endpoint_needs_a_socket_for_datagrams(lib: Any) -> None:
    with lib.socket.socket() as stream_socket:
        with pytest.raises(ValueError):
            lib.DTLSEndpoint(stream_socket)
    with stdlib_socket.socket() as stdlib:
        with pytest.raises((TypeError, ValueError)):
            lib.DTLSEndpoint(stdlib)


async def test_channels_are_made_by_endpoints_only(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.DTLSChannel()


async def test_the_classes_are_final(lib: Any) -> None:
    for kind in (lib.DTLSEndpoint, lib.DTLSChannel):
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
