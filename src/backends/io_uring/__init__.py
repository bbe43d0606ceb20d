"""io_uring (Linux 5.19 and later), by direct system calls."""
