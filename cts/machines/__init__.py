"""State machines: random interleavings against small pure models (Hypothesis)."""
