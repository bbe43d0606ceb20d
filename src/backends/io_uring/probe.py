"""What this kernel's io_uring can do, found by asking it (IORING_REGISTER_PROBE) and never by its version."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final

from proactor_trio.backends.contract import BackendUnavailable, Capability, CapabilityReport, Kind, Support
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
    c.OP_SENDMSG: "SENDMSG",
    c.OP_RECVMSG: "RECVMSG",
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


def multishot_kinds(opcodes: frozenset[int]) -> frozenset[Kind]:
    """The kinds whose MULTISHOT form this kernel has."""
    # IORING_RECV_MULTISHOT cannot be asked for; it came together with SEND_ZC (Linux 6.0).
    return frozenset((Kind.ACCEPT, Kind.RECV_BYTES, Kind.RECV_POOL) if c.OP_SEND_ZC in opcodes else (Kind.ACCEPT,))


def _multishot_report(opcodes: frozenset[int]) -> CapabilityReport:
    if Kind.RECV_POOL in multishot_kinds(opcodes):
        return CapabilityReport(
            Support.NATIVE, "ACCEPT and RECV into provided buffers (Linux 6.0); others are begun again"
        )
    return CapabilityReport(Support.NATIVE, "ACCEPT (Linux 5.19); the others are begun again")


def _zero_copy_report(opcodes: frozenset[int], features: int) -> CapabilityReport:
    if not opcodes.issuperset((c.OP_SEND_ZC, c.OP_SENDMSG_ZC)):
        return CapabilityReport(Support.MISSING, "the kernel lacks SENDMSG_ZC (Linux 6.1); sends are copied")
    # That a kernel says whether it copied (6.2) cannot be asked for; this feature came with the next one.
    if not features & c.FEATURE_REG_REG_RING:
        return CapabilityReport(Support.MISSING, "the kernel does not say whether it copied (Linux 6.3)")
    return CapabilityReport(Support.NATIVE, "SEND_ZC and SENDMSG_ZC with IORING_SEND_ZC_REPORT_USAGE (Linux 6.3)")


def capability_reports(
    opcodes: frozenset[int], features: int, allowed: Capability
) -> Mapping[Capability, CapabilityReport]:
    """The capabilities that are used, given what the kernel has and what the caller allows."""
    native, emulated, missing = Support.NATIVE, Support.EMULATED, Support.MISSING
    reports = {
        Capability.MULTISHOT: _multishot_report(opcodes),
        Capability.FIXED_FILES: CapabilityReport(native, "IOSQE_FIXED_FILE in a sparse table (Linux 5.19)"),
        Capability.REGISTERED_BUFFERS: CapabilityReport(native, "IORING_RSRC_REGISTER_SPARSE (Linux 5.19)"),
        Capability.LINKED_OPERATIONS: CapabilityReport(native, "IOSQE_IO_LINK (Linux 5.3)"),
        Capability.ZERO_COPY_SEND: _zero_copy_report(opcodes, features),
        Capability.DMABUF: CapabilityReport(native, "mapped, and pinned where the exporter's pages can be"),
        Capability.DEVICE_FENCE: CapabilityReport(native, "POLL_ADD on a fence, and WRITE to one in a chain"),
        Capability.ABSOLUTE_TIMEOUT: CapabilityReport(native, "IORING_TIMEOUT_ABS (Linux 5.5)"),
        Capability.FUTEX_OPERATIONS: CapabilityReport(native, "FUTEX_WAIT and FUTEX_WAKE (Linux 6.7)")
        if c.OP_FUTEX_WAIT in opcodes
        else CapabilityReport(missing, "the kernel lacks FUTEX_WAIT (Linux 6.7)"),
        Capability.PROACTOR_MESSAGING: CapabilityReport(native, "MSG_RING (Linux 5.18)")
        if c.OP_MSG_RING in opcodes
        else CapabilityReport(emulated, "a queue and a wake-up; the kernel lacks MSG_RING (Linux 5.18)"),
        Capability.WAIT_COMPLETION_PACKET: CapabilityReport(missing, "a Windows mechanism"),
    }
    # What is emulated above the backend stays available when its native form is switched off.
    above = {
        Capability.MULTISHOT,
        Capability.LINKED_OPERATIONS,
        Capability.ABSOLUTE_TIMEOUT,
        Capability.PROACTOR_MESSAGING,
        Capability.DEVICE_FENCE,
        Capability.REGISTERED_BUFFERS,
    }
    for capability, report in reports.items():
        if not allowed & capability and report.support is native:
            support = emulated if capability in above else missing
            reports[capability] = CapabilityReport(support, "switched off by allowed_capabilities")
    return reports
