"""TLS streams that meet trouble: broken records, early ends, slow peers, cancellation, renegotiation, closing."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from cts.semantics.support import blocked, cancelled_block, is_schedule_point, receive_exactly, tcp_pair
from cts.semantics.tls_scenes import (
    HOSTNAME,
    Certificates,
    OpenSslPeer,
    shake_hands,
    shaken_pair,
    tls_pair,
    wrapped_transport,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

# ---- failed handshakes ------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_wrong_name_breaks_both_sides(lib: Any, certificates: Certificates, version: ssl.TLSVersion) -> None:
    near, far = lib.testing.memory_stream_pair()
    client = lib.SSLStream(near, certificates.client_context(version), server_hostname="other.example")
    server = lib.SSLStream(far, certificates.server_context(version), server_side=True)
    async with lib.open_nursery() as nursery:

        async def expect_break() -> None:
            with pytest.raises(lib.BrokenResourceError) as caught:
                await server.do_handshake()
            assert isinstance(caught.value.__cause__, ssl.SSLError)

        nursery.start_soon(expect_break)
        with pytest.raises(lib.BrokenResourceError) as caught:
            await client.do_handshake()
        assert isinstance(caught.value.__cause__, ssl.CertificateError)
        await client.aclose()


async def test_an_untrusted_server_is_refused_by_the_first_use(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client = lib.SSLStream(near, Certificates.issue().client_context(), server_hostname=HOSTNAME)
    server = lib.SSLStream(far, certificates.server_context(), server_side=True)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(server.receive_some)
        with pytest.raises(lib.BrokenResourceError):
            await client.send_all(b"secret")
        for call in (client.receive_some, client.do_handshake, client.wait_send_all_might_not_block, client.unwrap):
            with pytest.raises(lib.BrokenResourceError):
                await call()
        nursery.cancel_scope.cancel()


async def test_the_peer_is_told_why_it_was_refused(lib: Any, certificates: Certificates) -> None:
    """Trio only closes, so that the peer sees nothing but an end."""
    near, far = lib.testing.memory_stream_pair()
    client = lib.SSLStream(near, Certificates.issue().client_context(), server_hostname=HOSTNAME)
    server = lib.SSLStream(far, certificates.server_context(), server_side=True)
    async with lib.open_nursery() as nursery:
        shaking = await blocked(lib, nursery, server.do_handshake)
        with pytest.raises(lib.BrokenResourceError):
            await client.do_handshake()
        await client.aclose()
    assert ("alert" in str(shaking.error.__cause__)) is not lib.is_trio


async def test_a_transport_that_takes_no_alert_does_not_keep_the_error(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    clogged = False

    async def send_all(inner: Any, data: Any) -> None:
        if clogged:
            await lib.sleep_forever()
        await inner.send_all(data)

    near, far = lib.testing.memory_stream_pair()
    client, server = await shaken_pair(lib, certificates, (wrapped_transport(lib, near, send_all=send_all), far))
    clogged = True
    await far.send_all(b"this is no TLS" * 10)
    with lib.fail_after(10), pytest.raises(lib.BrokenResourceError):
        await client.receive_some()
    assert server.server_side


async def test_what_is_no_tls_breaks_a_handshake(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    server = lib.SSLStream(far, certificates.server_context(), server_side=True)
    await near.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(lib.BrokenResourceError) as caught:
        await server.do_handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLError)


@pytest.mark.parametrize("https_compatible", [False, True])
async def test_an_end_in_a_handshake_breaks_it(lib: Any, certificates: Certificates, https_compatible: bool) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair(), https_compatible=https_compatible)
    await server.transport_stream.send_eof()
    with pytest.raises(lib.BrokenResourceError) as caught:
        await client.do_handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_for_https_an_end_in_a_handshake_is_an_end_to_who_receives(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair(), https_compatible=True)
    await server.transport_stream.send_eof()
    assert await client.receive_some() == b""


@pytest.mark.unlike_trio("the others wait for ever there")
async def test_a_failed_handshake_fails_for_all_who_wait_for_it(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        calls = [await blocked(lib, nursery, call) for call in (client.do_handshake, client.receive_some)]
        await server.transport_stream.send_all(b"this is no TLS")
    assert [type(call.error) for call in calls] == [lib.BrokenResourceError] * 2


async def test_an_error_in_the_handshake_that_a_close_makes_is_raised(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.memory_stream_pair()
    client = lib.SSLStream(near, certificates.client_context(), server_hostname=HOSTNAME)
    await far.send_all(b"this is no TLS")
    with pytest.raises(lib.BrokenResourceError) as caught:
        await client.aclose()
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    with pytest.raises(lib.ClosedResourceError):
        await near.send_all(b"x")


# ---- records and ends -------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_an_end_without_a_goodbye_breaks_the_stream(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await server.send_all(b"cut")
    await server.transport_stream.send_eof()
    assert await receive_exactly(client, 3) == b"cut"
    for _ in range(2):
        with pytest.raises(lib.BrokenResourceError):
            await client.receive_some()
    with pytest.raises(lib.BrokenResourceError):
        await client.send_all(b"x")


@pytest.mark.semantics(31)
async def test_for_https_an_end_without_a_goodbye_is_an_end(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, https_compatible=True)
    await server.send_all(b"whole")
    await server.aclose()
    assert await receive_exactly(client, 5) == b"whole"
    assert await client.receive_some() == b""


async def test_for_https_the_end_is_the_end_again_and_again(lib: Any, certificates: Certificates) -> None:
    """In Trio the stream counts as broken from the second time on."""
    client, server = await shaken_pair(lib, certificates, https_compatible=True)
    await server.aclose()
    assert await client.receive_some() == b""
    if lib.is_trio:
        with pytest.raises(lib.BrokenResourceError):
            await client.receive_some()
    else:
        assert [await client.receive_some() for _ in range(2)] == [b"", b""]
    await client.aclose()
    with pytest.raises(lib.ClosedResourceError):
        await client.receive_some()


async def tapped_pair(lib: Any, certificates: Certificates, **options: Any) -> tuple[Any, Any, list[bytes]]:
    """Client, server, and what the server has sent since the handshake, which does not arrive by itself."""
    near, far = lib.testing.memory_stream_pair()
    caught: list[bytes] | None = None

    async def send_all(inner: Any, data: Any) -> None:
        await lib.lowlevel.checkpoint()
        if caught is None:
            await inner.send_all(data)
        else:
            caught.append(bytes(data))

    async def aclose(inner: Any) -> None:
        await lib.lowlevel.checkpoint()

    tapped = wrapped_transport(lib, far, send_all=send_all, aclose=aclose)
    client, server = await shaken_pair(lib, certificates, (near, tapped), **options)
    caught = []
    return client, server, caught


async def put(client: Any, data: bytes) -> None:
    client.transport_stream.receive_stream.put_data(data)


@pytest.mark.semantics(31)
@pytest.mark.parametrize("https_compatible", [False, True])
async def test_a_truncated_record_gives_nothing_of_it(
    lib: Any, certificates: Certificates, https_compatible: bool
) -> None:
    client, server, sent = await tapped_pair(lib, certificates, https_compatible=https_compatible)
    await server.send_all(b"truncated")
    await put(client, b"".join(sent)[:-1])
    client.transport_stream.receive_stream.put_eof()
    if https_compatible:
        assert await client.receive_some() == b""
    else:
        with pytest.raises(lib.BrokenResourceError):
            await client.receive_some()


async def test_what_came_before_a_truncated_record_comes_before_the_error(lib: Any, certificates: Certificates) -> None:
    client, server, sent = await tapped_pair(lib, certificates)
    await server.send_all(b"whole")
    await server.send_all(b"truncated")
    await put(client, b"".join(sent)[:-1])
    client.transport_stream.receive_stream.put_eof()
    assert await client.receive_some() == b"whole"
    with pytest.raises(lib.BrokenResourceError):
        await client.receive_some()


async def test_what_came_before_a_changed_record_comes_before_the_error(lib: Any, certificates: Certificates) -> None:
    client, server, sent = await tapped_pair(lib, certificates)
    await server.send_all(b"good")
    await server.send_all(b"bad")
    records = bytearray(b"".join(sent))
    records[-1] ^= 1
    await put(client, bytes(records))
    assert await client.receive_some() == b"good"
    for _ in range(2):
        with pytest.raises(lib.BrokenResourceError) as caught:
            await client.receive_some()
    assert isinstance(caught.value, lib.BrokenResourceError)


async def test_a_record_that_comes_twice_breaks_the_stream(lib: Any, certificates: Certificates) -> None:
    client, server, sent = await tapped_pair(lib, certificates)
    await server.send_all(b"tickets go first")
    sent.clear()
    await server.send_all(b"once")
    await put(client, sent[0] + sent[0])
    with pytest.raises(lib.BrokenResourceError):
        for _ in range(2):
            await client.receive_some()


async def test_several_records_that_are_here_come_at_once(lib: Any, certificates: Certificates) -> None:
    """In Trio each receive gives one record."""
    client, server, sent = await tapped_pair(lib, certificates)
    data = bytes(range(250)) * 200
    await server.send_all(data)
    await put(client, b"".join(sent))
    first = await client.receive_some()
    assert data.startswith(first)
    assert (first == data) is not lib.is_trio


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_a_peer_that_sends_a_byte_a_second_is_understood(
    lib: Any, certificates: Certificates, version: ssl.TLSVersion, autojump_clock: Any
) -> None:
    async def receive_some(inner: Any, max_bytes: int | None = None) -> Any:
        await lib.sleep(1)
        return await inner.receive_some(1)

    near, far = lib.testing.memory_stream_pair()
    slow = wrapped_transport(lib, near, receive_some=receive_some)
    client, server = await shaken_pair(lib, certificates, (slow, far), version=version)
    await server.send_all(b"slow")
    await server.aclose()
    assert await receive_exactly(client, 4) == b"slow"
    assert await client.receive_some() == b""
    assert lib.current_time() > 100


async def test_a_handshake_with_a_silent_peer_can_be_given_up(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    with pytest.raises(lib.TooSlowError), lib.fail_after(30):
        await client.do_handshake()
    with lib.fail_after(1):
        await lib.aclose_forcefully(client)


# ---- cancellation -----------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_a_send_that_was_cancelled_half_way_breaks_the_stream(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.send_all, b"x")
        nursery.cancel_scope.cancel()
    for call in (lambda: client.send_all(b"y"), client.wait_send_all_might_not_block, client.receive_some):
        with pytest.raises(lib.BrokenResourceError):
            await call()


@pytest.mark.semantics(31)
async def test_a_stream_broken_by_a_cancellation_can_be_closed(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.send_all, b"x")
        nursery.cancel_scope.cancel()
    await client.aclose()
    with pytest.raises(lib.ClosedResourceError):
        await client.send_all(b"y")


async def test_a_cancelled_receive_loses_nothing(lib: Any, certificates: Certificates) -> None:
    client, server, sent = await tapped_pair(lib, certificates)
    await server.send_all(b"in two pieces")
    record = b"".join(sent)
    for part in (record[:7], record[7:20]):
        await put(client, part)
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, client.receive_some)
            nursery.cancel_scope.cancel()
    await put(client, record[20:])
    assert await client.receive_some() == b"in two pieces"


async def test_a_handshake_cancelled_while_it_waits_can_go_on(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.do_handshake)
        nursery.cancel_scope.cancel()
    if lib.is_trio:
        with pytest.raises(lib.BrokenResourceError):
            await client.do_handshake()
    else:
        await shake_hands(lib, client, server)
        assert client.version() == server.version()


@pytest.mark.unlike_trio("the others wait for ever there")
async def test_a_handshake_cancelled_in_one_task_is_finished_by_another(lib: Any, certificates: Certificates) -> None:
    client, server = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            async with lib.open_nursery() as first:
                await blocked(lib, first, client.do_handshake)
                second = await blocked(lib, nursery, client.receive_some)
                scope.cancel()
        await server.send_all(b"x")
    assert second.value == b"x"


async def test_a_handshake_cancelled_while_it_sends_breaks_the_stream(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.do_handshake)
        nursery.cancel_scope.cancel()
    with pytest.raises(lib.BrokenResourceError):
        await client.do_handshake()


async def test_a_cancelled_wait_for_room_does_no_harm(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.wait_send_all_might_not_block)
        nursery.cancel_scope.cancel()
    async with lib.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"x")
        assert await receive_exactly(server, 1) == b"x"


# ---- closing ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_closing_says_goodbye_before_the_end(lib: Any, certificates: Certificates) -> None:
    client, server, sent = await tapped_pair(lib, certificates)
    await server.aclose()
    assert len(sent) == 1
    await put(client, sent[0])
    assert await client.receive_some() == b""


async def test_closing_for_https_says_nothing(lib: Any, certificates: Certificates) -> None:
    _, server, sent = await tapped_pair(lib, certificates, https_compatible=True)
    await server.aclose()
    assert sent == []


async def test_a_cancelled_close_closes_the_transport(lib: Any, certificates: Certificates) -> None:
    near, far = lib.testing.lockstep_stream_pair()
    client, _ = await shaken_pair(lib, certificates, (near, far))
    with lib.CancelScope() as scope:
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, client.aclose)
            scope.cancel()
    with pytest.raises(lib.ClosedResourceError):
        await near.send_all(b"x")
    with pytest.raises(lib.ClosedResourceError):
        await client.send_all(b"x")


async def test_a_close_cancelled_from_the_start_closes_the_transport(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    transport = client.transport_stream
    with cancelled_block(lib):
        await client.aclose()
    with pytest.raises(lib.ClosedResourceError):
        await transport.send_all(b"x")
    with pytest.raises(lib.BrokenResourceError):
        await server.receive_some()


async def test_closing_does_not_wait_for_the_peers_goodbye(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    await client.aclose()
    with pytest.raises(lib.ClosedResourceError):
        await client.receive_some()
    await server.aclose()  # nobody is there to get its goodbye


async def test_a_goodbye_that_nobody_gets_is_no_error(lib: Any, certificates: Certificates) -> None:
    near, far = await tcp_pair(lib)
    client, server = await shaken_pair(lib, certificates, (near, far))
    await server.transport_stream.aclose()
    await client.aclose()
    await server.transport_stream.aclose()


async def test_closing_ends_those_who_use_the_stream(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, await tcp_pair(lib))
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, client.receive_some)
        await client.aclose()
    assert isinstance(receiving.error, lib.ClosedResourceError)
    await server.aclose()


async def test_a_patient_close_can_be_hurried_by_another_task(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        closing = await blocked(lib, nursery, client.aclose)
        await lib.aclose_forcefully(client)
    assert closing.done
    if not lib.is_trio:  # where the patient one raises what it was closed by
        assert closing.error is None


async def test_a_close_that_waits_for_a_handshake_can_be_hurried_too(lib: Any, certificates: Certificates) -> None:
    client, _ = tls_pair(lib, certificates, lib.testing.memory_stream_pair())
    async with lib.open_nursery() as nursery:
        closing = await blocked(lib, nursery, client.aclose)
        await lib.aclose_forcefully(client)
    assert closing.done
    if not lib.is_trio:  # where the patient one raises what it was closed by
        assert closing.error is None


async def test_a_close_while_another_task_unwraps_ends_that(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates)
    async with lib.open_nursery() as nursery:
        unwrapping = await blocked(lib, nursery, client.unwrap)
        await client.aclose()
    assert isinstance(unwrapping.error, lib.ClosedResourceError)


async def test_for_https_an_end_that_was_met_in_the_middle_is_told_by_a_checkpoint(
    lib: Any, certificates: Certificates
) -> None:
    client, server, sent = await tapped_pair(lib, certificates, https_compatible=True)
    await server.send_all(b"whole")
    await server.send_all(b"truncated")
    await put(client, b"".join(sent)[:-1])
    client.transport_stream.receive_stream.put_eof()
    assert await client.receive_some() == b"whole"
    assert await is_schedule_point(lib, client.receive_some)


async def test_a_peer_that_sends_on_after_our_goodbye_breaks_an_unwrap(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    async with lib.open_nursery() as nursery:
        unwrapping = await blocked(lib, nursery, client.unwrap)
        await server.send_all(b"one more thing")
    assert isinstance(unwrapping.error, lib.BrokenResourceError)


async def test_a_peer_that_ends_without_a_goodbye_breaks_an_unwrap(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates)
    async with lib.open_nursery() as nursery:
        unwrapping = await blocked(lib, nursery, client.unwrap)
        await server.transport_stream.send_eof()
    assert isinstance(unwrapping.error, lib.BrokenResourceError)


async def test_an_unwrap_cancelled_while_it_waits_leaves_a_stream_to_close(
    lib: Any, certificates: Certificates
) -> None:
    client, server = await shaken_pair(lib, certificates)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.unwrap)
        nursery.cancel_scope.cancel()
    await client.aclose()
    assert await server.receive_some() == b""


# ---- both directions at a time ----------------------------------------------------------------------------------


async def renegotiating_pair(lib: Any, certificates: Certificates, transports: Any = None) -> tuple[Any, OpenSslPeer]:
    near, far = transports or lib.testing.memory_stream_pair()
    context = certificates.client_context(ssl.TLSVersion.TLSv1_2)
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    client = lib.SSLStream(near, context, server_hostname=HOSTNAME)
    peer = OpenSslPeer(lib, certificates, far)
    await shake_hands(lib, client, peer)
    return client, peer


async def test_a_receive_takes_part_in_a_renegotiation(lib: Any, certificates: Certificates) -> None:
    client, peer = await renegotiating_pair(lib, certificates)
    assert peer.connection.renegotiate()
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, client.receive_some)
        await peer.step(peer.connection.do_handshake)
        await peer.step(peer.read_until_renegotiated)
        await peer.step(peer.connection.send, b"after it")
    assert receiving.value == b"after it"


async def test_a_send_and_a_receive_take_part_in_one_renegotiation(lib: Any, certificates: Certificates) -> None:
    client, peer = await renegotiating_pair(lib, certificates)
    got = bytearray()

    async def serve() -> None:
        assert peer.connection.renegotiate()
        await peer.step(peer.connection.do_handshake)
        while len(got) < 6:
            got.extend(await peer.step(peer.connection.recv, 100))
        await peer.step(peer.connection.send, b"back")

    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, client.receive_some)
        nursery.start_soon(serve)
        await client.send_all(b"first ")
    assert (bytes(got), receiving.value) == (b"first ", b"back")


async def test_a_wait_for_room_stands_back_while_a_receive_sends(lib: Any, certificates: Certificates) -> None:
    clogged = False
    sending_below = 0

    async def alone(inner_call: Any, *arguments: Any) -> None:
        nonlocal sending_below
        sending_below += 1
        assert sending_below == 1, "the transport was used by two tasks at a time"
        try:
            while clogged:
                await lib.lowlevel.checkpoint()
            await inner_call(*arguments)
        finally:
            sending_below -= 1

    near, far = lib.testing.memory_stream_pair()
    tapped = wrapped_transport(
        lib,
        near,
        send_all=lambda inner, data: alone(inner.send_all, data),
        wait_send_all_might_not_block=lambda inner: alone(inner.wait_send_all_might_not_block),
    )
    client, peer = await renegotiating_pair(lib, certificates, (tapped, far))
    assert peer.connection.renegotiate()
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.receive_some)
        clogged = True
        peer.connection.do_handshake()
        await peer.flush()
        for _ in range(5):
            await lib.lowlevel.checkpoint()
        assert sending_below == 1
        nursery.start_soon(client.wait_send_all_might_not_block)
        for _ in range(5):
            await lib.lowlevel.checkpoint()
        clogged = False
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_two_tasks_cannot_send_and_two_cannot_receive(lib: Any, certificates: Certificates) -> None:
    client, _ = await shaken_pair(lib, certificates, lib.testing.lockstep_stream_pair())
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, client.receive_some)
        await blocked(lib, nursery, client.send_all, b"x")
        for call in (lambda: client.send_all(b"y"), client.wait_send_all_might_not_block, client.receive_some):
            with pytest.raises(lib.BusyResourceError):
                await call()
        nursery.cancel_scope.cancel()


async def test_many_messages_cross_in_both_directions(lib: Any, certificates: Certificates) -> None:
    client, server = await shaken_pair(lib, certificates, await tcp_pair(lib))
    data = bytes(range(256)) * 40

    async def send(stream: Any) -> None:
        for _ in range(100):
            await stream.send_all(data)

    async def receive(stream: Any) -> None:
        assert await receive_exactly(stream, 100 * len(data)) == 100 * data

    async with client, server:
        async with lib.open_nursery() as nursery:
            for stream in (client, server):
                nursery.start_soon(send, stream)
                nursery.start_soon(receive, stream)
