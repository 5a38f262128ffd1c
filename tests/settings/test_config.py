"""All configurations have the same groups, and settings that make no sense are refused."""

import math

import ml_collections
import pytest
from absl import flags
from helpers import load_config
from ml_collections import config_flags

from sfvae_jax import objectives
from sfvae_jax.config import (
    base_config,
    resolve,
    unfulfilled,
    validate,
)
from sfvae_jax.errors import UsageError
from sfvae_jax.training.schedules import make_schedules


def test_weights_that_are_missing_are_named_by_their_key():
    with pytest.raises(UsageError, match=r"^evaluations\.generated\.inception_path is empty"):
        validate(load_config("rae").get_config())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"likelihood.name": "bernoulli"}, "'bernoulli' has its own link"),
        ({"likelihood.name": "discretized_logistic"}, "only applies to a Gaussian mean"),
        ({"data.scale": 2.0}, r"requires pixels in \[0, 1\]; data.scale must be 1, got 2.0"),
        (
            {"data.name": "equations", "model.name": "grammar", "likelihood.name": "categorical"},
            "'categorical' has its own link: set model.output_activation=identity",
        ),
    ],
)
def test_an_output_activation_is_of_a_gaussian_mean(tiny_config, changes, message):
    sigmoid = {"objective.name": "sampling", "model.output_activation": "sigmoid"}
    with pytest.raises(UsageError, match=message) as caught:
        validate(tiny_config(**sigmoid, **changes))
    assert "\n" not in str(caught.value)
    for name in ("gaussian", "heteroscedastic_gaussian"):
        validate(tiny_config(**sigmoid, **{"likelihood.name": name}))


