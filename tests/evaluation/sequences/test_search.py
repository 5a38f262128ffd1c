"""A search over a plane of known sentences: against random search, its measures, its picture."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from sfvae_jax import evaluation
from sfvae_jax.config import base_config
from sfvae_jax.data.sequences.kind import Score
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.sequences import judging, search
from sfvae_jax.evaluation.sequences.search_drawing import best_so_far, searches
from sfvae_jax.grammars import EXPRESSIONS, Language, chemistry, rule_tables, sequence_grammar
from sfvae_jax.grammars.arithmetic import WORST_SCORE, expression_score
from sfvae_jax.likelihoods import Categorical
from sfvae_jax.posteriors import Point

NUM_PLACES, SIDE, OPTIMUM = 11, 25, np.array([0.9, -0.7])
GRID = np.linspace(-2.0, 2.0, SIDE)
CENTERS = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2)


@functools.cache
def _sentences():
    """As many distinct ones as there are centers, the better the nearer at the optimum."""
    logits, keys = jnp.zeros((NUM_PLACES, EXPRESSIONS.size)), jax.random.key(0)
    sample = jax.vmap(lambda key: Categorical(rule_tables(EXPRESSIONS)).sample(key, logits))
    drawn = np.unique(np.asarray(sample(jax.random.split(keys, 6000))), axis=0)
    chosen = drawn[np.random.default_rng(0).permutation(len(drawn))[: len(CENTERS)]]
    ranked = chosen[np.argsort([expression_score(EXPRESSIONS.write(rules)) for rules in chosen])]
    places = np.argsort(np.linalg.norm(CENTERS - OPTIMUM, axis=1))
    examples = np.empty_like(ranked, np.int16)
    examples[places] = ranked
    return examples


class Plane(nn.Module):
    """Every sentence has a place in the plane; a latent decodes to that of the nearest."""

    def setup(self):
        self.scale = self.param("scale", nn.initializers.ones, ())

    def encode(self, x):
        same = jax.vmap(lambda known: jnp.all(known == x))(jnp.asarray(_sentences()))
        return Point(jnp.asarray(CENTERS, jnp.float32)[jnp.argmax(same)])

    def decode(self, z):
        place = jnp.argmin(jnp.sum((jnp.asarray(CENTERS, jnp.float32) - z[None]) ** 2, axis=1))
        return 9.0 * jax.nn.one_hot(jnp.asarray(_sentences())[place], EXPRESSIONS.size)


@dataclasses.dataclass(frozen=True)
class Rules:
    """A likelihood of sentences."""

    tables: object

    def mode(self, logits):
        return self.tables.derive(logits)

    def sample(self, rng, logits):
        return Categorical(self.tables).sample(rng, logits)


class Anything(Rules):
    """Characters: any of them, at some places an expression."""

    def mode(self, logits):
        return jnp.argmax(logits, axis=1)


def _trained(**changes):
    config = base_config().evaluations
    config.names = ("bayesian_optimization",)
    options = dict(num_trials=2, num_iterations=3, batch_size=8, num_training=30, num_attempts=3)
    config.bayesian_optimization.update(options)
    far = np.linalg.norm(CENTERS - OPTIMUM, axis=1) > 1.0
    corners = np.abs(CENTERS).min(axis=1) == 2.0  # so that the box is the plane
    examples = np.concatenate([_sentences()[corners], _sentences()[far & ~corners][::12]])
    fields = dict(
        model=Plane(),
        params={"params": {"scale": jnp.ones(())}},
        images=examples,
        rng=jax.random.key(0),
        config=config,
        likelihood=Rules(rule_tables(EXPRESSIONS)),
        prior_stddev=None,
        images_of=lambda part: examples,
        language=Language("equations", EXPRESSIONS, NUM_PLACES),
    )
    return evaluation.TrainedModel(**{**fields, **changes})


@pytest.fixture(scope="module")
def trained():
    return _trained()


@pytest.fixture(scope="module")
def measured(trained):
    return evaluation.measure(trained)


def _text(place):
    return EXPRESSIONS.write(_sentences()[place])


def test_it_beats_random_search_of_as_many_points(trained, measured):
    """By the rank of each trial's best among all sentences; random search of 24, 200 times."""
    everything = np.sort([expression_score(_text(place)) for place in range(len(CENTERS))])
    rng = np.random.default_rng(0)
    random = [rng.choice(len(CENTERS), 24).min() for _ in range(200)]
    trials = search.found_trials(trained, trained.config.bayesian_optimization)
    found = [np.searchsorted(everything, trial.scores.min()) for trial in trials]
    assert np.mean(found) < np.quantile(random, 0.2), (found, np.quantile(random, 0.2))
    assert measured.metrics["search_best_1"] <= everything[min(found)]
    assert all(trial.scores.min() < trial.training.min() for trial in trials)


