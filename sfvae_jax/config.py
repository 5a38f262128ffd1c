"""The groups that every configuration has, and the check that a configuration makes sense."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
from ml_collections import config_dict

from sfvae_jax import data, evaluation, learning_rate, models, objectives
from sfvae_jax.errors import UsageError, unknown_name

JACOBIAN_DTYPES = ("float32", "bfloat16")
GAMMA_SCHEDULES = ("constant", "linear", "piecewise")
BETA_SCHEDULES = ("constant", "linear", "cyclic")
ENTROPY_SCHEDULES = ("constant", "linear")
MATMUL_PRECISIONS = ("float32", "tensorfloat32", "bfloat16")

# beta and lambda of RAE Eq. 11 and its baselines, of which the paper gives none: the best of a grid
# on held-out digits; docs/objectives.md says which grid, which measure and by which command.
DEFAULT_BETAS = {"rae": 1.0, "rae_l2": 1.0, "rae_gp": 1.0, "rae_sn": 1e-3, "cv_vae": 1e-3}
DEFAULT_PENALTY_WEIGHTS = {"rae_l2": 1e-3, "rae_gp": 1e-4, "wae_mmd": 100.0}


def base_config(preset: str = "", presets: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """All groups with their defaults; a config file changes what its experiment needs.

    Args:
        preset: which variant of the config file is asked for; "" for the paper's setting.
        presets: those that it has.

    Raises:
        UsageError: if it has none of that name.
    """
    if preset and preset not in presets:
        raise unknown_name("preset", preset, presets)
    config = ml_collections.ConfigDict()
    config.preset = preset
    config.seed = 0  # initialisation, order of the batches, noise

    config.data = ml_collections.ConfigDict()
    # mnist_5k, sprites, sprites_gray, a TFDS name (mnist, cifar10, celeb_a, ...), npz:PATH of your
    # own arrays, or folder:PATH of image files. Sequences: equations, molecules, architectures, or
    # the same before :PATH of a text file, or enas:PATH.
    config.data.name = "mnist_5k"
    config.data.num_examples = 0  # random training images; 0 = all
    config.data.num_valid = 0  # of the valid part, 0 = all; held out where the source has none
    config.data.num_test = 0  # of the test part, 0 = all; held out where the source has none
    config.data.seed = 0  # which images are drawn; apart from `seed`, so that runs share them
    # Number and digest of each part, as config.json has them; empty: whatever the data are now.
    config.data.fingerprint = ""
    # What is done to each image as it is read, in this order; 0 = nothing.
    config.data.crop = 0  # side of the square cut from the middle
    config.data.channels = 0  # 1 = gray, 3 = RGB
    config.data.image_size = 0  # resized to so many pixels a side, cropped to a square before
    config.data.pad_to = 0  # zeros around, to so many pixels a side
    # Of a folder or a text file: leave out what cannot be decoded, or is no sentence.
    config.data.skip_corrupt = False
    # A training set of more bytes is streamed to the devices and not held there, with the same
    # results; 0 = a quarter of a device's memory, or 4 GiB where that is not known.
    config.data.device_bytes = 0
    config.data.scale = 1.0  # pixels lie in [0, scale]
    # Of equations and molecules: what a sequence is made of, rules of the grammar or characters.
    config.data.tokens = "grammar"
    config.data.max_length = 0  # places of a sequence; 0: the data set's own
    config.data.layer_types = ()  # of architectures:PATH; empty: those of the file
    config.data.binarization = "none"  # static: pixels drawn once; dynamic: anew at every visit

    config.model = ml_collections.ConfigDict()
    # conv: Higgins et al.; conv_bn: RAE; conv_elu: GAPS; of sequences recurrent: FLOW.
    config.model.name = "mlp"
    config.model.latent_size = 16
    # Of the encoder of mlp and recurrent, from the data inwards; that begins with an LSTM.
    config.model.hidden_sizes = (512, 256)
    # Of its decoder, from the latents outwards; empty: the encoder's reversed; (): no hidden layer.
    config.model.decoder_sizes = config_dict.placeholder(tuple)
    config.model.channels = ()  # of the encoder's convolutions; empty: the paper's
    config.model.kernel_size = 0  # of the convolutions; 0: the paper's
    config.model.kernel_sizes = ()  # of each convolution of the model grammar; empty: the paper's
    config.model.batch_norm = False  # whether the model grammar has BatchNorm
    # Of the products of convolutions and mlp: native, patches; auto: patches on the CPU.
    config.model.lowering = "auto"
    config.model.activation = "relu"
    config.model.value_activation = "sigmoid"  # of recurrent's values; relu: not only in [0, 1]
    config.model.initializer = "lecun_normal"
    config.model.latent_scale = 1.0  # the encoder's means times this, the decoder's input by it

    config.posterior = ml_collections.ConfigDict()
    config.posterior.name = ""  # empty: the objective's natural posterior
    config.posterior.variance = 1.0  # of a constant posterior
    config.posterior.stddev = "exp"  # exp: the encoder gives log variances; or softplus
    config.posterior.num_flows = 2  # of planar, iaf, auxiliary_flow
    config.posterior.hidden_sizes = (100, 100)  # of the networks of iaf, auxiliary_flow
    config.posterior.context_size = 32  # what these networks see of the encoder

    config.likelihood = ml_collections.ConfigDict()
    # Of images gaussian, heteroscedastic_gaussian, bernoulli or discretized_logistic; of sequences
    # categorical, and sequence where they have values.
    config.likelihood.name = "gaussian"
    config.likelihood.variance = 0.5  # of gaussian; of sequence, that of the values
    config.likelihood.min_variance = 0.0  # of heteroscedastic_gaussian
    config.likelihood.max_variance = 0.0  # 0 = no bound

    config.objective = ml_collections.ConfigDict()
    config.objective.name = "sampling_free"
    config.objective.num_samples = 1  # of a sampling objective
    config.objective.gamma = 0.5  # weight of the sampling-free quadratic correction
    config.objective.gamma_schedule = "constant"
    config.objective.gamma_start = 0.95  # linear: from here to `gamma` ...
    config.objective.gamma_steps = 0  # ... over so many steps; 0 = train.steps
    config.objective.gamma_values = objectives.FIGURE_1_GAMMAS  # piecewise: these in turn ...
    config.objective.gamma_boundaries = ()  # ... from these steps on; empty = equal shares
    # Weight of the KL divergence, or of the codes' size; empty: 1, or the loss's own.
    config.objective.beta = config_dict.placeholder(float)
    config.objective.beta_schedule = "constant"
    config.objective.beta_start = 0.0  # linear, cyclic: from here to `beta` ...
    config.objective.beta_steps = 0  # ... over so many steps; 0 = train.steps
    config.objective.beta_cycles = 4
    config.objective.beta_ramp = 0.5  # share of a cycle that rises
    config.objective.entropy_weight = 1.0  # of the posterior's entropy
    config.objective.entropy_schedule = "constant"
    config.objective.entropy_start = 0.0  # linear: from here to `entropy_weight` ...
    config.objective.entropy_steps = 0  # ... over so many steps; 0 = train.steps
    config.objective.free_bits = 0.0  # least KL divergence of a group, in nats
    config.objective.free_bits_groups = ()  # sizes of consecutive groups; empty: each dimension
    config.objective.free_bits_of_batch = False  # whether it bounds the batch's mean instead
    config.objective.tau = 0.2  # information factor of bilbo_baggins
    # Weight of rae_l2's and rae_gp's penalty and of wae_mmd's discrepancy; empty: the loss's own.
    config.objective.penalty_weight = config_dict.placeholder(float)
    config.objective.num_probes = 0  # of rae_gp; 0 = the exact Jacobian
    # Of the decoder's Jacobian and its products: float32; bfloat16 sums in float32 all the same.
    config.objective.jacobian_dtype = "float32"

    config.train = ml_collections.ConfigDict()
    config.train.steps = 1000
    config.train.batch_size = 0  # 0 = full batch
    # Images of a device's share of the batch that are differentiated at a time, in memory for these
    # alone; the step stays that of the whole batch. 0 = as suits the machine.
    config.train.microbatch = 0
    # What an accelerator multiplies float32 matrices in, in training: float32; tensorfloat32, which
    # is faster and less exact (on a TPU three passes of bfloat16); or bfloat16, one pass on a TPU,
    # tensorfloat32 on a GPU. The systems of the latents and all measures take float32. A CPU knows
    # no difference.
    config.train.matmul_precision = "float32"
    config.train.learning_rate = 1e-3  # of the first step
    # constant; burda: falls to a tenth in the eight stages of Burda et al. (2016), scaled to
    # `steps`; cosine: falls to 0 at `steps`.
    config.train.learning_rate_schedule = "constant"
    # Workdir of another run, whose decoder is taken and not trained; empty: a fresh one, trained.
    config.train.decoder_from = ""
    # Whether the command keeps compiled programs in the user's cache folder, so that a run of the
    # same shapes starts sooner; JAX_COMPILATION_CACHE_DIR names another folder.
    config.train.compilation_cache = True
    config.train.steps_per_call = 10  # steps in one call of the device
    config.train.log_every = 10
    config.train.checkpoint_every = 100
    config.train.checkpoints_kept = 3
    config.train.moments_decay = 0.99  # of the running averages of BatchNorm
    config.train.validate_every = 0  # steps between losses on the valid part; 0 = never
    config.train.plateau_patience = 0  # validations without a new least loss; 0 = no reduction
    config.train.plateau_factor = 0.5  # the learning rate is multiplied by it then

    config.evaluations = ml_collections.ConfigDict()
    config.evaluations.names = ("collapse", "kl_divergence", "reconstruction", "lower_bound")
    config.evaluations.steps = ()  # besides the end
    config.evaluations.part = "test"  # train, valid or test
    config.evaluations.batch_size = 500
    for name, entry in evaluation.EVALUATIONS.items():
        config.evaluations[name] = ml_collections.ConfigDict(dict(entry.options))
    # Of images that are generated, whichever evaluation asks for them.
    config.evaluations.generated = ml_collections.ConfigDict(evaluation.GENERATED)
    config.evaluations.num_pictured = 10  # images in figures/reconstructions.png

    config.published = ml_collections.ConfigDict()  # the paper's own figures
    return config


class Schedules(NamedTuple):
    """What an objective is weighted with, as functions of the step."""

    gamma: objectives.Schedule
    beta: objectives.Schedule
    entropy: objectives.Schedule


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The configuration with everything filled in that follows from the rest.

    Raises:
        UsageError: if it cannot be run; before anything is loaded or written.
    """
    validate(config)
    config = config.copy_and_resolve_references()
    objective = config.objective
    with config.unlocked():
        # Kept with the run, so that a file which has changed cannot change what an index means.
        config.data.layer_types = data.layer_types(config.data)
        config.posterior.name = _posterior_name(config)
        if objective.beta is None:
            objective.beta = DEFAULT_BETAS.get(objective.name, 1.0)
        if objective.penalty_weight is None:
            objective.penalty_weight = DEFAULT_PENALTY_WEIGHTS.get(objective.name, 0.0)
    return config


