"""The optimizers that `train.optimizer` accepts, in one table.

To add one, add a spec to `OPTIMIZERS`: its name, the function that builds it, and the defaults of
those of the keys in `OPTIONS` that the function takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax

from sfvae_jax.objectives import Schedule
from sfvae_jax.options import Option

OPTIONS = ("b1", "b2", "eps", "momentum", "nesterov")
"""Keys of the group `train` of which each optimizer takes its own choice."""

Mask = Callable[[Any], Any]
"""Maps parameters to a tree of the same structure: whether each of them decays."""


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
    """What the project knows about an optimizer.

    Attributes:
        name: its name in a config, which is its name in optax.
        summary: what it does, in a phrase.
        build: takes the learning rate, a number or a function of the step, and the keys of
            `options` by name; one with `decoupled` also takes `weight_decay` and `mask`.
        options: the keys in `OPTIONS` that it takes, with its own defaults.
        source: the paper that it is from.
        decoupled: whether its weight decay does not pass through the moments of the gradient: each
            step moves a decayed parameter w by -learning_rate * weight_decay * w (lamb scales
            this with the rest of its update). Otherwise weight_decay * w is added to its gradient,
            as by a penalty weight_decay / 2 * w^2.
        weight_decay: the weight decay if a config leaves it open.
        own_options: options that it adds to the group `train`; `build` takes their values by name.

    Raises:
        ValueError: if an option is not in `OPTIONS`.
    """

    name: str
    summary: str
    build: Callable[..., optax.GradientTransformation]
    _: dataclasses.KW_ONLY
    options: Mapping[str, float | bool]
    source: str = ""
    decoupled: bool = False
    weight_decay: float = 0.0
    own_options: Mapping[str, Option] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the names of the options."""
        unknown = self.options.keys() - set(OPTIONS)
        if unknown:
            raise ValueError(f"optimizer {self.name!r} has unknown options {sorted(unknown)}")


def _rmsprop(
    learning_rate: float | Schedule, *, b2: float, eps: float, momentum: float, nesterov: bool
) -> optax.GradientTransformation:
    # Without momentum, None keeps its zeros out of the state.
    return optax.rmsprop(
        learning_rate, decay=b2, eps=eps, momentum=momentum or None, nesterov=nesterov
    )


def _adadelta(
    learning_rate: float | Schedule, *, b2: float, eps: float
) -> optax.GradientTransformation:
    return optax.adadelta(learning_rate, rho=b2, eps=eps)


def _adafactor(
    learning_rate: float | Schedule, *, momentum: float, weight_decay: float, mask: Mask
) -> optax.GradientTransformation:
    """Multiplies the decay by the learning rate, which optax does not do."""
    return optax.chain(
        optax.adafactor(momentum=momentum or None),  # its updates are already negative
        optax.add_decayed_weights(-weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate, flip_sign=False),
    )


def _sgd(
    learning_rate: float | Schedule, *, momentum: float, nesterov: bool
) -> optax.GradientTransformation:
    return optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov)


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}

_SPECS = (
    OptimizerSpec(
        "adam",
        "divides the average gradient by the root of the average squared gradient",
        optax.adam,
        options=_ADAM,
        source="Kingma and Ba 2015",
    ),
    OptimizerSpec(
        "adamw",
        "adam with decoupled weight decay",
        optax.adamw,
        options=_ADAM,
        source="Loshchilov and Hutter 2019",
        decoupled=True,
        weight_decay=1e-4,
    ),
    OptimizerSpec(
        "amsgrad",
        "adam with the largest average squared gradient so far",
        optax.amsgrad,
        options=_ADAM,
        source="Reddi et al. 2018",
    ),
    OptimizerSpec(
        "nadam",
        "adam with Nesterov's momentum",
        optax.nadam,
        options=_ADAM,
        source="Dozat 2016",
    ),
    OptimizerSpec(
        "nadamw",
        "nadam with decoupled weight decay",
        optax.nadamw,
        options=_ADAM,
        source="Dozat 2016, Loshchilov and Hutter 2019",
        decoupled=True,
        weight_decay=1e-4,
    ),
    OptimizerSpec(
        "radam",
        "adam that does not divide until the average squared gradient can be trusted",
        optax.radam,
        options=_ADAM,
        source="Liu et al. 2020",
    ),
    OptimizerSpec(
        "adamax",
        "adam with a decaying maximum in place of the average squared gradient",
        optax.adamax,
        options=_ADAM,
        source="Kingma and Ba 2015, Section 7.1",
    ),
    OptimizerSpec(
        "adamaxw",
        "adamax with decoupled weight decay",
        optax.adamaxw,
        options=_ADAM,
        source="Kingma and Ba 2015, Loshchilov and Hutter 2019",
        decoupled=True,
        weight_decay=1e-4,
    ),
    OptimizerSpec(
        "adabelief",
        "adam with the average squared distance of the gradient from its average",
        optax.adabelief,
        options={"b1": 0.9, "b2": 0.999, "eps": 1e-16},
        source="Zhuang et al. 2020",
    ),
    OptimizerSpec(
        "yogi",
        "adam whose average squared gradient falls slowly",
        optax.yogi,
        options={"b1": 0.9, "b2": 0.999, "eps": 1e-3},
        source="Zaheer et al. 2018",
    ),
    OptimizerSpec(
        "adan",
        "adam that looks ahead along the difference of gradients",
        optax.adan,
        options={"b1": 0.98, "b2": 0.92, "eps": 1e-8},
        source="Xie et al. 2022",
        decoupled=True,
    ),
    OptimizerSpec(
        "lamb",
        "adam with updates as long as each layer's parameters, for large batches",
        optax.lamb,
        options={"b1": 0.9, "b2": 0.999, "eps": 1e-6},
        source="You et al. 2020",
        decoupled=True,
    ),
    OptimizerSpec(
        "lion",
        "the sign of an average gradient, with decoupled weight decay; its learning rate is 3 to"
        " 10 times less than that of adamw",
        optax.lion,
        options={"b1": 0.9, "b2": 0.99},
        source="Chen et al. 2023",
        decoupled=True,
        weight_decay=1e-3,
    ),
    OptimizerSpec(
        "rmsprop",
        "divides the gradient by the root of the average squared gradient",
        _rmsprop,
        options={"b2": 0.9, "eps": 1e-8, "momentum": 0.0, "nesterov": False},
        source="Tieleman and Hinton 2012",
    ),
    OptimizerSpec(
        "adagrad",
        "divides the gradient by the root of the sum of squared gradients",
        optax.adagrad,
        options={"eps": 1e-7},
        source="Duchi et al. 2011",
    ),
    OptimizerSpec(
        "adadelta",
        "gives updates the scale of earlier ones; its learning rate is about 1",
        _adadelta,
        options={"b2": 0.9, "eps": 1e-6},
        source="Zeiler 2012",
    ),
    OptimizerSpec(
        "adafactor",
        "keeps one average squared gradient for each row and column of a large kernel; the learning"
        " rate is relative to the size of the parameters",
        _adafactor,
        options={"momentum": 0.0},
        source="Shazeer and Stern 2018",
        decoupled=True,
    ),
    OptimizerSpec(
        "sgd",
        "the gradient alone, or with momentum",
        _sgd,
        options={"momentum": 0.0, "nesterov": False},
        source="Sutskever et al. 2013",
    ),
)

OPTIMIZERS: dict[str, OptimizerSpec] = {spec.name: spec for spec in _SPECS}
"""All optimizers, by name."""
