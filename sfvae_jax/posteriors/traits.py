"""What each family of posteriors says about itself, by the name that a configuration gives it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Traits:
    """A family of posteriors, as objectives ask about it (`objectives.spec.PosteriorTraits`).

    Attributes:
        has_density: whether q(z|x) is a distribution, not a single point.
        closed_form_kl: whether its KL divergence to the prior has a closed form.
        kl_per_dimension: whether that closed form is a sum over the latent dimensions.
        has_inverse: whether z can be mapped back to the noise, as path derivatives require.
        fixed_variance: whether its variance is given by `posterior.variance`, not learned.
        loss_scales: options of the group `posterior` that scale the loss. They are named in the
            advice on a loss that is not finite.
    """

    has_density: bool = True
    closed_form_kl: bool = False
    kl_per_dimension: bool = False
    has_inverse: bool = True
    fixed_variance: bool = False
    loss_scales: tuple[str, ...] = ()


POSTERIORS = {
    "diagonal": Traits(closed_form_kl=True, kl_per_dimension=True),
    "full_covariance": Traits(closed_form_kl=True),
    "planar": Traits(has_inverse=False),
    "iaf": Traits(),
    "auxiliary_flow": Traits(),
    "constant": Traits(
        closed_form_kl=True, kl_per_dimension=True, fixed_variance=True, loss_scales=("variance",)
    ),
    "none": Traits(has_density=False, has_inverse=False),
}
