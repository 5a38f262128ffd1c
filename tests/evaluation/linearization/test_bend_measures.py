"""The bend of quadratic decoders within Gaussian posteriors, by moments in NumPy."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.linearization import bend

N, M, IMAGES, VARIANCE, SHARE = 6, 3, 30, 0.3, 0.2
_rng = np.random.default_rng(0)
LINEAR, CURVES = _rng.normal(size=(N, M)), 0.5 * _rng.normal(size=(N, M, M))
CURVES = CURVES + np.swapaxes(CURVES, 1, 2)
LINEAR[:, 2] = CURVES[:, 2] = CURVES[:, :, 2] = 0.0  # a latent that the decoder does not read
TRIL = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [-0.2, 0.1, 0.9]])
STDDEV = np.array([0.5, 0.2, 1.0])
X = np.repeat(np.random.default_rng(1).integers(0, 256, (1, 2, 3), np.uint8), IMAGES, axis=0)


class Quadratic(nn.Module):
    """The code is the first pixels; decodes by A z + 1/2 z'Hz, or without H."""

    family: str = "diagonal"
    curved: bool = True

    def encode(self, x):
        mean = x.ravel()[:M]
        if self.family == "full":
            return posteriors.FullCovarianceGaussian(mean, jnp.array(TRIL, jnp.float32))
        if self.family == "point":
            return posteriors.Point(mean)
        return posteriors.DiagonalGaussian(mean, jnp.array(STDDEV, jnp.float32))

    def decode(self, z):
        bent = 0.5 * jnp.einsum("kij,i,j->k", jnp.array(CURVES, jnp.float32), z, z)
        return (jnp.array(LINEAR, jnp.float32) @ z + bent * self.curved).reshape(2, 3)


def _trained(*model, num_samples=1000, **changes):
    config = base_config().evaluations
    config.names = ("bend",)
    config.bend.update(num_samples=num_samples, share=SHARE, reach=100.0)
    settings = {
        "model": Quadratic(*model),
        "params": {},
        "images": X,
        "rng": jax.random.key(0),
        "config": config,
        "likelihood": likelihoods.Gaussian(VARIANCE),
    }
    return evaluation.TrainedModel(**{**settings, **changes})


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_a_quadratic_decoder_has_closed_forms(family):
    """Sampled ones within 4 standard errors, over images that only differ in their noise."""
    trained = _trained(family)
    factor = TRIL if family == "full" else np.diag(STDDEV)
    covariance, x = factor @ factor.T, X[0].ravel() / 255.0
    mean, width = x[:M], np.sqrt(np.diag(covariance))
    slopes = LINEAR + CURVES @ mean
    product = CURVES @ covariance
    trace = np.einsum("kii->k", product)
    # Isserlis: E (v'Hv)^2 = tr(HS)^2 + 2 tr(HSHS); E (Jv)'b = 0, since b is even in v.
    square = np.sum(trace**2 + 2 * np.einsum("kij,kji->k", product, product)) / 4
    residual = x - LINEAR @ mean - 0.5 * np.einsum("kij,i,j", CURVES, mean, mean)
    expected = {
        "bend": square / (2 * VARIANCE),
        "moved": np.trace(slopes @ covariance @ slopes.T) / (2 * VARIANCE),
        "excess": (square - residual @ trace) / (2 * VARIANCE),
    }
    found = bend.image_bends(trained, trained.config.bend)
    for name, value in expected.items():
        draws = getattr(found, name)
        error = np.std(draws, ddof=1) / np.sqrt(IMAGES)
        assert abs(np.mean(draws) - value) < 4 * error < 0.2 * abs(value), name
    lengths, curves = np.sum(slopes**2, axis=0), np.diagonal(CURVES, axis1=1, axis2=2)
    curves = np.sum(curves**2, axis=0)
    each = {
        "width": width,
        "axis_tangent": width**2 * lengths / (2 * VARIANCE),
        "axis_bend": width**4 * curves / (8 * VARIANCE),
    }
    for name, value in each.items():
        np.testing.assert_allclose(getattr(found, name), np.tile(value, (IMAGES, 1)), rtol=1e-3)
    radius = 2 * np.sqrt(SHARE * lengths[:2] / curves[:2])
    np.testing.assert_allclose(found.radius[0, :2], radius, rtol=2e-3)

    metrics, *_ = evaluation.measure(trained)
    assert list(metrics) == [measure.name for measure in bend.EVALUATION.measures]
    assert metrics["bend"] == pytest.approx(found.bend.mean())
    assert metrics["linearized_excess"] == pytest.approx(found.excess.mean())
    assert metrics["bend_share"] == pytest.approx(found.bend.sum() / found.moved.sum())
    share = each["axis_bend"].sum() / each["axis_tangent"].sum()
    assert metrics["axis_bend_share"] == pytest.approx(share, rel=1e-3)
    ratios = radius / width[:2]  # the unread latent is left out
    assert metrics["straight_radius"] == pytest.approx(ratios.mean(), rel=2e-3)
    assert metrics["bent_latents"] == pytest.approx(np.mean(ratios < 1))


def test_a_linear_decoder_is_straight_and_its_elbo_exact():
    trained = _trained("diagonal", False, num_samples=3)
    metrics, _, caveats, _ = evaluation.measure(trained)
    for name in ("bend", "bend_share", "linearized_excess", "axis_bend_share", "bent_latents"):
        assert metrics[name] == pytest.approx(0.0, abs=1e-5), name
    assert metrics["straight_radius"] == pytest.approx(100.0)
    assert caveats["straight_radius"].startswith("all radii reach evaluations.bend.reach")


