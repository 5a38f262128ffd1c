"""Decoders of five libraries under every objective.

The same linear decoder has the same value and gradient in each library. Both are those of dense
algebra in float64, with n x n covariances, under the noise that the objective draws.
"""

import contextlib
import importlib
import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import likelihoods, objectives, posteriors

N, M, BATCH = 6, 3, 4
_rng = np.random.default_rng(0)
WEIGHTS, BIAS = _rng.normal(size=(N, M)) * [2.0, 1.0, 0.5], _rng.normal(size=N)
X, MEANS = _rng.normal(size=(BATCH, N)), _rng.normal(size=(BATCH, M))
STDDEVS = _rng.uniform(0.2, 1.0, size=(BATCH, M))
C, VARIANCE, BETA, PENALTY, TAU, GAMMA, LOG_DET, K = 0.3, 0.6, 0.7, 0.4, 0.2, 0.4, 0.9, 2
KEY = jax.random.key(5)

SAMPLES = {"num_samples": K}
CODES = {"beta": BETA, "penalty_weight": PENALTY}
OPTIONS = {
    "sampling": SAMPLES,
    "sticking_the_landing": SAMPLES,
    "iwae": SAMPLES,
    "control_variate": {**SAMPLES, "beta": BETA},
    "sampling_free": {"gamma": GAMMA, "log_det_weight": LOG_DET},
    "linearized": {"beta": BETA},
    "constant_variance": {"posterior_variance": VARIANCE},
    "bilbo": {"posterior_variance": VARIANCE},
    "bilbo_baggins": {"posterior_variance": VARIANCE, "tau": TAU},
    "linearized_bilbo": {"posterior_variance": VARIANCE},
    "rae": {"beta": BETA},
    "rae_l2": CODES,
    "rae_gp": CODES,
    "rae_sn": {"beta": BETA},
    "cv_vae": {"posterior_variance": VARIANCE, "beta": BETA},
    "wae_mmd": {"penalty_weight": PENALTY},
}


# Dense references in NumPy and SciPy, which share no code with the objectives. Each is the value of
# example i, which training maximises, under the noise that the objective draws for it.


def _draws(*keys):
    return [np.float64(jax.random.normal(key, (M,), jnp.float32)) for key in keys]


KEYS = [jax.random.fold_in(KEY, i) for i in range(BATCH)]
NOISE = _draws(*KEYS)
NOISE_OF_SAMPLES = [_draws(*jax.random.split(key, K)) for key in KEYS]
_normal = scipy.stats.multivariate_normal.logpdf


def _fit(i, mean):
    return _normal(X[i], mean, C * np.eye(N))


def _kl(mean, stddev, prior=1.0):
    ratio = (stddev / prior) ** 2
    return 0.5 * np.sum((mean / prior) ** 2 + ratio - 1.0 - np.log(ratio))


def _samples(w, b, i):
    """log p(x|z) and log p(z) - log q(z|x) at each sample."""
    zs = [MEANS[i] + STDDEVS[i] * noise for noise in NOISE_OF_SAMPLES[i]]
    prior = [_normal(z, np.zeros(M), np.eye(M)) for z in zs]
    posterior = [_normal(z, MEANS[i], np.diag(STDDEVS[i] ** 2)) for z in zs]
    return np.array([_fit(i, w @ z + b) for z in zs]), np.subtract(prior, posterior)


def _sampling(w, b, i):
    return np.mean(_samples(w, b, i)[0]) - _kl(MEANS[i], STDDEVS[i])


def _sticking_the_landing(w, b, i):
    return np.mean(np.sum(_samples(w, b, i), axis=0))


def _iwae(w, b, i):
    return np.log(np.mean(np.exp(np.sum(_samples(w, b, i), axis=0))))


def _sampling_free(w, b, i):
    residual = w @ MEANS[i] + b - X[i]
    covariance = w @ np.diag(STDDEVS[i] ** 2) @ w.T + C * np.eye(N)
    log_det = np.linalg.slogdet(covariance)[1] - N * np.log(C)
    square = GAMMA * residual @ np.linalg.solve(covariance, residual)
    square += (1 - GAMMA) * residual @ residual / C
    value = -N / 2 * np.log(2 * np.pi * C) - LOG_DET / 2 * log_det - square / 2
    return value - _kl(MEANS[i], STDDEVS[i])


