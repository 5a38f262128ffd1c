"""The command `python -m sfvae_jax`, which is the same as `sfvae_jax`."""

from __future__ import annotations

from sfvae_jax.runtime.signals import let_interrupts_end_the_process

if __name__ == "__main__":
    let_interrupts_end_the_process()  # before JAX is imported, which takes seconds

import sys

from sfvae_jax.command_line.console import main

if __name__ == "__main__":
    sys.exit(main())
