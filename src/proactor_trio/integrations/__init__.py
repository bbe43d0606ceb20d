"""Bridges between proactor_trio and the tools and libraries that people use it with."""
