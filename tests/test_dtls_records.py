"""DTLS without a network: records, flights, cookies, and what there is without pyOpenSSL."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proactor_trio
from proactor_trio.streams.dtls.cookies import COOKIE_SECONDS, ClientHello, CookieJar
from proactor_trio.streams.dtls.flights import ClearRecord, HandshakeMessage, Packer, Part, SealedRecord, parts_of
from proactor_trio.streams.dtls.records import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    FRAGMENT_HEADER_BYTES,
    HANDSHAKE,
    OLDEST_VERSION,
    RECORD_HEADER_BYTES,
    Fragment,
    MalformedPacket,
    Record,
    fragments_of,
    is_well_formed,
    records_of,
)
from proactor_trio.testing import MockClock

VERSION = b"\xfe\xfd"
HEADERS = RECORD_HEADER_BYTES + FRAGMENT_HEADER_BYTES

records = st.builds(
    Record,
    content_type=st.integers(0, 255),
    version=st.just(VERSION),
    epoch=st.integers(0, 0xFFFF),
    sequence=st.integers(0, 2**48 - 1),
    payload=st.binary(max_size=200),
)


@given(st.lists(records, min_size=1, max_size=5))
def test_records_are_read_as_they_were_written(written: list[Record]) -> None:
    assert list(records_of(b"".join(record.encode() for record in written))) == written


@given(st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 1000), st.binary(max_size=200))
def test_fragments_are_read_as_they_were_written(kind: int, sequence: int, offset: int, data: bytes) -> None:
    written = Fragment(kind, offset + len(data) + 70_000, sequence, offset + 66_000, data)
    assert list(fragments_of(written.encode())) == [written]


@given(st.binary(max_size=100))
def test_any_bytes_are_records_or_malformed(packet: bytes) -> None:
    is_well_formed(packet)
    try:
        ClientHello.decode(packet)
    except MalformedPacket:
        return


@given(records, st.data())
def test_a_record_that_is_cut_off_is_malformed(record: Record, data: st.DataObject) -> None:
    packet = record.encode()
    with pytest.raises(MalformedPacket):
        list(records_of(packet[: data.draw(st.integers(0, len(packet) - 1))]))


def test_a_record_of_tls_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        list(records_of(Record(HANDSHAKE, b"\x03\x03", 0, 0, b"x").encode()))


def test_a_fragment_longer_than_its_message_is_malformed() -> None:
    with pytest.raises(MalformedPacket):
        list(fragments_of(Fragment(1, 3, 0, 2, b"xx").encode()))


# ---- flights ----------------------------------------------------------------------------------------------------

messages = st.builds(
    HandshakeMessage,
    version=st.just(VERSION),
    message_type=st.integers(0, 255),
    sequence=st.integers(0, 0xFFFF),
    body=st.binary(max_size=3000),
)
parts = st.one_of(
    messages,
    st.builds(ClearRecord, st.sampled_from([CHANGE_CIPHER_SPEC, ALERT]), st.just(VERSION), st.binary(max_size=2)),
    st.binary(max_size=60).map(lambda payload: SealedRecord(Record(HANDSHAKE, VERSION, 1, 7, payload).encode())),
)


@given(st.lists(parts, max_size=8), st.integers(150, 1500))
def test_what_was_packed_comes_out_of_the_packets(flight: list[Part], mtu: int) -> None:
    packets = Packer().pack(flight, mtu)
    assert parts_of(b"".join(packets)) == flight


@given(st.lists(parts, max_size=8), st.integers(150, 1500))
def test_packets_are_no_longer_than_the_mtu(flight: list[Part], mtu: int) -> None:
    assert all(0 < len(packet) <= mtu for packet in Packer().pack(flight, mtu))


@given(st.lists(parts, max_size=8), st.integers(-10, 60))
def test_an_mtu_that_is_too_small_for_anything_is_no_endless_loop(flight: list[Part], mtu: int) -> None:
    assert parts_of(b"".join(Packer().pack(flight, mtu))) == flight


@given(st.lists(parts, min_size=1, max_size=5), st.integers(0, 1000))
def test_records_in_the_clear_have_numbers_of_their_own_each_time(flight: list[Part], first: int) -> None:
    packer = Packer(first)
    packets = [packet for mtu in (1400, 200) for packet in packer.pack(flight, mtu)]
    numbers = [record.sequence for packet in packets for record in records_of(packet) if record.epoch == 0]
    assert numbers == list(range(first, first + len(numbers)))


def test_small_messages_share_a_packet() -> None:
    flight: list[Part] = [HandshakeMessage(VERSION, 2, number, b"body") for number in range(3)]
    assert [len(packet) for packet in Packer().pack(flight, 1400)] == [3 * (HEADERS + 4)]


# ---- cookies ----------------------------------------------------------------------------------------------------

ADDRESS = ("127.0.0.1", 12345)


def hello_packet(cookie: bytes = b"", random: bytes = bytes(32), sequence: int = 5) -> bytes:
    body = VERSION + random + b"\x00" + bytes([len(cookie)]) + cookie + b"\x00\x02\xc0\x2b\x01\x00"
    message = Fragment(CLIENT_HELLO, len(body), 0, 0, body)
    return Record(HANDSHAKE, OLDEST_VERSION, 0, sequence, message.encode()).encode()


def cookie_in(challenge: bytes) -> bytes:
    (record,) = records_of(challenge)
    (fragment,) = fragments_of(record.payload)
    assert fragment.data[2] == len(fragment.data) - 3
    return fragment.data[3:]


async def good_cookie(jar: CookieJar) -> bytes:
    return cookie_in(jar.challenge(ClientHello.decode(hello_packet()), ADDRESS))


def test_a_challenge_has_the_number_of_the_hello() -> None:
    async def main() -> int:
        challenge = CookieJar().challenge(ClientHello.decode(hello_packet(sequence=2**40 + 1)), ADDRESS)
        return next(records_of(challenge)).sequence

    assert proactor_trio.run(main) == 2**40 + 1


def test_a_cookie_that_comes_back_is_good() -> None:
    async def main() -> bool:
        jar = CookieJar()
        return jar.is_valid(ClientHello.decode(hello_packet(await good_cookie(jar))), ADDRESS)

    assert proactor_trio.run(main)


def test_a_cookie_is_of_one_jar_one_address_and_one_hello() -> None:
    async def main() -> list[bool]:
        jar = CookieJar()
        cookie = await good_cookie(jar)
        hello = ClientHello.decode(hello_packet(cookie))
        return [
            CookieJar().is_valid(hello, ADDRESS),
            jar.is_valid(hello, ("127.0.0.1", 12346)),
            jar.is_valid(ClientHello.decode(hello_packet(cookie, random=b"\x01" * 32)), ADDRESS),
            jar.is_valid(ClientHello.decode(hello_packet(cookie[:-1])), ADDRESS),
            jar.is_valid(ClientHello.decode(hello_packet()), ADDRESS),
        ]

    assert proactor_trio.run(main) == [False] * 5


def test_a_cookie_is_good_for_a_while() -> None:
    async def main() -> list[bool]:
        jar = CookieJar()
        hello = ClientHello.decode(hello_packet(await good_cookie(jar)))
        valid = []
        for _ in range(3):
            valid.append(jar.is_valid(hello, ADDRESS))
            clock.jump(COOKIE_SECONDS)
        return valid

    clock = MockClock()
    assert proactor_trio.run(main, clock=clock) == [True, True, False]


def test_a_hello_in_fragments_is_refused() -> None:
    fragment = Fragment(CLIENT_HELLO, 100, 0, 0, bytes(50))
    with pytest.raises(MalformedPacket):
        ClientHello.decode(Record(HANDSHAKE, OLDEST_VERSION, 0, 0, fragment.encode()).encode())


# ---- without pyOpenSSL ------------------------------------------------------------------------------------------

WITHOUT_PYOPENSSL = """
import sys
sys.modules["OpenSSL"] = None
import proactor_trio

async def main():
    with proactor_trio.socket.socket(type=proactor_trio.socket.SOCK_DGRAM) as socket:
        try:
            proactor_trio.DTLSEndpoint(socket)
        except ImportError as error:
            print(error)

proactor_trio.run(main)
"""


def test_without_pyopenssl_an_endpoint_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_PYOPENSSL], capture_output=True, text=True, check=True
    )
    assert "pip install proactor_trio[dtls]" in done.stdout
