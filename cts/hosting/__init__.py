"""Other loops as hosts of the proactor, and ours as the host of another."""