def test_measures_follow_from_the_decoded_texts(trained, measured):
    metrics, reasons, caveats, texts = measured
    assert not reasons
    assert not caveats
    trials = search.found_trials(trained, trained.config.bayesian_optimization)
    of_texts = [[expression_score(text) for text in trial.texts] for trial in trials]
    assert [len(found) for found in of_texts] == [24, 24]
    means = np.mean(of_texts, axis=1)
    assert (metrics["search_valid"], metrics["search_valid_deviation"]) == (1.0, 0.0)
    assert metrics["search_score"] == pytest.approx(np.mean(means))
    assert metrics["search_score_deviation"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    ranked = sorted({text for trial in trials for text in trial.texts}, key=expression_score)
    best = [metrics[f"search_best_{rank}"] for rank in (1, 2, 3)]
    assert best == pytest.approx([expression_score(text) for text in ranked[:3]])
    assert set(texts) == {f"search_best_{rank}" for rank in (1, 2, 3)}
    for name, text in texts.items():
        assert expression_score(text) == metrics[name]
    assert set(metrics) == set(evaluation.metric_names(trained.config, "bayesian_optimization"))
    json.dumps(measured._asdict())


def test_invalid_texts_are_counted_and_scored_worst(monkeypatch):
    """With characters, half of the plane decodes to texts that are not expressions."""
    grammar = sequence_grammar(("x", "+"), separator=" ")
    valid, broken = ([0, 1, 0, 2], [0, 0, 1, 2])  # x + x, and x x +

    class Half(nn.Module):
        def encode(self, x):
            return Point(jnp.array([x[3], x[2]], jnp.float32) + jnp.sin(x[:2] * 9.0))

        def decode(self, z):
            rules = jnp.where(z[0] > 3.0, jnp.array(valid), jnp.array(broken))
            return jax.nn.one_hot(rules, 4)

    rng = np.random.default_rng(0)
    examples = np.array(valid, np.int16) * np.ones((20, 1), np.int16)
    seen = []
    suggest = search.suggest_batch

    def suggested(rng, codes, targets, number):
        seen.append(targets)
        return suggest(rng, codes, targets, number)

    monkeypatch.setattr(search, "suggest_batch", suggested)
    monkeypatch.setattr(
        search, "centers", lambda trained, images: rng.uniform(2.0, 4.0, (len(images), 2))
    )
    language = Language("equations", grammar, 4)
    half = _trained(
        model=Half(),
        params={},
        likelihood=Anything(None),
        language=language,
        images=examples,
        images_of=lambda part: examples,
    )
    metrics, reasons, _, texts = evaluation.measure(half)
    trials = search.found_trials(half, half.config.bayesian_optimization)
    assert all(np.isnan(t.scores[i]) for t in trials for i in range(24) if t.texts[i] != "x + x")
    share = np.mean([[text == "x + x" for text in trial.texts] for trial in trials])
    assert metrics["search_valid"] == pytest.approx(share)
    assert 0.0 < share < 1.0
    assert metrics["search_score"] == pytest.approx(expression_score("x + x"))
    assert texts == {"search_best_1": "x + x"}
    assert set(reasons) == {"search_best_2", "search_best_3"}
    assert set(np.round(seen[-1], 6)) == {
        -round(WORST_SCORE, 6),
        -round(expression_score("x + x"), 6),
    }


def test_the_worst_molecule_seen_counts_for_an_invalid_one():
    score = Score("length", "more", len)
    targets = search._targets(score, np.array([3.0, np.nan, 1.0, 7.0]))
    np.testing.assert_array_equal(targets, [3.0, 1.0, 1.0, 7.0])
    with pytest.raises(evaluation.NotApplicable, match="no training example has a score"):
        search._targets(score, np.array([np.nan, np.nan]))


def test_molecules_are_scored_by_their_penalised_log_p(capsys):
    pytest.importorskip("rdkit")
    smiles = ("CCO", "CCCCCC", "OCCO", "c1ccccc1")
    language = Language("molecules", sequence_grammar(tuple("COc1")), 9)
    examples = np.stack([language.encode(text) for text in smiles])
    score_text = judging.scorer(_trained(language=language, images_of=lambda part: examples))
    assert "scoring training molecules 4/4" in capsys.readouterr().err
    statistics = chemistry.score_statistics(smiles)
    for text in smiles:
        assert score_text(text) == chemistry.penalized_log_p(text, statistics)
    assert np.isnan(score_text("c1cc"))
    assert (judging.score_of(language).sign, judging.score_of(language).worst) == (1.0, None)
    assert score_text("CCCCCC") > score_text("OCCO")


def test_molecules_that_rdkit_does_not_read_have_no_score(tmp_path):
    """`c1cc` is a sentence but not a molecule: measures are null, and nothing is drawn."""
    pytest.importorskip("rdkit")
    language = Language("molecules", sequence_grammar(tuple("COc1")), 9)
    examples = np.stack([language.encode(text) for text in ("c1cc", "c1c")])
    trained = _trained(language=language, images_of=lambda part: examples)
    metrics, reasons, *_ = evaluation.measure(trained)
    assert set(metrics.values()) == {None}
    reason = "RDKit cannot read any of the training molecules, so that none has a score"
    assert set(reasons.values()) == {reason}
    evaluation.draw(trained, "bayesian_optimization", {}, "title", tmp_path)
    assert not list(tmp_path.iterdir())


def test_molecules_need_rdkit(monkeypatch):
    monkeypatch.setattr(chemistry.importlib.util, "find_spec", lambda name: None)
    group = ml_collections.ConfigDict({"names": ("bayesian_optimization",)})
    evaluation.check_language(group, "equations")
    with pytest.raises(
        UsageError,
        match="names: 'bayesian_optimization' needs a score: molecules need RDKit",
    ):
        evaluation.check_language(group, "molecules")


def test_the_most_frequent_valid_sample_is_taken():
    asked = []

    def valid(text):
        asked.append(text)
        return not text.endswith("+")

    texts = ["1", *["x +"] * 3, *["x"] * 2, "exp( x )"]
    assert search.most_frequent(texts, valid) == "x"
    assert asked == ["x +", "x"]  # and none of the rarer ones
    assert search.most_frequent(["+", "x +"], valid) == "+"


def test_decoding_by_samples(trained):
    options = trained.config.bayesian_optimization.copy_and_resolve_references()
    options.decoding = "sample"
    options.num_trials = options.num_iterations = 1
    (trial,) = search.found_trials(dataclasses.replace(trained), options)
    assert len(trial.texts) == 8
    assert np.isfinite(trial.scores).all()


def test_sequences_without_a_score_are_not_searched(tmp_path):
    without = _trained(language=Language("architectures", EXPRESSIONS, 4))
    metrics, reasons, *_ = evaluation.measure(without)
    assert set(metrics.values()) == {None}
    assert "architectures have no score" in reasons["search_valid"]
    evaluation.draw(without, "bayesian_optimization", {}, "title", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_trials", 0, "num_trials must be a whole number from 1 to"),
        ("batch_size", 401, "batch_size must be a whole number from 1 to 400"),
        ("decoding", "beam", "decoding: unknown decoding 'beam'. Known: mode, sample"),
    ],
)
def test_bad_options_are_refused(name, value, message):
    config = base_config().evaluations
    config.names = ("bayesian_optimization",)
    config.bayesian_optimization[name] = value
    with pytest.raises(UsageError, match=f"evaluations.bayesian_optimization.{message}"):
        evaluation.check_options(config)