def test_the_log_determinants_weight_is_a_number_or_gamma(tiny_config):
    key, free = "objective.log_det_weight", {"objective.name": "sampling_free"}
    for value in (0, 0.5, "gamma"):
        assert resolve(tiny_config(**free, **{key: value})).objective.log_det_weight == value
    with pytest.raises(UsageError, match=f"{key} must be a number, 0 or more, or 'gamma', got -1"):
        validate(tiny_config(**free, **{key: -1.0}))
    with pytest.raises(UsageError, match=f"{key} only applies to sampling_free; objective.name"):
        validate(tiny_config(**{key: "gamma", "objective.name": "linearized"}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("objective.gamma", 1.5, r"objective.gamma must be a number in \[0, 1\], got 1.5"),
        ("objective.gamma", -0.1, r"objective.gamma must be a number in \[0, 1\]"),
        ("objective.gamma", math.nan, r"objective.gamma must be a number in \[0, 1\]"),
        ("objective.gamma_values", (0.9, 1.2), "gamma_values must be numbers in .0, 1."),
        ("objective.gamma_values", (), "give at least one"),
        ("objective.gamma_values", ("a",), "gamma_values must be numbers .*got ..a"),
        ("train.steps", 4, "5 values need at least 5 steps, got 4"),
        ("seed", 2**32, r"seed must be a whole number from 0 to 2\*\*32 - 1, got 42949"),
        ("evaluations.names", (), "names must be 1 or more of collapse, .*, got"),
        ("likelihood.name", "", "unknown likelihood ''"),
        ("objective.gamma_boundaries", (3, 2), "5 values need 4 boundaries, got 2"),
        ("objective.gamma_schedule", "cosine", "unknown gamma schedule 'cosine'"),
        ("objective.name", "samplin", "unknown objective 'samplin'; did you mean 'sampling'"),
        ("objective.num_samples", 0, "objective.num_samples must be a whole number from 1 to"),
        ("model.name", "cnn", "unknown model 'cnn'; did you mean 'conv_bn'?"),
        ("model.activation", "gelu", "unknown activation 'gelu'.*relu, tanh"),
        ("model.initializer", "zeros", "unknown initializer 'zeros'"),
        ("model.output_activation", "relu", "unknown output activation 'relu'. Known: ident"),
        ("objective.log_det_weight", "beta", "log_det_weight must be a number, 0 or more, or 'g"),
        ("model.value_activation", "tanh", "unknown value activation 'tanh'. Known: relu, sigm"),
        ("model.value_activation", "relu", "value_activation only applies to model 'recurrent'"),
        (
            "model.latent_size",
            0,
            r"model.latent_size must be a whole number from 1 to 2\*\*31 - 1, got 0",
        ),
        ("model.hidden_sizes", (16, 0), "model.hidden_sizes must be positive sizes"),
        ("model.decoder_sizes", (16, 0), "model.decoder_sizes must be positive sizes"),
        ("posterior.name", "iaf", "'sampling_free' does not take posterior 'iaf'; .* diagonal"),
        ("posterior.name", "gaussian", "unknown posterior 'gaussian'"),
        ("posterior.variance", 0.0, "posterior.variance must be a positive, finite number"),
        ("posterior.num_flows", 0, "posterior.num_flows must be a whole number from 1 to"),
        ("posterior.hidden_sizes", (0,), "posterior.hidden_sizes must be positive sizes"),
        ("posterior.context_size", -1, "posterior.context_size must be a whole number"),
        ("posterior.reverse_sizes", (0,), "posterior.reverse_sizes must be positive sizes"),
        ("posterior.auxiliary_start", "normal", "unknown auxiliary start 'normal'"),
        ("train.stop_patience", -1, "train.stop_patience must be a whole number"),
        ("posterior.stddev", "relu", "unknown stddev 'relu'. Known: exp, softplus"),
        ("likelihood.name", "bernoulli", "does not take likelihood 'bernoulli'"),
        ("likelihood.min_variance", -1.0, "likelihood.min_variance must be a finite number, 0"),
        ("data.binarization", "yes", "unknown binarization 'yes'"),
        ("data.scale", 0.0, "data.scale must be a positive, finite number"),
        ("data.image_size", -1, "data.image_size must be a whole number"),
        ("model.latent_scale", -1.0, "model.latent_scale must be a positive, finite number"),
        ("objective.beta", -1.0, "objective.beta must be a finite number, 0 or more, .* got -1.0"),
        ("objective.beta_schedule", "cosine", "unknown beta schedule 'cosine'"),
        ("objective.entropy_schedule", "cyclic", "unknown entropy schedule 'cyclic'"),
        ("objective.penalty_weight", math.inf, "objective.penalty_weight must be a finite"),
        ("objective.num_probes", -1, "objective.num_probes must be a whole number from 0 to"),
        ("objective.tau", 0.0, "objective.tau must be a positive, finite number .* got 0.0"),
        ("objective.free_bits", -0.1, "objective.free_bits must be a finite number"),
        ("likelihood.variance", 0.0, "likelihood.variance must be a positive, finite number"),
        ("train.learning_rate", -1e-3, "train.learning_rate must be a positive, finite number"),
        ("train.learning_rate", math.inf, "train.learning_rate must be a positive, finite number"),
        ("train.learning_rate_schedule", "cosin", "unknown learning rate schedule 'cosin'; did"),
        ("train.steps", 0, "train.steps must be a whole number from 1 to"),
        ("train.batch_size", -1, r"train.batch_size must be a whole number from 0 to .*, got -1"),
        ("train.steps_per_call", 0, "train.steps_per_call must be a whole number from 1"),
        ("data.num_examples", -5, "data.num_examples must be a whole number from 0 to"),
        ("seed", -1, "seed must be a whole number from 0 to"),
        ("evaluations.names", ("colapse",), "unknown evaluation 'colapse'; did you mean"),
        ("evaluations.steps", (-1,), "evaluations.steps must be steps, 0 or more"),
        ("evaluations.part", "dev", "unknown split 'dev'"),
        ("evaluations.collapse.epsilon", 0.0, "collapse.epsilon must be a positive, finite"),
        ("evaluations.collapse.delta", 1.0, r"delta must be a number in \[0, 1\), got 1.0"),
        ("evaluations.bias.num_samples", 0, "bias.num_samples must be a whole number from 1 to"),
        (
            "evaluations.marginal_likelihood.num_samples",
            0,
            "num_samples must be a whole number from 1",
        ),
        (
            "evaluations.marginal_likelihood.chunk_size",
            0,
            "chunk_size must be a whole number from 1",
        ),
        ("evaluations.marginal_likelihood.num_images", -1, "num_images must be a whole number"),
        ("evaluations.jacobian_quality.num_images", -1, "num_images must be a whole number from 0"),
        ("evaluations.jacobian_quality.sample_counts", (1, 5), "must be rising numbers of 2 or"),
        ("evaluations.jacobian_quality.sample_counts", (5, 5), "must be rising numbers of 2 or"),
        ("evaluations.jacobian_quality.sample_counts", (), "must be rising numbers of 2 or more"),
        (
            "evaluations.jacobian_quality.num_truth",
            235,
            "num_truth must be at least 236, above",
        ),
        (
            "evaluations.jacobian_quality.chunk_size",
            1,
            "chunk_size must be a whole number from 2 to .*, got 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tiny_config, key, value, message):
    piecewise = key.startswith("objective.gamma_") or value == 4
    free = {"objective.name": "sampling_free"}
    schedule = {"objective.gamma_schedule": "piecewise" if piecewise else "constant"}
    with pytest.raises(UsageError, match=message) as caught:
        validate(tiny_config(**{**free, **schedule, key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gamma": 0.5}, [0.5, 0.5, 0.5]),
        ({"gamma_schedule": "linear", "gamma_start": 0.9, "gamma": 0.5}, [0.9, 0.7, 0.5]),
        (
            {"gamma_schedule": "linear", "gamma_start": 0.9, "gamma": 0.5, "gamma_steps": 50},
            [0.9, 0.5, 0.5],
        ),
        ({"gamma_schedule": "piecewise"}, [0.95, 0.8, 0.5]),
        (
            {"gamma_schedule": "piecewise", "gamma_values": (1.0, 0.2), "gamma_boundaries": (60,)},
            [1.0, 1.0, 0.2],
        ),
    ],
)
def test_gamma_schedules_of_a_config(tiny_config, changes, expected):
    config = tiny_config(**{"train.steps": 100})
    config.objective.update(ml_collections.ConfigDict(changes))
    schedule = make_schedules(config.objective, config.train.steps).gamma
    assert [float(schedule(step)) for step in (0, 50, 100)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rae", "free_bits": 0.1}, "objective 'rae' with posterior 'none' has none"),
        ({"name": "iwae", "free_bits": 0.1}, "objective 'iwae' with posterior 'diagonal' has none"),
        (
            {"name": "sticking_the_landing", "free_bits": 0.1},
            "free_bits requires a KL divergence in closed form; .* or objective.free_bits=0 with",
        ),
        (
            {"free_bits": 0.1, "free_bits_groups": (1, 2)},
            r"free_bits_groups \(1, 2\) .* sum model.latent_size = 4",
        ),
        ({"free_bits": 0.1, "entropy_weight": 0.5}, "exclude each other"),
        ({"name": "iwae", "antithetic": True}, "antithetic only applies to sampling, control_var"),
        (
            {"name": "linearized_bilbo", "num_probes": 2},
            "objective.num_probes only applies to control_variate, .*, rae_gp; objective.name is",
        ),
        (
            {"name": "linearized", "num_probes": 2, "lanczos_steps": 4},
            "lanczos_steps only applies to sampling_free, log_evidence; objective.name is 'linear",
        ),
        (
            {"name": "sampling_free", "lanczos_steps": 4},
            "objective.lanczos_steps requires objective.num_probes, such as 1; without .* at 8",
        ),
        (
            {"name": "sampling", "antithetic": True, "num_samples": 3},
            "antithetic requires an even objective.num_samples, such as 2; got 3",
        ),
        ({"name": "iwae", "beta": 0.5}, "objective 'iwae' has no KL divergence of its own"),
        ({"name": "bilbo", "beta_schedule": "linear"}, "'bilbo' has no KL divergence of its own"),
        ({"name": "log_evidence", "entropy_weight": 0.5}, "has no KL divergence of its own"),
        ({"name": "wae_mmd", "beta": 2.0}, "'wae_mmd' has no KL divergence of its own"),
        ({"name": "rae", "beta_schedule": "linear"}, "'rae' has no KL divergence of its own"),
        ({"name": "cv_vae", "entropy_weight": 0.5}, "'cv_vae' has no KL divergence of its own"),
        (
            {"name": "rae", "penalty_weight": 5.0},
            "only applies to .*; objective 'rae' has no penalty",
        ),
        (
            {"penalty_weight": 0.1},
            "only applies to rae_l2, rae_gp, wae_mmd; ",
        ),
        ({"free_bits_groups": (1, 7)}, r"free_bits_groups \(1, 7\) .* sum model.latent_size = 4"),
        (
            {"entropy_schedule": "linear", "entropy_start": -1.0},
            "objective.entropy_start must be a finite number",
        ),
        (
            {"beta_schedule": "cyclic", "beta_cycles": 20},
            r"'cyclic': num_cycles must be from 1 to num_steps, which is 12",
        ),
        ({"beta_schedule": "cyclic", "beta_ramp": 0.0}, r"'cyclic': ramp must lie in \(0, 1\]"),
    ],
)
def test_weights_that_an_objective_has_no_place_for_are_refused(tiny_config, changes, message):
    config = tiny_config(**{f"objective.{key}": value for key, value in changes.items()})
    with pytest.raises(UsageError, match=message) as caught:
        validate(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            (
                {"posterior.name": name, "objective.free_bits": 0.1},
                f"'sampling' with posterior '{name}' has none; .* or objective.free_bits=0 with",
            )
            for name in ("planar", "iaf", "auxiliary_flow")
        ),
        (
            {
                "posterior.name": "iaf",
                "objective.antithetic": True,
                "objective.num_samples": 2,
            },
            "antithetic requires a Gaussian posterior, not 'iaf'; .* posterior.name=diagonal or",
        ),
        (
            {
                "posterior.name": "full_covariance",
                "objective.free_bits": 0.1,
                "objective.free_bits_groups": (1, 3),
            },
            r"free_bits_groups \(1, 3\): .* are one group; expected \(\) or \(4,\)",
        ),
        (
            {"posterior.name": "diagonal", "posterior.amortized_flow": False},
            "amortized_flow=false only applies to posterior 'planar'; the posterior is 'diagonal'$",
        ),
        (
            {"posterior.name": "iaf", "posterior.amortized_flow": False},
            "is 'iaf', whose networks all examples share .* posterior.context_size=0",
        ),
    ],
)
def test_options_that_a_posterior_has_no_place_for_are_refused(tiny_config, changes, message):
    config = tiny_config(**{"objective.name": "sampling", **changes})
    with pytest.raises(UsageError, match=message) as caught:
        validate(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"posterior.name": "full_covariance", "objective.free_bits": 0.1},
        {
            "posterior.name": "full_covariance",
            "objective.free_bits": 0.1,
            "objective.free_bits_groups": (4,),
        },
        {"posterior.name": "constant", "objective.free_bits": 0.1},
        {"posterior.name": "planar", "posterior.amortized_flow": False},
    ],
)
def test_what_a_posterior_has_a_place_for_is_accepted(tiny_config, changes):
    validate(tiny_config(**{"objective.name": "sampling", **changes}))


