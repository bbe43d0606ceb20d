"""Address: what text means which address, and the canonical text of each. Ids are the reference's case names."""

from __future__ import annotations

import pickle
import socket
import sys

import pytest

from proactor_trio.proactor import Address, NotFound, StatusCode, Unimplemented, status_of

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names exist on Linux only")
LOOPBACK_INDEX = socket.if_nametoindex("lo") if sys.platform == "linux" else 1


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        pytest.param("", 8080, "0.0.0.0:8080", id="EmptyHostIsAny"),
        pytest.param("127.0.0.1", 80, "127.0.0.1:80", id="Loopback"),
        pytest.param("0.0.0.0", 0, "0.0.0.0:0", id="AllZeros"),
        pytest.param("255.255.255.255", 65535, "255.255.255.255:65535", id="MaxOctets"),
        pytest.param("192.168.1.1", 0, "192.168.1.1:0", id="EphemeralPort"),
        pytest.param("10.0.0.1", 443, "10.0.0.1:443", id="TypicalServerPort"),
        pytest.param("1.2.3.4", 5, "1.2.3.4:5", id="SingleDigitOctets"),
    ],
)
def test_from_ipv4(host: str, port: int, text: str) -> None:
    """Reference: AddressFromIpv4, the valid cases."""
    assert str(Address.from_ipv4(host, port)) == text


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("256.0.0.1", id="OctetOverflow"),
        pytest.param("999.0.0.1", id="OctetOverflowLarge"),
        pytest.param("1.2.3", id="TooFewDots"),
        pytest.param("1.2.3.4.5", id="TooManyDots"),
        pytest.param("01.02.03.04", id="LeadingZeros"),
        pytest.param("1.02.3.4", id="LeadingZeroSingle"),
        pytest.param("1.2.3.4xyz", id="TrailingGarbage"),
        pytest.param(" 1.2.3.4", id="WhitespaceLeading"),
        pytest.param("1.2.3.4 ", id="WhitespaceTrailing"),
        pytest.param("1..3.4", id="EmptyOctet"),
        pytest.param("0x7f.0.0.1", id="HexRejected"),
        pytest.param("...", id="JustDots"),
        pytest.param("-1.0.0.0", id="NegativeRejected"),
        pytest.param("9999999999.0.0.1", id="VeryLongDigitString"),
        pytest.param("1.2\0.3.4", id="EmbeddedNul"),
        pytest.param("1.2.3.4\0", id="trailing NUL"),
        pytest.param("\u0661.2.3.4", id="a digit of another script"),
        pytest.param("localhost", id="a name"),
        pytest.param("::1", id="IPv6"),
    ],
)
def test_from_ipv4_refuses(host: str) -> None:
    """Reference: AddressFromIpv4, the error cases."""
    with pytest.raises(ValueError, match="host"):
        Address.from_ipv4(host, 80)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        pytest.param("", "[::]:80", id="EmptyHostIsAny"),
        pytest.param("::1", "[::1]:80", id="Loopback"),
        pytest.param("2001:0db8:0000:0000:0000:0000:0000:0001", "[2001:db8::1]:80", id="FullForm"),
        pytest.param("2001:db8::1", "[2001:db8::1]:80", id="CompressionMiddle"),
        pytest.param("::1:2", "[::1:2]:80", id="CompressionStart"),
        pytest.param("2001:db8::", "[2001:db8::]:80", id="CompressionEnd"),
        pytest.param("::", "[::]:80", id="AllZeros"),
        pytest.param(":".join(["ffff"] * 8), f"[{':'.join(['ffff'] * 8)}]:80", id="AllOnes"),
        pytest.param("fe80::1", "[fe80::1]:80", id="LinkLocal"),
        pytest.param("2001:DB8::ABCD", "[2001:db8::abcd]:80", id="MixedCase"),
        pytest.param("2001:db8:0:1:0:0:0:1", "[2001:db8:0:1::1]:80", id="SingleZeroGroupNotCompressed"),
        pytest.param("1:2:3:0:5:6:7:8", "[1:2:3:0:5:6:7:8]:80", id="one zero group is written out"),
        pytest.param("1:1:0:0:1:0:0:0", "[1:1:0:0:1::]:80", id="LongestRunWins"),
        pytest.param("1:0:0:1:1:0:0:1", "[1::1:1:0:0:1]:80", id="LeftmostTiebreak"),
        pytest.param("::ffff:192.168.1.1", "[::ffff:192.168.1.1]:80", id="Ipv4Mapped"),
        pytest.param("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80", id="Ipv4MappedLoopback"),
        pytest.param("::ffff:0:0", "[::ffff:0.0.0.0]:80", id="mapped any"),
        pytest.param("::1.2.3.4", "[::102:304]:80", id="compatible addresses contain no IPv4 any more"),
        pytest.param("0001:0002::0003", "[1:2::3]:80", id="LeadingZerosInGroup"),
        pytest.param("1:2:3:4:5:6:1.2.3.4", "[1:2:3:4:5:6:102:304]:80", id="SixGroupsPlusIpv4Suffix"),
        pytest.param("fe80::1%3", "[fe80::1%3]:80", id="ZoneIdNumeric"),
        pytest.param("fe80::1%42", "[fe80::1%42]:80", id="ZoneIdLargeNumeric"),
        pytest.param("fe80::1%0", "[fe80::1]:80", id="ZoneIdZeroNotFormatted"),
        pytest.param("fe80::1%4294967295", "[fe80::1%4294967295]:80", id="the largest zone"),
    ],
)
def test_from_ipv6(host: str, text: str) -> None:
    """Reference: AddressFromIpv6, the valid cases; AddressFormat Ipv6Loopback, Ipv6Any, Ipv6Mapped."""
    assert str(Address.from_ipv6(host, 80)) == text


