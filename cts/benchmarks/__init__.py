"""Benchmarks of the proactor, one configuration at a time, each with the shape that its cost has to have."""
