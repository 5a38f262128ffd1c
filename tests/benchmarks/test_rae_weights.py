"""The weights of the deterministic losses are chosen by digits on which nothing is measured."""

from benchmarks import rae_weights
from benchmarks.measuring.papers import paper_config
from sfvae_jax import data
from sfvae_jax.config import resolve


def test_the_digits_of_the_choice_are_not_those_of_the_table():
    measured = resolve(paper_config("rae", "laptop")).data
    choosing = rae_weights.config_of("rae", 0).data
    tested = {image.tobytes() for image in data.load(measured, "test")}
    assert len(tested) == 1000
    for split in ("train", "valid"):
        assert tested.isdisjoint(image.tobytes() for image in data.load(choosing, split))
