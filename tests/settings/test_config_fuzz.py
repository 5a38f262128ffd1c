"""Random configurations: nothing but a UsageError comes out of `resolve`, in one line, with a key.

SFVAE_FUZZ_SEED chooses other ones; of those that are trained, SFVAE_FUZZ_FIRST and
SFVAE_FUZZ_COUNT which and how many.
"""

import json
import os
import random

import jax
import ml_collections
import numpy as np
import pytest
from helpers import make_tiny_config

from sfvae_jax import evaluation, likelihoods, models, objectives, options
from sfvae_jax.config import base_config, groups, resolve
from sfvae_jax.errors import RunError, UsageError
from sfvae_jax.evaluate import evaluate
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.train import train

SEED = int(os.environ.get("SFVAE_FUZZ_SEED", "0"))
FIRST = int(os.environ.get("SFVAE_FUZZ_FIRST", "0"))
COUNT = int(os.environ.get("SFVAE_FUZZ_COUNT", "12"))
MUTATIONS = 1200

_NAMES = (*objectives.OBJECTIVES, *models.MODELS, *evaluation.EVALUATIONS, *POSTERIORS)
_TEXTS = (
    *("mnist_5k", "sprites", "equations", "molecules", "architectures", "architectures:", "npz:x"),
    *("folder:\0", "enas:", "enas:/nowhere", "equations:x", "gaussian", "bernoulli", "categorical"),
    *("heteroscedastic_gaussian", "discretized_logistic", "sequence", "diagonal", "iaf", "none"),
)
_VALUES = (
    lambda rng: rng.choice([0, 1, 2, -1, 7, 2**31 - 1, 2**31, 2**32, 2**63, 10**400, 10**5000]),
    lambda rng: rng.choice([0.0, -0.0, 0.5, 1.0, -1.5, 1e-30, 1e-46, 1e38, 1e39, 1e300]),
    lambda rng: rng.choice([float("nan"), float("inf"), -float("inf"), True, False, None]),
    lambda rng: rng.choice(["", "x", "a\0b", "a\nb", "1", "()", "../..", "é" * 300, "{}", "%s"]),
    lambda rng: rng.choice(_NAMES),
    lambda rng: rng.choice(_TEXTS),
    lambda rng: [rng.choice(_VALUES)(rng) for _ in range(rng.randrange(4))],
    lambda rng: tuple(rng.choice(_VALUES)(rng) for _ in range(rng.randrange(4))),
    lambda rng: tuple(rng.sample(_NAMES, rng.randrange(1, 4))),
    lambda rng: tuple(rng.randrange(-2, 600) for _ in range(rng.randrange(5))),
    lambda rng: rng.choice([np.int64(3), np.float32(0.5), np.float64("nan"), np.bool_(True)]),
    lambda rng: rng.choice([np.arange(3), np.zeros((2, 2)), b"bytes", 1j, object(), {1}, len]),
    lambda rng: ml_collections.ConfigDict({"a": rng.choice(_VALUES[:3])(rng)}),
    lambda rng: {"name": 1},
)


def _holder(config, key):
    """The group of a key, None where another change has taken it away, and the name in it."""
    group, _, name = key.rpartition(".")
    for part in group.split(".") if group else ():
        config = config.get(part) if isinstance(config, ml_collections.ConfigDict) else None
    is_there = isinstance(config, ml_collections.ConfigDict) and name in config
    return (config if is_there else None), name


def _leaves(group, prefix=""):
    """Every option by its whole name."""
    found = {}
    for name, entry in group.items():
        is_option = isinstance(entry, options.Option)
        found |= {prefix + name: entry} if is_option else _leaves(entry, f"{prefix}{name}.")
    return found


def _plausible(rng, option):
    """A value that an option might be given; most are taken."""
    default, names = option.default, option.rule.names
    if names and isinstance(default, tuple):
        return tuple(rng.sample(names, rng.randrange(1, min(4, len(names)) + 1)))
    if names:
        return rng.choice(names)
    if isinstance(default, bool):
        return rng.random() < 0.5
    if isinstance(default, int):
        return rng.choice([0, 1, 2, 3, 5, 8, 12])
    if isinstance(default, float) or option.of is float:
        return rng.choice([0.0, 1e-3, 0.3, 0.9, 1.0, 4.0])
    if isinstance(default, tuple) or option.of is tuple:
        return tuple(rng.randrange(1, 9) for _ in range(rng.randrange(4)))
    return rng.choice([*_TEXTS, *names])