@on_linux
def test_a_zone_may_be_the_name_of_an_interface_and_its_text_is_the_number() -> None:
    """Reference: ZoneIdInterfaceName."""
    assert str(Address.from_ipv6("fe80::1%lo", 80)) == f"[fe80::1%{LOOPBACK_INDEX}]:80"


def test_a_zone_of_no_interface_is_not_found() -> None:
    """Reference: ZoneIdUnknownInterface."""
    with pytest.raises(NotFound, match="noif0") as refusal:
        Address.from_ipv6("fe80::1%noif0", 80)
    assert status_of(refusal.value) is StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("2001::db8::1", id="DoubleCompressionRejected"),
        pytest.param("1:2:3:4:5:6:7:8:9", id="TooManyGroups"),
        pytest.param("1:2:3:4:5:6:7", id="TooFewGroupsNoCompression"),
        pytest.param("2001:dbbbb::1", id="GroupTooLong"),
        pytest.param("2001:xyzw::1", id="InvalidHexChar"),
        pytest.param("2001:db8:1:", id="TrailingColon"),
        pytest.param(":1", id="LeadingSingleColon"),
        pytest.param("1:2:3:4:5::6:7:8:9", id="TooManyGroupsWithCompression"),
        pytest.param("::ffff:256.1.1.1", id="Ipv4MappedOctetOverflow"),
        pytest.param("::ffff:1.2.3", id="Ipv4MappedTooFewOctets"),
        pytest.param("::1:2:3:4:5:6:1.2.3.4", id="CompressionPlusIpv4TooManyGroups"),
        pytest.param("fe80::1%", id="ZoneIdEmpty"),
        pytest.param("fe80::1%this_name_is_way_too_long", id="ZoneIdInterfaceNameTooLong"),
        pytest.param("fe80::1%4294967296", id="a zone out of range"),
        pytest.param("%3", id="a zone of nothing"),
        pytest.param("::1\0", id="NUL"),
        pytest.param("[::1]", id="brackets"),
        pytest.param("1.2.3.4", id="IPv4"),
    ],
)
def test_from_ipv6_refuses(host: str) -> None:
    """Reference: AddressFromIpv6, the error cases."""
    with pytest.raises(ValueError, match="host"):
        Address.from_ipv6(host, 80)