def _linearized(w, b, i):
    trace = np.trace(w @ np.diag(STDDEVS[i] ** 2) @ w.T) / C
    return _fit(i, w @ MEANS[i] + b) - trace / 2 - BETA * _kl(MEANS[i], STDDEVS[i])


def _log_evidence(w, b, i):
    residual = w @ MEANS[i] + b - X[i]
    log_det = np.linalg.slogdet(w @ w.T + C * np.eye(N))[1]
    squares = MEANS[i] @ MEANS[i] + residual @ residual / C
    return -(N * np.log(2 * np.pi) + squares + log_det) / 2


def _noisy(w, b, i):
    """The decoder's output at a draw of the constant posterior variance."""
    return w @ (MEANS[i] + VARIANCE**0.5 * NOISE[i]) + b


def _constant_variance(w, b, i):
    prior = np.sqrt(VARIANCE + np.mean(MEANS**2, axis=0))
    return _fit(i, _noisy(w, b, i)) - _kl(MEANS[i], np.full(M, VARIANCE**0.5), prior)


def _linearized_bilbo(w, b, i):
    prior = np.sqrt(VARIANCE + np.mean(MEANS**2, axis=0))
    fit = _fit(i, w @ MEANS[i] + b) - VARIANCE * np.trace(w @ w.T) / (2 * C)
    return fit - _kl(MEANS[i], np.full(M, VARIANCE**0.5), prior)


def _bilbo_baggins(w, b, i):
    information = 1 + np.mean(MEANS**2, axis=0) / VARIANCE
    squares = np.sum((X[i] - _noisy(w, b, i)) ** 2)
    variance = TAU * squares / np.sum(information)
    fit = np.sum(information) / TAU + N * np.log(2 * np.pi * variance)
    return -(np.sum(np.log(information)) + fit) / 2


def _autoencoder(w, b, i):
    return -np.sum((X[i] - w @ MEANS[i] - b) ** 2)


def _rae(w, b, i, penalty=0.0):
    return _autoencoder(w, b, i) - BETA / 2 * MEANS[i] @ MEANS[i] - PENALTY * penalty


def _cv_vae(w, b, i):
    return -np.sum((X[i] - _noisy(w, b, i)) ** 2) - BETA * MEANS[i] @ MEANS[i]


def _wae_mmd(w, b, i):
    points, total = [*MEANS, *NOISE], 0.0
    for j, k in itertools.permutations(range(2 * BATCH), 2):
        alike = (j < BATCH) == (k < BATCH)
        square = np.sum((points[j] - points[k]) ** 2)
        kernels = sum(1 / (1 + square / (2 * M * scale)) for scale in objectives.MMD_SCALES)
        total += kernels / (BATCH * (BATCH - 1) if alike else -(BATCH**2))
    return _autoencoder(w, b, i) - PENALTY * total


DENSE = {
    "sampling": _sampling,
    "sticking_the_landing": _sticking_the_landing,
    "iwae": _iwae,
    "sampling_free": _sampling_free,
    "linearized": _linearized,
    "control_variate": _linearized,  # without noise, as the decoder is linear
    "log_evidence": _log_evidence,
    "constant_variance": _constant_variance,
    "bilbo": _constant_variance,  # their means over the batch are equal
    "bilbo_baggins": _bilbo_baggins,
    "linearized_bilbo": _linearized_bilbo,
    "autoencoder": _autoencoder,
    "rae": _rae,
    "rae_l2": lambda w, b, i: _rae(w, b, i, np.sum(w**2) + np.sum(b**2)),
    "rae_gp": lambda w, b, i: _rae(w, b, i, np.sum(w**2)),
    "rae_sn": lambda w, b, i: _rae(w / np.linalg.norm(w, ord=2), b, i),
    "cv_vae": _cv_vae,
    "wae_mmd": _wae_mmd,
}


def _dense(name):
    """The loss of the batch, and its gradients in weights and bias by finite differences."""

    def loss(w, b):
        return -np.mean([DENSE[name](w, b, i) for i in range(BATCH)])

    given, gradients = (WEIGHTS, BIAS), []
    for number, array in enumerate(given):
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = [np.copy(other) for other in given]
                moved[number][place] += step
                values.append(loss(*moved))
            gradient[place] = (values[0] - values[1]) / 2e-5
        gradients.append(gradient)
    return loss(*given), *gradients


# The linear decoder in each library.


