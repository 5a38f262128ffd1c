"""A decoder along one latent, against closed forms of the density it gives a Gaussian."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.linearization.taylor import draw_taylor, taylor_line

MEAN, STDDEV = np.array([1.0, -2.0]), np.array([0.5, 0.1])


def _square(z):
    """Its largest linearised deviation is 2 z_0 s_0 = 1, of the second output and first latent."""
    return jnp.stack([0.1 * z[0] + 4.0 * z[1], z[0] ** 2 + z[1]]).reshape(2, 1)


@pytest.fixture(scope="module")
def line():
    """Of 9 points and 4,001 samples, the last chunk a short one."""
    with jax.enable_x64(True):
        settings = {"num_points": 9, "num_samples": 4001, "chunk_size": 100}
        found = taylor_line(_square, jnp.array(MEAN), jnp.array(STDDEV), **settings)
        return jax.device_get(found)


def test_the_tangent_touches_the_line_of_the_most_variable_output(line):
    assert (int(line.dimension), int(line.output)) == (0, 1)
    np.testing.assert_allclose(line.latent, np.linspace(-1.0, 3.0, 9))
    np.testing.assert_allclose(line.function, line.latent**2 - 2.0, atol=1e-12)
    np.testing.assert_allclose(line.linearized, -1.0 + 2.0 * (line.latent - 1.0), atol=1e-12)
    assert (line.mean, line.stddev) == (1.0, 0.5)
    assert (line.center, line.deviation) == (-1.0, 1.0)


def test_the_output_has_the_density_of_a_squared_gaussian(line):
    """z^2 / s^2 of z ~ N(1, s^2) is noncentral chi-squared of one degree, noncentrality 1 / s^2."""
    found = np.sort(line.samples)
    exact = scipy.stats.ncx2(1, 1 / 0.5**2, loc=-2.0, scale=0.5**2)
    shares = (np.arange(4001) + 0.5) / 4001
    assert np.max(abs(exact.cdf(found) - shares)) < 1e-3
    assert np.mean(found) == pytest.approx(exact.mean(), abs=2e-3)
    # The linearisation has f(mean) for the mean, s^2 too low, and too little of the variance.
    assert exact.mean() - line.center == pytest.approx(0.5**2)
    assert line.deviation**2 == pytest.approx(exact.var() - 2 * 0.5**4)


def test_a_linear_decoder_has_equal_densities(float64):
    line = taylor_line(lambda z: -3.0 * z, jnp.array([0.2]), jnp.array([0.7]), num_samples=4001)
    np.testing.assert_allclose(line.function, line.linearized, atol=1e-12)
    exact = scipy.stats.norm(line.center, line.deviation)
    np.testing.assert_allclose(np.sort(exact.cdf(line.samples)), (np.arange(4001) + 0.5) / 4001)
    assert (line.center, line.deviation) == pytest.approx((-0.6, 2.1))


class Model(nn.Module):
    """`_square`, as a model of 2 x 2 pixels."""

    full: bool = False

    @nn.compact
    def encode(self, x):
        mean, stddev = x.ravel()[:2] + jnp.array(MEAN, x.dtype), jnp.array(STDDEV, x.dtype)
        if self.full:
            return posteriors.FullCovarianceGaussian(mean, jnp.diag(stddev))
        return posteriors.DiagonalGaussian(mean, stddev)

    def decode(self, z):
        return jnp.concatenate([_square(z), _square(z)], axis=1)


def test_the_picture_has_the_first_images_line_and_two_densities(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append((figure, path)))
    trained = evaluation.TrainedModel(
        model=Model(),
        params={},
        images=np.stack([np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)]),
        rng=jax.random.key(0),
        config=base_config().evaluations,
        likelihood=likelihoods.Gaussian(0.5),
    )
    draw_taylor(trained, "a model", tmp_path / "taylor.png")
    ((figure, path),) = drawn
    assert path.name == "taylor.png"
    above, _, main, beside = figure.axes
    function, tangent, point = main.lines
    latent, values = function.get_xydata().T
    np.testing.assert_allclose(values, latent**2 - 2.0, atol=1e-5)
    np.testing.assert_allclose(tangent.get_ydata(), 2.0 * latent - 3.0, atol=1e-5)
    np.testing.assert_allclose(point.get_xydata(), [(1.0, -1.0)], atol=1e-6)
    assert (main.get_xlabel(), main.get_ylabel()) == (
        "latent 1",
        "output 3",
    )
    assert above.get_xlim() == main.get_xlim()
    assert beside.get_ylim() == main.get_ylim()
    # Both densities integrate to one, the tangent's is N(-1, 1).
    bars = sum(bar.get_width() * bar.get_height() for bar in beside.patches)
    assert bars == pytest.approx(1.0, abs=1e-3)
    density, values = beside.lines[0].get_xydata().T
    np.testing.assert_allclose(density, scipy.stats.norm(-1.0, 1.0).pdf(values), rtol=1e-4)
    full = dataclasses.replace(trained, model=Model(full=True))
    with pytest.raises(evaluation.NotApplicable, match="is not a diagonal Gaussian"):
        draw_taylor(full, "a model", tmp_path / "taylor.png")
