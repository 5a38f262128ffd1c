"""Sequences under every objective that takes them: what decodes them, what scores them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_tiny_config

from sfvae_jax import likelihoods, models, objectives
from sfvae_jax.config import resolve
from sfvae_jax.grammars import EXPRESSIONS, Language
from sfvae_jax.likelihoods import Categorical
from sfvae_jax.objectives import DenseOutput, Weights
from sfvae_jax.posteriors import DiagonalGaussian
from sfvae_jax.training.losses.base import build_loss
from sfvae_jax.training.losses.model_functions import Functions, model_functions
from sfvae_jax.training.microbatch import gradient

PLACES, K = 6, EXPRESSIONS.size
LANGUAGE = Language("equations", EXPRESSIONS, PLACES)
X = np.stack([LANGUAGE.encode(text) for text in ("x + 1", "sin(x)", "2", "(x)")]).astype(np.int32)
WEIGHTS = np.random.default_rng(0).normal(size=(PLACES, K, 2))
MEANS = X[:, :2] / 10.0 - 0.3
WEIGHING = Weights(gamma=jnp.array(0.5), beta=jnp.array(1.0), entropy=jnp.array(1.0))
NAMES = [
    name
    for name, info in objectives.OBJECTIVES.items()
    if info.takes_likelihood(likelihoods.LIKELIHOODS["categorical"])
]


def _config(**changes):
    """An objective's settings on expressions of at most six rules."""
    config = resolve(make_tiny_config(**changes))
    config.data.name, config.data.max_length = "equations", PLACES
    config.likelihood.name = "categorical"
    return config


def _fed(x):
    """What a decoder that is fed x adds to its logits: of the rule before each place."""
    return jax.nn.one_hot(jnp.concatenate([jnp.zeros(1, x.dtype), x[:-1]]), K)


def _functions(stddev, weights=WEIGHTS, fed=True):
    def decode(z):
        return jnp.asarray(weights, z.dtype) @ z

    return Functions(
        encode=lambda x: DiagonalGaussian(x[:2] / 10.0 - 0.3, jnp.full(2, stddev)),
        decode=decode,
        decoder_params={"kernel": jnp.asarray(weights)},
        forced_decode=(lambda z, x: decode(z) + _fed(x)) if fed else None,
    )


def _loss(config, functions, weights=WEIGHING):
    loss = build_loss(config, None)
    return jax.jit(lambda x: loss(jax.random.key(0), functions, x, weights))(jnp.array(X))


def _log_probs(fed):
    likelihood = Categorical(LANGUAGE.tables)
    logits = jnp.array(np.einsum("tkm,bm->btk", WEIGHTS, MEANS))
    if fed:
        logits = logits + jax.vmap(_fed)(jnp.array(X))
    return np.asarray(jax.vmap(likelihood.log_prob)(jnp.array(X), logits))


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_scored_by_the_decoder_that_is_fed_it(float64, name):
    """With next to no noise, feeding x changes the loss by the mean of log p at the codes.

    In the objectives of a batch each example is fed its own.
    """
    config = _config(**{"objective.name": name, "posterior.variance": 1e-16})
    loss = build_loss(config, None)

    @jax.jit
    def both(x):
        pair = (_functions(1e-8, fed=fed) for fed in (True, False))
        return [loss(jax.random.key(0), functions, x, WEIGHING) for functions in pair]

    losses = both(jnp.array(X))
    expected = [-_log_probs(fed).mean() for fed in (True, False)]
    assert abs(expected[0] - expected[1]) > 0.1
    np.testing.assert_allclose(losses[0][0] - losses[1][0], expected[0] - expected[1], atol=1e-5)
    if "log_likelihood" in losses[0][1]:
        np.testing.assert_allclose(losses[0][1]["log_likelihood"], -expected[0], atol=1e-5)
    assert "squared_error" not in losses[0][1]
    assert ("log_likelihood" in losses[0][1]) == (name not in ("iwae", "bilbo", "linearized_bilbo"))