@pytest.mark.parametrize(
    ("objective", "posterior", "likelihood"),
    [
        ("sampling_free", "planar", "gaussian"),
        ("sticking_the_landing", "planar", "gaussian"),
        ("sampling", "none", "gaussian"),
        ("bilbo", "diagonal", "bernoulli"),
        ("bilbo_baggins", "constant", "bernoulli"),
        ("log_evidence", "diagonal", "gaussian"),
        ("rae_gp", "diagonal", "gaussian"),
        ("cv_vae", "constant", "bernoulli"),
        ("sampling_free", "diagonal", "categorical"),
        ("rae_sn", "none", "sequence"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_config, objective, posterior, likelihood):
    names = {"objective.name": objective, "posterior.name": posterior}
    config = tiny_config(**names, **{"likelihood.name": likelihood})
    with pytest.raises(UsageError, match=f"objective '{objective}' does not take (pos|lik)"):
        validate(config)


def test_sizes_of_a_decoder_are_given_on_the_command_line(tiny_config):
    """None, no hidden layer or several, given as text, as absl passes it."""
    for text, expected in (("()", ()), ("(200,)", (200,)), ("(200,100)", (200, 100))):
        holder, argv = flags.FlagValues(), ["main", f"--config.model.decoder_sizes={text}"]
        config_flags.DEFINE_config_dict("config", tiny_config(), flag_values=holder, sys_argv=argv)
        holder(argv)
        assert holder.config.model.decoder_sizes == expected
        validate(holder.config)
    assert tiny_config().model.decoder_sizes is None


def test_pairs_need_two(tiny_config):
    config = tiny_config(**{"objective.name": "wae_mmd", "train.batch_size": 1})
    with pytest.raises(UsageError, match="train.batch_size must be 2 or more, or 0, for obj"):
        validate(config)


def test_bounds_of_the_variance_must_be_in_order(tiny_config):
    config = tiny_config(**{"likelihood.min_variance": 2.0, "likelihood.max_variance": 1.0})
    with pytest.raises(UsageError, match="min_variance 2.0 must be below likelihood.max_variance"):
        validate(config)


def test_what_is_left_open_is_filled_in(tiny_config):
    filled = {}
    for name, info in objectives.OBJECTIVES.items():
        config = resolve(tiny_config(**{"objective.name": name}).lock())
        assert config.is_locked
        assert config.posterior.name == info.default_posterior
        filled[name] = (config.objective.beta, config.objective.penalty_weight)
    assert filled["sampling"] == (1.0, 0.0)
    betas = {name: beta for name, (beta, _) in filled.items() if beta != 1.0}
    assert betas == {"rae_sn": 1e-3, "cv_vae": 1e-3}
    weights = {name: weight for name, (_, weight) in filled.items() if weight}
    assert weights == {"rae_l2": 1e-3, "rae_gp": 1e-4, "wae_mmd": 100.0}
    own = tiny_config(**{"objective.name": "rae", "objective.beta": 3.0})
    assert resolve(own).objective.beta == 3.0


def test_what_training_does_not_come_to_is_told(tiny_config):
    free = {"objective.name": "sampling_free"}
    config = resolve(tiny_config(**free, **{"evaluations.steps": (5, 13, 40)}))
    told = ["evaluations.steps 13, 40: not measured, because training ends at train.steps 12"]
    assert unfulfilled(config) == told
    config.objective.gamma_values, config.objective.gamma_boundaries = (0.9, 0.5), (12,)
    assert unfulfilled(config) == told
    config.objective.gamma_schedule, config.evaluations.steps = "piecewise", (12,)
    assert unfulfilled(config) == [
        "objective.gamma_boundaries 12: not reached, because training ends at train.steps 12"
    ]
    assert unfulfilled(resolve(tiny_config())) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"objective.name": "sampling"}, {}),
        ({"posterior.name": "full_covariance"}, {}),
        ({"posterior.name": "planar"}, {"bend": "the posterior is no Gaussian"}),
        (
            {"objective.name": "log_evidence"},
            {
                "bend": "the posterior is no Gaussian",
                "gradient_noise": "the posterior is a single code, without samples",
            },
        ),
        ({"objective.name": "linearized_bilbo"}, {"gradient_noise": r"the prior is not N(0, I)"}),
        (
            {"objective.name": "wae_mmd"},
            dict.fromkeys(("bend", "gradient_noise"), "the objective does not train a density"),
        ),
    ],
)
def test_evaluations_that_cannot_apply_are_told(tiny_config, changes, names):
    evaluations = {"evaluations.names": ("lower_bound", "bend", "gradient_noise")}
    config = tiny_config(**{"objective.name": "sampling", **evaluations, **changes})
    told = unfulfilled(resolve(config))
    assert len(told) == len(names)
    for sentence, (name, reason) in zip(told, names.items(), strict=True):
        start = f"evaluations.names {name!r}: its measures will be null, because {reason}"
        assert sentence.startswith(start)