def _mutate(rng, config, keys, known):
    """Changes one key; returns its name, and a function that undoes the change."""
    key = rng.choice(keys)
    holder, name = _holder(config, key)
    if holder is None:
        return key, lambda: None
    old = holder[name]
    kind = rng.random()
    if kind < 0.05:  # a key that does not exist
        own = rng.choice([name + "x", name[1:] or "z", name.upper(), "a b", rng.choice(keys)[-4:]])
        own = own.replace(".", "")
        if own in holder:
            return key, lambda: None
        holder[own] = rng.choice(_VALUES)(rng)
        return own, lambda: holder.__delitem__(own)
    del holder[name]
    if kind > 0.5 and key in known:
        holder[name] = _plausible(rng, known[key])
    elif kind > 0.08:
        holder[name] = rng.choice(_VALUES)(rng)

    def undo():
        if name in holder:
            del holder[name]
        holder[name] = old

    return key, undo


def _bases():
    yield base_config()
    yield make_tiny_config(**{"objective.name": "sampling"})
    sequences = {
        "data.name": "equations",
        "model.name": "recurrent",
        "likelihood.name": "categorical",
        "objective.name": "sampling",
        "evaluations.names": ("lower_bound",),
    }
    yield make_tiny_config(**sequences)


def test_nothing_but_a_usage_error_comes_out_of_resolve():
    rng, known = random.Random(f"values {SEED}"), _leaves(groups())
    keys, leaves = options.keys(groups()), [key for key in known if "." in key]
    bases = [base.unlock() for base in _bases()]
    num_refused = 0
    for number in range(MUTATIONS):
        config = rng.choice(bases)
        undone, changed = [], []
        for _ in range(rng.choice([1, 1, 2, 4])):
            key, undo = _mutate(rng, config, keys if rng.random() < 0.1 else leaves, known)
            changed.append(key)
            undone.append(undo)
        try:
            found = resolve(config)
        except UsageError as error:
            num_refused += 1
            message = str(error)
            assert message, changed
            assert len(message.splitlines()) == 1, (changed, message)
            assert len(message) < 2500, (changed, message)
            assert any(key in message for key in (*keys, *changed)), (changed, message)
        else:
            json.dumps(plain(found))
            if number % 5 == 0:  # it takes as long as all else
                assert resolve(found) == found, changed
        for undo in reversed(undone):
            undo()
    assert MUTATIONS // 4 < num_refused < MUTATIONS


# What is small enough to be trained in seconds; every other option is drawn by `_plausible`.
_SMALL = {
    "data.num_examples": (0, 6, 8, 12),
    "data.num_valid": (0, 2, 3),
    "data.num_test": (0, 1, 2, 4),
    "data.crop": (0, 0, 14),
    "data.image_size": (0, 0, 16),
    "data.pad_to": (0, 0, 32),
    "data.device_bytes": (0, 1),
    "data.max_length": (0, 0, 20, 40),
    "data.layer_types": ((),),
    "model.latent_size": (1, 2, 3, 5),
    "model.hidden_sizes": ((), (4,), (6, 5)),
    "model.decoder_sizes": (None, (), (4,)),
    "model.channels": ((2, 3, 3), (2, 3, 3), (2, 3)),
    "model.kernel_size": (0, 1, 2, 3),
    "model.kernel_sizes": ((), (3, 2, 2)),
    "posterior.name": ("", "", *POSTERIORS),
    "posterior.hidden_sizes": ((), (4,)),
    "posterior.context_size": (0, 3),
    "posterior.num_flows": (1, 2),
    "likelihood.name": (*likelihoods.LIKELIHOODS,),
    "objective.num_samples": (1, 2, 3),
    "objective.num_probes": (0, 1, 2),
    "objective.lanczos_steps": (1, 4),
    "objective.free_bits_groups": ((), (1,), (1, 1), (2, 1)),
    "train.steps": (1, 2, 5),
    "train.batch_size": (0, 2, 4, 6),
    "train.microbatch": (0, 1, 2),
    "train.steps_per_call": (1, 2, 50),
    "train.log_every": (1, 3),
    "train.checkpoint_every": (1, 3, 100),
    "train.learning_rate": (1e-3, 1.0, 1e6),
    "evaluations.steps": ((), (1,), (2, 9)),
    "evaluations.batch_size": (1, 3, 500),
    "evaluations.num_pictured": (1, 2, 10),
    "evaluations.marginal_likelihood.num_images": (0, 1, 3),
    "evaluations.jacobian_quality.num_images": (0, 1, 3),
    "evaluations.jacobian_quality.sample_counts": ((2,), (2, 3)),
    "evaluations.jacobian_quality.num_truth": (8, 9),
    "evaluations.inference_gaps.num_images": (0, 1, 2),
    "evaluations.inference_gaps.pictured": ((), (0,)),
    "evaluations.inference_gaps.local.hidden_sizes": ((4,),),
    "evaluations.inference_gaps.local.max_steps": (4, 6),
    "evaluations.inference_gaps.local.check_every": (1, 2, 4),
    "evaluations.sequence_pictures.num_steps": (2, 3),
    "evaluations.bayesian_optimization.num_training": (1, 3, 50),
    "evaluations.generated.num_samples": (2, 3, 30),
    "evaluations.generated.second_stage_hidden_sizes": ((), (4,)),
}
_FIXED = (
    "data.fingerprint",
    "data.skip_corrupt",
    "evaluations.generated.inception_path",
    "plugins",
    "plugin_digests",
)
_ALWAYS = {"evaluations.generated.features": "classifier", "train.compilation_cache": False}


