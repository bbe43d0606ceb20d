"""Operation graphs, on each configuration."""