@pytest.mark.parametrize(("beta_steps", "counted"), [(0, 1), (6, 3), (5, None)])
def test_a_patience_that_annealing_leaves_no_time_for_is_told(tiny_config, beta_steps, counted):
    """Of validations at steps 2, 4, ..., 12: trained with a last weight from step 7 or 6 on."""
    stopping = {"data.num_valid": 20, "train.validate_every": 2, "train.stop_patience": 4}
    annealed = {"objective.beta_schedule": "linear", "objective.beta_steps": beta_steps}
    changes = {"objective.name": "sampling", **stopping, **annealed}
    told = unfulfilled(resolve(tiny_config(**changes)))
    assert len(told) == (counted is not None)
    for sentence in told:
        assert f"not reached, because only {counted} validations come after the anne" in sentence


def test_a_patience_without_time_in_a_run_that_anneals_nothing(tiny_config):
    changes = {"objective.name": "sampling", "data.num_valid": 20}
    stopping = {"train.validate_every": 4, "train.stop_patience": 4}
    assert unfulfilled(resolve(tiny_config(**changes, **stopping))) == [
        "train.stop_patience 4: not reached, because only 3 validations come in train.steps 12"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective.name": "bilbo"}, "train.microbatch 4: objective 'bilbo' is a statistic of"),
        ({"objective.name": "wae_mmd"}, "train.microbatch 4: objective 'wae_mmd' is a statistic"),
        (
            {"objective.free_bits": 0.1, "objective.free_bits_of_batch": True},
            "train.microbatch 4: objective.free_bits_of_batch is a statistic of the whole batch",
        ),
        ({"train.microbatch": -1}, "train.microbatch must be a whole number from 0 to .*, got -1"),
        ({"train.matmul_precision": "half"}, "unknown matmul precision 'half'"),
    ],
)
def test_chunks_and_precisions_that_cannot_be(changes, message):
    config = base_config()
    config.update_from_flattened_dict({"train.microbatch": 4, **changes})
    with pytest.raises(UsageError, match=message):
        resolve(config)
