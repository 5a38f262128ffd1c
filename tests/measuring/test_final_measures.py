"""Final measures add up if they share a checkpoint and the data, and only then."""

import pytest

from sfvae_jax.config import resolve
from sfvae_jax.measuring.final_measures import combined, has_measures, still_valid
from sfvae_jax.runs.files.config_file import plain


def _config(tiny_config, *names, **generated):
    changes = {"evaluations.names": names, "evaluations.generated.features": "classifier"}
    return resolve(
        tiny_config(**changes, **{f"evaluations.generated.{k}": v for k, v in generated.items()})
    )


def _found(config):
    metrics = {"frechet_num_images": 1.0, "kl_divergence": 2.0}
    caveats = {"kl_divergence": "doubtful"}
    found = {"config": plain(config), "step": 12, "checkpoint": "a"}
    return found | {"metrics": metrics, "caveats": caveats}


@pytest.fixture(scope="module")
def before(tiny_config):
    return _config(tiny_config, "kl_divergence", "frechet")


@pytest.mark.parametrize(
    ("entries", "stands"),
    [
        ({}, True),
        ({"step": 8}, False),
        ({"checkpoint": "b"}, False),
        ({"config": {}}, False),
        ({"config": {"evaluations": {"names": [[]]}}}, False),
        ({"config": {"evaluations": {"collapse": 3}}}, False),
    ],
)
def test_measures_of_the_same_checkpoint_and_data_still_hold(before, tiny_config, entries, stands):
    found = _found(before) | entries
    assert (still_valid(found, before, 12, "a") is not None) is stands
    if not stands:
        return
    found.pop("checkpoint")  # by an earlier version
    assert still_valid(found, before, 12, "a") is not None
    other = resolve(tiny_config(**{"evaluations.part": "test"}))
    assert still_valid(found, other, 12, "a") is None
    found["config"]["data"]["fingerprint"] = "of other data"
    assert still_valid(found, before, 12, "a") is None


def test_measures_that_depend_on_a_changed_option_are_dropped(before, tiny_config):
    config = _config(tiny_config, "kl_divergence", gmm_components=3)
    entries = {key: {} for key in ("metrics", "not_applicable", "caveats", "texts")}
    entries |= {"metrics": {"kl_divergence": 3.0}, "step": 12, "checkpoint": "a"}
    found = _found(before)
    added = combined(found, config, entries)
    assert added["metrics"] == {"kl_divergence": 3.0}
    assert added["caveats"] == {}  # what was doubtful was measured again
    assert added["evaluations"]["names"] == ["kl_divergence"]

    config = _config(tiny_config, "kl_divergence")
    added = combined(found, config, entries)
    assert added["metrics"] == {"frechet_num_images": 1.0, "kl_divergence": 3.0}
    assert added["evaluations"]["names"] == ["frechet", "kl_divergence"]
    whole = {**added, "config": plain(config) | {"evaluations": added["evaluations"]}}
    assert has_measures(whole, config)
    assert has_measures(whole, before)
    assert not has_measures(whole | {"step": 8}, config)
