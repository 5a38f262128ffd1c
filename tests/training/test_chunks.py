"""Calls of the device end where they must, whatever step a run starts from."""

from sfvae_jax.training.chunks import chunk_ends


def test_ends():
    assert list(chunk_ends(0, 10, every=(4,))) == [4, 8, 10]
    assert list(chunk_ends(0, 10, every=(4, 5), at=(7, 30))) == [4, 5, 7, 8, 10]
    assert list(chunk_ends(10, 10, every=(4,))) == []


def test_a_resumed_run_makes_the_same_calls():
    whole = list(chunk_ends(0, 100, every=(7, 20), at=(33, 50)))
    for i, start in enumerate(whole):
        assert list(chunk_ends(start, 100, every=(7, 20), at=(33, 50))) == whole[i + 1 :]