def validate(config: ml_collections.ConfigDict) -> None:
    """Refuses a configuration that cannot be run, before anything is loaded or written.

    Raises:
        UsageError: naming the key, its value and what was expected.
    """
    _check_names(config)
    for key in _POSITIVE_INTEGERS:
        _require(config, key, lambda value: value >= 1, "a positive whole number")
    for key in _COUNTS:
        _require(config, key, lambda value: value >= 0, "a whole number, 0 or more")
    for key in _POSITIVE:
        _require(config, key, lambda value: 0 < value < math.inf, "a positive, finite number")
    for key in _WEIGHTS:
        expected = "a finite number, 0 or more"
        _require(config, key, lambda value: value is None or 0 <= value < math.inf, expected)
    for key in ("objective.gamma", "objective.gamma_start"):
        _require(config, key, lambda value: 0 <= value <= 1, "a number in [0, 1]")
    for key in ("evaluations.collapse.epsilon", "evaluations.reconstruction.num_samples"):
        _require(config, key, lambda value: value > 0, "positive")
    _require(config, "evaluations.collapse.delta", lambda value: 0 <= value < 1, "in [0, 1)")
    for key in _SIZES:
        expected = "positive sizes, such as (512, 256)"
        _require(config, key, lambda value: value is None or _all_positive(value), expected)
    _require(config, "train.moments_decay", lambda value: 0 <= value < 1, "in [0, 1)")
    _require(config, "train.plateau_factor", lambda value: 0 < value < 1, "in (0, 1)")
    if config.train.validate_every > config.train.steps:
        raise UsageError(
            f"train.validate_every {config.train.validate_every} is more than train.steps"
            f" {config.train.steps}: nothing would be validated"
        )
    for key in ("channels", "kernel_size"):
        name = config.model.name
        if name in ("mlp", "recurrent") and config.model[key] not in ((), 0):
            raise UsageError(f"model.{key} is of convolutions; model {name!r} has none")
    for key, (owner, default) in _OF_ONE_MODEL.items():
        name = config.model.name
        if name != owner and config.model[key] != default:
            raise UsageError(f"model.{key} is of model {owner!r}, got model {name!r}")
    if config.model.name == "grammar" and config.model.kernel_size:
        raise UsageError("model.kernel_size is of images; model 'grammar' has model.kernel_sizes")
    if config.train.plateau_patience and not config.train.validate_every:
        raise UsageError("train.plateau_patience counts validations; set train.validate_every too")
    _require(config, "data.channels", lambda value: value in data.CHANNELS, "0, 1 or 3")
    _require(config, "seed", lambda value: value < 2**32, "below 2**32")
    _require(config, "evaluations.names", lambda names: len(names) > 0, "at least one name")
    _require(config, "evaluations.steps", _all_positive, "positive steps, such as (100, 1000)")
    _check_jacobian_quality(config.evaluations.jacobian_quality)
    _check_variance_bounds(config)
    _check_weights_fit(config)
    _check_pixels(config)
    data.check_options(config.data)
    _check_schedules(config)
    _check_microbatch(config)
    _check_language(config)
    _check_values(config)
    evaluation.check_kind(config.evaluations, data.language(config.data) is not None)
    evaluation.check_options(config.evaluations)


