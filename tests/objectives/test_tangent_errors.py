"""What the decoder's tangent gets wrong, by quadrature, on a decoder with kinks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import kinked_decoder as kinked
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from sfvae_jax import objectives


def _relu_log_likelihood(z):
    """log p(x|z) in NumPy."""
    mean = kinked.WEIGHTS @ np.array([max(z, 0.0), max(1.0 - z, 0.0)]) + kinked.OFFSET
    return scipy.stats.norm(mean, np.sqrt(kinked.VARIANCE)).logpdf(kinked.X).sum()


def _expectation(function, mean, stddev):
    """Of a function of z ~ N(mean, stddev^2), by quadrature between the kinks."""
    low, high = mean - 12.0 * stddev, mean + 12.0 * stddev
    edges = [low, *(kink for kink in kinked.KINKS if low < kink < high), high]
    # The mass may lie far from an edge: quad finds it if told where.
    edges = sorted([*edges, mean - 3 * stddev, mean, mean + 3 * stddev])
    density = scipy.stats.norm(mean, stddev).pdf
    return sum(
        scipy.integrate.quad(lambda z: function(z) * density(z), *piece, epsabs=1e-13)[0]
        for piece in itertools.pairwise(edges)
    )


@functools.cache
def _relu_log_p():
    return np.log(_expectation(lambda z: np.exp(_relu_log_likelihood(z)), 0.0, 1.0))


@functools.cache
def relu_decoder_errors(mean, stddev):
    """What the tangent of the ReLU decoder gets wrong for q = N(mean, stddev^2), in nats.

    In double precision, with a standard normal prior: the exact values by quadrature, and the
    errors of `linearized_elbo`, `sampling_free_elbo` and `log_evidence` against them.
    """
    expected = _expectation(_relu_log_likelihood, mean, stddev)
    mixture = np.log(_expectation(lambda z: np.exp(_relu_log_likelihood(z)), mean, stddev))
    obtained = jax.tree.map(float, _relu_tangent(jnp.array([mean]), jnp.array([stddev])))
    linearized, half, one = obtained["linearized"], obtained["half"], obtained["one"]
    return {
        "E log p(x|z)": expected,
        "log E p(x|z)": mixture,
        "KL": obtained["KL"],
        "log p(x)": _relu_log_p(),
        "linearized - E log p(x|z)": linearized - expected,
        "sampling_free(0.5) - E log p(x|z)": half - expected,
        "sampling_free(1) - E log p(x|z)": one - expected,
        "sampling_free(1) - log E p(x|z)": one - mixture,
        "log_evidence - log p(x)": obtained["log_evidence"] - _relu_log_p(),
    }


@jax.jit
def _relu_tangent(mean, stddev):
    arguments, noise = (kinked.decode, jnp.array(kinked.X), mean), kinked.VARIANCE
    linearized = objectives.linearized_elbo(*arguments, stddev, observation_variance=noise)
    half, one = (
        objectives.sampling_free_elbo(*arguments, stddev, gamma=gamma, observation_variance=noise)
        for gamma in (0.5, 1.0)
    )
    return {
        "linearized": linearized.log_likelihood,
        "half": half.log_likelihood,
        "one": one.log_likelihood,
        "KL": linearized.kl,
        "log_evidence": objectives.log_evidence(*arguments, observation_variance=noise),
    }


ERRORS = {
    "inside one piece": {
        "linearized - E log p(x|z)": 0.0,
        "sampling_free(0.5) - E log p(x|z)": 0.01251,
        "sampling_free(1) - E log p(x|z)": 0.02478,
        "log_evidence - log p(x)": -1.27990,
    },
    "near a kink": {
        "linearized - E log p(x|z)": 0.08374,
        "sampling_free(0.5) - E log p(x|z)": 0.27200,
        "sampling_free(1) - E log p(x|z)": 0.27464,
        "log_evidence - log p(x)": 0.04010,
    },
    "across, from the middle": {
        "linearized - E log p(x|z)": -5.63689,
        "sampling_free(0.5) - E log p(x|z)": 6.92216,
        "sampling_free(1) - E log p(x|z)": 8.61027,
        "log_evidence - log p(x)": -3.42011,
    },
    "across, from one side": {
        "linearized - E log p(x|z)": 0.84124,
        "sampling_free(0.5) - E log p(x|z)": 5.80031,
        "sampling_free(1) - E log p(x|z)": 5.81073,
        "log_evidence - log p(x)": -0.08740,
    },
}


@pytest.mark.parametrize("regime", kinked.REGIMES)
def test_the_true_elbo_is_a_bound(float64, regime):
    """With the library's KL, which is exact: E log p(x|z) - KL <= log p(x)."""
    errors = relu_decoder_errors(*kinked.REGIMES[regime])
    assert errors["E log p(x|z)"] - errors["KL"] < errors["log p(x)"]
    # Jensen, of the tangent.
    assert errors["sampling_free(1) - E log p(x|z)"] > errors["linearized - E log p(x|z)"]


def test_inside_one_piece_the_tangent_is_exact(float64):
    errors = relu_decoder_errors(*kinked.REGIMES["inside one piece"])
    np.testing.assert_allclose(errors["linearized - E log p(x|z)"], 0.0, atol=1e-10)
    np.testing.assert_allclose(errors["sampling_free(1) - log E p(x|z)"], 0.0, atol=1e-10)
    # With the evidence it is another matter: the prior reaches over the kinks.
    assert abs(errors["log_evidence - log p(x)"]) > 0.01


def test_none_of_them_is_a_bound(float64):
    """Near the kink, each of the three exceeds log p(x)."""
    errors = relu_decoder_errors(*kinked.REGIMES["near a kink"])
    assert errors["log_evidence - log p(x)"] > 0.01
    for name in ("linearized", "sampling_free(0.5)", "sampling_free(1)"):
        error = errors[f"{name} - E log p(x|z)"]
        assert errors["E log p(x|z)"] + error - errors["KL"] > errors["log p(x)"] + 0.01


@pytest.mark.parametrize("regime", kinked.REGIMES)
def test_errors_of_the_tangent(float64, regime):
    """As measured, in nats; the true values by quadrature."""
    errors = relu_decoder_errors(*kinked.REGIMES[regime])
    for name, expected in ERRORS[regime].items():
        np.testing.assert_allclose(errors[name], expected, atol=1e-5, err_msg=name)


def test_the_docs_quote_these_errors(root):
    """Row by row the table of docs/linearised.md is ERRORS."""
    text = (root / "docs" / "linearised.md").read_text()
    rows = {
        "`linearized`, error": "linearized - E log p(x|z)",
        "`sampling_free`, gamma 0.5, error": "sampling_free(0.5) - E log p(x|z)",
        "`sampling_free`, gamma 1, error": "sampling_free(1) - E log p(x|z)",
        "`log_evidence`, error": "log_evidence - log p(x)",
    }
    for start, name in rows.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
        quoted = [float(cell) for cell in row.strip("| ").split("|")[1:]]
        assert quoted == [errors[name] for errors in ERRORS.values()]
