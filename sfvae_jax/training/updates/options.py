"""The options of the group `train` that decide how gradients become updates."""

from __future__ import annotations

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.options import (
    BELOW_1,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    Group,
    Option,
    one_of,
    optional,
)
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, OPTIONS


def _readers(option: str) -> list[str]:
    return [name for name, spec in OPTIMIZERS.items() if option in spec.options]


def _told(option: str) -> str:
    return f"({', '.join(_readers(option))})"


_OWN = "None: the optimizer's own, which docs/training.md lists"
_DECOUPLED = ", ".join(name for name, spec in OPTIMIZERS.items() if spec.decoupled)

UPDATES: Group = {
    "optimizer": Option(
        "adam",
        one_of("optimizer", OPTIMIZERS),
        "How gradients become updates, by its name in optax; docs/training.md explains each",
    ),
    "b1": Option(
        None,
        optional(BELOW_1),
        f"Decay of the average of gradients {_told('b1')}; {_OWN}",
        of=float,
    ),
    "b2": Option(
        None,
        optional(BELOW_1),
        "Decay of the average of squared gradients, in lion of the average of gradients that is"
        f" kept {_told('b2')}; {_OWN}",
        of=float,
    ),
    "eps": Option(
        None,
        optional(POSITIVE),
        f"Number that is added to a divisor, so that it is not 0 {_told('eps')}; {_OWN}",
        of=float,
    ),
    "momentum": Option(
        None,
        optional(BELOW_1),
        "Decay of the sum of updates, in adafactor of their average; 0 = no momentum"
        f" {_told('momentum')}; {_OWN}",
        of=float,
    ),
    "nesterov": Option(
        False,
        FLAG,
        f"Whether train.momentum looks ahead, as Nesterov's does {_told('nesterov')}; nadam and"
        " nadamw look ahead without this flag",
    ),
    "weight_decay": Option(
        None,
        optional(NOT_NEGATIVE),
        "Weight decay of the kernels of encoder and decoder; biases, BatchNorm's scales and the"
        f" parameters of flows do not decay. It is decoupled in {_DECOUPLED}: each step moves a"
        " kernel w by -learning_rate * weight_decay * w. In all others weight_decay * w is added to"
        " the gradient, as by a penalty weight_decay / 2 * w^2 (optax.add_decayed_weights). None:"
        " the optimizer's own, which docs/training.md lists",
        of=float,
    ),
    "clip_norm": Option(
        0.0,
        NOT_NEGATIVE,
        "Largest norm of the gradient of all parameters together; a longer one is scaled down to"
        " it, before weight decay. 0 = no limit",
    ),
    "ema_decay": Option(
        0.0,
        BELOW_1,
        "Decay d of an exponential moving average of the parameters, which is kept beside them:"
        " average = k * average + (1 - k) * parameters after step t = 1, 2, ..., where"
        " k = min(d, t / (t + 9)). 0 = no average. evaluations.use_ema measures it",
    ),
    "validate_ema": Option(
        False,
        FLAG,
        "Whether the loss on the valid split is that of the average of train.ema_decay",
    ),
}


def check_updates(train: ml_collections.ConfigDict) -> None:
    """Checks that options of the updates are only set where they have a meaning.

    Args:
        train: the group of a config.

    Raises:
        UsageError: naming the key and what to set.
    """
    name = train.optimizer
    own = OPTIMIZERS[name].options
    for key in OPTIONS:
        if key in own or train[key] == UPDATES[key].default:
            continue
        raise UsageError(
            f"train.{key} only applies to {', '.join(_readers(key))}; train.optimizer is {name!r},"
            f" which has {', '.join(f'train.{other}' for other in own) or 'no such options'}"
        )
    momentum = own.get("momentum") if train.momentum is None else train.momentum
    if train.nesterov and not momentum:
        raise UsageError("train.nesterov requires momentum; set train.momentum too, such as 0.9")
    if train.validate_ema and not (train.ema_decay and train.validate_every):
        missing = "ema_decay" if not train.ema_decay else "validate_every"
        raise UsageError(
            "train.validate_ema validates an average of the parameters; set"
            f" train.{missing} too, or train.validate_ema=false"
        )
