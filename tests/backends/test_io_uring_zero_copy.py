"""When the io_uring backend says that it has zero-copy sends, and why not."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("io_uring is Linux's", allow_module_level=True)

from proactor_trio.backends.contract import Capability, CapabilityReport, Support
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.probe import capability_reports

OPCODES = frozenset((c.OP_SEND_ZC, c.OP_SENDMSG_ZC))


def report(opcodes: frozenset[int], features: int, allowed: Capability = Capability.ALL) -> CapabilityReport:
    return capability_reports(opcodes, features, allowed)[Capability.ZERO_COPY_SEND]


def test_with_both_opcodes_and_usage_reports_it_is_native() -> None:
    assert report(OPCODES, c.FEATURE_REG_REG_RING).support is Support.NATIVE


def test_an_older_kernel_lacks_an_opcode() -> None:
    found = report(frozenset((c.OP_SEND_ZC,)), c.FEATURE_REG_REG_RING)
    assert found.support is Support.MISSING and "SENDMSG_ZC" in found.reason


def test_a_kernel_that_does_not_say_whether_it_copied_is_not_used() -> None:
    found = report(OPCODES, 0)
    assert found.support is Support.MISSING and "copied" in found.reason


def test_it_can_be_switched_off() -> None:
    found = report(OPCODES, c.FEATURE_REG_REG_RING, Capability.ALL & ~Capability.ZERO_COPY_SEND)
    assert found.support is Support.MISSING and "switched off" in found.reason
