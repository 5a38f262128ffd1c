"""The keys of a configuration that name plugins, which are in no group."""

from __future__ import annotations

from sfvae_jax.options import Option, tuple_of

PLUGINS = Option(
    (),
    tuple_of(
        lambda name: isinstance(name, str) and bool(name.strip()) and "\0" not in name,
        "files and modules, such as ('my_parts.py',), or ()",
    ),
    "Files and modules that add objectives, posteriors, likelihoods, models, data sources,"
    " optimizers or evaluations; docs/extending.md",
)
DIGESTS = Option(
    (),
    tuple_of(lambda digest: isinstance(digest, str), "texts"),
    "Filled in: the digests of the plugins' files, as config.json keeps them",
)
