"""The diagonal Gaussian posterior."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from sfvae_jax.objectives.numerics import gaussian
from sfvae_jax.objectives.numerics.checks import check_shape
from sfvae_jax.objectives.numerics.precision import normal_like, rounded_like, wide
from sfvae_jax.posteriors.path import zero_with_gradient
from sfvae_jax.posteriors.spec import Declare, PosteriorSpec, Settings, mean_and_stddev


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag(stddev^2))   (SFVAE Eq. 4, with stddev = sqrt(h(x)); FLOW Eq. 22).

    In bfloat16 and float16 the sample is rounded but its density is not: noise and sums are in
    float32. The same holds for all other posteriors.

    Attributes:
        mean: [m].
        stddev: positive, a scalar or [m].
    """

    mean: Array
    stddev: Array | float

    def sample_and_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """A reparameterised sample z [m] and log q(z|x) in nats, a scalar."""
        q = self._checked()
        noise = normal_like(rng, q.mean)
        # The density uses the noise: for a tiny stddev, rounding spoils (z - mean) / stddev.
        return rounded_like(q.mean + q.stddev * noise, self.mean, self.stddev), q._log_prob(noise)

    def sample_and_path_log_prob(self, rng: Array) -> tuple[Array, Array]:
        """Returns the values of `sample_and_log_prob`; log q only has a gradient through z."""
        q = self._checked()
        noise = normal_like(rng, q.mean)
        z = rounded_like(q.mean + q.stddev * noise, self.mean, self.stddev)
        fixed = jax.lax.stop_gradient(q)
        return z, fixed._log_prob(noise + zero_with_gradient(z) / fixed.stddev)

    def center(self) -> Array:
        """The latent [m] that stands for the whole posterior: the mean."""
        return self.mean

    def deviation(self, noise: Array) -> Array:
        """stddev * noise [m] in at least 32 bits: L e, where q = N(mean, L L') and noise is e."""
        q = self._checked()
        check_shape("noise", noise, q.mean.shape, ", as the mean has")
        return q.stddev * wide(noise)

    def log_prob(self, z: Array) -> Array:
        """log q(z|x) in nats, a scalar, of any z [m]."""
        q = self._checked()
        check_shape("z", z, q.mean.shape, ", as the mean has")
        return q._log_prob((wide(z) - q.mean) / q.stddev)

    def expected_log_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """E_q log N(z; 0, diag(prior_stddev^2)) in nats, a scalar."""
        return gaussian.gaussian_expected_log_prior(self.mean, self.stddev, prior_stddev)

    def entropy(self) -> Array:
        """-E_q log q(z|x) in nats, a scalar."""
        return gaussian.gaussian_entropy(jnp.asarray(self._checked().stddev))

    def kl_per_dimension(self, prior_stddev: Array | float = 1.0) -> Array:
        """KL(q(z_i|x) || N(0, prior_stddev_i^2)) in nats, [m]   (FLOW Eq. 23 for each i)."""
        return gaussian.gaussian_kl_per_dimension(self.mean, self.stddev, prior_stddev)

    def kl_to_prior(self, prior_stddev: Array | float = 1.0) -> Array:
        """KL(q(z|x) || N(0, diag(prior_stddev^2))) in nats, a scalar."""
        return jnp.sum(self.kl_per_dimension(prior_stddev))

    def _checked(self) -> DiagonalGaussian:
        """Checks the posterior and returns it with mean and stddev [m] in at least 32 bits.

        The check is not made when the object is built, because `jax.vmap` returns a batch of
        posteriors as one object of this class, with one more axis.

        Raises:
            ArgumentError: if the shapes do not fit, or stddev is known not to be positive.
        """
        mean, stddev, _ = gaussian.latent_gaussian(self.mean, self.stddev)
        return DiagonalGaussian(mean, stddev)

    def _log_prob(self, noise: Array) -> Array:
        return gaussian.standard_normal_log_prob(noise) - jnp.sum(jnp.log(self.stddev))


def _build(settings: Settings, raw: Array, declare: Declare) -> DiagonalGaussian:
    del declare
    mean, stddev, _ = mean_and_stddev(settings, raw)
    return DiagonalGaussian(mean, stddev)


DIAGONAL = PosteriorSpec(
    name="diagonal",
    summary="a Gaussian with independent dimensions",
    num_outputs=lambda settings: 2 * settings.latent_size,
    build=_build,
    closed_form_kl=True,
    kl_per_dimension=True,
    gaussian=True,
    options=("stddev",),
)
