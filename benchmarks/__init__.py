"""Speed of the library against peers, against plain code and against the machine's own limit."""

import os

# PyTorch takes its turns on the same accelerator, of whose memory JAX would take most at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# PyTorch's profiler otherwise says at each start that there is no GPU, where there is none.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