@pytest.mark.parametrize("make", [Address.from_ipv4, Address.from_ipv6])
@pytest.mark.parametrize(
    ("port", "error"), [(-1, ValueError), (65536, ValueError), ("80", TypeError), (None, TypeError)]
)
def test_a_port_is_from_0_to_65535(make: type, port: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="port"):
        make("", port)


@pytest.mark.parametrize("make", [Address.from_ipv4, Address.from_ipv6])
def test_a_host_is_a_string(make: type) -> None:
    with pytest.raises(TypeError, match="host"):
        make(b"", 80)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("/tmp/socket.sock", "unix:/tmp/socket.sock", id="SimplePath"),
        pytest.param("./relative.sock", "unix:./relative.sock", id="RelativePath"),
        pytest.param("a" * 103, "unix:" + "a" * 103, id="MaxLengthPath"),
        pytest.param("@my-abstract-socket", "unix:@my-abstract-socket", id="AbstractNamespace", marks=on_linux),
        pytest.param("@", "unix:@", id="AbstractNamespaceEmpty", marks=on_linux),
        pytest.param("@" + "a" * 107, "unix:@" + "a" * 107, id="the longest abstract name", marks=on_linux),
    ],
)
def test_from_unix(path: str, text: str) -> None:
    """Reference: AddressFromUnix, the valid cases."""
    assert str(Address.from_unix(path)) == text


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="EmptyPathRejected"),
        pytest.param("x" * 200, id="PathTooLong"),
        pytest.param("@" + "x" * 108, id="an abstract name that is too long", marks=on_linux),
        pytest.param("a\0b", id="NUL inside"),
        pytest.param("\0name", id="NUL before"),
    ],
)
def test_from_unix_refuses(path: str) -> None:
    """Reference: AddressFromUnix, the error cases."""
    with pytest.raises(ValueError, match="path"):
        Address.from_unix(path)


def test_abstract_names_are_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: AbstractNamespaceUnavailable."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unimplemented, match="path"):
        Address.from_unix("@abstract")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param("127.0.0.1:80", "127.0.0.1:80", id="Ipv4Loopback"),
        pytest.param("0.0.0.0:0", "0.0.0.0:0", id="Ipv4AllZeros"),
        pytest.param("255.255.255.255:65535", "255.255.255.255:65535", id="Ipv4MaxValues"),
        pytest.param(":8080", "0.0.0.0:8080", id="Ipv4EmptyHostIsAny"),
        pytest.param(":0", "0.0.0.0:0", id="any host, any port"),
        pytest.param("10.0.0.1:443", "10.0.0.1:443", id="Ipv4TypicalServer"),
        pytest.param("192.168.1.1:0", "192.168.1.1:0", id="Ipv4EphemeralPort"),
        pytest.param("[::1]:80", "[::1]:80", id="Ipv6Loopback"),
        pytest.param("[::]:0", "[::]:0", id="Ipv6Any"),
        pytest.param("[2001:db8::1]:443", "[2001:db8::1]:443", id="Ipv6Compressed"),
        pytest.param("[::ffff:192.168.1.1]:8080", "[::ffff:192.168.1.1]:8080", id="Ipv6Ipv4Mapped"),
        pytest.param("[fe80::1%3]:80", "[fe80::1%3]:80", id="Ipv6ZoneId"),
        pytest.param("[2001:0db8::1]:80", "[2001:db8::1]:80", id="Ipv6NonCanonicalInput"),
        pytest.param("[2001:db8:85a3:0:0:8a2e:370:7334]:1", "[2001:db8:85a3::8a2e:370:7334]:1", id="Ipv6Full"),
        pytest.param("[::1]:65535", "[::1]:65535", id="Ipv6MaxPort"),
        pytest.param("[]:0", "[::]:0", id="Ipv6EmptyBrackets"),
        pytest.param("unix:/tmp/socket.sock", "unix:/tmp/socket.sock", id="UnixFilesystem"),
        pytest.param("unix:./relative.sock", "unix:./relative.sock", id="UnixRelativePath"),
        pytest.param("unix:@my-socket", "unix:@my-socket", id="UnixAbstract", marks=on_linux),
        pytest.param("unix:a:80", "unix:a:80", id="a path with a colon"),
    ],
)
def test_from_string(text: str, canonical: str) -> None:
    """Reference: AddressFromString, the valid cases."""
    assert str(Address.from_string(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="Empty"),
        pytest.param("127.0.0.1", id="Ipv4MissingPort"),
        pytest.param("127.0.0.1:", id="Ipv4EmptyPort"),
        pytest.param("127.0.0.1:abc", id="Ipv4NonNumericPort"),
        pytest.param("127.0.0.1:99999", id="Ipv4PortOverflow"),
        pytest.param("127.0.0.1:65536", id="one more than the largest port"),
        pytest.param("127.0.0.1:080", id="Ipv4PortLeadingZeros"),
        pytest.param("127.0.0.1:00", id="Ipv4PortLeadingZeroDouble"),
        pytest.param("127.0.0.1:+80", id="a sign"),
        pytest.param("127.0.0.1: 80", id="a blank"),
        pytest.param("127.0.0.1:8_0", id="an underscore"),
        pytest.param("127.0.0.1:\u0668", id="a digit of another script"),
        pytest.param("127.0.0.1:" + "1" * 5000, id="a port of 5000 digits"),
        pytest.param("just_a_word", id="NoColonAtAll"),
        pytest.param("localhost:80", id="a name"),
        pytest.param("[::1", id="Ipv6MissingCloseBracket"),
        pytest.param("[::1]", id="Ipv6NoPortAfterBracket"),
        pytest.param("[::1]x:80", id="something between bracket and port"),
        pytest.param("::1:80", id="IPv6 without brackets"),
        pytest.param("[127.0.0.1]:80", id="IPv4 in brackets"),
        pytest.param("unix:", id="an empty path"),
    ],
)
def test_from_string_refuses(text: str) -> None:
    """Reference: AddressFromString, the error cases."""
    with pytest.raises(ValueError):
        Address.from_string(text)