def _small_value(rng, key, option):
    if key in _SMALL:
        return rng.choice(_SMALL[key])
    if key.startswith("evaluations.") and isinstance(option.default, int):
        return rng.choice([1, 2, 3])
    if isinstance(option.default, float) and rng.random() < 0.1:
        return rng.choice([1e-30, 1e-6, 1e6, 1e30])
    return _plausible(rng, option)


def _random_changes(rng, folder):
    """Overrides of a configuration that `resolve` takes."""
    options_by_key = _leaves(groups())
    small = {
        key: _small_value(rng, key, option)
        for key, option in options_by_key.items()
        if key.startswith("evaluations.") and isinstance(option.default, int)
    } | {key: values[-1] for key, values in _SMALL.items() if key.startswith("evaluations.")}
    sources = ("npz", "npz", "npz", "equations", "molecules", "architectures")
    while True:
        source = rng.choice(sources)
        is_text = source in ("equations", "molecules", "architectures")
        likelihood = "sequence" if source == "architectures" else "categorical"
        changes = small | {
            "data.name": f"npz:{folder}/images.npz" if source == "npz" else source,
            "data.num_examples": 8,
            "data.num_test": 3,
            "data.num_valid": 2,
            "model.name": rng.choice(
                [name for name, spec in models.MODELS.items() if spec.of_sequences == is_text]
            ),
            "model.latent_size": 3,
            "model.hidden_sizes": (6, 5),
            "likelihood.name": likelihood if is_text else "gaussian",
            "objective.name": rng.choice([*objectives.OBJECTIVES]),
            "train.steps": 3,
            "evaluations.names": ("lower_bound",),
        }
        if changes["model.name"] not in ("mlp", "recurrent"):
            changes["model.channels"] = (2, 3, 3)
        if changes["model.name"] == "conv_elu":
            changes["model.activation"] = "elu"
        kinds = ("sequences" if is_text else "images", "both")
        fitting = [n for n, entry in evaluation.EVALUATIONS.items() if entry.examples in kinds]
        changes["evaluations.names"] = tuple(rng.sample(fitting, rng.choice([1, 1, 2])))
        for key in rng.sample([*options_by_key], rng.choice([0, 2, 4, 8, 12])):
            if key not in (*_FIXED, "data.name", "published", "preset", "evaluations.names"):
                changes[key] = _small_value(rng, key, options_by_key[key])
        changes |= _ALWAYS | {"train.decoder_from": ""}
        config = base_config()
        config.update_from_flattened_dict(changes)
        try:
            resolve(config)
        except UsageError:
            continue
        return changes


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FIRST, FIRST + COUNT))
def test_a_random_configuration_is_trained_and_evaluated(number, tmp_path):
    """Training succeeds, or ends with an error of one line."""
    images = np.random.default_rng(number).random((20, 16, 16, 1), np.float32)
    parts = {"x_train": images[:14], "x_test": images[14:]}
    np.savez(tmp_path / "images.npz", y_train=np.arange(14) % 2, y_test=np.arange(6) % 2, **parts)
    changes = _random_changes(random.Random(f"trained {SEED} {number}"), tmp_path)
    config = base_config()
    config.update_from_flattened_dict(changes)
    try:
        train(config, tmp_path / "run")
        evaluate(config, tmp_path / "run")
    except (UsageError, RunError) as error:
        told = str(error)
        print(f"{number}: {type(error).__name__}: {told}")
    except BaseException as error:
        error.add_note(f"configuration {number} of seed {SEED}: {changes}")
        raise
    else:
        told = "done"
    finally:
        jax.clear_caches()
    assert len(told.splitlines()) == 1, changes
