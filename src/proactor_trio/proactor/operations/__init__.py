"""The operations, by what they work on: time and readiness, the network, files."""
