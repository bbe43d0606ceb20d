"""Synchronisation between the tasks of a run. Nothing here is thread-safe."""
