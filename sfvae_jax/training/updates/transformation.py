"""The optimizer of a run: clipping, then weight decay, then the optimizer's own update."""

from __future__ import annotations

from typing import Any

import jax
import ml_collections
import optax

from sfvae_jax.models import DECODER_PARTS
from sfvae_jax.objectives import Schedule
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, Mask, OptimizerSpec

_OF_POSTERIOR = "head"  # the module of a model in which a posterior declares its parameters


def transformation(
    train: ml_collections.ConfigDict,
    learning_rate: float | Schedule,
    spec: OptimizerSpec | None = None,
) -> optax.GradientTransformation:
    """Returns what turns gradients into updates of the parameters {"params": ...}.

    Nothing is added to the optimizer, and to its state, that the config does not ask for.

    Args:
        train: the group of a config.
        learning_rate: a number, or a function of the step.
        spec: that of the optimizer; None: the one that `train.optimizer` names.
    """
    spec = OPTIMIZERS[train.optimizer] if spec is None else spec
    options: dict[str, Any] = {
        key: default if train[key] is None else train[key] for key, default in spec.options.items()
    }
    options |= {key: train[key] for key in spec.own_options}
    decay = spec.weight_decay if train.weight_decay is None else train.weight_decay
    mask = decay_mask(frozen=DECODER_PARTS if train.decoder_from else ())
    parts = []
    if train.clip_norm:
        parts.append(optax.clip_by_global_norm(train.clip_norm))
    if spec.decoupled:
        options |= {"weight_decay": decay, "mask": mask}
    elif decay:
        parts.append(optax.add_decayed_weights(decay, mask))
    optimizer = spec.build(learning_rate, **options)
    return optax.chain(*parts, optimizer) if parts else optimizer


def decay_mask(frozen: tuple[str, ...] = ()) -> Mask:
    """Returns the function that says which parameters decay: the kernels of the networks.

    These are arrays of two axes or more. Biases, BatchNorm's scales and shifts, and other scalars
    and vectors have fewer. What a posterior declares for all examples, such as flows, does not
    decay whatever its shape, because its size is no measure of the networks' complexity.

    Args:
        frozen: names of modules that are not trained and therefore do not decay either.
    """
    exempt = (*frozen, _OF_POSTERIOR)

    def decays(path: tuple[Any, ...], parameter: jax.Array) -> bool:
        names = [getattr(key, "key", None) for key in path]
        return parameter.ndim >= 2 and not any(name in exempt for name in names[:2])

    return lambda params: jax.tree.map_with_path(decays, params)
