"""Likelihoods of sequences against an enumeration of all sentences, SciPy and differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.test_util import check_grads

from sfvae_jax import likelihoods
from sfvae_jax.config import base_config
from sfvae_jax.grammars import EXPRESSIONS, Grammar, Language, rule_tables, sequence_grammar
from sfvae_jax.likelihoods import Bernoulli, Categorical, Gaussian, Sequence
from sfvae_jax.objectives import ArgumentError

SUMS = Grammar('s -> s "+" t | t\nt -> "x" | "(" s ")" | "1"')
LAYERS = sequence_grammar(("conv", "pool", "dense"), separator=" ")
RNG = np.random.default_rng(0)


def derivations(grammar, most):
    """Returns all whole derivations with at most so many rules, padded, [N, most]."""
    found = []

    def extend(rules, pending):
        if not pending:
            found.append(rules + [grammar.padding] * (most - len(rules)))
        elif len(rules) + len(pending) <= most:  # every symbol takes a rule at least
            for i, rule in enumerate(grammar.rules):
                if rule.left == pending[-1]:
                    extend([*rules, i], [*pending[:-1], *rule.symbols[::-1]])

    extend([], [grammar.start])
    return np.array(found)


def choices(sentences):
    """Returns what may follow each beginning of a sentence, told from the sentences themselves."""
    following = {}
    for sentence in map(tuple, sentences):
        for t, rule in enumerate(sentence):
            following.setdefault(sentence[:t], set()).add(rule)
    return {beginning: sorted(rules) for beginning, rules in following.items()}


def log_prob_by_hand(sentence, logits, following):
    total = 0.0
    for t, rule in enumerate(sentence):
        allowed = following[tuple(sentence[:t])]
        total += logits[t, rule] - scipy.special.logsumexp(logits[t, allowed])
    return total


@pytest.mark.parametrize(("grammar", "places"), [(SUMS, 8), (EXPRESSIONS, 5), (LAYERS, 5)])
def test_all_sentences_have_the_probabilities_of_their_choices(float64, grammar, places):
    """Each is computed in a loop over all sentences; their sum is 1 for any logits."""
    sentences = derivations(grammar, places)
    assert len(sentences) > 50
    logits, following = 3.0 * RNG.normal(size=(places, grammar.size)), choices(sentences)
    log_prob = jax.jit(jax.vmap(Categorical(rule_tables(grammar)).log_prob, (0, None)))
    obtained = np.asarray(log_prob(jnp.array(sentences), jnp.array(logits)))
    expected = [log_prob_by_hand(sentence, logits, following) for sentence in sentences]
    np.testing.assert_allclose(obtained, expected, rtol=1e-10)
    np.testing.assert_allclose(np.exp(obtained).sum(), 1.0, rtol=1e-12)


def test_samples_and_mode_have_the_same_probabilities(keys):
    """20,000 draws lie within 4 standard errors of log_prob; the mode is the best at each place."""
    sentences, likelihood = derivations(SUMS, 6), Categorical(rule_tables(SUMS))
    logits = jnp.asarray(RNG.normal(size=(6, SUMS.size)), jnp.float32)
    p = np.exp(jax.jit(jax.vmap(likelihood.log_prob, (0, None)))(jnp.array(sentences), logits))
    draw = jax.jit(jax.vmap(likelihood.sample, (0, None)))
    draws = np.asarray(draw(jax.random.split(next(keys), 20_000), logits))
    index = {tuple(sentence): i for i, sentence in enumerate(sentences)}
    counts = np.bincount([index[tuple(x)] for x in draws], minlength=len(sentences))
    error = np.sqrt(p * (1.0 - p) / 20_000)
    assert np.all(np.abs(counts / 20_000 - p) < 4 * error + 1e-4)
    following, best = choices(sentences), ()
    for t in range(6):
        best += (max(following[best], key=lambda rule: logits[t, rule]),)
    np.testing.assert_array_equal(jax.jit(likelihood.mode)(logits), best)


def test_independent_categoricals(float64, keys):
    """Without a grammar they match SciPy's softmax in any shape."""
    logits, likelihood = RNG.normal(size=(2, 3, 4)), Categorical()
    x = RNG.integers(0, 4, (2, 3))
    logs = scipy.special.log_softmax(logits, axis=-1)
    p = np.exp(logs)

    @jax.jit
    def everything(x, logits, keys):
        return (
            likelihood.log_prob(x, logits),
            likelihood.mean(logits),
            likelihood.mode(logits),
            likelihood.fisher(logits),
            jax.hessian(likelihood.log_prob, 1)(x, logits),
            jax.vmap(likelihood.sample, (0, None))(keys, logits),
        )

    obtained = everything(x, logits, jax.random.split(next(keys), 10_000))
    log_prob, mean, mode, fisher, hessian, draws = map(np.asarray, obtained)
    np.testing.assert_allclose(log_prob, np.take_along_axis(logs, x[..., None], -1).sum())
    np.testing.assert_allclose(mean, p, rtol=1e-12)
    np.testing.assert_array_equal(mode, logits.argmax(-1))
    diagonal = np.diag(hessian.reshape(24, 24)).reshape(2, 3, 4)
    np.testing.assert_allclose(fisher, -diagonal, rtol=1e-10)
    counts = np.mean(draws[..., None] == np.arange(4), axis=0)
    assert np.all(np.abs(counts - p) < 4 * np.sqrt(p * (1.0 - p) / 10_000))


