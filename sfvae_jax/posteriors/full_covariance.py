"""The Gaussian posterior with full covariance."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.objectives.numerics import gaussian
from sfvae_jax.objectives.numerics.checks import (
    check_positive,
    check_shape,
    check_square,
    check_vector,
    known_value,
)
from sfvae_jax.objectives.numerics.linear_algebra import matmul, triangular_inverse
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.posteriors.path import zero_with_gradient
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings, mean_and_stddev


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FullCovarianceGaussian:
    """q(z|x) = N(mean, L L')   (FLOW Eq. 24; GAPS Section 6.7).

    Attributes:
        mean: [m].
        scale_tril: L, lower triangular with a positive diagonal, [m, m]; entries above the
            diagonal are ignored.
    """

    mean: Array
    scale_tril: Array

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z|x) in nats, a scalar."""
        q = self._checked()
        noise = normal_like(rng, q.mean)
        return rounded_like(q._push(noise), self.mean, self.scale_tril), q._log_prob(noise)

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """Returns the values of `sample_and_log_prob`; log q only has a gradient through z."""
        q = self._checked()
        noise = normal_like(rng, q.mean)
        z = rounded_like(q._push(noise), self.mean, self.scale_tril)
        fixed = jax.lax.stop_gradient(q)
        change = matmul(triangular_inverse(jnp.tril(fixed.scale_tril)), zero_with_gradient(z))
        return z, fixed._log_prob(noise + change)

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior: the mean."""
        return self.mean

    def deviation(self, noise: Array) -> Array:
        """L e [m] in at least 32 bits, where noise is e: z = mean + L e for e ~ N(0, I)."""
        q = self._checked()
        check_shape("noise", noise, q.mean.shape, ", as the mean has")
        return matmul(jnp.tril(q.scale_tril), wide(noise))

    def log_prob(self, z: Array) -> Array:
        """log q(z|x) in nats, a scalar, of any z [m]."""
        q = self._checked()
        check_shape("z", z, q.mean.shape, ", as the mean has")
        return q._log_prob(matmul(triangular_inverse(jnp.tril(q.scale_tril)), wide(z) - q.mean))

    def expected_log_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """E_q log N(z; 0, diag(prior_stddev^2)) in nats, a scalar."""
        # Under a diagonal prior only the diagonal of the covariance matters.
        q = self._checked()
        marginal = jnp.linalg.norm(jnp.tril(q.scale_tril), axis=1)
        return gaussian.gaussian_expected_log_prior(q.mean, marginal, prior_stddev)

    def entropy(self) -> Array:
        """-E_q log q(z|x) in nats, a scalar."""
        return gaussian.gaussian_entropy(jnp.diagonal(self._checked().scale_tril))

    def kl_to_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """KL(q(z|x) || N(0, diag(s^2))), s = prior_stddev, in nats, a scalar.

        1/2 [|mean / s|^2 + tr(L L' / s^2) - m - log det(L L' / s^2)]   (FLOW Eq. 25, s = 1)
        """
        q = self._checked()
        deviations = jnp.diagonal(q.scale_tril)
        _, _, prior_stddev = gaussian.latent_gaussian(q.mean, deviations, prior_stddev)
        scaled = jnp.tril(q.scale_tril) / prior_stddev[:, None]
        own = gaussian.gaussian_kl_per_dimension(q.mean, deviations, prior_stddev)
        return jnp.sum(own) + 0.5 * jnp.sum(jnp.square(jnp.tril(scaled, -1)))

    def _checked(self) -> FullCovarianceGaussian:
        """Checks the posterior and returns it in at least 32 bits.

        Raises:
            ArgumentError: if the shapes do not fit, or L's diagonal is known not to be positive.
        """
        check_vector("mean", self.mean)
        check_square("scale_tril", self.scale_tril, self.mean.shape[0])
        known = known_value(self.scale_tril)
        if known is not None:
            check_positive("the diagonal of scale_tril", np.diagonal(known))
        return wide(self)

    def _push(self, noise: Array) -> Array:
        return self.mean + matmul(jnp.tril(self.scale_tril), noise)

    def _log_prob(self, noise: Array) -> Array:
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return gaussian.standard_normal_log_prob(noise) - log_det


def _num_outputs(settings: Settings) -> int:
    m = settings.latent_size
    return 2 * m + m * (m - 1) // 2


def _build(settings: Settings, raw: Array, declare: Declare) -> FullCovarianceGaussian:
    """Puts the standard deviations on the diagonal of L, and the last outputs below it."""
    del declare
    mean, stddev, rest = mean_and_stddev(settings, raw)
    m = settings.latent_size
    below = jnp.zeros((m, m), raw.dtype).at[jnp.tril_indices(m, -1)].set(rest)
    return FullCovarianceGaussian(mean, below + jnp.diag(stddev))


FULL_COVARIANCE = PosteriorSpec(
    name="full_covariance",
    summary="a Gaussian with correlated dimensions",
    num_outputs=_num_outputs,
    build=_build,
    closed_form_kl=True,
    gaussian=True,
    options=("stddev",),
)
