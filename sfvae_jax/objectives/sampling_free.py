"""The sampling-free objective: the decoder's Jacobian and an m x m system instead of samples.

The notation is that of SFVAE ("A Sampling-Free Approximation of Gaussian Variational
Auto-Encoders"): latent size m, data size n, encoder mean g(x) and variance h(x), decoder f,
observation variance c, J the n x m Jacobian of f at g(x), U = J sqrt(h), r = f(g(x)) - x.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.bend import with_bend
from sfvae_jax.objectives.elbo import Elbo
from sfvae_jax.objectives.numerics.checks import (
    ArgumentError,
    check_batch,
    check_example,
    check_in_0_1,
    check_not_negative,
    check_positive,
    check_scalar,
    check_shape,
    check_vector,
    per_element,
    shape_of,
)
from sfvae_jax.objectives.numerics.gaussian import gaussian_log_prob
from sfvae_jax.objectives.numerics.gaussian_posterior import latents
from sfvae_jax.objectives.numerics.linear_algebra import SOLVERS, log_det_and_quadratic
from sfvae_jax.objectives.numerics.precision import wide, wide_dtype
from sfvae_jax.objectives.numerics.probes import (
    LANCZOS_STEPS,
    check_probes,
    probe_signs,
    probed_gaussian_log_prob,
)
from sfvae_jax.objectives.numerics.tangents import Jacobian, Rows, push_basis, tangents
from sfvae_jax.objectives.spec import (
    Example,
    GaussianPosterior,
    ObjectiveInfo,
    is_gaussian_or_factorized,
    is_squared_error,
)


def decoder_jacobian(decode: Callable[[Array], Array], z: Array) -> tuple[Array, Array]:
    """Value and Jacobian of a decoder at one latent.

    J[j, i] = d decode(z)_j / d z_i   (SFVAE Eq. 10)

    It takes `jax.jvp` under `jax.vmap` over the m basis directions: one decoder pass and m tangent
    passes.

    Args:
        decode: maps one latent [m] to an array of any shape with n elements.
        z: latent, [m].

    Returns:
        (x_hat, jacobian): decode(z) in its own shape, and the Jacobian [n, m], where n counts
        the flattened elements of x_hat.

    Raises:
        ArgumentError: if z is not of rank 1.
    """
    x_hat, rows = push_basis(decode, z)
    return x_hat, rows.reshape(z.size, x_hat.size).T


def low_rank_gaussian_log_prob(
    residual: Array,
    factor: Array,
    variance: Array | float,
    *,
    gamma: Array | float = 1.0,
    solver: str = "cholesky",
) -> Array:
    """log N(r; 0, U U' + diag(c)) from an m x m system, without any n x n matrix.

    With V = U / sqrt(c), s = r / sqrt(c) (row by row) and A = I + V'V:

        -1/2 sum_j log(2 pi c_j) - 1/2 log det A - |s|^2 / 2 + gamma/2 (V's)' A^-1 (V's)

    For a scalar c this is SFVAE Eqs. 18-21, whose last term reads
    gamma/(2c) (r'U) (c I + U'U)^-1 (U'r). gamma scales only that term: 1 gives the exact log
    density, smaller values give the paper's regularisation (Eq. 21), which is no density.

    There are two solvers. "cholesky" (default) factors A = L L' once; "slogdet" calls
    `jnp.linalg.slogdet` and `jnp.linalg.solve`, each of which takes an LU factorisation with twice
    that work. Cholesky takes 0.7 of the time for m of 100 and 200 on a CPU
    (benchmarks/linearized.py; most of it goes into U'U, which both need) and is as accurate in
    float32: A is symmetric with eigenvalues >= 1 and needs no pivoting. Where rounding makes A
    indefinite (in float32, with eigenvalues of U'U/c beyond about 1e7), it adds the rounding error
    to the diagonal, so that value and gradient stay finite. "slogdet" does not, and may return nan.

    Args:
        residual: r, [n].
        factor: U, [n, m].
        variance: c, positive; a scalar or [n].
        gamma: weight of the quadratic correction, in [0, 1].
        solver: "cholesky" or "slogdet".

    Returns:
        A scalar, in nats.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation or variance is known not to be
            positive, gamma is known to lie outside [0, 1], or the solver is unknown.
    """
    check_vector("residual", residual)
    check_batch("factor", factor, "[n, m]")
    check_shape("residual", residual, factor.shape[:1], ", one for each row of the factor")
    check_gamma_and_solver(gamma, solver)
    variance = scalar_or_per_element(variance, residual, "variance")
    return tangent_gaussian_log_prob(residual, Rows(factor.T), 1.0, variance, gamma, solver)


def tangent_gaussian_log_prob(
    residual: Array,
    jacobian: Jacobian,
    stddev: Array | float,
    variance: Array,
    gamma: Array | float,
    solver: str = "cholesky",
    log_det_weight: Array | float = 1.0,
) -> Array:
    """Computes `low_rank_gaussian_log_prob` with U = J diag(stddev), without forming J if possible.

    Args:
        residual: r, [n].
        jacobian: J, as `tangents` returns it.
        stddev: standard deviations, [m] or 1.
        variance: c, [] or [n].
        gamma: weight of the quadratic correction.
        solver: "cholesky" or "slogdet".
        log_det_weight: weight of -1/2 log det(I + U'U/c).
    """
    residual = wide(residual)
    projection = jacobian.project(residual, variance)  # J' diag(1/c) r [m]
    scale = jnp.broadcast_to(stddev, projection.shape)
    log_det, quadratic = log_det_and_quadratic(jacobian.gram(variance), projection, scale, solver)
    independent = gaussian_log_prob(residual, jnp.zeros_like(residual), variance)
    return independent - 0.5 * log_det_weight * log_det + 0.5 * gamma * quadratic


def sampling_free_elbo(
    decode: Callable[[Array], Array],
    x: Array,
    mean: Array | GaussianPosterior,
    stddev: Array | float | None = None,
    *,
    observation_variance: Array | float,
    gamma: Array | float = 1.0,
    prior_stddev: Array | float = 1.0,
    solver: str = "cholesky",
    tangent_decode: Callable[[Array], Array] | None = None,
    log_det_weight: Array | float = 1.0,
    num_probes: int = 0,
    lanczos_steps: int = LANCZOS_STEPS,
    rng: Array | None = None,
) -> Elbo:
    """A sampling-free approximation of the Gaussian VAE's ELBO, in closed form.

    The decoder is replaced by its first-order Taylor expansion at the posterior mean, under which x
    has the distribution N(f(mean), U U' + c I) with U = J diag(stddev), or U = J L for a posterior
    N(mean, L L'):

        log_likelihood = -(n/2) log(2 pi c) - 1/2 log det(I + U'U/c) - |r|^2 / (2c)
                         + gamma/(2c) (r'U) (c I + U'U)^-1 (U'r),   r = f(mean) - x
        kl             = KL(N(mean, diag(stddev^2)) || N(0, diag(prior_stddev^2)))

    (SFVAE Eqs. 14-21; gamma = 0.5 is the paper's canonical choice, 1 the unregularised form.)
    With gamma = 1 the log likelihood is log E_q p(x|z) for a linear decoder. By Jensen's inequality
    that is at least E_q log p(x|z), so that the value approximates the ELBO and does not bound
    log p(x).

    `log_det_weight` w multiplies -1/2 log det(I + U'U/c). In Eq. 21 w = 1, and gamma mixes only the
    inverse covariance Sigma^-1 with (c I)^-1. The text before Eq. 21 describes a mixture of the log
    likelihood with that of an autoencoder, which corresponds to w = gamma:

        log_likelihood = gamma log N(x; f(mean), U U' + c I) + (1 - gamma) log N(x; f(mean), c I)

    With gamma or w below 1 it is not the logarithm of a density of x.

    With `num_probes` = k no m x m system is formed, and no m tangents are taken. With random signs
    u, the systems A = I + U'U/c and p = U'r/c are found from products with A, each of which takes a
    tangent and a transposed one (stochastic Lanczos quadrature):

        log det A = E u' log(A) u,   d log det A = E h' dA h with h = A^-1/2 u

    Its gradient is that of |U h|^2/c, the probe v'A v of BACK Eq. 19 at its minimum Sigma = A^-1;
    that of p' A^-1 p is the gradient of 2 y'p - y'A y at y = A^-1 p. k + 1 tangents are
    differentiated, and the k + 1 vectors take `lanczos_steps` = l products each, which are not.
    Value and gradient are unbiased up to the error of the iteration. With
    rho = (sqrt(a) - 1) / (sqrt(a) + 1), where a is the largest eigenvalue of A, the error of the
    value falls as rho^(2 l) and lowers it in expectation; that of the gradient falls only as rho^l
    and has either sign. Both are 0 if A has at most l different eigenvalues. The variance of the
    log determinant is 4 sum_{i<j} (log A)_ij^2 / k. Second derivatives are not those of the value.

    Args:
        decode: maps one latent [m] to a mean shaped like x.
        x: one example, of any shape with n elements.
        mean: posterior mean g(x), [m]; or a Gaussian posterior of one example, such as
            `posteriors.FullCovarianceGaussian`, with stddev left out.
        stddev: posterior standard deviations sqrt(h(x)), positive, a scalar or [m].
        observation_variance: c, positive; a scalar or one per element, shaped like x or [n].
        gamma: weight of the quadratic correction, in [0, 1].
        prior_stddev: prior standard deviations, positive, a scalar or [m].
        solver: "cholesky" or "slogdet", see `low_rank_gaussian_log_prob`.
        tangent_decode: the decoder whose Jacobian is taken, for example the same network in
            bfloat16, whose products are still summed in float32; None if it is `decode`.
        log_det_weight: w, 0 or more, a scalar.
        num_probes: k, the number of probes of the log determinant; 0 takes all m tangents, the
            solver, and no noise.
        lanczos_steps: l, the number of products with A for each vector; only with `num_probes`.
        rng: key of this example's probes; only needed with `num_probes`.

    Returns:
        An `Elbo` of scalars, in nats, with `kl_per_dimension` [m] if the dimensions are
        independent.

    Raises:
        ArgumentError: if the shapes do not fit, a deviation or variance is known not to be
            positive, gamma is known to lie outside [0, 1], log_det_weight is known to be negative,
            the solver is unknown, the posterior is no Gaussian, num_probes is negative,
            lanczos_steps is less than 1, or rng is missing.
    """
    q = latents(mean, stddev, prior_stddev)
    check_gamma_and_solver(gamma, solver)
    check_scalar("log_det_weight", log_det_weight)
    check_not_negative("log_det_weight", log_det_weight)
    check_probes(num_probes, rng, lanczos_steps)
    if rng is not None and num_probes:
        log_likelihood = probed_gaussian_log_prob(
            probe_signs(rng, num_probes, q.mean.size),
            decode,
            tangent_decode,
            q.mean,
            q.deviations,
            x,
            scalar_or_per_element(observation_variance, x),
            lanczos_steps,
            gamma,
            log_det_weight,
        )
        return q.elbo(log_likelihood)
    x_hat, jacobian = tangents(decode, q.mean, tangent_decode, q.directions)
    check_example(x, x_hat)
    log_likelihood = tangent_gaussian_log_prob(
        (wide(x_hat) - wide(x)).ravel(),
        jacobian,
        q.scale,
        scalar_or_per_element(observation_variance, x_hat),
        gamma,
        solver,
        log_det_weight,
    )
    return q.elbo(log_likelihood)


def check_gamma_and_solver(gamma: Array | float, solver: str) -> None:
    """Checks that the solver exists and that gamma, where it is known, lies in [0, 1].

    Raises:
        ArgumentError: if one of them does not.
    """
    if solver not in SOLVERS:
        raise ArgumentError(f"unknown solver {solver!r}; expected one of {', '.join(SOLVERS)}")
    check_in_0_1("gamma", gamma)


def scalar_or_per_element(
    variance: Array | float, x_hat: Array, name: str = "observation_variance"
) -> Array:
    """Returns a scalar variance as shape [], and one shaped [n] or like x as shape [n].

    Raises:
        ArgumentError: if it has another shape, or is known not to be positive.
    """
    check_positive(name, variance)
    if shape_of(name, variance) not in ((), (x_hat.size,)):
        variance = per_element(name, variance, x_hat).ravel()
    return jnp.asarray(variance, wide_dtype(x_hat))


def _of_example(example: Example) -> Elbo:
    options, gamma = example.options, example.weights.gamma
    return sampling_free_elbo(
        example.decode,
        example.x,
        example.posterior,
        observation_variance=example.likelihood.variance,
        gamma=gamma,
        log_det_weight=gamma if isinstance(options.log_det_weight, str) else options.log_det_weight,
        tangent_decode=example.tangent_decode,
        num_probes=options.num_probes,
        lanczos_steps=options.lanczos_steps,
        rng=example.rng,
    )


SAMPLING_FREE = ObjectiveInfo(
    name="sampling_free",
    summary="the log density of x under the linearised decoder, less the KL divergence",
    function="sampling_free_elbo",
    source="SFVAE Eqs. 14-21",
    of_example=with_bend(_of_example),
    takes_posterior=is_gaussian_or_factorized,
    takes_likelihood=is_squared_error,
    default_posterior="diagonal",
    deterministic=True,
    closed_form_kl=True,
    parts=True,
    bound="no: an approximation",
    decoder_passes="1 + m tangents, or 2 (num_probes + 1) lanczos_steps; bend_weight adds 1 + 1"
    " tangent",
    has_tangents=True,
    jacobian_at_mean=True,
    options=("gamma", "log_det_weight", "num_probes", "lanczos_steps", "bend_weight"),
    default_beta=1.0,
    advice="lower objective.gamma",
)