def test_the_linearised_elbo_of_sequences_is_the_second_order_one(float64):
    """NumPy's variance of the tangents under each place's choice; beta and free bits as ever."""
    config = _config(**{"objective.name": "linearized", "objective.free_bits": 0.5})
    obtained = [
        _loss(config, _functions(0.4, fed=False), WEIGHING._replace(beta=jnp.array(beta)))
        for beta in (2.0, 0.0)
    ]
    expected = _log_probs(fed=False).mean()
    allowed = np.asarray(jax.vmap(LANGUAGE.tables.allowed)(jnp.array(X)))
    for mean, mask in zip(MEANS, allowed, strict=True):
        for weights, rules in zip(WEIGHTS, mask, strict=True):
            p = np.exp(weights[rules] @ mean)
            p, tangents = p / p.sum(), weights[rules]
            variances = p @ tangents**2 - (p @ tangents) ** 2
            expected -= 0.5 * 0.4**2 * variances.sum() / len(MEANS)
    np.testing.assert_allclose(obtained[0][1]["log_likelihood"], expected, rtol=1e-10)
    kl = np.maximum(0.5 * (MEANS**2 + 0.16 - 1.0) - np.log(0.4), 0.5).sum(axis=1).mean()
    np.testing.assert_allclose(obtained[0][0] - obtained[1][0], 2.0 * kl, rtol=1e-10)


@pytest.mark.parametrize("num_probes", [0, 50])
def test_the_penalty_is_that_of_the_logits(float64, num_probes):
    """A linear decoder's Jacobian is its weights; 50 probes of each example come close."""
    config = _config(**{"objective.name": "rae_gp", "objective.num_probes": num_probes})
    _, metrics = _loss(config, _functions(1.0))
    rtol = 0.2 if num_probes else 1e-10
    np.testing.assert_allclose(metrics["penalty"], np.sum(WEIGHTS**2), rtol=rtol)


@pytest.mark.parametrize("name", ["linearized", "constant_variance"])
def test_gradients_of_whole_numbers(float64, name):
    """Examples are integers, which carry no gradient; by differences, and in chunks alike."""
    loss = build_loss(_config(**{"objective.name": name}), None)
    direction = np.random.default_rng(1).normal(size=WEIGHTS.shape)

    def of_examples(weights, x):
        return loss(jax.random.key(0), _functions(0.3, weights), x, WEIGHING)

    @jax.jit
    def everything(weights, x):
        keep = lambda params: (params, None)  # noqa: E731
        sizes = (4, 2) if name == "linearized" else (4,)  # that of a batch cannot be cut
        grads = [gradient(keep, of_examples, weights, x, size)[:2] for size in sizes]
        ends = jax.vmap(lambda step: of_examples(weights + step * direction, x)[0])
        return grads, ends(jnp.array([1e-5, -1e-5]))

    grads, ends = everything(jnp.array(WEIGHTS), jnp.array(X))
    slope = np.sum(grads[0][0] * direction)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)
    for chunked in grads[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
            chunked,
            grads[0],
        )


class _Forced(nn.Module):
    """The smallest model whose decoder is fed x."""

    decoder: nn.Module
    likelihood: str = "categorical"
    teacher_forced = True

    def encode(self, x, axes=None):
        return DiagonalGaussian(x[:2] / 10.0, jnp.ones(2))

    def decode(self, z, axes=None):
        return self.decoder(z).reshape(PLACES, K)

    def decode_given(self, z, x, axes=None):
        return self.decode(z) + _fed(x)

    def __call__(self, x):
        return self.decode(self.encode(x).mean)


def test_only_decoders_of_sequences_are_fed_x():
    model, x, z = _Forced(nn.Dense(PLACES * K)), jnp.array(X[0]), jnp.array([0.3, -0.2])
    params = jax.jit(model.init)(jax.random.key(0), x)
    functions = model_functions(model, params, {})
    free = model.apply(params, z, method="decode")
    np.testing.assert_array_equal(functions.decode(z), free)
    np.testing.assert_array_equal(functions.decode_given(x)(z), free + _fed(x))
    images = models.build(resolve(make_tiny_config()), (3, 2))
    params = jax.jit(images.init)(jax.random.key(0), jnp.zeros((3, 2)))
    functions = model_functions(images, params, {})
    assert isinstance(functions.decode, DenseOutput)
    assert functions.decode_given(jnp.zeros((3, 2))) is functions.decode
