"""The FID's network and its weights, against PyTorch."""

import hashlib
import os

import jax
import numpy as np
import pytest

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.generation.features import inception
from sfvae_jax.evaluation.generation.features.torch_file import read_torch_file


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("torch")
    from fid_inception_torch import random_network

    return random_network()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    """A file of the network's state dict, like the published one."""
    import torch

    path = tmp_path_factory.mktemp("weights") / inception.WEIGHTS_FILE
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_features_are_those_of_the_network_in_pytorch(network, weights):
    import torch

    variables = inception.load_weights(str(weights), _sha256(weights))
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 31, 1), np.uint8)
    found = inception.inception_features(variables, images)
    pixels = torch.tensor(images / 255.0, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network(pixels.expand(-1, 3, -1, -1)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(2, 28, 31, 1), (1, 320, 300, 3), (1, 299, 299, 3)])
def test_images_are_resized_like_pytorch_does(shape):
    """Images are resized up and down without antialiasing, then mapped from [0, 1] to [-1, 1].

    In float32 both, which places the samples alike. On the larger image aligned corners would
    change 0.07 and antialiasing 0.2.
    """
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    pixels = (
        torch.tensor(images / 255.0, dtype=torch.float32).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    )
    resized = torch.nn.functional.interpolate(
        pixels, size=(299, 299), mode="bilinear", align_corners=False
    )
    expected = 2 * resized.permute(0, 2, 3, 1).numpy() - 1
    np.testing.assert_allclose(inception.prepare(images), expected, atol=1e-5)


def test_weights_of_another_network_are_refused(weights):
    arrays = read_torch_file(weights)
    missing = {k: v for k, v in arrays.items() if k != "Mixed_6e.branch7x7_3.bn.running_var"}
    with pytest.raises(UsageError, match="have no Mixed_6e.branch7x7_3.bn.running_var"):
        inception.variables_from_torch(missing)
    with pytest.raises(UsageError, match="have AuxLogits.conv0.conv.weight"):
        inception.variables_from_torch(
            arrays | {"AuxLogits.conv0.conv.weight": np.zeros(3, np.float32)}
        )
    name = "Conv2d_1a_3x3.conv.weight"
    with pytest.raises(UsageError, match=r"is float32 \(3, 3, 4, 32\), expected float32 \(3, 3, 3"):
        inception.variables_from_torch(arrays | {name: np.zeros((32, 4, 3, 3), np.float32)})


def test_missing_and_wrong_files_are_refused(tmp_path, weights):
    with pytest.raises(UsageError, match=r"is empty.*needs pt_inception.*features=classifier"):
        inception.check_weights("")
    with pytest.raises(UsageError, match=r"no file '/nowhere/x.pth'.*needs pt_inception.*https://"):
        inception.check_weights("/nowhere/x.pth")
    os.mkfifo(tmp_path / "pipe")
    for given, says in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a named pipe"),
        ("gs://bucket/x.pth", "is a URL"),
        ("~no-such-user-here/x.pth", "is not a usable path"),
    ):
        with pytest.raises(UsageError, match=f"inception_path=.*{says}.*: the FID needs pt_inc"):
            inception.check_weights(str(given))
    found, needed = _sha256(weights)[:16], inception.WEIGHTS_SHA256[:16]
    with pytest.raises(UsageError, match=f"bytes. has SHA-256 {found}..., expected {needed}"):
        inception.load_weights(str(weights))
    assert inception.WEIGHTS_SHA256[:8] == inception.WEIGHTS_FILE[-12:-4]


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[N, H, W, 1\] or \[N, H, W, 3\]"):
        inception.inception_features({}, np.zeros((2, 8, 8, 2), np.uint8))


def test_the_network_has_as_many_weights_as_inception_v3():
    """torchvision has 27,161,264, of which 3,326,696 and 2,049,000 belong to classifiers."""
    count = sum(leaf.size for leaf in jax.tree.leaves(inception._shapes()["params"]))
    assert count == 27_161_264 - 3_326_696 - 2_049_000
