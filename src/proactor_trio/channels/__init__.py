"""Channels: handing objects from task to task."""
