"""The evaluation `sequence_pictures`: reconstructions, random sequences and interpolations."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sfvae_jax.evaluation.figures import Drawing, draw_all
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.interpolation import interpolated_codes
from sfvae_jax.evaluation.measured import NotApplicable
from sfvae_jax.evaluation.sequences.decoding import (
    decode_examples,
    decode_texts,
    language_of,
    random_sentences,
    rules_of,
    texts,
)
from sfvae_jax.evaluation.sequences.drawing import Cell, draw_rows, draw_table
from sfvae_jax.evaluation.sequences.judging import is_valid, judged
from sfvae_jax.evaluation.spec import Evaluation, no_measures
from sfvae_jax.evaluation.trained_model import TrainedModel, centers
from sfvae_jax.options import DRAWN, Option, some_of, whole

OPTIONS = {
    "sources": Option(
        ("prior", "gmm"),
        some_of("source", DENSITIES),
        "Densities from which the latents of random sequences are drawn",
    ),
    "num_interpolations": Option(2, DRAWN, "Number of pairs of examples to interpolate between"),
    "num_steps": Option(
        7,
        whole(2, 1000),
        "Number of sequences from one example of a pair to the other, both included",
    ),
}


def draw_sequence_gallery(
    trained: TrainedModel,
    options: ml_collections.ConfigDict,
    results: Mapping[str, Any],
    title: str,
    folder: Path,
) -> None:
    """Draws reconstructions, random sequences and interpolations.

    Args:
        trained: the model and the examples.
        options: a group with the keys of `OPTIONS`.
        results: the contents of results.json; not used.
        title: what the titles begin with.
        folder: where reconstructions.png, sentences.png and interpolations.png are written.
    """
    del results
    draw_all(sequence_tables(trained, options.sources, title), folder)
    _draw_interpolations(trained, options, title, folder)


def sequence_tables(trained: TrainedModel, sources: Sequence[str], title: str) -> Iterator[Drawing]:
    """Yields reconstructions.png and sentences.png.

    Args:
        trained: the model and the examples.
        sources: the densities that the latents of random sequences are drawn from; those that the
            model does not have are left out.
        title: what the titles begin with.
    """
    yield _reconstructions(trained, title)
    yield from _sentences(trained, sources, title)


def _reconstructions(trained: TrainedModel, title: str) -> Drawing:
    language, examples = language_of(trained), trained.images[: trained.config.num_pictured]
    rebuilt = decode_examples(trained, centers(trained, examples))
    wrong = np.any(rules_of(language, examples) != rules_of(language, rebuilt), axis=1)
    written = zip(texts(language, examples), texts(language, rebuilt), wrong, strict=True)
    draw = functools.partial(
        draw_table,
        ("sequence", "decoded from its code"),
        [(Cell(original), Cell(other, marked=differs)) for original, other, differs in written],
        f"{title}: {np.sum(~wrong)} of {len(wrong)} sequences decoded as they were",
    )
    return Drawing("reconstructions.png", draw)


def _sentences(trained: TrainedModel, sources: Sequence[str], title: str) -> Iterator[Drawing]:
    columns = {}
    for source in sources:
        try:
            found = random_sentences(trained, source, trained.config.num_pictured)
        except NotApplicable:
            continue
        columns[source] = [Cell(text, not is_valid(language_of(trained), text)) for text in found]
    if columns:
        draw = functools.partial(
            draw_table,
            [f"from {source.replace('_', ' ')}" for source in columns],
            list(zip(*columns.values(), strict=True)),
            f"{title}: sequences decoded from random codes; a cross marks those that are not valid",
        )
        yield Drawing("sentences.png", draw)


def _draw_interpolations(
    trained: TrainedModel, options: ml_collections.ConfigDict, title: str, folder: Path
) -> None:
    codes = interpolated_codes(trained, options.num_interpolations, options.num_steps)
    if not len(codes):
        return
    steps = options.num_steps
    found = decode_texts(trained, codes.reshape(-1, codes.shape[-1]))
    rows = [found[start : start + steps] for start in range(0, len(found), steps)]
    title = f"{title}: from the code of one sequence to that of another"
    draw_rows(judged(language_of(trained)), rows, title, folder / "interpolations.png")


SEQUENCE_PICTURES = Evaluation(
    no_measures,
    (),
    OPTIONS,
    summary="reconstructions, random sequences and interpolations of sequences",
    source="GrammarVAE Tables 1, 2",
    examples="sequences",
    splits=lambda options, _: ("train",) if set(options.sources) - {"prior"} else (),
    uses_generated=True,
    draw=draw_sequence_gallery,
)
