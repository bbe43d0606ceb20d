"""Looking into a run: its tasks as data and as text, also from another process."""
