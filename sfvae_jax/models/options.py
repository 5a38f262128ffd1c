"""The group `model` of a configuration, and the rules for combinations of its options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import ml_collections

from sfvae_jax.errors import UsageError
from sfvae_jax.likelihoods import LIKELIHOODS, LikelihoodSpec
from sfvae_jax.models import (
    ACTIVATIONS,
    INITIALIZERS,
    LOWERINGS,
    MODELS,
    OUTPUT_ACTIVATIONS,
    VALUE_ACTIVATIONS,
    ModelSpec,
)
from sfvae_jax.options import (
    COUNT,
    FLAG,
    POSITIVE,
    SIZES,
    Option,
    check_own_options,
    is_whole,
    one_of,
    optional,
    own_options,
    plain,
    tuple_of,
    whole,
)

MOST_KERNEL = 255  # pixels a side, or places; each adds an operation to the program

_KERNELS = tuple_of(
    lambda size: is_whole(size, 1, MOST_KERNEL),
    f"positive sizes, {MOST_KERNEL} at most, such as (2, 3)",
)


def option_group(specs: Mapping[str, ModelSpec] = MODELS) -> dict[str, Option]:
    """Returns the options of the group, with those that the models of a table add."""
    return {
        "name": Option(
            "mlp",
            one_of("model", specs),
            "Networks: " + "; ".join(f"{spec.name}, {spec.summary}" for spec in specs.values()),
        ),
        "latent_size": Option(16, COUNT, "Number of latents, m"),
        "hidden_sizes": Option(
            (512, 256),
            SIZES,
            "Widths of the encoder's layers in mlp, grammar and recurrent, from the data inwards;"
            " in recurrent the first is an LSTM",
        ),
        "decoder_sizes": Option(
            None,
            optional(SIZES),
            "Widths of the decoder's layers in mlp, grammar and recurrent, from the latents"
            " outwards; None = those of the encoder reversed, or in grammar those of the paper; ()"
            " = no hidden layer",
            of=tuple,
        ),
        "channels": Option((), SIZES, "Channels of the encoder's convolutions; () = the paper's"),
        "kernel_size": Option(
            0,
            whole(0, MOST_KERNEL),
            "Side in pixels of the kernels of convolutions of images; 0 = the paper's",
        ),
        "kernel_sizes": Option(
            (),
            _KERNELS,
            "Length of each convolution's kernel in the model grammar; () = the paper's",
        ),
        "batch_norm": Option(False, FLAG, "Whether the model grammar has BatchNorm"),
        "lowering": Option(
            "auto",
            one_of("lowering", LOWERINGS),
            "How the products of mlp and of convolutions of images are computed: native, by XLA;"
            " patches, by this library; auto: patches on the CPU, else native",
        ),
        "activation": Option(
            "relu", one_of("activation", ACTIVATIONS), "Activation of hidden layers"
        ),
        "output_activation": Option(
            "identity",
            one_of("output activation", OUTPUT_ACTIVATIONS),
            "Activation of the mean of an image under"
            f" {' and '.join(spec.name for spec in LIKELIHOODS.values() if spec.activates_mean)};"
            " it is part of the decoder and its Jacobian",
        ),
        "value_activation": Option(
            "sigmoid",
            one_of("value activation", VALUE_ACTIVATIONS),
            "Activation of the values of recurrent; with relu they may be larger than 1",
        ),
        "initializer": Option(
            "lecun_normal",
            one_of("initializer", INITIALIZERS),
            "Distribution of the initial kernels",
        ),
        "latent_scale": Option(
            1.0,
            POSITIVE,
            "Number by which the encoder's means are multiplied and the decoder's input is divided",
        ),
        **own_options(specs),
    }


def check_model(group: ml_collections.ConfigDict) -> None:
    """Checks that options which the chosen model does not have keep their defaults.

    Args:
        group: the group `model`.

    Raises:
        UsageError: if one does not; the error names the option and the models that have it.
    """
    check_own_options("model", group, MODELS, group.name)
    chosen, known = MODELS[group.name], option_group()
    special = dict.fromkeys(key for spec in MODELS.values() for key in spec.options)
    for key in special:
        if key in chosen.options or plain(group[key]) == known[key].default:
            continue
        owners = [repr(spec.name) for spec in MODELS.values() if key in spec.options]
        near = difflib.get_close_matches(key, chosen.options, n=1)
        raise UsageError(
            f"model.{key} only applies to model {' or '.join(owners)}; model.name is {group.name!r}"
            + "".join(f", which has model.{other} instead" for other in near)
        )


def check_output_activation(
    group: ml_collections.ConfigDict, likelihood: LikelihoodSpec, data_scale: float
) -> None:
    """Checks that an activation of the output is only set for a mean of pixels in [0, 1].

    Args:
        group: the group `model`.
        likelihood: the likelihood whose parameters are the decoder's output.
        data_scale: pixels lie in [0, data_scale].

    Raises:
        UsageError: if it is set for something else; the error names the option to change.
    """
    name = group.output_activation
    if name == "identity":
        return
    if not likelihood.activates_mean:
        others = [spec.name for spec in LIKELIHOODS.values() if spec.activates_mean]
        raise UsageError(
            f"model.output_activation {name!r} only applies to a Gaussian mean, under"
            f" likelihood.name {' or '.join(others)}; {likelihood.name!r} has its own link: set"
            " model.output_activation=identity"
        )
    if data_scale != 1.0:
        raise UsageError(
            f"model.output_activation {name!r} requires pixels in [0, 1]; data.scale must be 1, got"
            f" {data_scale}"
        )
