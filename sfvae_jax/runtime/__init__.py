"""The process and its machine: signals, files, locks, caches, memory, devices and the screen."""
