"""The groups `model`, `posterior` and `likelihood` of a configuration."""

from __future__ import annotations

from sfvae_jax.models import (
    ACTIVATIONS,
    INITIALIZERS,
    LOWERINGS,
    MODELS,
    OUTPUT_ACTIVATIONS,
    STDDEVS,
    VALUE_ACTIVATIONS,
)
from sfvae_jax.options import (
    COUNT,
    COUNT_OR_0,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    SIZES,
    TEXT,
    Option,
    is_whole,
    one_of,
    optional,
    tuple_of,
    whole,
)
from sfvae_jax.posteriors import AUXILIARY_STARTS

MOST_KERNEL = 255  # pixels a side, and places: each is a product of its own in the program
MOST_FLOWS = 1000  # each is, too

_KERNELS = tuple_of(
    lambda size: is_whole(size, 1, MOST_KERNEL),
    f"positive sizes, {MOST_KERNEL} at most, such as (2, 3)",
)

MODEL = {
    "name": Option(
        "mlp",
        one_of("model", MODELS),
        "mlp; conv: Higgins et al.; conv_bn: RAE; conv_elu: GAPS; of sequences grammar: GrammarVAE;"
        " recurrent: FLOW",
    ),
    "latent_size": Option(16, COUNT, "numbers that an example is encoded in"),
    "hidden_sizes": Option(
        (512, 256),
        SIZES,
        "of the encoder of mlp and recurrent, from the data inwards; that of recurrent begins with"
        " an LSTM",
    ),
    "decoder_sizes": Option(
        None,
        optional(SIZES),
        "of their decoder, from the latents outwards; None: the encoder's reversed; (): no hidden"
        " layer",
        of=tuple,
    ),
    "channels": Option((), SIZES, "of the encoder's convolutions; (): the paper's"),
    "kernel_size": Option(0, whole(0, MOST_KERNEL), "of the convolutions; 0: the paper's"),
    "kernel_sizes": Option(
        (), _KERNELS, "of each convolution of the model grammar; (): the paper's"
    ),
    "batch_norm": Option(False, FLAG, "whether the model grammar has BatchNorm"),
    "lowering": Option(
        "auto",
        one_of("lowering", LOWERINGS),
        "of the products of convolutions and mlp: native, patches; auto: patches on the CPU",
    ),
    "activation": Option("relu", one_of("activation", ACTIVATIONS), "of the hidden layers"),
    "output_activation": Option(
        "identity",
        one_of("output activation", OUTPUT_ACTIVATIONS),
        "of an image's mean under gaussian and heteroscedastic_gaussian: identity; sigmoid, inside"
        " the decoder and its Jacobian",
    ),
    "value_activation": Option(
        "sigmoid",
        one_of("value activation", VALUE_ACTIVATIONS),
        "of recurrent's values; relu: not only in [0, 1]",
    ),
    "initializer": Option("lecun_normal", one_of("initializer", INITIALIZERS), "of the kernels"),
    "latent_scale": Option(
        1.0, POSITIVE, "the encoder's means are multiplied by it, the decoder's input is divided"
    ),
}

POSTERIOR = {
    "name": Option("", TEXT, "family; empty: the objective's natural one"),
    "variance": Option(1.0, POSITIVE, "of a constant posterior"),
    "stddev": Option(
        "exp", one_of("stddev", STDDEVS), "exp: the encoder gives log variances; or softplus"
    ),
    "num_flows": Option(2, whole(1, MOST_FLOWS), "steps of planar, iaf and auxiliary_flow"),
    "hidden_sizes": Option((100, 100), SIZES, "of the networks of iaf and auxiliary_flow"),
    "context_size": Option(32, COUNT_OR_0, "numbers that these networks see of the encoder"),
    "amortized_flow": Option(
        True,
        FLAG,
        "whether the encoder gives the u, w and b of planar for each example; false: they are"
        " parameters that all examples share (FLOW Eq. 26)",
    ),
    "reverse_sizes": Option(
        None,
        optional(SIZES),
        "of auxiliary_flow's network for r(v|z); None: hidden_sizes",
        of=tuple,
    ),
    "auxiliary_start": Option(
        "conditional",
        one_of("auxiliary start", AUXILIARY_STARTS),
        "what auxiliary_flow draws v_0 from: conditional: q(v_0|z_0) by a network;"
        " standard_normal: N(0, I)",
    ),
}

LIKELIHOOD = {
    "name": Option(
        "gaussian",
        TEXT,
        "of images gaussian, heteroscedastic_gaussian, bernoulli or discretized_logistic; of"
        " sequences categorical, and sequence where they have values",
    ),
    "variance": Option(0.5, POSITIVE, "of gaussian; of sequence, that of the values"),
    "min_variance": Option(0.0, NOT_NEGATIVE, "of heteroscedastic_gaussian"),
    "max_variance": Option(0.0, NOT_NEGATIVE, "of heteroscedastic_gaussian; 0 = no bound"),
}