def test_text_is_a_string() -> None:
    with pytest.raises(TypeError, match="text"):
        Address.from_string(b"127.0.0.1:80")  # type: ignore[arg-type]


def test_a_path_that_begins_like_an_abstract_name_stays_a_path_in_text() -> None:
    address = Address(socket.AF_UNIX, "@file")
    assert str(address) == "unix:./@file"


@on_linux
def test_a_name_in_bytes_that_are_no_text_survives() -> None:
    address = Address(socket.AF_UNIX, b"\0\xff\xfe")
    assert Address.from_string(str(address)) == address


def test_addresses_are_equal_by_what_they_mean() -> None:
    assert Address.from_ipv6("2001:db8:0::1", 80) == Address.from_string("[2001:DB8::0:1]:80")


def test_addresses_of_different_families_are_different() -> None:
    assert Address.from_ipv4("127.0.0.1", 80) != Address.from_ipv6("::ffff:127.0.0.1", 80)


def test_an_address_is_not_equal_to_its_stdlib_form() -> None:
    assert Address.from_ipv4("127.0.0.1", 80) != ("127.0.0.1", 80)


def test_equal_addresses_are_one_key() -> None:
    assert len({Address.from_string("[::1]:80"), Address.from_ipv6("0::1", 80)}) == 1


def test_an_address_cannot_be_changed() -> None:
    address = Address.from_ipv4("127.0.0.1", 80)
    with pytest.raises(AttributeError):
        address.family = socket.AF_INET6  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del address.stdlib


def test_an_address_can_be_pickled() -> None:
    address = Address.from_ipv6("fe80::1%3", 80)
    assert pickle.loads(pickle.dumps(address)) == address


def test_repr_shows_the_text() -> None:
    assert repr(Address.from_ipv4("", 0)) == "<Address 0.0.0.0:0>"


def test_an_address_of_a_family_that_is_not_supported_is_refused() -> None:
    """Reference: AddressFormat.EmptyAddress."""
    with pytest.raises(ValueError, match="family"):
        Address(0, ("127.0.0.1", 80))


def test_the_stdlib_takes_the_stdlib_form() -> None:
    with socket.socket() as listener:
        listener.bind(Address.from_string("127.0.0.1:0").stdlib)
        assert str(Address(listener.family, listener.getsockname())).startswith("127.0.0.1:")
