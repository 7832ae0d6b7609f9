"""One way to run what is not ours: a subprocess with limits, namespaces and a system call filter."""