def schedules(config: ml_collections.ConfigDict) -> Schedules:
    """A resolved config's weights as functions of the step."""
    return Schedules(gamma_schedule(config), _beta_schedule(config), _entropy_schedule(config))


def gamma_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    """The config's gamma as a function of the step."""
    objective, num_steps = config.objective, config.train.steps
    if objective.gamma_schedule == "linear":
        steps = objective.gamma_steps or num_steps
        return objectives.linear_gamma(objective.gamma_start, objective.gamma, steps)
    if objective.gamma_schedule == "piecewise":
        values = objective.gamma_values
        boundaries = objective.gamma_boundaries or objectives.equal_boundaries(
            len(values), num_steps
        )
        return objectives.piecewise_gamma(values, boundaries)
    return objectives.constant_gamma(objective.gamma)


def _beta_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    objective = config.objective
    start, end = objective.beta_start, 1.0 if objective.beta is None else objective.beta
    steps = objective.beta_steps or config.train.steps
    if objective.beta_schedule == "linear":
        return objectives.linear_weight(start, end, steps)
    if objective.beta_schedule == "cyclic":
        cycles = {"num_cycles": objective.beta_cycles, "ramp": objective.beta_ramp}
        return objectives.cyclic_weight(start, end, steps, **cycles)
    return objectives.constant_weight(end)


