"""The options of the group `train` that decide how gradients become updates."""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.options import (
    BELOW_1,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    Option,
    check_own_options,
    one_of,
    optional,
    own_options,
)
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, OPTIONS, OptimizerSpec

_OWN = "None = the optimizer's own, which docs/training.md lists"

_Specs = Mapping[str, OptimizerSpec]


def _readers(option: str, specs: _Specs) -> str:
    """Lists the names of the optimizers that take an option."""
    return ", ".join(name for name, spec in specs.items() if option in spec.options)


def option_group(specs: _Specs = OPTIMIZERS) -> dict[str, Option]:
    """Returns the options, including those that the optimizers of a table add."""
    told = lambda option: f"({_readers(option, specs)})"  # noqa: E731
    decoupled = ", ".join(name for name, spec in specs.items() if spec.decoupled)
    return {
        "optimizer": Option(
            "adam",
            one_of("optimizer", specs),
            "How gradients become updates, by its name in optax; docs/training.md explains each",
        ),
        "b1": Option(
            None,
            optional(BELOW_1),
            f"Decay of the average of gradients {told('b1')}; {_OWN}",
            of=float,
        ),
        "b2": Option(
            None,
            optional(BELOW_1),
            "Decay of the average of squared gradients, in lion of the average of gradients that is"
            f" kept {told('b2')}; {_OWN}",
            of=float,
        ),
        "eps": Option(
            None,
            optional(POSITIVE),
            f"Number that is added to a divisor, so that it is not 0 {told('eps')}; {_OWN}",
            of=float,
        ),
        "momentum": Option(
            None,
            optional(BELOW_1),
            "Decay of the sum of updates, in adafactor of their average; 0 = no momentum"
            f" {told('momentum')}; {_OWN}",
            of=float,
        ),
        "nesterov": Option(
            False,
            FLAG,
            f"Whether train.momentum looks ahead, as Nesterov's does {told('nesterov')}; nadam and"
            " nadamw look ahead without this flag",
        ),
        "weight_decay": Option(
            None,
            optional(NOT_NEGATIVE),
            "Weight decay of the kernels of encoder and decoder; biases, BatchNorm's scales and the"
            f" parameters of flows do not decay. It is decoupled in {decoupled}: each step moves a"
            " kernel w by -learning_rate * weight_decay * w, which lamb scales with the rest of its"
            " update. In all others weight_decay * w is"
            " added to the gradient, as by a penalty weight_decay / 2 * w^2"
            " (optax.add_decayed_weights)."
            f" {_OWN}",
            of=float,
        ),
        "clip_norm": Option(
            0.0,
            NOT_NEGATIVE,
            "Largest norm of the gradient of all parameters together; a longer one is scaled down"
            " to it, before weight decay. 0 = no limit",
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
        **own_options(specs),
    }


def check_updates(train: ml_collections.ConfigDict) -> None:
    """Checks that options of the updates are only set where they have a meaning.

    Args:
        train: the group of a config.

    Raises:
        UsageError: naming the key and what to set.
    """
    name, known = train.optimizer, option_group()
    own = OPTIMIZERS[name].options
    check_own_options("train", train, OPTIMIZERS, name, noun="optimizer", name="optimizer")
    for key in OPTIONS:
        if key in own or train[key] == known[key].default:
            continue
        raise UsageError(
            f"train.{key} only applies to {_readers(key, OPTIMIZERS)}; train.optimizer is {name!r},"
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
