"""Tests that must fail; nobody collects them but `cts/selftest`."""
