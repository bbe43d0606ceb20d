"""Checks that a stream keeps the promises of its interface, for authors of streams.

A check is a function with a name that says what it is about; it gets a new pair of streams, plays one scene on it, and
raises AssertionError. What any check raises says in a note which one it was.
"""
