"""An optimizer that moves along the softened sign of an average gradient (after Bernstein 2018).

--config.plugins=examples/plugins/soft_sign_optimizer.py --config.train.optimizer=soft_sign
--config.train.softness=0.1 --config.train.b1=0.95 --config.train.learning_rate=1e-4
"""

import jax
import jax.numpy as jnp
import optax

from sfvae_jax import plugins


def soft_sign(learning_rate, *, b1, softness):
    """-learning_rate tanh(m / softness), with m the average gradient; softness 0+ is its sign."""
    squash = lambda updates, params: jax.tree.map(lambda m: jnp.tanh(m / softness), updates)
    return optax.chain(
        optax.ema(b1),
        optax.stateless(squash),
        optax.scale_by_learning_rate(learning_rate),
    )


plugins.register(
    plugins.OptimizerSpec(
        name="soft_sign",
        summary="the softened sign of an average gradient",
        source="Bernstein et al. 2018",
        build=soft_sign,
        options={"b1": 0.9},
        own_options={
            "softness": plugins.Option(1.0, plugins.POSITIVE, "Gradient at which it softens")
        },
    )
)
