"""Keys that a config file leaves open: who sets them, and when."""

import copy

import ml_collections
import pytest

from sfvae_jax.left_open import choose_open, leave_open, open_keys, told


def choose(config, settle):
    """The width follows from the size, and the depth from the width, whoever set it."""
    settle("net.width", 2 * config.size)
    settle("net.depth", config.net.width // 4)


@pytest.fixture
def config():
    made = ml_collections.ConfigDict({"size": 6, "net": {"width": 1, "depth": 1, "name": "a"}})
    leave_open(made, ("net.width", "net.depth"), choose)
    return made.lock()


def test_open_keys_are_chosen_from_the_rest(config):
    assert open_keys(config) == ["net.depth", "net.width"]
    assert (config.net.width, config.net.depth) == (1, 1)  # nothing is chosen yet
    config.size = 8
    chosen = choose_open(config)
    assert chosen.to_dict() == {"size": 8, "net": {"width": 16, "depth": 4, "name": "a"}}
    assert chosen.is_locked
    assert open_keys(chosen) == []
    assert choose_open(chosen) is chosen
    assert open_keys(config) == ["net.depth", "net.width"]
    assert told(chosen, ["net.depth", "net.width"]) == "net.depth=4, net.width=16"


def test_what_is_set_stays_and_counts_for_the_others(config):
    config.net.width = 1  # the value that it has anyway
    assert open_keys(config) == ["net.depth"]
    assert choose_open(config).net.to_dict() == {"width": 1, "depth": 0, "name": "a"}
    config.update_from_flattened_dict({"net.depth": 9})
    assert choose_open(config) is config


def test_a_copy_is_set_by_itself(config):
    other = copy.deepcopy(config)
    other.net.width = 40
    assert open_keys(config) == ["net.depth", "net.width"]
    assert choose_open(other).net.depth == 10


def test_values_keep_their_types(config):
    with pytest.raises(TypeError):
        config.net.width = "wide"
    assert open_keys(config) == ["net.depth", "net.width"]
