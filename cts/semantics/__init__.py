"""What tasks may rely on, checked against real Trio: each test runs on it and on this library, in one session."""
