"""One file for each area of behaviour."""
