"""The backends: one folder a kernel interface, the contract that they keep, and the choice between them."""