class Decoder(NamedTuple):
    params: object  # the arrays of the decoder in the library's own tree
    with_params: object  # maps such a tree to decode, a function of one latent
    kernel_is_transposed: bool = True  # whether its kernel is [m, n]


def _plain_jax():
    params = {"kernel": jnp.float32(WEIGHTS.T), "bias": jnp.float32(BIAS)}
    return Decoder(params, lambda params: lambda z: z @ params["kernel"] + params["bias"])


def _linen():
    nn = importlib.import_module("flax.linen")
    params = {"params": {"kernel": jnp.float32(WEIGHTS.T), "bias": jnp.float32(BIAS)}}
    return Decoder(params, lambda params: lambda z: nn.Dense(N).apply(params, z))


def _nnx():
    nnx = importlib.import_module("flax.nnx")
    layer = nnx.Linear(M, N, rngs=nnx.Rngs(0))
    layer.kernel, layer.bias = nnx.Param(jnp.float32(WEIGHTS.T)), nnx.Param(jnp.float32(BIAS))
    definition, params = nnx.split(layer)
    return Decoder(params, lambda params: nnx.merge(definition, params))


def _haiku():
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")
    apply = hk.without_apply_rng(hk.transform(lambda z: hk.Linear(N)(z))).apply
    params = {"linear": {"w": jnp.float32(WEIGHTS.T), "b": jnp.float32(BIAS)}}
    return Decoder(params, lambda params: lambda z: apply(params, z))


def _equinox():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    layer = eqx.nn.Linear(M, N, key=jax.random.key(0))
    where = lambda layer: (layer.weight, layer.bias)  # noqa: E731
    params = eqx.tree_at(where, layer, (jnp.float32(WEIGHTS), jnp.float32(BIAS)))
    return Decoder(params, lambda params: params, kernel_is_transposed=False)


LIBRARIES = {
    "plain_jax": _plain_jax,
    "linen": _linen,
    "nnx": _nnx,
    "equinox_decoder": _equinox,
    "haiku_decoder": _haiku,
}


def _loss(name, decoder, params):
    if objectives.OBJECTIVES[name].normalizes_decoder:
        params, _ = objectives.spectral_normalize(params)
    value, _ = objectives.batch_loss(
        name,
        KEY,
        decoder.with_params(params),
        jnp.float32(X),
        posteriors.DiagonalGaussian(jnp.float32(MEANS), jnp.float32(STDDEVS)),
        likelihoods.Gaussian(C),
        decoder_params=params,
        **OPTIONS.get(name, {}),
    )
    return value


@pytest.fixture(scope="module")
def decoders():
    """The decoder of each library that is installed."""
    made = {}
    for library, make in LIBRARIES.items():
        with contextlib.suppress(pytest.skip.Exception):
            made[library] = make()
    return made


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_a_linear_decoder_of_any_library_is_dense_algebra(name, decoders):
    @jax.jit  # one program for all libraries
    def of_all(params):
        return {
            library: jax.value_and_grad(partial(_loss, name, decoders[library]))(own)
            for library, own in params.items()
        }

    expected = _dense(name)
    found = of_all({library: decoder.params for library, decoder in decoders.items()})
    for library, (value, gradient) in found.items():
        of_rank = {leaf.ndim: leaf for leaf in jax.tree.leaves(gradient)}
        transposed = decoders[library].kernel_is_transposed
        kernel = of_rank[2].T if transposed else of_rank[2]
        for obtained, exact in zip((value, kernel, of_rank[1]), expected, strict=True):
            scale = np.max(np.abs(exact))
            np.testing.assert_allclose(
                obtained, exact, rtol=1e-5, atol=3e-6 * scale, err_msg=library
            )


@pytest.mark.parametrize("library", ["haiku_decoder", "equinox_decoder"])
def test_the_library_is_there(library):
    """It skips, and says so, where the test above had to leave one out."""
    LIBRARIES[library]()


def test_convolutions_of_equinox_have_their_outputs_first():
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")
    layer = eqx.nn.Conv2d(2, 5, 3, key=jax.random.key(0))
    normalized, vectors = objectives.spectral_normalize(
        layer,
        num_iterations=100,
        is_kernel=lambda path, leaf: path.endswith("weight"),
        output_axis=0,
    )
    assert set(vectors) == {"weight"}
    singular = np.linalg.svd(np.reshape(layer.weight, (5, -1)), compute_uv=False)
    np.testing.assert_allclose(normalized.weight * singular[0], layer.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(normalized.bias, layer.bias)
