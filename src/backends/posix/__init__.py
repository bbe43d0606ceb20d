"""The posix backend: readiness from epoll(7) or poll(2), and threads for files, made into completions."""
