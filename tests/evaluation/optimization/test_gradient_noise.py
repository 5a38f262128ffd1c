"""Variance and bias of gradients of a linear model, against quadrature and finite differences."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sfvae_jax import evaluation, likelihoods, posteriors
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.optimization import gradient_noise
from sfvae_jax.evaluation.optimization.estimators import estimator_named

VARIANCE, SIZE = 0.3, 6
IMAGES = np.random.default_rng(0).integers(0, 256, (SIZE, 1, 2), np.uint8)
# mean = (a, b)'x and stddev = exp(l) of the encoder's (a, b, l); the decoder's weights w.
PARAMS = {"encoder": np.float32([0.7, -0.4, -1.2]), "decoder": np.float32([1.1, -0.6])}
NETWORKS = ("encoder", "decoder")


class Linear(nn.Module):
    """One latent, two pixels."""

    def setup(self):
        self.encoder = self.param("encoder", nn.initializers.ones, (3,))
        self.decoder = self.param("decoder", nn.initializers.ones, (2,))

    def encode(self, x):
        mean = self.encoder[:2] @ x.ravel()
        return posteriors.DiagonalGaussian(mean[None], jnp.exp(self.encoder[2:]))

    def decode(self, z):
        return (self.decoder * z).reshape(1, 2)


def _trained(estimators=(), num_draws=2000, **changes):
    config = base_config().evaluations
    config.names = ("gradient_noise",)
    config.gradient_noise.estimators = estimators or ("sampling",)
    config.gradient_noise.num_draws = num_draws
    config.gradient_noise.num_images = SIZE
    settings = {
        "model": Linear(),
        "params": {"params": PARAMS},
        "images": IMAGES,
        "rng": jax.random.key(0),
        "config": config,
        "likelihood": likelihoods.Gaussian(VARIANCE),
    }
    return evaluation.TrainedModel(**{**settings, **changes})


def _gradients(noise, sticks=False):
    """The gradients of -ELBO of each image for values of its noise [k]: [image, k, parameter]."""
    encoder, weights = (PARAMS[name].astype(float) for name in NETWORKS)
    x = IMAGES.reshape(SIZE, 1, 2) / 255.0
    mean, stddev = x @ encoder[:2], np.exp(encoder[2])
    z = mean + stddev * noise
    residual = x - z[..., None] * weights
    of_z = -residual @ weights / VARIANCE
    if sticks:  # KL by samples, whose score is left out
        of_z = of_z + z - noise / stddev
        of_mean, of_log = of_z, of_z * stddev * noise
    else:
        of_mean, of_log = of_z + mean, of_z * stddev * noise + stddev**2 - 1.0
    of_encoder = np.concatenate([of_mean[..., None] * x, of_log[..., None]], axis=-1)
    return {"encoder": of_encoder, "decoder": -residual * z[..., None] / VARIANCE}


def _moments(**settings):
    """The expected gradient of the batch and the trace of its covariance, by quadrature.

    The variance of a gradient is a polynomial of degree 4 in the noise, for which 8 nodes of
    Gauss and Hermite are exact.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = weights / weights.sum()
    means, traces = {}, {}
    for name, gradient in _gradients(nodes, **settings).items():
        mean = np.einsum("k,ikp->ip", weights, gradient)
        square = np.einsum("k,ikp->i", weights, np.square(gradient - mean[:, None]))
        means[name], traces[name] = mean.mean(axis=0), square.sum() / SIZE**2
    return means, traces


def _near(metrics, name, expected, at_most):
    """Within 4 standard errors, which are at most this share of it."""
    error = metrics[f"{name}_standard_error"]
    assert error <= at_most * abs(expected), name
    assert abs(metrics[name] - expected) < 4 * error, name


@pytest.fixture(scope="module")
def metrics():
    unbiased = ("sampling", "sampling:4", "sticking_the_landing", "control_variate", "linearized")
    return evaluation.measure(_trained((*unbiased, "sampling_free:gamma=1")))[0]


def test_the_variance_of_sampled_gradients_is_that_of_quadrature(metrics):
    means, traces = _moments()
    _, sticking = _moments(sticks=True)
    for network in NETWORKS:
        size = means[network] @ means[network]
        _near(metrics, f"squared_gradient_{network}", size, 0.05)
        for name, trace in (
            ("sampling", traces[network]),
            ("sampling_4", traces[network] / 4),
            ("sticking_the_landing", sticking[network]),
        ):
            _near(metrics, f"gradient_variance_{network}_{name}", trace, 0.1)
            _near(metrics, f"relative_gradient_variance_{network}_{name}", trace / size, 0.1)