def test_longer_padding_changes_nothing_once_no_place_is_short(float64):
    """Masks are equal as long as the widest rule fits; one place fewer forbids some rules."""
    x = [int(rule) for rule in EXPRESSIONS.parse("x + 1")]
    least, widest = {"s": 2, "t": 1}, {"s": 3, "t": 2}  # fewest rules; most that a rule brings
    pending, enough = ["s"], 0
    for t, rule in enumerate(x):
        symbol = pending.pop()
        rest = sum(least[other] for other in pending)
        enough = max(enough, t + 1 + rest + widest[symbol])
        pending += EXPRESSIONS.rules[rule].symbols[::-1]
    assert enough > len(x) + 1
    logits, likelihood = RNG.normal(size=(12, EXPRESSIONS.size)), _of(EXPRESSIONS)

    @jax.jit
    def log_probs(logits):
        return [
            likelihood.log_prob(
                jnp.array(x + [EXPRESSIONS.padding] * (places - len(x))), logits[:places]
            )
            for places in (enough - 1, enough, enough + 1, 12)
        ]

    short, *others = log_probs(jnp.array(logits))
    np.testing.assert_allclose(others, others[0], rtol=1e-13)
    assert short > others[0] + 1e-3


def _of(grammar):
    return Categorical(rule_tables(grammar))


def test_gradients_in_allowed_and_forbidden_rules(float64):
    """They match finite differences, and are zero for forbidden rules and after the sentence."""
    sentences = derivations(SUMS, 7)
    following = choices(sentences)
    x = next(x for x in sentences if (x == SUMS.padding).sum() == 3)
    allowed = np.zeros((7, SUMS.size), bool)
    for t in range(7):
        allowed[t, following[tuple(x[:t])]] = True
    assert not allowed.all()
    logits, log_prob = jnp.array(RNG.normal(size=allowed.shape)), _of(SUMS).log_prob
    check_grads(jax.jit(functools.partial(log_prob, jnp.array(x))), (logits,), 1, modes=["rev"])
    grad = np.asarray(jax.jit(jax.grad(log_prob, 1))(jnp.array(x), logits))
    np.testing.assert_array_equal(grad[~allowed], 0.0)
    np.testing.assert_array_equal(grad[-3:], 0.0)
    assert np.all(grad[allowed & (allowed.sum(1, keepdims=True) > 1)] != 0.0)


