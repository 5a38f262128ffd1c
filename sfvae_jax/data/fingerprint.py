"""What tells whether a data set has changed under its name."""

from __future__ import annotations

import ml_collections

from sfvae_jax.data.sources import open_source

_DIGITS = 16  # of the digest that are kept


def fingerprint(config: ml_collections.ConfigDict) -> str:
    """The parts of a data set, how many examples each has and a digest of them, as one text.

    As in "test 10 a9f0c2..., train 40 3b1e77...". The digest of a folder is that of the names,
    sizes and ends of its files, so that a copy on another machine has the same; that of arrays,
    lines of text and architectures is of their content. TFDS sets, sprites and drawn expressions
    have a number alone.

    Args:
        config: the `data` group.

    Raises:
        UsageError: if the data set cannot be read.
    """
    found = []
    for name, part in sorted(open_source(config).items()):
        digest = getattr(part, "digest", None)
        text = "" if digest is None else f" {digest().hex()[:_DIGITS]}"
        found.append(f"{name} {len(part)}{text}")
    return ", ".join(found)


def is_drawn_by_hash(config: ml_collections.ConfigDict) -> bool:
    """Whether a hash of each training example decides if it is trained on or held out.

    Args:
        config: the `data` group.
    """
    source = open_source(config)
    held_out = any(config[f"num_{part}"] for part in ("test", "valid") if part not in source)
    drawn = bool(held_out or config.num_examples)
    return drawn and getattr(source["train"], "identities", None) is not None
