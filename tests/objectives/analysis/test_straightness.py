"""How far a decoder is straight along each axis, in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import objectives

N, M = 5, 3
_rng = np.random.default_rng(0)
LINEAR, CURVES = _rng.normal(size=(2, N, M))
MEAN, STDDEV = np.array([0.4, -0.7, 1.1]), np.array([0.5, 0.03, 0.8])
VARIANCES = np.array([0.3, 0.5, 1.0, 0.2, 2.0])


def _quadratic(z):
    """A z + 1/2 sum_i z_i^2 h_i, which bends alike at every z."""
    return jnp.array(LINEAR) @ z + 0.5 * jnp.array(CURVES) @ jnp.square(z)


@pytest.mark.parametrize("variance", [0.25, VARIANCES])
def test_a_quadratic_decoder_has_closed_forms(float64, variance):
    found = jax.jit(
        lambda mean: objectives.axis_bend(
            _quadratic, mean, STDDEV, observation_variance=variance, share=0.2, reach=300.0
        )
    )(jnp.array(MEAN))
    weights = np.broadcast_to(1.0 / np.array(variance), N)
    slopes = weights @ (LINEAR + CURVES * MEAN) ** 2  # |J e_i|^2
    curves = weights @ CURVES**2
    np.testing.assert_allclose(found.tangent, 0.5 * STDDEV**2 * slopes, rtol=1e-9)
    np.testing.assert_allclose(found.bend, STDDEV**4 * curves / 8.0, rtol=1e-9)
    radius = 2.0 * np.sqrt(0.2 * slopes / curves)
    assert np.all(np.abs(found.radius - radius) <= 0.5 * STDDEV * 300.0 / 32 / 2**12)


def _pair(z):
    """Two parameters, of which the second is linear."""
    return {"curved": _quadratic(z)[:2], "straight": jnp.array(LINEAR)[2:] @ z}


def test_an_information_takes_the_place_of_the_variance(float64):
    """That of all parameters, which may be a pytree and depend on where the decoder is."""

    def information(parameters, direction):
        scale = jnp.exp(parameters["straight"][0])
        return scale * sum(jnp.sum(jnp.square(part)) for part in direction.values())

    found = jax.jit(
        lambda mean: objectives.axis_bend(
            _pair, mean, STDDEV, information=information, share=0.2, reach=300.0
        )
    )(jnp.array(MEAN))
    scale = np.exp(LINEAR[2] @ MEAN)
    slopes = np.sum((LINEAR + np.concatenate([CURVES[:2], 0.0 * CURVES[2:]]) * MEAN) ** 2, axis=0)
    curves = np.sum(CURVES[:2] ** 2, axis=0)
    np.testing.assert_allclose(found.tangent, 0.5 * scale * STDDEV**2 * slopes, rtol=1e-9)
    np.testing.assert_allclose(found.bend, scale * STDDEV**4 * curves / 8.0, rtol=1e-9)
    radius = 2.0 * np.sqrt(0.2 * slopes / curves)  # whatever the scale
    assert np.all(np.abs(found.radius - radius) <= 0.5 * STDDEV * 300.0 / 32 / 2**12)


def _kinked(z):
    """Straight up to a kink at 1 along the first axis, and at -0.5 along the second."""
    kinks = jax.nn.relu(jnp.stack([z[0] - 1.0, -0.5 - z[1]]))
    return jnp.concatenate([z, kinks])


def test_a_kink_ahead_or_behind_ends_the_straight_part(float64):
    """A ReLU at distance d bends by t - d: (t - d)^2 = share t^2 at t = d / (1 - sqrt(share))."""
    found = jax.jit(
        lambda: objectives.axis_bend(
            _kinked, jnp.zeros(3), 0.5, observation_variance=0.1, num_steps=20, num_bisections=20
        )
    )()
    end = np.array([1.0, 0.5]) / (1.0 - np.sqrt(0.1))
    np.testing.assert_allclose(found.radius, [*end, 8.0 * 0.5], atol=1e-6)
    np.testing.assert_allclose(found.tangent, 0.5**3 / 0.1, rtol=1e-9)  # half of s^2 / c
    np.testing.assert_allclose(found.bend, 0.0, atol=1e-12)


def test_a_latent_without_a_tangent_is_bent_at_once_unless_it_is_unused(float64):
    def decode(z):
        return jnp.stack([jnp.square(z[0]), jnp.zeros(())])

    found = objectives.axis_bend(decode, jnp.zeros(2), 1.0, observation_variance=1.0)
    np.testing.assert_allclose(found.radius, [0.0, 8.0], atol=1e-4)
    np.testing.assert_allclose(found.tangent, 0.0)
    np.testing.assert_allclose(found.bend, [0.5, 0.0])


@pytest.mark.parametrize(("dtype", "rounding"), [(jnp.float32, 1e-9), (jnp.bfloat16, 0.02)])
def test_a_linear_decoder_is_straight_as_far_as_one_looks(dtype, rounding):
    """Of a batch, under vmap; outputs are rounded to float32 or bfloat16."""
    means = jnp.array(_rng.normal(size=(4, M)), dtype)

    def decode(z):
        return (jnp.array(LINEAR, jnp.float32) @ z.astype(jnp.float32)).astype(dtype)

    found = jax.jit(
        jax.vmap(
            lambda mean: objectives.axis_bend(
                decode, mean, jnp.full(M, 0.5), observation_variance=1.0, num_steps=4
            )
        )
    )(means)
    assert all(part.dtype == jnp.float32 for part in found)
    np.testing.assert_allclose(found.radius, 4.0)
    assert np.all(found.bend < rounding * found.tangent)


def test_a_variance_is_of_an_array():
    with pytest.raises(objectives.ArgumentError, match="returns an array, got a dict; give inform"):
        objectives.axis_bend(_pair, jnp.zeros(M), 1.0, observation_variance=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 0.0}, "share must be positive"),
        ({"reach": -1.0}, "reach must be positive"),
        ({"reach": np.inf}, "reach must be finite"),
        ({"num_bisections": -3}, "num_bisections must not be negative"),
        ({"observation_variance": None}, "give observation_variance for a Gaussian, or"),
        ({"information": lambda *_: 1.0}, "give observation_variance for a Gaussian, or"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"observation_variance": np.ones(3)}, "observation_variance must"),
        ({"stddev": np.ones(2)}, "stddev must"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    given = {"stddev": 1.0, "observation_variance": 1.0, **changes}
    with pytest.raises(objectives.ArgumentError, match=message):
        objectives.axis_bend(_quadratic, jnp.zeros(M), given.pop("stddev"), **given)
