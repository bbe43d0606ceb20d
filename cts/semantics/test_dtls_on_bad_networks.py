"""DTLS on networks that lose, repeat, delay and forge packets, in time that jumps."""

from __future__ import annotations

import errno
import itertools
from typing import Any

import pytest

from cts.semantics.dtls_scenes import (
    Network,
    dtls_client_context,
    dtls_server_context,
    echo,
    network,
    straight,
    troubled,
)
from cts.semantics.tls_scenes import Certificates

SMALLEST_MTU = 548


async def served(lib: Any, net: Network, certificates: Certificates, handler: Any = echo) -> Any:
    server = net.endpoint()
    await net.nursery.start(server.serve, dtls_server_context(certificates), handler)
    return server


def connection(net: Network, certificates: Certificates, server: Any) -> Any:
    client = net.endpoint()
    return client.connect(server.socket.getsockname(), dtls_client_context(certificates))


async def talk(lib: Any, channel: Any, word: bytes) -> None:
    """Until it has come back: single packets may be lost."""
    while True:
        await channel.send(word)
        with lib.move_on_after(5):
            while await channel.receive() != word:
                pass
            return


@pytest.mark.parametrize("seed", range(6))
async def test_on_a_bad_network_hands_are_shaken_all_the_same(
    lib: Any, certificates: Certificates, autojump_clock: Any, seed: int
) -> None:
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        net.carry = troubled(seed)
        channel = connection(net, certificates, server)
        with lib.fail_after(3600):
            await channel.do_handshake()
            net.carry = troubled(seed, loss=0.1)
            await talk(lib, channel, b"through the noise")


async def test_each_single_packet_may_be_lost(lib: Any, certificates: Certificates, autojump_clock: Any) -> None:
    for lost in range(6):
        async with network(lib) as net:
            server = await served(lib, net, certificates)

            def carry(packet: bytes, source: Any, target: Any, lost: int = lost, net: Network = net) -> Any:
                return [] if len(net.sent) == lost + 1 else straight(packet, source, target)

            net.carry = carry
            channel = connection(net, certificates, server)
            with lib.fail_after(60):
                await channel.do_handshake()
                await talk(lib, channel, b"x")


