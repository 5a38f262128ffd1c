"""The batch's objectives against NumPy with the same noise, and on two devices against one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

from sfvae_jax import likelihoods, objectives

BATCH, N, M = 4, 5, 2
RNG = np.random.default_rng(0)
X, MEANS = RNG.normal(size=(BATCH, N)), RNG.normal(size=(BATCH, M))
WEIGHTS, SIGMA = RNG.normal(size=(N, M)), np.array([0.3, 1.7])
KEY, VARIANCE, TAU = jax.random.key(17), 0.4, 0.3
LIKELIHOODS = {"gaussian": likelihoods.Gaussian(VARIANCE), "bernoulli": likelihoods.Bernoulli()}


def _decode(weights, z):
    return 2.0 * jnp.tanh(weights @ z)


@functools.cache
def _noise(dtype=np.float64, count=BATCH, m=M):
    """Example i draws from `fold_in(rng, i)`."""
    keys = [jax.random.fold_in(KEY, i) for i in range(count)]
    return np.stack([np.asarray(jax.random.normal(key, (m,), dtype)) for key in keys])


def _outputs(means=MEANS, sigma=SIGMA, weights=WEIGHTS):
    """The decoder's outputs for the sampled latents, [B, n]."""
    z = means + np.sqrt(sigma) * _noise()
    return 2.0 * np.tanh(z @ weights.T)


def _log_likelihoods(name, outputs):
    if name == "gaussian":
        return scipy.stats.norm(outputs, np.sqrt(VARIANCE)).logpdf(X).sum(axis=1)
    return scipy.stats.bernoulli(scipy.special.expit(outputs)).logpmf(X > 0).sum(axis=1)


def _kl(prior_variance):
    """KL(N(mu_i, Sigma) || N(0, S^2)) by dimension, [B, m]."""
    ratio = SIGMA / prior_variance
    return 0.5 * (MEANS**2 / prior_variance + ratio - 1.0 - np.log(ratio))


def _data(name):
    return jnp.array(X if name == "gaussian" else (X > 0).astype(float))


def _constant_variance(name):
    @jax.jit
    def elbo(means, sigma, weights):
        decode = functools.partial(_decode, weights)
        return objectives.constant_variance_elbo(
            KEY, decode, _data(name), means, sigma, LIKELIHOODS[name]
        )

    return elbo


def _bilbo(name):
    @jax.jit
    def value(means, sigma, weights):
        decode = functools.partial(_decode, weights)
        return objectives.bilbo(KEY, decode, _data(name), means, sigma, LIKELIHOODS[name])

    return value


@jax.jit
def _baggins(means, sigma, weights, x, scale=1.0, tau=TAU):
    def decode(z):
        return scale * _decode(weights, z)

    return objectives.bilbo_baggins(KEY, decode, x, means, sigma, tau=tau)