def test_unbiased_gradients_have_no_bias(metrics):
    """All are unbiased for a linear decoder, which is its own tangent; within 4 standard errors."""
    for network in NETWORKS:
        for name in ("sampling", "sampling_4", "sticking_the_landing", "linearized"):
            key = f"gradient_bias_{network}_{name}"
            assert abs(metrics[key]) < 4 * metrics[f"{key}_standard_error"], key
            assert metrics[f"{key}_standard_error"] < 0.01


def test_a_control_variate_takes_all_noise_from_a_linear_decoder(metrics):
    """Its variance is that of rounding in float32."""
    for network in NETWORKS:
        assert metrics[f"relative_gradient_variance_{network}_control_variate"] < 1e-8
        bias = f"gradient_bias_{network}_control_variate"
        assert abs(metrics[bias]) < 4 * metrics[f"{bias}_standard_error"]


def test_a_gradient_without_noise_has_no_variance_and_its_own_bias(metrics):
    """That of the log density of x under the linear decoder, by finite differences."""
    means, _ = _moments()

    def loss(parameters):
        encoder, weights = parameters[:3], parameters[3:]
        stddev = np.exp(encoder[2])
        covariance = VARIANCE * np.eye(2) + stddev**2 * np.outer(weights, weights)
        values = []
        for x in IMAGES.reshape(SIZE, 2) / 255.0:
            mean = encoder[:2] @ x
            density = scipy.stats.multivariate_normal(weights * mean, covariance).logpdf(x)
            kl = 0.5 * (mean**2 + stddev**2 - 1.0) - np.log(stddev)
            values.append(kl - density)
        return np.mean(values)

    at = np.concatenate([PARAMS[name] for name in NETWORKS]).astype(float)
    steps = 1e-5 * np.eye(5)
    gradient = np.array([(loss(at + step) - loss(at - step)) / 2e-5 for step in steps])
    for network, own in zip(NETWORKS, np.split(gradient, [3]), strict=True):
        mean = means[network]
        expected = np.sum(np.square(own - mean)) / (mean @ mean)
        _near(metrics, f"gradient_bias_{network}_sampling_free_gamma_1", expected, 0.2)
        for name in ("linearized", "sampling_free_gamma_1"):
            for kind in ("gradient_variance", "relative_gradient_variance"):
                assert metrics[f"{kind}_{network}_{name}"] == 0.0


def test_the_weights_of_training_apply_and_nothing_is_compiled_again(compiled):
    trained = _trained(("sampling_free", "sampling"), num_draws=20)
    first = evaluation.measure(trained)[0]
    params = jax.tree.map(lambda leaf: 0.9 * leaf, trained.params)
    with compiled() as names:
        other = evaluation.measure(dataclasses.replace(trained, gamma=1.0))[0]
        evaluation.measure(dataclasses.replace(trained, params=params))
    assert names == []
    key = "gradient_bias_decoder_sampling_free"
    assert first[key] != other[key]
    assert (
        first["gradient_variance_decoder_sampling"] == other["gradient_variance_decoder_sampling"]
    )


def test_measures_are_those_that_the_spec_names():
    trained = _trained(("sampling", "iwae:2"), num_draws=20)
    metrics, *_ = evaluation.measure(trained)
    assert tuple(metrics) == evaluation.metric_names(trained.config, "gradient_noise")
    measure = evaluation.measure_named("gradient_bias_encoder_iwae_2_standard_error")
    assert measure.is_error
    assert measure.label == "gradient bias encoder IWAE 2 standard error"


def test_where_it_does_not_apply_and_why():
    names = ("sticking_the_landing", "sampling", "linearized")
    metrics, reasons, *_ = evaluation.measure(
        _trained(names, num_draws=20, posterior_family="planar")
    )
    for name in ("sticking_the_landing", "linearized"):
        assert (
            f"'{name}' does not take posterior 'planar'" in reasons[f"gradient_bias_encoder_{name}"]
        )
    assert metrics["gradient_variance_encoder_sampling"] > 0.0
    _, reasons, *_ = evaluation.measure(
        _trained(("sampling_free",), num_draws=20, likelihood=likelihoods.Bernoulli())
    )
    assert "a Bernoulli" in reasons["gradient_variance_decoder_sampling_free"]
    for changes, reason in (
        ({"prior_stddev": np.array([1.5])}, "the prior is not N(0, I)"),
        ({"prior_stddev": None}, "without a prior"),
        ({"no_bound": "a squared error"}, "a squared error"),
        ({"posterior_family": "none"}, "does not take posterior 'none'"),
        ({"params": {"params": {"weights": PARAMS["decoder"]}}}, "its decoder apart"),
    ):
        metrics, reasons, *_ = evaluation.measure(_trained(**changes))
        assert set(metrics.values()) == {None}
        assert all(reason in text for text in reasons.values())


