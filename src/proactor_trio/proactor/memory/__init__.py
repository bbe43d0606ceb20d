"""Memory for operations: slabs, regions that a proactor knows, spans of them, and pools that lend their buffers."""
