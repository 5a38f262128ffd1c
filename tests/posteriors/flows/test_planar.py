"""The planar flow: determinants by slogdet, and its density by solving for z_0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from sfvae_jax.posteriors import PlanarFlow

# One flow with w'u = -1.5, which without the constraint folds the plane.
ONE = PlanarFlow(
    mean=np.array([0.3, -0.5]),
    stddev=np.array([0.8, 1.2]),
    u=np.array([[-1.2, -0.9]]),
    w=np.array([[0.5, 1.0]]),
    b=np.array([0.4]),
)


def _flow(flow=ONE, **changes):
    return jax.tree.map(jnp.array, PlanarFlow(**{**vars(flow), **changes}))


def _moved(u, w):
    """u + (softplus(w'u) - 1 - w'u) w / |w|^2   (Rezende and Mohamed, 2015, Appendix A.1)."""
    return u + (np.logaddexp(0.0, w @ u) - 1.0 - w @ u) * w / (w @ w)


@jax.jit
def _with_jacobian(flow, points):
    """z_K, the claimed log |det| and the dense Jacobian at every point."""
    jacobian = jax.vmap(jax.jacfwd(lambda z: flow.forward(z)[0]))(points)
    return *jax.vmap(flow.forward)(points), jacobian


def test_log_det_is_the_jacobians(float64):
    """Three flows in four dimensions, w'u of either sign, at 20 points."""
    rng = np.random.default_rng(0)
    u, w, b = 2.0 * rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)
    products = np.sum(u * w, axis=1)
    assert products.min() < -1.0 < 0.0 < products.max()
    flow = _flow(mean=np.zeros(4), stddev=np.ones(4), u=u, w=w, b=b)
    points = rng.normal(size=(20, 4))
    z, log_det, jacobian = jax.device_get(_with_jacobian(flow, jnp.array(points)))
    sign, expected = np.linalg.slogdet(jacobian)
    np.testing.assert_array_equal(sign, 1.0)
    np.testing.assert_allclose(log_det, expected, rtol=1e-8, atol=1e-10)
    # The flow itself, whose invertibility rests on a margin that the paper does without.
    for i in range(3):
        points = points + np.tanh(points @ w[i] + b[i])[:, None] * _moved(u[i], w[i])
    np.testing.assert_allclose(z, points, atol=2e-4)


@pytest.mark.parametrize("strength", [0.0, -1.0, -5.0, -100.0])
def test_it_is_invertible_for_any_arguments(float64, strength):
    """Rising along w, and of positive determinant, on a grid that crosses tanh's steepest place."""
    w = np.array([1.0, -0.5])
    flow = _flow(u=strength * w[None], w=w[None], b=np.array([0.2]))
    steps = np.linspace(-4.0, 4.0, 401)
    line = steps[:, None] * w + np.array([0.7, 0.1])
    z, log_det, jacobian = jax.device_get(_with_jacobian(flow, jnp.array(line)))
    assert np.all(np.diff(z @ w) > 0.0)
    determinant = np.linalg.det(jacobian)
    assert np.all(determinant > 0.0)
    np.testing.assert_allclose(np.exp(log_det), determinant, rtol=1e-6)


def _recovered(flow, z):
    """z_0 of points z: w'z = a + w'd tanh(a + b) for a = w'z_0, by bracketing."""
    w, b = np.asarray(flow.w)[0], np.asarray(flow.b)[0]
    reference = np.array([0.9, 0.8])
    pushed = np.asarray(jax.jit(flow.forward)(jnp.array(reference))[0])
    direction = (pushed - reference) / np.tanh(w @ reference + b)
    reach = abs(w @ direction) + 1.0
    along = np.array(
        [
            scipy.optimize.brentq(
                lambda a, t=t: a + w @ direction * np.tanh(a + b) - t, t - reach, t + reach
            )
            for t in z @ w
        ]
    )
    return z - np.tanh(along + b)[:, None] * direction


def test_the_density_integrates_to_one(float64):
    """Over a grid of z in the axes of w: exact where the map is one to one and its det right."""
    flow = _flow()
    w = ONE.w[0] / np.linalg.norm(ONE.w[0])
    along, across = np.linspace(-8.0, 8.0, 1001), np.linspace(-8.0, 8.0, 65)
    # z_0 depends on w'z and moves with z across w: one root for each place along w.
    starts = _recovered(flow, along[:, None] * w)
    normal = np.array([-w[1], w[0]])
    z_0 = starts[:, None] + across[:, None] * normal
    pushed = jax.jit(jax.vmap(jax.vmap(flow.forward)))(jnp.array(z_0))
    z, log_det = jax.device_get(pushed)
    np.testing.assert_allclose(z, along[:, None, None] * w + across[:, None] * normal, atol=1e-10)
    log_base = scipy.stats.norm(ONE.mean, ONE.stddev).logpdf(z_0).sum(axis=-1)
    density = np.exp(log_base - log_det)
    total = density.sum() * (along[1] - along[0]) * (across[1] - across[0])
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_log_prob_of_a_sample(float64):
    """log q(z) = log q(z_0) - log |det|, z_0 being solved for; 1000 draws."""
    flow = _flow()
    keys = jax.random.split(jax.random.key(0), 1000)
    z, log_q = jax.device_get(jax.jit(jax.vmap(flow.sample_and_log_prob))(keys))
    z_0 = _recovered(flow, z)
    pushed, _, jacobian = _with_jacobian(flow, jnp.array(z_0))
    np.testing.assert_allclose(pushed, z, rtol=1e-9)
    expected = scipy.stats.norm(ONE.mean, ONE.stddev).logpdf(z_0).sum(axis=-1)
    expected -= np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_q, expected, rtol=1e-8)
    # The bases are draws of N(mean, diag(stddev^2)): mean and variance within 4 standard errors.
    noise = (z_0 - ONE.mean) / ONE.stddev
    assert np.all(np.abs(noise.mean(axis=0)) < 4 / np.sqrt(1000))
    assert np.all(np.abs(noise.var(axis=0) - 1.0) < 4 * np.sqrt(2 / 1000))


def test_extremes_are_finite_with_finite_gradients():
    """In float32: two flows with every element of u and of w 0, tiny or huge, of either sign."""

    def total(u, w):
        ones = jnp.ones(2)
        flow = PlanarFlow(jnp.zeros(2), ones, jnp.tile(u, (2, 2)), jnp.tile(w, (2, 2)), 0.3 * ones)
        z, log_q = flow.sample_and_log_prob(jax.random.key(0))
        return log_q + jnp.sum(z)

    u, w = map(np.ravel, np.meshgrid([-1e3, 0.0, 1e3], [-1e3, 0.0, 1e-7, 1e3]))
    both = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1))))
    arguments = jnp.array(u, jnp.float32), jnp.array(w, jnp.float32)
    values, grads = jax.device_get(both(*arguments))
    finite = np.all(np.isfinite([values, *grads]), axis=0)
    assert finite.all(), np.stack([u, w], axis=1)[~finite]


@pytest.mark.parametrize("w", [0.0, 1e-7])
def test_without_a_direction_it_is_a_shift(float64, w):
    """w = 0: z + u tanh(b), of determinant 1; for a tiny w too the log det is the map's own."""
    flow = _flow(w=np.full((1, 2), w))
    _, log_det, jacobian = _with_jacobian(flow, jnp.array([[0.3, 0.4]]))
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-6)


def test_sticking_the_landing_is_refused():
    with pytest.raises(NotImplementedError, match="no inverse"):
        _flow().sample_and_path_log_prob(jax.random.key(0))
