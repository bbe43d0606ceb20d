"""What this kernel's io_uring can do, found by asking it (IORING_REGISTER_PROBE) and never by its version."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from proactor_trio.backends.contract import BackendUnavailable, Capability, CapabilityReport, Support
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring.ring import Ring

_HEADER: Final = Struct("<BBHIII")
_ENTRY: Final = Struct("<BBHI")
_OPERATIONS: Final = 256
_SUPPORTED: Final = 1

_REQUIRED: Final = {
    c.OP_NOP: "NOP",
    c.OP_FSYNC: "FSYNC",
    c.OP_POLL_ADD: "POLL_ADD",
    c.OP_TIMEOUT: "TIMEOUT",
    c.OP_ACCEPT: "ACCEPT",
    c.OP_ASYNC_CANCEL: "ASYNC_CANCEL",
    c.OP_CONNECT: "CONNECT",
    c.OP_LINK_TIMEOUT: "LINK_TIMEOUT",
    c.OP_OPENAT: "OPENAT",
    c.OP_CLOSE: "CLOSE",
    c.OP_READ: "READ",
    c.OP_WRITE: "WRITE",
    c.OP_SEND: "SEND",
    c.OP_RECV: "RECV",
    # Came with Linux 5.19 together with cancellation by descriptor, which has no opcode of its own.
    c.OP_SOCKET: "SOCKET and cancellation by descriptor (Linux 5.19)",
}


def supported_opcodes(ring: Ring) -> frozenset[int]:
    """The opcodes of this kernel. Raises BackendUnavailable naming the first that we need and it lacks."""
    buffer = bytearray(_HEADER.size + _OPERATIONS * _ENTRY.size)
    result = ring.register(c.REGISTER_PROBE, buffer, _OPERATIONS)
    if result < 0:
        raise BackendUnavailable("this kernel's io_uring cannot be probed (Linux 5.6)", -result)
    opcodes = frozenset(
        opcode for opcode, _, flags, _ in _ENTRY.iter_unpack(memoryview(buffer)[_HEADER.size :]) if flags & _SUPPORTED
    )
    for opcode, name in _REQUIRED.items():
        if opcode not in opcodes:
            raise BackendUnavailable(f"this kernel's io_uring lacks {name}")
    return opcodes


def capability_reports(opcodes: frozenset[int], allowed: Capability) -> Mapping[Capability, CapabilityReport]:
    """The capabilities that are used, given what the kernel has and what the caller allows."""
    native, emulated, missing = Support.NATIVE, Support.EMULATED, Support.MISSING
    not_yet = "the kernel may have it; no operation of this version uses it"
    reports = {
        Capability.MULTISHOT: CapabilityReport(native, "ACCEPT with IORING_ACCEPT_MULTISHOT (Linux 5.19)"),
        Capability.FIXED_FILES: CapabilityReport(missing, not_yet),
        Capability.REGISTERED_BUFFERS: CapabilityReport(missing, not_yet),
        Capability.LINKED_OPERATIONS: CapabilityReport(native, "IOSQE_IO_LINK (Linux 5.3)"),
        Capability.ZERO_COPY_SEND: CapabilityReport(missing, not_yet),
        Capability.DMABUF: CapabilityReport(missing, not_yet),
        Capability.DEVICE_FENCE: CapabilityReport(missing, not_yet),
        Capability.ABSOLUTE_TIMEOUT: CapabilityReport(native, "IORING_TIMEOUT_ABS (Linux 5.5)"),
        Capability.FUTEX_OPERATIONS: CapabilityReport(
            missing, not_yet if c.OP_FUTEX_WAIT in opcodes else "the kernel lacks FUTEX_WAIT (Linux 6.7)"
        ),
        Capability.PROACTOR_MESSAGING: CapabilityReport(missing, not_yet),
        Capability.WAIT_COMPLETION_PACKET: CapabilityReport(missing, "a Windows mechanism"),
    }
    # What is emulated above the backend stays available when its native form is switched off.
    above = {Capability.MULTISHOT, Capability.LINKED_OPERATIONS, Capability.ABSOLUTE_TIMEOUT}
    for capability, report in reports.items():
        if not allowed & capability and report.support is native:
            support = emulated if capability in above else missing
            reports[capability] = CapabilityReport(support, "switched off by allowed_capabilities")
    return reports