def test_a_gradient_that_is_lost_in_the_noise_is_told():
    """With a decoder whose expected gradient is zero no relative measure is sure."""
    # With w = 0 the decoder's gradient is -x E[z] / c, which is 0 at a mean of 0.
    params = {"encoder": np.float32([0.0, 0.0, 0.0]), "decoder": np.float32([0.0, 0.0])}
    trained = _trained(("sampling",), num_draws=20, params={"params": params})
    metrics, reasons, caveats, _ = evaluation.measure(trained)
    key = "relative_gradient_variance_decoder_sampling"
    told = reasons.get(key, "") + caveats.get(key, "")
    assert "raise evaluations.gradient_noise.num_draws or num_reference_samples" in told
    assert metrics["gradient_variance_decoder_sampling"] > 0.0


@pytest.mark.parametrize(
    ("text", "objective", "options", "name", "deterministic"),
    [
        ("linearized:4", "linearized", (("num_probes", 4),), "linearized_4", False),
        ("sampling", "sampling", (), "sampling", False),
        ("sampling:16", "sampling", (("num_samples", 16),), "sampling_16", False),
        ("sampling_free", "sampling_free", (), "sampling_free", True),
        (
            "sampling_free:log_det_weight=0.5,gamma=1",
            "sampling_free",
            (("gamma", 1), ("log_det_weight", 0.5)),
            "sampling_free_log_det_weight_0_5_gamma_1",
            True,
        ),
    ],
)
def test_estimators_are_named_by_their_options(text, objective, options, name, deterministic):
    found = estimator_named(text)
    assert found == (objective, options, name)
    assert found.deterministic == deterministic


@pytest.mark.parametrize(
    ("estimators", "message"),
    [
        (("smapling",), "unknown estimator 'smapling'; did you mean 'sampling'"),
        (("bilbo",), "'bilbo' is no estimator; these need a .* learned, and the fixed prior"),
        (("rae",), "'rae' is no estimator; .*: sampling, "),
        (("sampling:0",), "'sampling:0': num_samples must be a whole number from 1"),
        (("sampling:many",), "num_samples must be a whole number .* got 'many'"),
        (("sampling:gamma=1",), "'sampling' has no option 'gamma'; its options: num_samples"),
        (("sampling_free:gamma=2",), r"gamma must be a number in \[0, 1\], got 2"),
        (("sampling:4,num_samples=5",), "sets an option twice"),
        (("sampling:antithetic=true",), "antithetic pairs need an even num_samples"),
        (("sampling", "sampling"), "'sampling' is given twice"),
        (("sampling:16", "sampling: 16"), "differs from another only in punctuation"),
        (("sampling", "sampling:1"), "'sampling:1' is the same as 'sampling'; leave one out"),
        (("linearized:4", "linearized:num_probes=4"), "'linearized:num_probes=4' is the same as"),
        (("sampling_free:gamma=1", "sampling_free:gamma=1.0"), "gamma=1.0' is the same as"),
        ((), "must be objectives with options"),
    ],
)
def test_estimators_that_do_not_exist_are_refused_early(estimators, message):
    config = base_config()
    config.evaluations.gradient_noise.estimators = estimators
    with pytest.raises(UsageError, match=f"evaluations.gradient_noise.estimators.*{message}"):
        resolve(config)


def test_draws_come_in_blocks():
    config = base_config()
    config.evaluations.gradient_noise.num_draws = 25
    with pytest.raises(UsageError, match="num_draws must be a multiple of 10, 20 or more, got 25"):
        resolve(config)


def test_the_picture_has_a_curve_for_each_estimator(tmp_path):
    trained = _trained(("sampling", "sampling_free"), num_draws=20)
    metrics, *_ = evaluation.measure(trained)
    results = {"step": 20, "metrics": metrics, "history": {"10": metrics}}
    options = trained.config.gradient_noise
    gradient_noise.EVALUATION.draw(trained, options, results, "a run", tmp_path)
    assert (tmp_path / "gradient_noise.png").stat().st_size > 10_000
    gradient_noise.EVALUATION.draw(trained, options, {}, "a run", tmp_path / "none")
    assert not (tmp_path / "none").exists()
