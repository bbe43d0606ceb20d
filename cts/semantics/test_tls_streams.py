"""TLS streams that meet no trouble: handshakes, data, attributes, ends, unwrapping."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_schedule_point, receive_exactly, tcp_pair
from cts.semantics.tls_scenes import HOSTNAME, Certificates, shake_hands, shaken_pair, tls_pair, wrapped_transport

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


# ---- the stream checks ------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_tls_in_memory_passes_the_stream_checks(
    lib: Any, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    async def pair() -> tuple[Any, Any]:
        return await shaken_pair(lib, certificates, version=version)

    async def clogged_pair() -> tuple[Any, Any]:
        return await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair(), version=version)

    await lib.testing.check_two_way_stream(pair, clogged_pair)


@pytest.mark.semantics(31)
async def test_tls_for_https_passes_the_stream_checks(lib: Any, certificates: Certificates) -> None:
    async def pair() -> tuple[Any, Any]:
        return await shaken_pair(lib, certificates, https_compatible=True)

    await lib.testing.check_two_way_stream(pair, None)


@pytest.mark.semantics(31)
async def test_tls_over_sockets_passes_the_stream_checks(lib: Any, certificates: Certificates) -> None:
    async def pair() -> tuple[Any, Any]:
        return await shaken_pair(lib, certificates, await tcp_pair(lib))

    await lib.testing.check_two_way_stream(pair, None)


async def test_tls_over_tls_passes_data(lib: Any, certificates: Certificates) -> None:
    outer = await shaken_pair(lib, certificates)
    client, server = await shaken_pair(lib, certificates, outer)
    await client.send_all(b"twice encrypted")
    assert await receive_exactly(server, 15) == b"twice encrypted"


# ---- handshakes -------------------------------------------------------------------------------------------------


async def test_the_first_use_shakes_hands(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"x")
        assert await server.receive_some(1) == b"x"
    assert client.version() == server.version()


async def test_sending_nothing_shakes_hands_too(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"")
        nursery.start_soon(server.do_handshake)
    assert client.cipher() is not None


async def test_a_handshake_is_made_once_for_all_tasks_that_need_it(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    received: list[bytes] = []

    async def receive(stream: Any) -> None:
        received.append(bytes(await stream.receive_some(1)))

    async with lib.open_nursery() as nursery:
        for stream in (client, server):
            for _ in range(3):
                nursery.start_soon(stream.do_handshake)
            nursery.start_soon(stream.send_all, b"x")
            nursery.start_soon(receive, stream)
    assert received == [b"x", b"x"]


async def test_a_handshake_that_was_made_is_a_checkpoint(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates)
    assert await is_schedule_point(lib, client.do_handshake)
    with cancelled_block(lib):
        await client.do_handshake()


async def test_a_server_is_done_before_the_client_reads_its_tickets(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.lockstep_stream_pair(), version=ssl.TLSVersion.TLSv1_3)
    await shake_hands(lib, client, server)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"only sending")
        assert await receive_exactly(server, 12) == b"only sending"


async def test_the_tickets_come_with_the_first_data(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, version=ssl.TLSVersion.TLSv1_3)
    await server.send_all(b"x")
    assert await client.receive_some() == b"x"
    resumed = tls_pair(lib, certificates, lib.testing.memory_stream_pair())[0]
    assert client.session.has_ticket
    resumed.context = client.context


async def test_a_session_can_be_resumed(lib: Any, certificates: Certificates) -> None:
    client_context, server_context = certificates.client_context(), certificates.server_context()
    session = None
    reused = []
    for _ in range(2):
        near, far = lib.testing.memory_stream_pair()
        client = lib.SSLStream(near, client_context, server_hostname=HOSTNAME)
        server = lib.SSLStream(far, server_context, server_side=True)
        if session is not None:
            client.session = session
        await shake_hands(lib, client, server)
        await server.send_all(b"x")
        await client.receive_some()
        session = client.session
        reused.append(client.session_reused)
    assert reused == [False, True]


# ---- attributes -------------------------------------------------------------------------------------------------

AFTER_HANDSHAKE = {
    "cipher",
    "compression",
    "get_channel_binding",
    "getpeercert",
    "selected_alpn_protocol",
    "selected_npn_protocol",
    "session_reused",
    "shared_ciphers",
    "version",
}
ALWAYS = {"context", "pending", "server_hostname", "server_side", "session"}


@pytest.mark.parametrize("name", sorted(AFTER_HANDSHAKE))
async def test_what_a_handshake_decides_needs_one(lib: Any, certificates: Certificates, name: str) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    with pytest.raises(lib.NeedHandshakeError):
        getattr(client, name)
    await shake_hands(lib, client, server)
    getattr(client, name)


@pytest.mark.parametrize("name", sorted(ALWAYS))
async def test_what_no_handshake_decides_is_always_known(lib: Any, certificates: Certificates, name: str) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    getattr(client, name)


async def test_dir_names_the_attributes_of_the_session(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    assert set(dir(client)) >= AFTER_HANDSHAKE | ALWAYS | {"transport_stream", "do_handshake", "unwrap"}


async def test_other_methods_of_the_tls_object_are_not_there(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    for name in ("read", "write", "verify_client_post_handshake", "nothing_of_this_name"):
        assert not hasattr(client, name)


async def test_the_context_can_be_exchanged(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    other = certificates.client_context()
    client.context = other
    assert client.context is other


async def test_the_hostname_cannot_be_exchanged(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    with pytest.raises(AttributeError):
        client.server_hostname = "other.example"


async def test_a_hostname_may_be_bytes(lib: Any, certificates: Certificates) -> None:
    near, _ = lib.testing.memory_stream_pair()
    client = lib.SSLStream(near, certificates.client_context(), server_hostname=HOSTNAME.encode())
    assert client.server_hostname == HOSTNAME


async def test_a_context_that_checks_names_needs_a_name(lib: Any, certificates: Certificates) -> None:
    """Trio says so too, but then takes any name that the authority has signed."""
    near, _ = lib.testing.memory_stream_pair()
    with contextlib.nullcontext() if lib.is_trio else pytest.raises(ValueError):
        lib.SSLStream(near, certificates.client_context())


async def test_a_server_and_a_context_that_checks_no_names_need_no_name(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    context = certificates.client_context()
    context.check_hostname = False
    await shake_hands(
        lib, lib.SSLStream(near, context), lib.SSLStream(far, certificates.server_context(), server_side=True)
    )


async def test_both_sides_agree_on_a_protocol(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client_context, server_context = certificates.client_context(), certificates.server_context()
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    server_context.set_alpn_protocols(["http/1.1"])
    client = lib.SSLStream(near, client_context, server_hostname=HOSTNAME)
    server = lib.SSLStream(far, server_context, server_side=True)
    await shake_hands(lib, client, server)
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "http/1.1"


async def test_a_callback_for_server_names_gets_the_object_of_the_stdlib(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    context = certificates.server_context()
    seen: list[Any] = []
    context.sni_callback = lambda tls, name, _: seen.append((type(tls), name))  # type: ignore[assignment]
    client = lib.SSLStream(near, certificates.client_context(), server_hostname=HOSTNAME)
    await shake_hands(lib, client, lib.SSLStream(far, context, server_side=True))
    assert seen == [(ssl.SSLObject, HOSTNAME)]


async def test_classes_of_tls_are_final(lib: Any) -> None:
    for kind in (lib.SSLStream, lib.SSLListener):
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})


# ---- data -------------------------------------------------------------------------------------------------------


async def test_one_send_is_one_send_of_the_transport(lib: Any, certificates: Certificates) -> None:
    sends: list[int] = []

    async def send_all(inner: Any, data: Any) -> None:
        sends.append(len(data))
        await inner.send_all(data)

    near, far = lib.testing.memory_stream_pair()
    client, server = await shaken_pair(lib, certificates, (wrapped_transport(lib, near, send_all=send_all), far))
    sends.clear()
    await client.send_all(bytes(100_000))
    assert len(sends) == 1
    await receive_exactly(server, 100_000)


async def test_much_data_arrives_whole(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, await tcp_pair(lib))
    data = bytes(range(256)) * 16384
    async with client, server:
        async with lib.open_nursery() as nursery:
            nursery.start_soon(client.send_all, memoryview(data))
            assert await receive_exactly(server, len(data)) == data


async def test_views_of_larger_items_are_sent_by_their_bytes(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await client.send_all(memoryview(b"abcdefgh").cast("I"))
    assert await receive_exactly(server, 8) == b"abcdefgh"


async def test_data_that_is_here_comes_by_a_schedule_point(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await client.send_all(b"ab")
    assert await server.receive_some(1) == b"a"
    assert await is_schedule_point(lib, server.receive_some, 1)


async def test_a_cancelled_receive_takes_nothing(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await client.send_all(b"ab")
    assert await server.receive_some(1) == b"a"
    with cancelled_block(lib):
        await server.receive_some(1)
    assert await server.receive_some(1) == b"b"


async def test_a_cancelled_send_before_anything_was_encrypted_has_no_effect(
    lib: Any, certificates: Certificates
) -> None:
    client, server = await shaken_pair(lib, certificates)
    with cancelled_block(lib):
        await client.send_all(b"not sent")
    await client.send_all(b"sent")
    assert await receive_exactly(server, 4) == b"sent"


# ---- ends -------------------------------------------------------------------------------------------------------


async def test_a_goodbye_is_the_end_again_and_again(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await client.send_all(b"last")
    await client.aclose()
    assert await receive_exactly(server, 4) == b"last"
    assert [await server.receive_some(10) for _ in range(2)] == [b"", b""]


async def test_after_a_goodbye_the_other_side_may_go_on(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client, server = await shaken_pair(lib, certificates, (near, far))
    async with lib.open_nursery() as nursery:
        unwrapping = await blocked(lib, nursery, client.unwrap)
        assert await server.receive_some(10) == b""
        await server.aclose()
    assert unwrapping.error is None


async def test_unwrapping_gives_the_transport_and_what_came_behind(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client, server = await shaken_pair(lib, certificates, (near, far))

    async def unwrap_and_go_on() -> None:
        transport, trailing = await server.unwrap()
        assert (transport, trailing) == (far, b"")
        await transport.send_all(b"in the clear")

    hook, far.send_stream.send_all_hook = far.send_stream.send_all_hook, None
    async with lib.open_nursery() as nursery:
        unwrapping = await blocked(lib, nursery, client.unwrap)
        nursery.start_soon(unwrap_and_go_on)
        await lib.testing.wait_all_tasks_blocked()
        far.send_stream.send_all_hook = hook
        await hook()
    transport, trailing = unwrapping.value
    assert (transport, bytes(trailing)) == (near, b"in the clear")


async def test_an_unwrapped_stream_is_closed_and_its_transport_is_not(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client, server = await shaken_pair(lib, certificates, (near, far))
    async with lib.open_nursery() as nursery:
        nursery.start_soon(server.unwrap)
        await client.unwrap()
    assert client.transport_stream is None
    for call in (client.receive_some, client.unwrap, client.do_handshake, client.wait_send_all_might_not_block):
        with pytest.raises(lib.ClosedResourceError):
            await call()
    with pytest.raises(lib.ClosedResourceError):
        await client.send_all(b"x")
    await client.aclose()
    await near.send_all(b"still open")
    assert await receive_exactly(far, 10) == b"still open"


async def test_unwrapping_is_refused_while_others_use_the_stream(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.receive_some)
        with pytest.raises(lib.BusyResourceError):
            await client.unwrap()
        nursery.cancel_scope.cancel()
