"""Files by operations."""