@pytest.mark.parametrize("forbidden", [0.0, 1e30, -1e30, np.inf, -np.inf, np.nan])
def test_forbidden_rules_never_matter(forbidden):
    """In float32 with allowed logits of +-10,000, value, information and gradients are finite."""
    x = jnp.array([*SUMS.parse("x+1"), SUMS.padding])
    likelihood = _of(SUMS)
    allowed = jax.jit(likelihood.tables.allowed)(x)
    extreme = jnp.asarray(RNG.choice([-1e4, 0.0, 1e4], allowed.shape), jnp.float32)
    direction = jnp.asarray(RNG.normal(size=allowed.shape), jnp.float32)

    @jax.jit
    def values(x, logits, direction):
        def both(logits):
            information = likelihood.information(x, logits, direction)
            return jnp.stack([likelihood.log_prob(x, logits), information])

        return both(logits), jax.jacrev(both)(logits)

    obtained = values(x, jnp.where(allowed, extreme, forbidden), direction)
    expected = values(x, jnp.where(allowed, extreme, 7.0), direction)
    assert all(np.isfinite(value).all() for value in obtained)
    jax.tree.map(np.testing.assert_array_equal, obtained, expected)
    np.testing.assert_array_equal(obtained[1][:, ~np.asarray(allowed)], 0.0)


def _pair(shape):
    return jnp.array(RNG.normal(size=shape)), jnp.array(RNG.normal(size=shape))