def test_the_picture(trained, measured, tmp_path):
    evaluation.draw(trained, "bayesian_optimization", {}, "title", tmp_path)
    with Image.open(tmp_path / "search.png") as image:
        assert image.size == (1560, 576)


def test_the_best_so_far_by_hand():
    trial = search.Trial(np.array([4.0, np.nan]), [""] * 4, np.array([5.0, np.nan, 2.0, 3.0]))
    less = Score("", "less", len)
    np.testing.assert_array_equal(best_so_far(trial, less, 2), [4.0, 4.0, 2.0])
    greater = dataclasses.replace(less, better="more")
    np.testing.assert_array_equal(best_so_far(trial, greater, 2), [4.0, 5.0, 5.0])


def test_trials_that_begin_with_the_target_are_left_out():
    """Rounding counts as equal; of invalid examples there is no score."""
    near, at, unknown = (
        search.Trial(np.array(training), [""], np.array([1.0]))
        for training in ([0.4, 0.2], [0.4, 1e-15], [np.nan, 0.3])
    )
    less = Score("", "less", len)
    assert searches([near, at, unknown], 0.0, less) == [near, unknown]
    assert searches([at], 0.0, less) == [at]  # nothing else is left to draw
    assert searches([near, at], None, less) == [near, at]
    more = dataclasses.replace(less, better="more")
    assert searches([near, at], 0.4, more) == [near, at]
    assert searches([near, at], 0.3, more) == [near, at]
    assert searches([near, unknown], 0.35, more) == [unknown]
