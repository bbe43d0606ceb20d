"""The kernel's form of addresses: what was encoded is decoded, and what the kernel writes is what the stdlib says."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactor_trio.proactor import Address, NotFound
from proactor_trio.proactor.address import decode_address, encode_address

ports = st.integers(0, 65535)
ipv4_hosts = st.binary(min_size=4, max_size=4).map(lambda packed: socket.inet_ntop(socket.AF_INET, packed))
#: Zero groups are frequent, so that runs of them are.
groups = st.one_of(st.just(0), st.integers(0, 0xFFFF))
ipv6_packed = st.lists(groups, min_size=8, max_size=8).map(lambda numbers: struct.pack(">8H", *numbers))
ipv6_hosts = ipv6_packed.map(lambda packed: socket.inet_ntop(socket.AF_INET6, packed))
numbers = st.integers(0, 0xFFFFFFFF)
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=26)
abstract_names = st.binary(max_size=107).map(lambda name: b"\0" + name)

ipv4_addresses = st.tuples(st.just(socket.AF_INET), st.tuples(ipv4_hosts, ports))
ipv6_addresses = st.tuples(st.just(socket.AF_INET6), st.tuples(ipv6_hosts, ports, numbers, numbers))
unix_addresses = st.tuples(st.just(socket.AF_UNIX), paths)
if sys.platform == "linux":
    unix_addresses |= st.tuples(st.just(socket.AF_UNIX), abstract_names)
addresses = ipv4_addresses | ipv6_addresses | unix_addresses


@given(addresses)
def test_decoding_gives_back_what_was_encoded(address: tuple[int, Any]) -> None:
    family, stdlib = address
    assert decode_address(encode_address(family, stdlib)) == stdlib


@given(addresses)
def test_the_text_of_an_address_means_that_address(address: tuple[int, Any]) -> None:
    """Reference: AddressRoundTrip."""
    made = Address(*address)
    assert Address.from_string(str(made)) == made or _has_another_spelling(made)


def _has_another_spelling(address: Address) -> bool:
    """A path that looks like an abstract name gets "./" before it: the same file, in other words."""
    return bool(address.family == socket.AF_UNIX and address.stdlib[0] == "@")


@given(addresses)
def test_the_text_of_an_address_is_stable(address: tuple[int, Any]) -> None:
    """Reference: AddressRoundTrip."""
    text = str(Address(*address))
    assert str(Address.from_string(text)) == text


@given(ipv6_packed)
def test_the_text_of_an_ipv6_address_is_one_that_the_system_reads_the_same(packed: bytes) -> None:
    text = str(Address(socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, packed), 1)))
    assert socket.inet_pton(socket.AF_INET6, text[1:-3]) == packed


@given(ipv6_packed)
def test_the_text_of_an_ipv6_address_has_no_run_of_zeros_that_could_be_shortened(packed: bytes) -> None:
    host = str(Address(socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, packed), 1)))[1:-3]
    assert "::" in host or ":0:0" not in f":{host}"


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Reference: the fuzz target."""
    try:
        address = Address.from_string(text)
    except (ValueError, NotFound):
        return
    assert Address.from_string(str(address)) == address


@given(st.binary(max_size=140))
def test_any_bytes_are_an_address_or_refused(sockaddr: bytes) -> None:
    """Reference: AddressFormat.TruncatedLengthTooShort."""
    try:
        decode_address(sockaddr)
    except ValueError:
        return


def test_no_bytes_are_the_address_of_a_sender_that_has_none() -> None:
    assert decode_address(b"") is None


def test_the_family_alone_is_a_unix_socket_without_a_name() -> None:
    assert decode_address(struct.pack("=H", socket.AF_UNIX)) == ""


@pytest.mark.parametrize("length", [0, 1])
def test_a_unix_path_may_come_with_or_without_its_nul(length: int) -> None:
    """Reference: AddressFormat.UnixPathWithoutTrailingNulInLength."""
    assert decode_address(struct.pack("=H", socket.AF_UNIX) + b"/tmp/a" + bytes(length)) == "/tmp/a"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_bytes_that_are_too_few_are_refused(family: int) -> None:
    """Reference: AddressFormat.TruncatedLengthTooShort."""
    with pytest.raises(ValueError, match="too few"):
        decode_address(struct.pack("=H", family) + b"123")


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family"):
        decode_address(bytes(16))


def test_a_zone_in_the_host_is_the_scope() -> None:
    assert encode_address(socket.AF_INET6, ("fe80::1%7", 80)) == encode_address(socket.AF_INET6, ("fe80::1", 80, 0, 7))


@pytest.mark.parametrize("address", [("::1", 80, -1), ("::1", 80, 0, 1 << 32), ("::1", 80, "0")])
def test_flow_and_scope_are_32_bit_numbers(address: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="flow and scope"):
        encode_address(socket.AF_INET6, address)


@pytest.mark.parametrize("path", ["", "a\0b", "a" * 108])
def test_a_unix_path_that_the_kernel_would_misread_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="address"):
        encode_address(socket.AF_UNIX, path)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names exist on Linux only")
def test_the_longest_abstract_name_has_107_bytes() -> None:
    assert len(encode_address(socket.AF_UNIX, b"\0" + b"a" * 107)) == 2 + 108