X = np.array([*LAYERS.parse("pool conv"), LAYERS.padding, LAYERS.padding])
VALUES = np.array([0.3, 0.9, 0.0, 0.0, 0.0])
BOTH = jnp.array(np.stack([X, VALUES], axis=1))
LOGITS, DIRECTION = _pair((5, LAYERS.size))
CASES = {
    "gaussian": (Gaussian(0.3), jnp.array([1.0, -0.2]), *_pair(2)),
    "gaussian of variances": (Gaussian(jnp.array([0.3, 2.0])), jnp.ones(2), *_pair(2)),
    "bernoulli": (Bernoulli(), jnp.array([1.0, 0.0]), *_pair(2)),
    "categorical": (Categorical(), jnp.array([1, 0, 3]), *_pair((3, 4))),
    "rules": (_of(LAYERS), jnp.array(X), LOGITS, DIRECTION),
    "sums": (_of(SUMS), jnp.array(derivations(SUMS, 6)[5]), *_pair((6, SUMS.size))),
    "sequence": (
        Sequence(rule_tables(LAYERS), 0.3),
        BOTH,
        (LOGITS, jnp.array(RNG.normal(size=5))),
        (DIRECTION, jnp.array(RNG.normal(size=5))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_information_is_minus_the_second_difference(float64, name):
    likelihood, *arguments = CASES[name]
    x, parameters, tangent = jax.tree.map(lambda leaf: np.asarray(leaf).astype(float), arguments)
    x = np.asarray(arguments[0]).astype(float if name == "sequence" else arguments[0].dtype)

    step = 1e-3

    @jax.jit
    def values(x, parameters, tangent):
        def along(step):
            moved = jax.tree.map(lambda p, t: p + step * t, parameters, tangent)
            return likelihood.log_prob(x, moved)

        differences = jax.vmap(along)(jnp.array([step, 0.0, -step]))
        return differences, likelihood.information(x, parameters, tangent)

    (above, center, below), obtained = values(x, parameters, tangent)
    expected = -(above - 2.0 * center + below) / step**2
    assert expected > 0.01
    np.testing.assert_allclose(obtained, expected, rtol=1e-5)


def test_information_is_the_fisher_information_on_average(float64):
    """The mean of `information` is sum_x p(x|z) (d log p(x|z) / d e)^2 over all sentences."""
    sentences, likelihood = jnp.array(derivations(SUMS, 7)), _of(SUMS)
    logits, direction = (jnp.array(RNG.normal(size=(7, SUMS.size))) for _ in range(2))

    @jax.jit
    @jax.vmap
    def each(x):
        log_prob = functools.partial(likelihood.log_prob, x)
        value, slope = jax.jvp(log_prob, (logits,), (direction,))
        return jnp.exp(value), slope, likelihood.information(x, logits, direction)

    p, slope, information = map(np.asarray, each(sentences))
    assert np.ptp(information) > 0.1
    np.testing.assert_allclose(p @ slope**2, p @ information, rtol=1e-10)


def test_values_count_only_at_layers(float64):
    """Two of five places have SciPy's normal density; the others have no term and no gradient."""
    likelihood, values = Sequence(rule_tables(LAYERS), 0.3), RNG.normal(size=5)
    rules = _of(LAYERS).log_prob(jnp.array(X), jnp.array(LOGITS))
    expected = rules + scipy.stats.norm(values[:2], np.sqrt(0.3)).logpdf(VALUES[:2]).sum()
    arguments = jnp.array(BOTH, float), (jnp.array(LOGITS), jnp.array(values))
    both = jax.jit(jax.value_and_grad(likelihood.log_prob, 1))
    obtained, grads = both(*arguments)
    np.testing.assert_allclose(obtained, expected, rtol=1e-6)
    np.testing.assert_allclose(grads[1][:2], (VALUES[:2] - values[:2]) / 0.3, rtol=1e-6)
    np.testing.assert_array_equal(grads[1][2:], 0.0)
    wild = jnp.array(values).at[2:].set(jnp.inf)
    again, grads = both(arguments[0], (jnp.array(LOGITS), wild))
    np.testing.assert_array_equal(again, obtained)
    assert np.isfinite(grads[1]).all()


def test_sequences_are_drawn_with_their_values(keys):
    """In 10,000 draws rules follow `Categorical`; values have their mean and variance, or are 0."""
    likelihood, values = Sequence(rule_tables(LAYERS), 0.3), jnp.linspace(0.1, 0.9, 5)
    logits = jnp.asarray(LOGITS, jnp.float32)
    mode = np.asarray(jax.jit(likelihood.mode)((logits, values)))
    rules = np.asarray(_of(LAYERS).mode(logits))
    end = LAYERS.padding - 1
    np.testing.assert_array_equal(mode[:, 0], rules)
    np.testing.assert_array_equal(mode[:, 1], np.where(rules < end, values, 0.0))
    draw = jax.jit(jax.vmap(likelihood.sample, (0, None)))
    draws = np.asarray(draw(jax.random.split(next(keys), 10_000), (logits, values)))
    first = draws[draws[:, 0, 0] < end, 0, 1]
    assert abs(first.mean() - 0.1) < 4 * np.sqrt(0.3 / len(first))
    assert abs(first.var() / 0.3 - 1.0) < 4 * np.sqrt(2.0 / len(first))
    assert np.all(draws[draws[..., 0] >= end, 1] == 0.0)
    p = np.exp(scipy.special.log_softmax(np.asarray(LOGITS, float)[0, : LAYERS.padding]))
    counts = np.bincount(draws[:, 0, 0].astype(int), minlength=len(p)) / 10_000
    assert np.all(np.abs(counts - p) < 4 * np.sqrt(p * (1.0 - p) / 10_000))


def test_missing_statistics_are_refused():
    logits = jnp.zeros((5, LAYERS.size))
    for likelihood, parameters in (
        (_of(LAYERS), logits),
        (Sequence(rule_tables(LAYERS), 0.3), (logits, jnp.zeros(5))),
    ):
        with pytest.raises(NotImplementedError, match="has no mean; use `mode`"):
            likelihood.mean(parameters)
        with pytest.raises(NotImplementedError, match="without an x; use `information`"):
            likelihood.fisher(parameters)
    for shape in ((4, LAYERS.size), (5, LAYERS.size + 1)):
        with pytest.raises(ArgumentError):
            _of(LAYERS).log_prob(jnp.array(X), jnp.zeros(shape))


def test_they_are_built_from_a_config():
    config = base_config().likelihood
    config.variance = 0.2
    language = Language("architectures", LAYERS, 5, has_values=True)
    for name, expected in (
        ("categorical", _of(LAYERS)),
        ("sequence", Sequence(rule_tables(LAYERS), 0.2)),
    ):
        config.name = name
        assert likelihoods.build(config, language) == expected
        with pytest.raises(ValueError, match=f"'{name}' requires the language"):
            likelihoods.build(config)
