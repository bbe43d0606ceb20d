"""What tasks see: streams, files, operations and runs, on every configuration."""
