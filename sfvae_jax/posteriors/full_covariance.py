"""The Gaussian posterior with full covariance."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives import gaussian
from sfvae_jax.objectives.linear_algebra import matmul, triangular_inverse
from sfvae_jax.posteriors.path import zero_with_gradient


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FullCovarianceGaussian:
    """q(z|x) = N(mean, L L')   (FLOW Eq. 24; GAPS Section 6.7).

    Attributes:
        mean: [m].
        scale_tril: L, lower triangular with a positive diagonal, [m, m]; what stands above the
            diagonal is ignored.
    """

    mean: Array
    scale_tril: Array

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z|x) in nats, a scalar."""
        noise = jax.random.normal(rng, self.mean.shape, self.mean.dtype)
        return self._push(noise), self._log_prob(noise)

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """The same values; the density's own parameters carry no gradient, only z does."""
        noise = jax.random.normal(rng, self.mean.shape, self.mean.dtype)
        z = self._push(noise)
        fixed = jax.lax.stop_gradient(self)
        change = matmul(triangular_inverse(jnp.tril(fixed.scale_tril)), zero_with_gradient(z))
        return z, fixed._log_prob(noise + change)

    def center(self) -> Array:
        """The latent [m] that stands for the whole: the mean."""
        return self.mean

    def log_prob(self, z: Array) -> Array:
        """log q(z|x) in nats, a scalar, of any z [m]."""
        return self._log_prob(matmul(triangular_inverse(jnp.tril(self.scale_tril)), z - self.mean))

    def expected_log_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """E_q log N(z; 0, diag(prior_stddev^2)) in nats, a scalar."""
        # Only the diagonal of the covariance meets a diagonal prior.
        marginal = jnp.linalg.norm(jnp.tril(self.scale_tril), axis=1)
        return gaussian.gaussian_expected_log_prior(self.mean, marginal, prior_stddev)

    def entropy(self) -> Array:
        """-E_q log q(z|x) in nats, a scalar."""
        return gaussian.gaussian_entropy(jnp.diagonal(self.scale_tril))

    def kl_to_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """KL(q(z|x) || N(0, diag(s^2))), s = prior_stddev, in nats, a scalar.

        1/2 [|mean / s|^2 + tr(L L' / s^2) - m - log det(L L' / s^2)]   (FLOW Eq. 25, s = 1)
        """
        chex.assert_shape(self.scale_tril, 2 * self.mean.shape)
        prior_stddev = gaussian.per_element(prior_stddev, self.mean)
        scaled = jnp.tril(self.scale_tril) / prior_stddev[:, None]
        own = gaussian.gaussian_kl_per_dimension(
            self.mean, jnp.diagonal(self.scale_tril), prior_stddev
        )
        return jnp.sum(own) + 0.5 * jnp.sum(jnp.square(jnp.tril(scaled, -1)))

    def _push(self, noise: Array) -> Array:
        chex.assert_shape(self.scale_tril, 2 * self.mean.shape)
        return self.mean + matmul(jnp.tril(self.scale_tril), noise)

    def _log_prob(self, noise: Array) -> Array:
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return gaussian.standard_normal_log_prob(noise) - log_det
