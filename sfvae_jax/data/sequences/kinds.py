"""The table of the sources of sequences.

To add a kind of sequences, write its `SequenceKind` and the `DataSource`s that hold such sequences
in a file of this folder, and name it here.
"""

from __future__ import annotations

from sfvae_jax.data.sequences import architectures, equations, molecules

SOURCES = (*equations.SOURCES, *molecules.SOURCES, *architectures.SOURCES)
