"""Benchmarks of proactor_trio: CPU time per unit of work, as ratios against Trio, asyncio and uvloop.

Run them with ``python -m benchmarks``; README.md beside this file says how to read the numbers.
"""
