"""Evaluations of sequences, on a model whose every decoding is known."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import load_config
from sequence_models import (
    CHARACTERS,
    EQUATIONS,
    LAYERS,
    MOLECULES,
    NETWORKS,
    TEXTS,
    Copy,
    encoded,
    networks,
    trained_copy,
)

from sfvae_jax import evaluation
from sfvae_jax.config import base_config, validate
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.generation import sources
from sfvae_jax.evaluation.sequences import judging
from sfvae_jax.evaluation.sequences import measures as sequence_measures
from sfvae_jax.grammars import chemistry

X = encoded(EQUATIONS, TEXTS)


def _measure(trained, *names):
    trained.config.names = names
    return evaluation.measure(trained)


# ---- validity ----


@pytest.mark.parametrize(
    ("language", "text", "valid"),
    [
        (EQUATIONS, "x + 1", True),
        (CHARACTERS, "x+1", True),
        (CHARACTERS, "(x+(1))", True),
        (CHARACTERS, "x+", False),
        (CHARACTERS, "x1", False),
        (CHARACTERS, "", False),
        (NETWORKS, "conv(0.5)", True),
        (NETWORKS, "", False),
    ],
)
def test_validity(language, text, valid):
    assert evaluation.is_valid(language, text) is valid


def test_canonical_forms():
    assert judging.canonical(EQUATIONS, "sin( x ) + 1") == "sin(x)+1"
    assert judging.canonical(CHARACTERS, "x+1") == judging.canonical(EQUATIONS, "x + 1")
    assert judging.canonical(NETWORKS, "conv(0.5) pool(2)") == "conv pool"
    assert judging.canonical(NETWORKS, "conv(-1e+06) pool(3)") == "conv pool"


def test_shares_counted_by_hand():
    texts = ["x+1", "x+1", "x", "1+", "(x)", "x+1", ")", "1"]
    shares = sequence_measures.sample_shares(CHARACTERS, texts, {"x+1", "1", "1+1"})
    assert shares == (6 / 8, 4 / 6, 2 / 4)
    valid, unique, novel = sequence_measures.sample_shares(CHARACTERS, ["", "+"], set())
    assert valid == 0.0
    for reason in (unique, novel):
        assert isinstance(reason, evaluation.NotApplicable)
        assert str(reason) == "no sample is valid"


def test_molecules_are_compared_by_canonical_smiles():
    pytest.importorskip("rdkit")
    texts = ["OC", "CO", "C1CC1", "CC(", "N", "c1"]
    known = {judging.canonical(MOLECULES, "CO")}
    assert sequence_measures.sample_shares(MOLECULES, texts, known) == (4 / 6, 3 / 4, 2 / 3)


def test_molecules_without_rdkit_have_no_shares(monkeypatch):
    x = encoded(MOLECULES, ["CO", "CCN", "C=O"])
    trained = trained_copy(MOLECULES, x, parts={"train": x}, stddev=0.1)
    trained.config.sequence_samples.sources = ("prior",)
    monkeypatch.setattr(chemistry.importlib.util, "find_spec", lambda name: None)
    metrics, reasons, *_ = _measure(trained, "sequence_samples")
    assert set(metrics.values()) == {None}
    assert "sfvae_jax[molecules]" in reasons["valid_prior"]


# ---- the evaluations ----


def test_samples_of_every_source_match_its_codes(capsys):
    """NumPy decodes the same codes to the nearest rule that is allowed."""
    trained = trained_copy(CHARACTERS, *_character_parts(), stddev=0.5)
    trained = dataclasses.replace(trained, prior_stddev=6.0)  # or all were but x and 1
    trained.config.sequence_samples.num_samples = 300
    metrics, reasons, *_ = _measure(trained, "sequence_samples")
    assert not reasons
    assert capsys.readouterr().err.count("reading training sequences 5/5") == 1
    assert list(metrics) == list(evaluation.metric_names(trained.config, "sequence_samples"))
    known = {"x+1", "1+x", "(x)+1", "x+x", "(1)"}
    for source in ("prior", "gmm"):
        codes = sources.random_codes(trained, source, 300)
        texts = [_nearest_characters(code) for code in codes]
        valid = [text for text in texts if evaluation.is_valid(CHARACTERS, text)]
        assert 0 < len(valid) < 300
        assert metrics[f"valid_{source}"] == pytest.approx(len(valid) / 300)
        assert metrics[f"unique_{source}"] == pytest.approx(len(set(valid)) / len(valid))
        novel = len(set(valid) - known) / len(set(valid))
        assert metrics[f"novel_{source}"] == pytest.approx(novel)


def _character_parts():
    x = encoded(CHARACTERS, ["x+1", "1+x", "(x)+1", "x+x", "(1)"])
    return x, {"train": x}


def _nearest_characters(code):
    """Decodes a code: rules 0 to 4 are characters, 5 is the end, in the last place or before."""
    text = ""
    for value in np.float32(code)[:-1]:
        rule = int(np.argmin(np.abs(value - np.arange(6))))
        if rule == 5:
            break
        text += "x1+()"[rule]
    return text


def test_a_grammars_samples_are_always_valid():
    trained = trained_copy(EQUATIONS, X, parts={"train": X}, stddev=1.0, sharpness=0.1)
    trained.config.sequence_samples.update(sources=("prior", "gaussian"), num_samples=100)
    trained.config.sequence_samples.decoding = "sample"
    metrics, *_ = _measure(trained, "sequence_samples")
    assert metrics["valid_prior"] == metrics["valid_gaussian"] == 1.0
    assert metrics["novel_prior"] > 0.5
    trained.config.sequence_samples.decoding = "mode"
    modes, *_ = evaluation.measure(dataclasses.replace(trained))
    assert modes["unique_prior"] < metrics["unique_prior"]


def test_a_deterministic_model_has_no_samples_of_a_prior():
    x, parts = _character_parts()
    trained = trained_copy(CHARACTERS, x, parts=parts)
    metrics, reasons, *_ = _measure(trained, "sequence_samples")
    assert set(reasons) == {"valid_prior", "unique_prior", "novel_prior"}
    assert reasons["novel_prior"] == "the model was trained without a prior"
    assert metrics["valid_gmm"] > 0
    _, reasons, *_ = evaluation.measure(dataclasses.replace(trained, images_of=None))
    assert "only the evaluated examples" in reasons["valid_gmm"]


def test_a_model_that_copies_has_no_errors():
    metrics, reasons, *_ = _measure(trained_copy(EQUATIONS, X), "sequence_reconstruction")
    assert metrics == {"exact_match": 1.0, "token_accuracy": 1.0, "value_error": None}
    assert reasons == {"value_error": "the sequences have no values"}
    trained = trained_copy(NETWORKS, networks(*LAYERS))
    metrics, *_ = _measure(trained, "sequence_reconstruction")
    assert metrics == {"exact_match": 1.0, "token_accuracy": 1.0, "value_error": 0.0}


def test_wrong_values_do_not_change_the_sequence():
    """All values are 0.25 too high, and the nearest rules are still the right ones."""
    trained = trained_copy(NETWORKS, networks(*LAYERS), shift=0.25)
    metrics, *_ = _measure(trained, "sequence_reconstruction")
    assert metrics == {"exact_match": 1.0, "token_accuracy": 1.0, "value_error": 0.25}


def test_errors_counted_by_hand():
    x = encoded(CHARACTERS, ["x+1", "x", "(1)"])
    rebuilt = encoded(CHARACTERS, ["x+x", "x", "(1"])
    found = sequence_measures.reconstruction_measures(CHARACTERS, x, rebuilt)
    # Rules, the end among them: of 4, 2 and 4 there are 3, 2 and 2 the same.
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["token_accuracy"] == pytest.approx(7 / 10)
    longer = encoded(CHARACTERS, ["x+1", "x+", "(1)"])  # where x has padding does not count
    found = sequence_measures.reconstruction_measures(CHARACTERS, x, longer)
    assert found["token_accuracy"] == pytest.approx(9 / 10)
    layers = networks([("conv", 1.0), ("pool", 5.0)], [("conv", 2.0)])
    others = networks([("dense", 1.5)], [("conv", 4.0), ("conv", 9.0)])
    found = sequence_measures.reconstruction_measures(NETWORKS, layers, others)
    assert found["value_error"] == pytest.approx((0.5 + 2.0) / 2)  # where both have a layer
    nothing = sequence_measures.reconstruction_measures(NETWORKS, layers, networks([], []))
    assert "no place" in str(nothing["value_error"])


class Forced(Copy):
    """Scores an example with the example itself, and never decodes it."""

    teacher_forced = True

    def decode(self, z):
        return super().decode(z + 1.0)

    def decode_given(self, z, x):
        return super().decode(x + 0.3 + 0.0 * z)


def test_bounds_score_with_the_example_and_reconstructions_do_not():
    """log p(x|z) is the same for all z, so that the ELBO is that less the KL divergence."""
    trained = trained_copy(EQUATIONS, X, parts={"train": X}, stddev=0.5)
    model = Forced(EQUATIONS, stddev=0.5, sharpness=1.0)
    trained = dataclasses.replace(trained, model=model)
    trained.config.marginal_likelihood.num_samples = 20
    names = ("kl_divergence", "lower_bound", "iwae_bound", "sequence_reconstruction")
    metrics, reasons, *_ = _measure(trained, *names, "collapse", "marginal_likelihood")
    scores = []
    for x in X:
        score, stack = 0.0, ["s"]
        for rule in x[: np.sum(x != EQUATIONS.grammar.padding)]:
            symbol, rules = stack.pop(), EQUATIONS.grammar.rules
            # No sentence here is so long that a rule would not fit for that.
            allowed = [i for i, other in enumerate(rules) if other.left == symbol]
            logits = [-np.square(rule + 0.3 - i) for i in allowed]
            score += logits[allowed.index(rule)] - np.logaddexp.reduce(logits)
            stack += rules[rule].symbols[::-1]
        scores.append(score)
    kl = 0.5 * (0.25 - 1 - np.log(0.25)) * 15 + 0.5 * np.sum(np.square(X, dtype=float), axis=1)
    assert metrics["kl_divergence"] == pytest.approx(np.mean(kl), rel=1e-5)
    # By sampling, one of q(z|x) a sequence: the KL divergence's own spread remains.
    assert metrics["lower_bound"] == pytest.approx(np.mean(scores - kl), rel=0.15)
    assert metrics["iwae_bound"] > metrics["lower_bound"]
    assert metrics["exact_match"] < 1.0
    assert metrics["marginal_likelihood"] is not None
    assert set(reasons) == {
        "nll_without_constant",
        "marginal_likelihood_without_constant",
        "value_error",
    }


def test_rules_stay_whole_numbers_and_pixels_are_scaled():
    trained = dataclasses.replace(trained_copy(EQUATIONS, X), data_scale=2.0)
    seen = trained.pixels(jnp.asarray(X))
    assert seen.dtype == jnp.int32
    np.testing.assert_array_equal(seen, X)
    pixels = trained.pixels(jnp.array([0, 51, 255], jnp.uint8))
    np.testing.assert_allclose(pixels, [0.0, 0.4, 2.0], rtol=1e-6)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sequence_samples.sources", ("gm",), "sources: unknown source 'gm'; did you mean 'gmm'"),
        ("sequence_samples.sources", ("interpolations",), "sources: unknown source 'interpol"),
        ("sequence_samples.decoding", "sampled", "decoding: .* did you mean 'sample'"),
        ("sequence_samples.num_samples", 0, "num_samples must be a whole number from 1 to"),
        ("sequence_pictures.sources", (), "sources must be 1 or more of prior"),
        ("sequence_pictures.num_interpolations", 0, "num_interpolations must be a whole"),
        ("sequence_pictures.num_steps", 1, "num_steps must be a whole number from 2 to"),
        ("generated.gmm_components", 0, "gmm_components must be a whole number from 1 to"),
    ],
)
def test_options_are_refused_at_the_start(key, value, message):
    config = load_config("equations").get_config("laptop")
    config.evaluations.names = ("collapse",)  # whether it is named makes no difference
    config.update_from_flattened_dict({f"evaluations.{key}": value})
    with pytest.raises(UsageError, match=rf"evaluations\.{key.split('.')[0]}\.{message}"):
        validate(config)


IMAGES_ONLY = {
    "reconstruction",
    "constant_variance_penalty",
    "pictures",
    "jacobian_quality",
    "bend",
    "bias",
    "inference_gaps",
    "frechet",
    "precision_recall",
    "optimal_decoder",
    "stationarity",
}
SEQUENCES_ONLY = {
    "bayesian_optimization",
    "sequence_samples",
    "sequence_reconstruction",
    "sequence_pictures",
}


def test_evaluations_of_images_are_refused_for_sequences_and_the_other_way_round():
    config = base_config().evaluations
    for name in evaluation.EVALUATIONS:
        config.names = ("collapse", name)
        for is_sequences, refused in ((True, IMAGES_ONLY), (False, SEQUENCES_ONLY)):
            if name not in refused:
                evaluation.check_kind(config, is_sequences)
                continue
            with pytest.raises(
                UsageError, match=rf"'{name}' only applies to .*; choose from"
            ) as error:
                evaluation.check_kind(config, is_sequences)
            assert "\n" not in str(error.value)
            known = set(str(error.value).split("choose from ")[1].split(", "))
            assert known == evaluation.EVALUATIONS.keys() - refused


def test_a_measure_of_images_is_refused_for_sequences():
    with pytest.raises(
        UsageError, match="'reconstruction' only applies to images, and the data set"
    ):
        _measure(trained_copy(EQUATIONS, X), "sequence_reconstruction", "reconstruction")


def test_the_training_split_is_needed_only_where_it_is_read():
    config = base_config().evaluations
    config.names = ("sequence_samples", "sequence_reconstruction")
    assert set(evaluation.needed_splits(config)) == {"test", "train"}
    config.names = ("sequence_pictures",)
    assert "train" in evaluation.needed_splits(config)
    config.sequence_pictures.sources = ("prior",)
    assert "train" not in evaluation.needed_splits(config)