def test_a_radius_at_which_the_search_ends_is_doubted():
    """Of two latents in use none, one and both are straight as far as the search goes."""
    images = X[:2]
    ratios = bend.image_bends(
        _trained(num_samples=2, images=images), _trained().config.bend
    ).radius[0, :2]
    low, high = np.sort(ratios / STDDEV[:2])
    for reach, caveat in ((2 * high, None), ((low + high) / 2, None), (low / 2, "all radii")):
        trained = _trained(num_samples=2, images=images)
        trained.config.bend.reach = float(reach)
        _, _, caveats, _ = evaluation.measure(trained)
        assert ("straight_radius" in caveats) == (caveat is not None)
        assert caveats.get("straight_radius", "").startswith(caveat or "")


def test_the_excess_of_another_likelihood_is_that_of_its_second_order():
    """Bernoulli: value and slope at the mean, less half the information, less log p there."""
    trained = _trained(likelihood=likelihoods.Bernoulli(), num_samples=2000)
    found = bend.image_bends(trained, trained.config.bend)
    v = STDDEV * np.random.default_rng(2).normal(size=(200_000, M))
    x = X[0].ravel() / 255.0

    def log_prob(logits):
        return np.sum(x * logits - np.logaddexp(0.0, logits), axis=-1)

    mean = x[:M]
    at_mean = LINEAR @ mean + 0.5 * np.einsum("kij,i,j", CURVES, mean, mean)
    tangent = v @ (LINEAR + CURVES @ mean).T
    bent = 0.5 * np.einsum("kij,ni,nj->nk", CURVES, v, v)
    p = 1 / (1 + np.exp(-at_mean))
    linear = log_prob(at_mean) + tangent @ (x - p) - 0.5 * tangent**2 @ (p * (1 - p))
    excess = linear - log_prob(at_mean + tangent + bent)
    for draws, expected in (
        (found.excess, excess),
        (found.bend, 0.5 * bent**2 @ (p * (1 - p))),
    ):
        errors = np.std(draws, ddof=1) / np.sqrt(IMAGES), np.std(expected) / np.sqrt(len(v))
        assert abs(np.mean(draws) - np.mean(expected)) < 4 * np.hypot(*errors)


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_the_axes_have_the_same_lengths_as_the_samples(family):
    """Logits that are linear have no bend, by samples or along the axes, though means do."""
    trained = _trained(family, False, num_samples=3, likelihood=likelihoods.Bernoulli())
    found = bend.image_bends(trained, trained.config.bend)
    np.testing.assert_allclose(found.bend, 0.0, atol=1e-5)
    np.testing.assert_allclose(found.axis_bend, 0.0, atol=1e-5)
    np.testing.assert_allclose(found.radius, 100.0 * found.width, rtol=1e-6)
    p = 1 / (1 + np.exp(-LINEAR @ X[0].ravel()[:M] / 255.0))
    tangents = 0.5 * found.width[0] ** 2 * ((p * (1 - p)) @ LINEAR**2)
    np.testing.assert_allclose(found.axis_tangent[0], tangents, rtol=1e-5)


def test_the_table_and_the_picture_are_by_latent(tmp_path, monkeypatch):
    trained = _trained("full", num_samples=3)
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append((figure, path.name)))
    results = {"metrics": evaluation.measure(trained).metrics}
    bend.draw_bend(trained, trained.config.bend, results, "a model", tmp_path)
    rows = [row.strip("| ").split(" | ") for row in (tmp_path / "bend.md").read_text().splitlines()]
    found = bend.image_bends(trained, trained.config.bend)
    order = np.argsort(-found.axis_tangent[0])
    assert [row[0] for row in rows[2:]] == [str(i + 1) for i in order]
    assert rows[-1] == ["3", "0%", "—", "—", "—", "—", "0", "0", "—"]
    for row, i in zip(rows[2:-1], order, strict=False):
        assert row[1] == "100%"
        quoted = [float(row[k]) for k in (2, 3, 6, 7)]
        measured = [
            getattr(found, n)[0, i] for n in ("width", "radius", "axis_tangent", "axis_bend")
        ]
        np.testing.assert_allclose(quoted, measured, rtol=0.01)
    ((figure, name),) = drawn
    assert name == "bend.png"
    assert figure.get_suptitle() == "a model: 2 of 3 latents in use"
    bend.draw_bend(trained, trained.config.bend, {"metrics": {"bend": None}}, "", tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        (("point",), {}, "a Point posterior is not a Gaussian"),
        ((), {"no_bound": "no density"}, "no density"),
    ],
)
def test_a_model_without_the_measures_says_why(model, changes, reason):
    metrics, reasons, *_ = evaluation.measure(_trained(*model, **changes))
    assert reasons == dict.fromkeys(metrics, reason)
    assert set(metrics) == {measure.name for measure in bend.EVALUATION.measures}


def test_a_decoder_that_reads_no_latent_has_reasons(tmp_path):
    class Constant(Quadratic):
        def decode(self, z):
            return jnp.zeros((2, 3)) + 0.0 * z[0]

    trained = dataclasses.replace(_trained(num_samples=2), model=Constant())
    metrics, reasons, *_ = evaluation.measure(trained)
    assert (metrics["bend"], metrics["linearized_excess"]) == (0.0, 0.0)
    for name in ("bend_share", "axis_bend_share", "straight_radius", "bent_latents"):
        assert reasons[name] == "no latent moves the decoder's output"
    bend.draw_bend(trained, trained.config.bend, {"metrics": metrics}, "", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bend.md"]