async def test_waiting_for_an_answer_gets_longer(lib: Any, certificates: Certificates, autojump_clock: Any) -> None:
    times: list[float] = []

    def carry(packet: bytes, source: Any, target: Any) -> Any:
        times.append(lib.current_time())
        return []

    async with network(lib) as net:
        net.carry = carry
        channel = connection(net, certificates, net.endpoint())
        with lib.move_on_after(400):
            await channel.do_handshake(initial_retransmit_timeout=0.5)
    waits = [round(after - before, 3) for before, after in itertools.pairwise(times)]
    assert waits[:9] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_datagrams_get_smaller_where_large_ones_do_not_get_through(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    def carry(packet: bytes, source: Any, target: Any) -> Any:
        return straight(packet, source, target) if len(packet) <= 600 else []

    async with network(lib) as net:
        server = await served(lib, net, certificates)
        net.carry = carry
        channel = connection(net, certificates, server)
        with lib.fail_after(60):
            await channel.do_handshake()
        assert any(len(packet) > 600 for packet in net.packets_from(server))
        assert len(net.packets_from(server)[-1]) <= SMALLEST_MTU


@pytest.mark.parametrize("mtu", [300, 700])
async def test_no_datagram_of_a_handshake_is_larger_than_the_mtu(
    lib: Any, certificates: Certificates, autojump_clock: Any, mtu: int
) -> None:
    async def with_small_mtu(channel: Any) -> None:
        channel.set_ciphertext_mtu(mtu)
        await echo(channel)

    async with network(lib) as net:
        server = await served(lib, net, certificates, with_small_mtu)
        channel = connection(net, certificates, server)
        channel.set_ciphertext_mtu(mtu)
        await channel.do_handshake()
        sizes = [len(packet) for packet, _, _ in net.sent]
        assert max(sizes) <= mtu


async def test_a_datagram_that_the_system_finds_too_long_is_sent_in_pieces(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    """In Trio the error comes out."""
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        channel = connection(net, certificates, server)
        net.errors.append(OSError(errno.EMSGSIZE, "too long"))
        if lib.is_trio:
            with pytest.raises(OSError):
                await channel.do_handshake()
        else:
            await channel.do_handshake()


async def test_an_error_of_the_system_comes_out_of_a_send(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        channel = connection(net, certificates, server)
        await channel.do_handshake()
        net.errors.append(OSError(errno.ENETUNREACH, "unreachable"))
        with pytest.raises(OSError):
            await channel.send(b"x")
        await talk(lib, channel, b"still open")


async def test_a_last_flight_that_was_lost_is_sent_again(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    done = False

    async def note_and_echo(channel: Any) -> None:
        nonlocal done
        await channel.do_handshake()
        done = True
        await lib.sleep(0.5)
        net.carry = straight
        await echo(channel)

    def carry(packet: bytes, source: Any, target: Any) -> Any:
        is_last_flight = source == server.socket.getsockname() and packet[0] == 20
        return [] if is_last_flight else straight(packet, source, target)

    async with network(lib) as net:
        server = await served(lib, net, certificates, note_and_echo)
        net.carry = carry
        channel = connection(net, certificates, server)
        with lib.fail_after(30):
            await channel.do_handshake()
            assert done
            await talk(lib, channel, b"x")


@pytest.mark.unlike_trio("it may fail or wait for ever there")
async def test_a_handshake_that_was_given_up_can_go_on(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        channel = connection(net, certificates, server)
        for packets in (1, 2, 3):

            def carry(packet: bytes, source: Any, target: Any, packets: int = packets) -> Any:
                return straight(packet, source, target) if len(net.sent) <= packets else []

            net.carry = carry
            with lib.move_on_after(2.5):
                await channel.do_handshake()
        net.carry = straight
        with lib.fail_after(120):
            await channel.do_handshake()
            await talk(lib, channel, b"x")


async def test_nothing_is_kept_of_a_client_without_a_cookie(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    handled = 0

    async def count(channel: Any) -> None:
        nonlocal handled
        handled += 1

    async with network(lib) as net:
        server = await served(lib, net, certificates, count)
        net.carry = lambda packet, source, target: (
            [] if source == server.socket.getsockname() else straight(packet, source, target)
        )
        channel = connection(net, certificates, server)
        with lib.move_on_after(20):
            await channel.do_handshake()
        answers, hellos = net.packets_from(server), net.packets_from(channel.endpoint)
        assert handled == 0
        assert len(answers) == len(hellos) > 3
        assert all(len(answer) <= len(hello) for answer, hello in zip(answers, hellos, strict=True))


async def recorded_hello(lib: Any, net: Network, certificates: Certificates, server: Any) -> tuple[Any, bytes]:
    """A channel that has shaken hands, and the hello with a cookie that it did it with."""
    channel = connection(net, certificates, server)
    await channel.do_handshake()
    hellos = [packet for packet in net.packets_from(channel.endpoint) if packet[0] == 22 and packet[13] == 1]
    return channel, hellos[-1]


async def test_a_hello_that_comes_twice_makes_one_channel(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    handled: list[Any] = []

    async def handler(channel: Any) -> None:
        handled.append(channel)
        await echo(channel)

    async with network(lib) as net:
        server = await served(lib, net, certificates, handler)
        channel, hello = await recorded_hello(lib, net, certificates, server)
        net.send(hello, channel.endpoint.socket.getsockname(), server.socket.getsockname())
        await talk(lib, channel, b"undisturbed")
        assert len(handled) == 1


async def test_a_cookie_is_good_for_one_address_only(lib: Any, certificates: Certificates, autojump_clock: Any) -> None:
    handled: list[Any] = []

    async def handler(channel: Any) -> None:
        handled.append(channel.peer_address)
        await echo(channel)

    async with network(lib) as net:
        server = await served(lib, net, certificates, handler)
        channel, hello = await recorded_hello(lib, net, certificates, server)
        net.send(hello, ("10.0.0.99", 1), server.socket.getsockname())
        await talk(lib, channel, b"x")
        assert handled == [channel.endpoint.socket.getsockname()]
        assert net.sent[-1][2] != ("10.0.0.99", 1)


async def test_a_cookie_does_not_stay_good(lib: Any, certificates: Certificates, autojump_clock: Any) -> None:
    handled: list[Any] = []

    async def handler(channel: Any) -> None:
        handled.append(channel)
        await channel.do_handshake()

    async with network(lib) as net:
        server = await served(lib, net, certificates, handler)
        channel, hello = await recorded_hello(lib, net, certificates, server)
        await lib.sleep(1000)
        net.send(hello, channel.endpoint.socket.getsockname(), server.socket.getsockname())
        await lib.sleep(1)
        assert len(handled) == 1


async def test_a_client_that_has_not_shown_a_cookie_replaces_nobody(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        channel, _ = await recorded_hello(lib, net, certificates, server)
        first_hello = net.packets_from(channel.endpoint)[0]
        forged = bytearray(first_hello)
        forged[13 + 12 + 2] ^= 1  # another random
        net.send(bytes(forged), channel.endpoint.socket.getsockname(), server.socket.getsockname())
        await talk(lib, channel, b"undisturbed")


@pytest.mark.parametrize("cut", [1, 12, 13, 20, 25, 40, 60, 80])
async def test_a_hello_that_is_cut_off_is_ignored(
    lib: Any, certificates: Certificates, autojump_clock: Any, cut: int
) -> None:
    async with network(lib) as net:
        server = await served(lib, net, certificates)
        _, hello = await recorded_hello(lib, net, certificates, server)
        before = len(net.packets_from(server))
        net.send(hello[:cut], ("10.0.0.99", 1), server.socket.getsockname())
        await lib.sleep(1)
        assert len(net.packets_from(server)) == before


async def test_junk_in_the_middle_of_a_handshake_does_no_harm(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    def carry(packet: bytes, source: Any, target: Any) -> Any:
        return [(0.0, b"junk"), (0.0, packet[:-1]), (0.0, b"\x16\xfe\xfd" + bytes(10)), (0.1, packet)]

    async with network(lib) as net:
        server = await served(lib, net, certificates)
        net.carry = carry
        channel = connection(net, certificates, server)
        with lib.fail_after(60):
            await channel.do_handshake()
            await talk(lib, channel, b"x")


async def test_packets_that_come_twice_are_received_once(
    lib: Any, certificates: Certificates, autojump_clock: Any
) -> None:
    received: list[bytes] = []

    async def collect(channel: Any) -> None:
        async for packet in channel:
            received.append(packet)

    async with network(lib) as net:
        server = await served(lib, net, certificates, collect)
        channel = connection(net, certificates, server)
        await channel.do_handshake()
        net.carry = lambda packet, source, target: [(0.0, packet), (0.1, packet)]
        for number in range(3):
            await channel.send(b"%d" % number)
        await lib.sleep(1)
        assert sorted(received) == [b"0", b"1", b"2"]
