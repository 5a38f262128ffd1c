"""Speed of the library compared with PyTorch, with plain JAX and with the limit of the machine."""

import os

# PyTorch takes turns on the same accelerator, most of whose memory JAX would otherwise reserve.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Without a GPU, PyTorch's profiler would otherwise say so at each start.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
