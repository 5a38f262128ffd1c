"""The process and its machine: signals, files, caches, memory, other processes."""
