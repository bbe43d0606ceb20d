"""The reference implementation's conformance cases, and how this suite covers them."""
