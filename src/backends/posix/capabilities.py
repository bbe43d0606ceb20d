"""What the posix backend has of the eleven capabilities, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proactor_trio.backends.contract import Capability, CapabilityReport, Support

_EMULATED: Final = {
    Capability.MULTISHOT: "an accept stays armed and takes every connection that is ready",
    Capability.LINKED_OPERATIONS: "the proactor starts each step when the one before has succeeded",
    Capability.PROACTOR_MESSAGING: "a queue and a wake-up",
    Capability.DEVICE_FENCE: "a fence's descriptor is waited for, and signals a semaphore",
    Capability.ABSOLUTE_TIMEOUT: "the proactor keeps the deadlines and shortens the wait",
    Capability.REGISTERED_BUFFERS: "regions are plain memory: the kernel pins no buffers outside io_uring",
}

_MISSING: Final = {
    Capability.FIXED_FILES: "the kernel has no table of files outside io_uring",
    Capability.ZERO_COPY_SEND: "sends are copied by the kernel",
    Capability.DMABUF: "readiness calls move bytes through the processor",
    Capability.FUTEX_OPERATIONS: "a futex cannot be waited for together with descriptors",
    Capability.WAIT_COMPLETION_PACKET: "Windows only",
}


def posix_capabilities(allowed: Capability) -> Mapping[Capability, CapabilityReport]:
    """The table with the caller's mask applied.

    There is little to switch off: what is missing stays missing, for its own reason, and what the proactor emulates
    needs nothing from here.
    """
    reports = {capability: CapabilityReport(Support.EMULATED, reason) for capability, reason in _EMULATED.items()}
    reports |= {capability: CapabilityReport(Support.MISSING, reason) for capability, reason in _MISSING.items()}
    if Capability.MULTISHOT not in allowed:
        reason = "switched off by allowed_capabilities: the proactor starts the operation again after each result"
        reports[Capability.MULTISHOT] = CapabilityReport(Support.EMULATED, reason)
    return {capability: reports[capability] for capability in Capability.ALL}
