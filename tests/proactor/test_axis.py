"""Axis: 64 bits that name a timeline. Reference: AxisTest."""

from __future__ import annotations

import pytest

from proactor_trio.proactor import Axis, AxisDomain


@pytest.mark.parametrize(
    ("axis", "number"),
    [
        (Axis.make_queue(1, 3, 1, 0), 0x0103000100000000),
        (Axis.make(1, 3, AxisDomain.COLLECTIVE, 42), 0x010301000000002A),
        (Axis.make(1, 3, AxisDomain.HOST, 7), 0x0103030000000007),
        (Axis.make(1, 3, AxisDomain.EPILOGUE, 7), 0x0103020000000007),
    ],
)
def test_the_bits_stand_where_the_layout_says(axis: Axis, number: int) -> None:
    assert axis == number


def test_a_queue_axis_gives_back_what_it_was_made_of() -> None:
    """Reference: QueueAxisRoundTrip."""
    axis = Axis.make_queue(session_epoch=5, machine_index=6, device_index=7, queue_index=8)
    parts = (axis.session_epoch, axis.machine_index, axis.domain, axis.device_index, axis.queue_index)
    assert parts == (5, 6, AxisDomain.QUEUE, 7, 8)


def test_a_queue_axis_holds_the_largest_numbers() -> None:
    """Reference: QueueAxisMaxValues."""
    axis = Axis.make_queue(255, 255, 255, 255)
    parts = (axis.session_epoch, axis.machine_index, axis.domain, axis.device_index, axis.queue_index)
    assert parts == (255, 255, AxisDomain.QUEUE, 255, 255)


def test_the_low_bits_of_a_queue_axis_are_reserved() -> None:
    assert Axis.make_queue(255, 255, 255, 255) & 0xFFFFFF == 0


@pytest.mark.parametrize("domain", [AxisDomain.COLLECTIVE, AxisDomain.EPILOGUE, AxisDomain.HOST])
def test_other_axes_give_back_what_they_were_made_of(domain: AxisDomain) -> None:
    """Reference: CollectiveAxisRoundTrip, EpilogueAxisRoundTrip, HostAxisRoundTrip."""
    axis = Axis.make(1, 2, domain, (1 << 40) - 1)
    assert (axis.session_epoch, axis.machine_index, axis.domain, axis.ordinal) == (1, 2, domain, (1 << 40) - 1)


def test_the_ordinal_is_cut_to_40_bits() -> None:
    """Reference: OrdinalMasking."""
    axis = Axis.make(1, 2, AxisDomain.HOST, 0xFF_12_3456_789A)
    assert (axis.domain, axis.ordinal) == (AxisDomain.HOST, 0x12_3456_789A)


def test_axes_sort_by_session_machine_domain_ordinal() -> None:
    """Reference: SortingOrder."""
    ascending = [
        Axis.make(1, 1, AxisDomain.QUEUE, 9),
        Axis.make(1, 1, AxisDomain.COLLECTIVE, 1),
        Axis.make(1, 1, AxisDomain.COLLECTIVE, 2),
        Axis.make(1, 1, AxisDomain.HOST, 0),
        Axis.make(1, 2, AxisDomain.QUEUE, 0),
        Axis.make(2, 0, AxisDomain.QUEUE, 0),
    ]
    assert sorted(ascending[index] for index in (3, 0, 5, 1, 4, 2)) == ascending


def test_an_axis_of_a_plain_number_has_the_same_parts() -> None:
    assert Axis(0x0103000100000000).device_index == 1


def test_a_domain_that_is_not_defined_is_a_plain_number() -> None:
    assert Axis.make(1, 1, 200, 0).domain == 200


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_what_has_more_than_64_bits_is_no_axis(number: int) -> None:
    with pytest.raises(ValueError, match="number"):
        Axis(number)


@pytest.mark.parametrize("argument", ["session_epoch", "machine_index", "domain"])
def test_a_part_that_does_not_fit_is_refused_by_name(argument: str) -> None:
    parts = {"session_epoch": 0, "machine_index": 0, "domain": 0, "ordinal": 0, argument: 256}
    with pytest.raises(ValueError, match=argument):
        Axis.make(**parts)


@pytest.mark.parametrize("argument", ["device_index", "queue_index"])
def test_a_part_of_a_queue_that_does_not_fit_is_refused_by_name(argument: str) -> None:
    parts = {"session_epoch": 0, "machine_index": 0, "device_index": 0, "queue_index": 0, argument: -1}
    with pytest.raises(ValueError, match=argument):
        Axis.make_queue(**parts)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Axis.make_queue(1, 3, 1, 0), "session 1, machine 3, device 1, queue 0"),
        (Axis.make(1, 3, AxisDomain.HOST, 7), "session 1, machine 3, HOST 7"),
        (Axis.make(1, 3, 9, 7), "session 1, machine 3, domain 9, ordinal 7"),
    ],
)
def test_it_shows_its_parts(axis: Axis, words: str) -> None:
    assert words in repr(axis)
