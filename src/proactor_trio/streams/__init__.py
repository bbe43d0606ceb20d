"""Byte streams and listeners."""
