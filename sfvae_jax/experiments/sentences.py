"""RAE's experiments with the GrammarVAE: sentences by grammar, searched in latent space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_collections

BETA = 0.01
MODELS = (  # data.tokens, objective.name
    ("grammar", "rae_l2"),
    ("grammar", "rae_gp"),
    ("grammar", "sampling"),
    ("grammar", "linearized"),
    ("characters", "sampling"),
)

# Of a model: the fraction of valid sentences and their mean score, each with its deviation over
# five trials, and the scores of the best three.
Found = tuple[tuple[float, float], tuple[float, float], tuple[float, float, float]]


def use_grammar_vae(config: ml_collections.ConfigDict, *, num_attempts: int) -> None:
    """Sets the model, the objective and the measures that these experiments have in common.

    Args:
        config: changed in place.
        num_attempts: draws from which the search takes the most frequent valid sentence.
    """
    config.data.num_test = 5000
    config.model.name = "grammar"
    config.likelihood.name = "categorical"
    config.objective.name = "rae_l2"
    config.objective.beta = BETA
    config.train.learning_rate_schedule = "cosine"
    config.evaluations.names = (
        "collapse",
        "kl_divergence",
        "lower_bound",
        "sequence_reconstruction",
        "sequence_samples",
        "sequence_pictures",
        "bayesian_optimization",
    )
    config.evaluations.bayesian_optimization.decoding = "sample"
    config.evaluations.bayesian_optimization.num_attempts = num_attempts


def figure_2(
    source: str, setting: Mapping[str, Any], found: Mapping[tuple[str, str], Found]
) -> ml_collections.ConfigDict:
    """The published figures of RAE's Figure 2 for one kind of sentences.

    Args:
        source: where in the paper they stand.
        setting: the paper's setting, beside the number of trials.
        found: by `data.tokens` and `objective.name`, what the paper's search found.
    """
    return ml_collections.ConfigDict(
        {
            "source": source,
            "num_runs": 1,
            "setting": {
                **setting,
                "evaluations": {"bayesian_optimization": {"num_trials": 5}},
            },
            "rows": {
                f"{objective}_{tokens}": _row(tokens, objective, *measures)
                for (tokens, objective), measures in found.items()
            },
        }
    )


def _row(
    tokens: str,
    objective: str,
    valid: tuple[float, float],
    score: tuple[float, float],
    best: tuple[float, float, float],
) -> dict[str, Any]:
    values: dict[str, tuple[float, float | None]] = {"search_valid": valid, "search_score": score}
    values |= {f"search_best_{i + 1}": (value, None) for i, value in enumerate(best)}
    where = {"data": {"tokens": tokens}, "objective": {"name": objective, "beta": BETA}}
    return {"where": where, **{name: {"end": value} for name, value in values.items()}}