def test_floating_prior_is_the_mean_square(float64):
    obtained = objectives.floating_prior_variance(jnp.array(MEANS), jnp.array(SIGMA))
    np.testing.assert_allclose(obtained, SIGMA + np.mean(MEANS**2, axis=0), rtol=1e-14)
    # Not centred, and of one example too.
    obtained = objectives.floating_prior_variance(jnp.full((1, 2), 3.0), jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(obtained, [10.0, 11.0])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_constant_variance_elbo_is_numpys(float64, name):
    """Every part of every example."""
    elbo = _constant_variance(name)(MEANS, SIGMA, WEIGHTS)
    prior_variance = SIGMA + np.mean(MEANS**2, axis=0)
    log_likelihoods, kl = _log_likelihoods(name, _outputs()), _kl(prior_variance)
    entropy = scipy.stats.norm(0.0, np.sqrt(SIGMA)).entropy().sum()
    np.testing.assert_allclose(elbo.log_likelihood, log_likelihoods, rtol=1e-12)
    np.testing.assert_allclose(elbo.kl_per_dimension, kl, rtol=1e-12)
    np.testing.assert_allclose(elbo.kl, kl.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(elbo.entropy, np.full(BATCH, entropy), rtol=1e-12)
    np.testing.assert_allclose(elbo.value, log_likelihoods - kl.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_bilbo_is_numpys_and_the_mean_elbo(float64, name):
    """BACK Eqs. 23 and 24: value and gradients, in means, variance and decoder, to 1e-12."""
    arguments = MEANS, SIGMA, WEIGHTS
    value, grads = jax.jit(jax.value_and_grad(_bilbo(name), (0, 1, 2)))(*arguments)
    log_det = np.linalg.slogdet(np.eye(M) + np.diag(np.mean(MEANS**2, axis=0) / SIGMA))[1]
    expected = np.mean(_log_likelihoods(name, _outputs())) - 0.5 * log_det
    np.testing.assert_allclose(value, expected, rtol=1e-12)

    elbo = _constant_variance(name)
    both = jax.jit(jax.value_and_grad(lambda *a: jnp.mean(elbo(*a).value), (0, 1, 2)))
    mean, expected = both(*arguments)
    np.testing.assert_allclose(mean, value, rtol=1e-12)
    for grad, other in zip(grads, expected, strict=True):
        np.testing.assert_allclose(grad, other, rtol=1e-12, atol=1e-12)
        assert np.abs(grad).max() > 1e-2


def test_the_floating_prior_is_the_best(float64):
    """BACK Eq. 4: any other variance in any dimension lowers the batch's mean ELBO; slope 0."""
    best = np.asarray(objectives.floating_prior_variance(jnp.array(MEANS), jnp.array(SIGMA)))
    elbo = _constant_variance("gaussian")(MEANS, SIGMA, WEIGHTS)
    log_likelihood = np.mean(elbo.log_likelihood)

    def mean_elbo(prior_variance):
        return log_likelihood - np.mean(_kl(prior_variance).sum(axis=1))

    np.testing.assert_allclose(np.mean(elbo.value), mean_elbo(best), rtol=1e-12)
    for factor in (1e-2, 0.5, 0.999, 1.001, 2.0, 1e2):
        for other in ([factor, 1.0], [1.0, factor], [factor, factor], [factor, 1.0 / factor]):
            assert mean_elbo(best * other) < np.mean(elbo.value) - 1e-8
    steps = 1e-4 * np.eye(M) * best
    slope = [mean_elbo(best + step) - mean_elbo(best - step) for step in steps]
    np.testing.assert_allclose(slope, 0.0, atol=1e-11)


@pytest.mark.parametrize("tau", [TAU, 1.0, 5.0])
def test_baggins_is_numpys(float64, tau):
    """BACK Eqs. 29 and 30, and what they are for: a Gaussian with the variances T_i."""
    residual = X - _outputs()
    squares, information = np.sum(residual**2, axis=1), np.sum(1 + np.mean(MEANS**2, 0) / SIGMA)
    variances = tau * squares / information
    obtained = _baggins(MEANS, SIGMA, WEIGHTS, X, tau=tau)
    log_det = np.sum(np.log1p(np.mean(MEANS**2, axis=0) / SIGMA))
    log_t = [np.linalg.slogdet(2.0 * np.pi * t * np.eye(N))[1] for t in variances]
    np.testing.assert_allclose(
        obtained, -0.5 * (log_det + information / tau + np.mean(log_t)), rtol=1e-12
    )
    densities = scipy.stats.norm(0.0, np.sqrt(variances)[:, None]).logpdf(residual).sum(axis=1)
    np.testing.assert_allclose(obtained, np.mean(densities) - 0.5 * log_det, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e4])
def test_baggins_does_not_depend_on_the_scale(float64, scale):
    """Data and decoder times lambda: -n log lambda, and the same gradients in the codes."""
    both = jax.jit(jax.value_and_grad(_baggins, (0, 1)))
    value, grads = both(MEANS, SIGMA, WEIGHTS, X)
    scaled, scaled_grads = both(MEANS, SIGMA, WEIGHTS, scale * X, scale)
    np.testing.assert_allclose(scaled - value, -N * np.log(scale), rtol=1e-12)
    for grad, expected in zip(scaled_grads, grads, strict=True):
        np.testing.assert_allclose(grad, expected, rtol=1e-9)


def test_gradients(float64):
    """Through T, M_B and the samples, in all arguments, by finite differences."""
    arguments = tuple(jnp.array(a) for a in (MEANS, SIGMA, WEIGHTS, X, 1.3, TAU))
    bilbo = _bilbo("gaussian")
    check_grads(
        jax.jit(lambda *a: (_baggins(*a), bilbo(*a[:3]))), arguments, order=1, modes=["rev"]
    )


def test_a_perfect_reconstruction_has_no_gradient(float64):
    """Example 0 fits exactly; the decoder's gradient is that of the others, in closed form.

    With W = 0 and residual x_i, d/dW of -n/2 log|x_i - W z_i|^2 is n x_i z_i' / |x_i|^2.
    """
    x = X.copy()
    x[0] = 0.0

    def value(weights):
        return objectives.bilbo_baggins(
            KEY, lambda z: weights @ z, jnp.array(x), jnp.array(MEANS), jnp.array(SIGMA), tau=TAU
        )

    obtained, grad = jax.jit(jax.value_and_grad(value))(jnp.zeros((N, M)))
    z = MEANS + np.sqrt(SIGMA) * _noise()
    each = [N * np.outer(x[i], z[i]) / (x[i] @ x[i]) for i in range(1, BATCH)]
    np.testing.assert_allclose(grad, np.sum(each, axis=0) / BATCH, rtol=1e-10)
    assert np.isfinite(obtained)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_tau_must_be_positive(tau):
    arguments = KEY, lambda z: jnp.zeros(N), jnp.zeros((2, N)), jnp.zeros((2, M)), jnp.ones(M)
    with pytest.raises(ValueError, match=f"tau must be positive, got {tau}"):
        objectives.bilbo_baggins(*arguments, tau=tau)


@pytest.mark.parametrize("m", [1, 2])
def test_extremes_are_finite_with_finite_gradients(m):
    """float32: variances 1e-16 and 1e8; rows alike or zero; every residual zero or not."""

    @jax.jit
    def values_and_grads(means, sigma, weights, x):
        def values(means, sigma, weights):
            arguments = KEY, lambda z: weights @ z, x, means, sigma
            gaussian = LIKELIHOODS["gaussian"]
            return jnp.stack(
                [
                    objectives.bilbo(*arguments, gaussian),
                    objectives.bilbo_baggins(*arguments, tau=TAU),
                    jnp.mean(objectives.constant_variance_elbo(*arguments, gaussian).value),
                ]
            )

        return values(means, sigma, weights), jax.jacrev(values, (0, 1, 2))(means, sigma, weights)

    cases = [
        (MEANS, X, WEIGHTS),
        (np.tile(MEANS[:1], (BATCH, 1)), np.tile(X[:1], (BATCH, 1)), WEIGHTS),
        (0.0 * MEANS, X, WEIGHTS),
        (MEANS, 0.0 * X, 0.0 * WEIGHTS),
    ]
    for means, x, weights in cases:
        for sigma in (1e-16, 1e8):
            arguments = means[:, :m], np.full(m, sigma), weights[:, :m], x
            values, grads = values_and_grads(*(jnp.array(a, jnp.float32) for a in arguments))
            assert np.all(np.isfinite(values))
            assert all(np.all(np.isfinite(grad)) for grad in grads)
            scatter = np.mean(np.float32(means[:, :m]).astype(float) ** 2, axis=0) / sigma
            z = means[:, :m] + np.sqrt(sigma) * _noise(np.float32, m=m)
            squares = np.sum((x - z @ weights[:, :m].T) ** 2, axis=1)
            expected = -0.5 * (
                N * np.log(2 * np.pi * VARIANCE)
                + np.mean(squares) / VARIANCE
                + np.sum(np.log1p(scatter))
            )
            np.testing.assert_allclose(values[0], expected, rtol=1e-4)
            np.testing.assert_allclose(values[2], expected, rtol=1e-4)


PARAMETERS = {"encoder": 0.3 * RNG.normal(size=(M, N)), "decoder": WEIGHTS, "log_sigma": SIGMA - 1}


def _losses(parameters, x, axis_name):
    """All that the batch enters, of one device's share."""
    means, sigma = x @ parameters["encoder"].T, jnp.exp(parameters["log_sigma"])
    gaussian = LIKELIHOODS["gaussian"]

    def decode(z):
        return _decode(parameters["decoder"], z)

    arguments = KEY, decode, x, means
    over = {"axis_name": axis_name}
    elbo = objectives.constant_variance_elbo(*arguments, sigma, gaussian, **over)
    return {
        "floating_prior": jnp.sum(
            jnp.log(objectives.floating_prior_variance(means, sigma, **over))
        ),
        # One device's mean of its own examples, as any objective of single examples gives.
        "constant_variance": jnp.mean(elbo.value),
        "bilbo": objectives.bilbo(*arguments, sigma, gaussian, **over),
        "bilbo_baggins": objectives.bilbo_baggins(*arguments, sigma, tau=TAU, **over),
        "wae_mmd": objectives.wae_mmd_loss(*arguments, weight=10.0, **over),
    }


@jax.jit
def _on_one():
    x, parameters = jnp.array(X), jax.tree.map(jnp.array, PARAMETERS)
    return _losses(parameters, x, None), jax.jacrev(_losses)(parameters, x, None)


def _shares():
    return jnp.array(X).reshape(2, BATCH // 2, N)


def test_two_devices_take_the_step_of_one(float64):
    """jax.grad within jax.pmap and a pmean of it, as in training; values of every device."""

    def device(parameters, x):
        grads = {
            name: jax.grad(lambda p, name=name: _losses(p, x, "batch")[name])(parameters)
            for name in _losses(parameters, x, "batch")
        }
        return _losses(parameters, x, "batch"), jax.lax.pmean(grads, "batch")

    shared = jax.pmap(device, axis_name="batch", devices=jax.local_devices()[:2], in_axes=(None, 0))
    values, grads = shared(jax.tree.map(jnp.array, PARAMETERS), _shares())
    expected, expected_grads = _on_one()
    for name, value in expected.items():
        if name == "constant_variance":
            assert abs(values[name][0] - values[name][1]) > 1e-3
            np.testing.assert_allclose(np.mean(values[name]), value, rtol=1e-12)
        else:
            np.testing.assert_allclose(values[name], [value, value], rtol=1e-12)
        for part, grad in expected_grads[name].items():
            for row in grads[name][part]:
                np.testing.assert_allclose(row, grad, rtol=1e-9, atol=1e-12)
    assert np.abs(expected_grads["wae_mmd"]["encoder"]).max() > 1e-2


@pytest.mark.parametrize("how", ["vmap", "shard_map"])
def test_other_ways_to_share_a_batch(float64, how):
    """A named axis of jax.vmap or of jax.shard_map serves as well; values."""
    parameters = jax.tree.map(jnp.array, PARAMETERS)

    def device(x):
        losses = _losses(parameters, x, "batch")
        return losses | {"constant_variance": jax.lax.pmean(losses["constant_variance"], "batch")}

    if how == "vmap":
        values = jax.jit(jax.vmap(device, axis_name="batch"))(_shares())
        values = jax.tree.map(lambda rows: rows[1], values)
    else:
        mesh = Mesh(np.array(jax.local_devices()[:2]), "batch")
        values = jax.jit(
            jax.shard_map(
                device,
                mesh=mesh,
                in_specs=PartitionSpec("batch"),
                out_specs=PartitionSpec(),
                check_vma=False,
            )
        )(jnp.array(X))
    for name, value in _on_one()[0].items():
        np.testing.assert_allclose(values[name], value, rtol=1e-12)


def _refused(function, x=X, means=MEANS, sigma=SIGMA, decode=None):
    decode = decode or functools.partial(_decode, jnp.array(WEIGHTS, jnp.float32))
    last = {"tau": 1.0} if function == "bilbo_baggins" else {"likelihood": LIKELIHOODS["gaussian"]}
    arguments = (jnp.array(a, jnp.float32) for a in (x, means, sigma))
    call = functools.partial(getattr(objectives, function), KEY, decode, **last)
    with pytest.raises(objectives.ArgumentError):
        jax.eval_shape(call, *arguments)


@pytest.mark.parametrize("function", ["bilbo", "bilbo_baggins", "constant_variance_elbo"])
@pytest.mark.parametrize(
    "change",
    [
        {"sigma": SIGMA[:1]},
        {"sigma": np.ones((M, M))},
        {"means": MEANS[0]},
        {"means": MEANS[:3]},
        {"decode": lambda z: jnp.zeros(N - 1)},
    ],
    ids=["one variance", "covariance", "one mean", "three means", "decoder"],
)
def test_shapes_that_do_not_fit_are_refused(function, change):
    """With an ArgumentError, as documented."""
    _refused(function, **change)


def test_a_prior_of_another_size_is_refused():
    with pytest.raises(objectives.ArgumentError):
        objectives.floating_prior_variance(jnp.ones((4, 2)), jnp.ones(1))
    with pytest.raises(objectives.ArgumentError):
        objectives.floating_prior_variance(jnp.ones(2), jnp.ones(2))


def test_keys_of_both_kinds_are_taken(float64):
    """`jax.random.PRNGKey` and `jax.random.key` of a seed draw the same."""
    likelihood = likelihoods.Gaussian(VARIANCE)
    values = [
        objectives.bilbo(
            rng,
            functools.partial(_decode, jnp.array(WEIGHTS)),
            jnp.array(X),
            jnp.array(MEANS),
            jnp.array(SIGMA),
            likelihood,
        )
        for rng in (jax.random.PRNGKey(3), jax.random.key(3))
    ]
    assert np.isfinite(values[0])
    assert values[0] == values[1]