def _entropy_schedule(config: ml_collections.ConfigDict) -> objectives.Schedule:
    objective = config.objective
    if objective.entropy_schedule == "linear":
        steps = objective.entropy_steps or config.train.steps
        return objectives.linear_weight(objective.entropy_start, objective.entropy_weight, steps)
    return objectives.constant_weight(objective.entropy_weight)


_WEIGHT_SCHEDULES = {"beta_schedule": _beta_schedule, "entropy_schedule": _entropy_schedule}
_OF_ONE_MODEL = {  # key: the model, and what others leave it at
    "kernel_sizes": ("grammar", ()),
    "batch_norm": ("grammar", False),
    "value_activation": ("recurrent", "sigmoid"),
}
_POSITIVE_INTEGERS = (
    "model.latent_size",
    "objective.num_samples",
    "train.steps",
    "train.steps_per_call",
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoints_kept",
    "posterior.num_flows",
    "objective.beta_cycles",
    "evaluations.lower_bound.num_samples",
    "evaluations.iwae_bound.num_samples",
    "evaluations.bias.num_samples",
    "evaluations.marginal_likelihood.num_samples",
    "evaluations.marginal_likelihood.chunk_size",
    "evaluations.batch_size",
    "evaluations.num_pictured",
    "evaluations.pictures.num_traversed",
    "evaluations.pictures.num_dimensions",
    "evaluations.pictures.num_values",
    "evaluations.pictures.num_interpolations",
    "evaluations.pictures.num_steps",
    "evaluations.pictures.num_samples",
    "evaluations.pictures.num_neighbours",
    "evaluations.pictures.manifold_side",
)
_COUNTS = (
    "seed",
    "data.seed",
    "data.num_examples",
    "data.num_valid",
    "data.num_test",
    "data.crop",
    "data.image_size",
    "data.pad_to",
    "data.max_length",
    "data.device_bytes",
    "train.batch_size",
    "train.microbatch",
    "objective.gamma_steps",
    "objective.beta_steps",
    "objective.entropy_steps",
    "objective.num_probes",
    "model.kernel_size",
    "train.validate_every",
    "train.plateau_patience",
    "posterior.context_size",
    "evaluations.marginal_likelihood.num_images",
    "evaluations.jacobian_quality.num_images",
)
_SIZES = (
    "model.hidden_sizes",
    "model.decoder_sizes",
    "model.channels",
    "model.kernel_sizes",
    "posterior.hidden_sizes",
)
_POSITIVE = (
    "train.learning_rate",
    "likelihood.variance",
    "posterior.variance",
    "model.latent_scale",
    "data.scale",
    "objective.tau",
    "evaluations.pictures.limit",
    "evaluations.pictures.manifold_limit",
)
_WEIGHTS = (
    "objective.beta",
    "objective.beta_start",
    "objective.entropy_weight",
    "objective.entropy_start",
    "objective.free_bits",
    "objective.penalty_weight",
    "likelihood.min_variance",
    "likelihood.max_variance",
)


