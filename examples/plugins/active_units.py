"""Active units (Burda, Grosse and Salakhutdinov 2016): latents whose mean changes with the image.

--config.plugins=examples/plugins/active_units.py
--config.evaluations.names=active_units,reconstruction
"""

import numpy as np

from sfvae_jax import plugins


def active_units(trained, options):
    """Counts the latents i with Var_x(E[z_i|x]) above a threshold."""
    means = trained.map_images(
        lambda params, x, key: trained.encode(params, x).mean, key="means of active_units"
    )
    variances = np.var(means, axis=0)
    return {"active_units": np.sum(variances > options.threshold)}


plugins.register(
    plugins.Evaluation(
        active_units,
        (plugins.Measure("active_units", digits=0, better="more"),),
        {"threshold": plugins.Option(0.01, plugins.POSITIVE, "Least variance of an active unit")},
        name="active_units",
        summary="how many latents have a mean that changes with the image",
        source="Burda et al. 2016",
        examples="both",
    )
)
