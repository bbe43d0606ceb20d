"""Sockets for tasks: what the module proactor_trio.socket shows, and what streams are made of."""