def _check_names(config: ml_collections.ConfigDict) -> None:
    for kind, name, known in (
        ("model", config.model.name, models.MODELS),
        ("activation", config.model.activation, models.ACTIVATIONS),
        ("initializer", config.model.initializer, models.INITIALIZERS),
        ("value activation", config.model.value_activation, models.VALUE_ACTIVATIONS),
        ("lowering", config.model.lowering, models.LOWERINGS),
        ("objective", config.objective.name, objectives.OBJECTIVES),
        ("Jacobian dtype", config.objective.jacobian_dtype, JACOBIAN_DTYPES),
        ("gamma schedule", config.objective.gamma_schedule, GAMMA_SCHEDULES),
        ("beta schedule", config.objective.beta_schedule, BETA_SCHEDULES),
        ("entropy schedule", config.objective.entropy_schedule, ENTROPY_SCHEDULES),
        ("learning rate schedule", config.train.learning_rate_schedule, learning_rate.SCHEDULES),
        ("matmul precision", config.train.matmul_precision, MATMUL_PRECISIONS),
        ("stddev", config.posterior.stddev, models.STDDEVS),
        ("binarization", config.data.binarization, data.BINARIZATIONS),
        ("tokens", config.data.tokens, data.TOKENS),
        ("part of the data", config.evaluations.part, data.PARTS),
        *(("evaluation", name, evaluation.EVALUATIONS) for name in config.evaluations.names),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    info = objectives.OBJECTIVES[config.objective.name]
    for group, known in (("posterior", info.posteriors), ("likelihood", info.likelihoods)):
        name = config[group].name
        if name not in known and not (group == "posterior" and name == ""):
            raise UsageError(
                f"objective {config.objective.name!r} does not take {group} {name!r};"
                f" it takes: {', '.join(known)}"
            )


def _posterior_name(config: ml_collections.ConfigDict) -> str:
    return config.posterior.name or objectives.OBJECTIVES[config.objective.name].posteriors[0]


def _check_jacobian_quality(options: ml_collections.ConfigDict) -> None:
    group, counts = "evaluations.jacobian_quality", tuple(options.sample_counts)
    rising = _all_positive(counts) and all(a < b for a, b in itertools.pairwise((1, *counts)))
    if not counts or not rising:
        raise UsageError(
            f"{group}.sample_counts must be rising numbers of 2 or more, such as (5, 25), got"
            f" {counts}"
        )
    least = max(8, counts[-1] + 1)
    if options.num_truth < least:
        raise UsageError(
            f"{group}.num_truth must be {least} or more, above the largest of sample_counts, got"
            f" {options.num_truth}"
        )
    if options.chunk_size < 2:
        raise UsageError(f"{group}.chunk_size must be 2 or more, got {options.chunk_size}")


def _check_variance_bounds(config: ml_collections.ConfigDict) -> None:
    low, high = config.likelihood.min_variance, config.likelihood.max_variance
    if high and low >= high:
        raise UsageError(
            f"likelihood.min_variance {low} must be below likelihood.max_variance {high}"
        )


def _check_weights_fit(config: ml_collections.ConfigDict) -> None:
    """Refuses weights on terms that the objective does not have."""
    objective, name = config.objective, config.objective.name
    info = objectives.OBJECTIVES[name]
    annealed = (
        objective.beta_schedule != "constant"
        or objective.entropy_schedule != "constant"
        or objective.entropy_weight != 1.0
    )
    weighted = objective.beta not in (None, 1.0) and name not in DEFAULT_BETAS
    if not info.parts and (annealed or weighted):
        raise UsageError(
            f"objective {name!r} has no KL divergence of its own to weight or anneal; leave"
            " objective.beta, beta_schedule, entropy_weight and entropy_schedule as they are"
        )
    if objective.penalty_weight is not None and name not in DEFAULT_PENALTY_WEIGHTS:
        raise UsageError(
            f"objective {name!r} has no penalty for objective.penalty_weight to weight; those"
            f" that have: {', '.join(DEFAULT_PENALTY_WEIGHTS)}"
        )
    if objective.jacobian_dtype != "float32" and (not info.has_tangents or objective.num_probes):
        with_jacobian = [name for name, info in objectives.OBJECTIVES.items() if info.has_tangents]
        raise UsageError(
            f"objective.jacobian_dtype is of the decoder's whole Jacobian, which {name!r} does not"
            f" take here; those that do: {', '.join(with_jacobian)} (without objective.num_probes)"
        )
    if objective.free_bits or objective.free_bits_groups:
        _check_free_bits(config, info)
    if name == "wae_mmd" and config.train.batch_size == 1:
        raise UsageError("objective 'wae_mmd' compares pairs; train.batch_size must be 2 or more")


def _check_microbatch(config: ml_collections.ConfigDict) -> None:
    """Refuses chunks of what is not a mean over examples."""
    objective = config.objective
    of_batch = objectives.OBJECTIVES[objective.name].batch_statistic
    if config.train.microbatch and (of_batch or objective.free_bits_of_batch):
        what = "objective.free_bits_of_batch" if not of_batch else f"objective {objective.name!r}"
        raise UsageError(
            f"train.microbatch {config.train.microbatch}: {what} is a statement about the whole"
            " batch, which cannot be cut into chunks; give 0"
        )


def _check_pixels(config: ml_collections.ConfigDict) -> None:
    """Refuses a likelihood of pixels in [0, 1] for others."""
    name, data_config = config.likelihood.name, config.data
    if name in ("bernoulli", "discretized_logistic") and data_config.scale != 1.0:
        raise UsageError(
            f"likelihood {name!r} is of pixels in [0, 1]; data.scale must be 1, got"
            f" {data_config.scale}"
        )


def _check_language(config: ml_collections.ConfigDict) -> None:
    """Refuses models and likelihoods of images for sequences, and of sequences for images."""
    model, name, source = config.model.name, config.likelihood.name, config.data.name
    language = data.language(config.data)
    are, fitting = "images", models.IMAGE_MODELS
    if language is not None:
        are, fitting = "sequences", models.SEQUENCE_MODELS
    if model not in fitting:
        raise UsageError(
            f"data {source!r} are {are}, whose model.name is one of {', '.join(fitting)}; got"
            f" {model!r}"
        )
    if language is None and name in objectives.SEQUENCE_LIKELIHOODS:
        raise UsageError(
            f"likelihood {name!r} is of sequences, and data {source!r} are images; choose another"
            " data.name, such as equations, or likelihood.name=gaussian"
        )
    if language is None:
        return
    expected = "sequence" if language.has_values else "categorical"
    if name != expected:
        raise UsageError(
            f"data {source!r} are sequences {'with' if language.has_values else 'without'} values,"
            f" whose likelihood.name is {expected!r}, got {name!r}"
        )
    if language.has_values and model == "grammar":
        raise UsageError(
            f"model 'grammar' is of rules or characters alone, and {source!r} have values; set"
            " model.name=recurrent"
        )
    if config.objective.jacobian_dtype != "float32":
        raise UsageError(
            f"objective.jacobian_dtype {config.objective.jacobian_dtype!r} is of decoders of"
            " images; give 'float32' for sequences"
        )


def _check_values(config: ml_collections.ConfigDict) -> None:
    """Refuses values of layers that the decoder cannot give."""
    name, values = config.model.value_activation, data.value_range(config.data) or ()
    low, high = models.VALUE_RANGES[name]
    outside = [value for value in values if not low <= value <= high]
    if outside:
        cure = " or set model.value_activation=relu" if min(values) >= 0 else ""
        raise UsageError(
            f"data {config.data.name!r} have the value {outside[0]!r}, and"
            f" model.value_activation {name!r} gives values in [{low:g}, {high:g}]; scale them to"
            f" lie there{cure}"
        )


def _check_free_bits(config: ml_collections.ConfigDict, info: objectives.ObjectiveInfo) -> None:
    objective, posterior = config.objective, _posterior_name(config)
    fitting = posterior in ("diagonal", "constant") and info.closed_form_kl and info.parts
    if not fitting:
        raise UsageError(
            f"objective.free_bits needs a KL divergence of each latent dimension in closed form;"
            f" objective {objective.name!r} with posterior {posterior!r} has none"
        )
    if objective.entropy_weight != 1.0 or objective.entropy_schedule != "constant":
        raise UsageError("objective.free_bits and a weight on the entropy exclude each other")
    groups, size = objective.free_bits_groups, config.model.latent_size
    if groups and (not _all_positive(groups) or sum(groups) != size):
        raise UsageError(
            f"objective.free_bits_groups {tuple(groups)} must be positive sizes with sum"
            f" model.latent_size = {size}"
        )


def _check_schedules(config: ml_collections.ConfigDict) -> None:
    try:
        gamma_schedule(config)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"objective.gamma_schedule {config.objective.gamma_schedule!r}: {error}"
        ) from error
    for key in ("beta_schedule", "entropy_schedule"):
        try:
            _WEIGHT_SCHEDULES[key](config)
        except (ValueError, TypeError) as error:
            raise UsageError(f"objective.{key} {config.objective[key]!r}: {error}") from error


def _require(config: ml_collections.ConfigDict, key: str, holds: Any, expected: str) -> None:
    group, _, name = key.rpartition(".")
    node = config
    for part in filter(None, group.split(".")):
        node = node[part]
    if not holds(node[name]):
        raise UsageError(f"{key} must be {expected}, got {node[name]!r}")


def _all_positive(values: tuple[int, ...]) -> bool:
    return all(isinstance(value, int) and value > 0 for value in values)
