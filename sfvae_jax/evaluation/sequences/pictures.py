"""What the evaluation `sequence_pictures` draws: what a model of sequences says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.interpolation import slerp
from sfvae_jax.evaluation.sequences import molecules
from sfvae_jax.evaluation.sequences.decoding import (
    decode_examples,
    decode_texts,
    is_expression,
    is_valid,
    layers,
    random_sentences,
    rules_of,
    texts,
)
from sfvae_jax.evaluation.trained_model import NotApplicable, TrainedModel, centers
from sfvae_jax.options import DRAWN, Option, some_of, whole

OPTIONS = {
    "sources": Option(("prior", "gmm"), some_of("source", DENSITIES), "of random sentences"),
    "num_interpolations": Option(2, DRAWN, "pairs of examples"),
    "num_steps": Option(7, whole(2, 1000), "from one example of a pair to the other"),
}


def draw_sequence_gallery(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Reconstructions, random sentences and interpolations.

    Args:
        trained: model and sequences.
        options: a group with the keys of `OPTIONS`.
        results: of the run; not used.
        title: of the pictures.
        folder: where reconstructions.png, sentences.png and interpolations.png are written.
    """
    del results
    _draw_reconstructions(trained, title, folder)
    _draw_sentences(trained, options, title, folder)
    _draw_interpolations(trained, options, title, folder)


def _draw_reconstructions(trained: TrainedModel, title: str, folder: Path) -> None:
    from sfvae_jax.evaluation.sequences.drawing import Cell, draw_table

    language, examples = trained.language, trained.images[: trained.config.num_pictured]
    rebuilt = decode_examples(trained, centers(trained, examples))
    wrong = np.any(rules_of(language, examples) != rules_of(language, rebuilt), axis=1)
    written = zip(texts(language, examples), texts(language, rebuilt), wrong, strict=True)
    draw_table(
        ("sequence", "decoded from its code"),
        [(Cell(original), Cell(other, marked=differs)) for original, other, differs in written],
        f"{title}: {np.sum(~wrong)} of {len(wrong)} sequences decoded as they were",
        folder / "reconstructions.png",
    )


def _draw_sentences(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation.sequences.drawing import Cell, draw_table

    columns = {}
    for source in options.sources:
        try:
            found = random_sentences(trained, source, trained.config.num_pictured)
        except NotApplicable:
            continue
        columns[source] = [Cell(text, not is_valid(trained.language, text)) for text in found]
    if columns:
        draw_table(
            [f"from {source.replace('_', ' ')}" for source in columns],
            list(zip(*columns.values(), strict=True)),
            f"{title}: sequences decoded from random codes, those crossed are not valid",
            folder / "sentences.png",
        )


def _draw_interpolations(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    from sfvae_jax.evaluation.sequences import drawing

    pairs = min(options.num_interpolations, len(trained.images) // 2)
    if not pairs:
        return
    codes = centers(trained, trained.images[: 2 * pairs])
    weights = np.linspace(0.0, 1.0, options.num_steps)
    ways = [slerp(codes[:pairs], codes[pairs:], weight) for weight in weights]
    found = decode_texts(trained, np.concatenate(ways))
    rows = [found[pair::pairs] for pair in range(pairs)]
    title, path = f"{title}: between the codes of two sequences", folder / "interpolations.png"
    if trained.language.kind == "equations":
        drawing.draw_curves(_with_curves(rows), title, path)
    elif trained.language.kind == "molecules":
        draw = functools.partial(molecules.molecule_image, size=(300, 220))
        drawing.draw_structures(_with(rows, draw), title, path)
    else:
        networks = [[layers(trained.language, text) for text in row] for row in rows]
        has_values = trained.language.has_values
        drawing.draw_networks(networks, title, path, has_values=has_values)


def _with_curves(rows: list[list[str]]) -> list:
    """Each text with its curve on [-10, 10], or None where it is no expression."""
    from sfvae_jax.evaluation.sequences.expressions import evaluate_expression

    x = np.linspace(-10.0, 10.0, 401)

    def curve(text: str) -> tuple[np.ndarray, np.ndarray] | None:
        return (x, evaluate_expression(text, x)) if is_expression(text) else None

    return _with(rows, curve)


def _with(rows: list[list[str]], draw: Callable[[str], Any]) -> list[list[tuple[str, Any]]]:
    return [[(text, draw(text)) for text in row] for row in rows]
