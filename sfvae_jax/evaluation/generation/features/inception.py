"""The Inception network of the FID, which maps an image to 2,048 features.

Its graph is TensorFlow's of 2015-12-05, with which the FID was defined (Heusel et al., 2017). It
differs from today's Inception v3 (Szegedy et al., 2016): average pools do not count the border, and
the very last block has a max pool. The weights come from pytorch-fid, which ported that graph to
PyTorch; the submodules have the names in its file.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sfvae_jax.data import to_unit_interval
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.generation.features.spec import Extractor, FeatureSpec
from sfvae_jax.evaluation.generation.features.torch_file import read_torch_file
from sfvae_jax.evaluation.trained_model import TrainedModel, once_per_run
from sfvae_jax.options import TEXT, Option
from sfvae_jax.paths import regular_file

NUM_FEATURES = 2048
SIDE = 299
WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
WEIGHTS_URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}"
)
_KEY = "evaluations.generated.inception_path"
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_average_pool = functools.partial(
    nn.avg_pool, window_shape=(3, 3), padding=((1, 1), (1, 1)), count_include_pad=False
)
_max_pool = functools.partial(nn.max_pool, window_shape=(3, 3), padding=((1, 1), (1, 1)))
_halve = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


class ConvNormRelu(nn.Module):
    """A convolution without bias, followed by frozen BatchNorm and ReLU."""

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    same: bool = False  # whether padding keeps the size at stride 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, H, W, C] to [N, H', W', features]."""
        padding = [(k // 2, k // 2) if self.same else (0, 0) for k in self.kernel]
        strides = (self.stride, self.stride)
        x = nn.Conv(
            self.features,
            self.kernel,
            strides,
            padding,
            use_bias=False,
            precision=jax.lax.Precision.HIGHEST,
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _conv(name: str, features: int, *kernel: int, stride: int = 1, same: bool = False) -> nn.Module:
    return ConvNormRelu(features, (kernel[0], kernel[-1]), stride, same, name=name)


def _chain(x: Array, *layers: nn.Module) -> Array:
    for layer in layers:
        x = layer(x)
    return x


def _concatenate(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


class BlockA(nn.Module):
    """Block for 35 x 35 places: branches of 1x1, 5x5, two 3x3, and a pool."""

    pool_features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, 35, 35, C] to [N, 35, 35, 224 + pool_features]."""
        return _concatenate(
            _conv("branch1x1", 64, 1)(x),
            _chain(x, _conv("branch5x5_1", 48, 1), _conv("branch5x5_2", 64, 5, same=True)),
            _chain(
                x,
                _conv("branch3x3dbl_1", 64, 1),
                _conv("branch3x3dbl_2", 96, 3, same=True),
                _conv("branch3x3dbl_3", 96, 3, same=True),
            ),
            _conv("branch_pool", self.pool_features, 1)(_average_pool(x)),
        )


class BlockB(nn.Module):
    """Block that reduces 35 x 35 places to 17 x 17."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, 35, 35, 288] to [N, 17, 17, 768]."""
        return _concatenate(
            _conv("branch3x3", 384, 3, stride=2)(x),
            _chain(
                x,
                _conv("branch3x3dbl_1", 64, 1),
                _conv("branch3x3dbl_2", 96, 3, same=True),
                _conv("branch3x3dbl_3", 96, 3, stride=2),
            ),
            _halve(x),
        )


class BlockC(nn.Module):
    """Block for 17 x 17 places: 7x7 convolutions as pairs of 1x7 and 7x1."""

    channels: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, 17, 17, 768] to the same shape."""
        c = self.channels
        return _concatenate(
            _conv("branch1x1", 192, 1)(x),
            _chain(
                x,
                _conv("branch7x7_1", c, 1),
                _conv("branch7x7_2", c, 1, 7, same=True),
                _conv("branch7x7_3", 192, 7, 1, same=True),
            ),
            _chain(
                x,
                _conv("branch7x7dbl_1", c, 1),
                _conv("branch7x7dbl_2", c, 7, 1, same=True),
                _conv("branch7x7dbl_3", c, 1, 7, same=True),
                _conv("branch7x7dbl_4", c, 7, 1, same=True),
                _conv("branch7x7dbl_5", 192, 1, 7, same=True),
            ),
            _conv("branch_pool", 192, 1)(_average_pool(x)),
        )


class BlockD(nn.Module):
    """Block that reduces 17 x 17 places to 8 x 8."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, 17, 17, 768] to [N, 8, 8, 1280]."""
        return _concatenate(
            _chain(x, _conv("branch3x3_1", 192, 1), _conv("branch3x3_2", 320, 3, stride=2)),
            _chain(
                x,
                _conv("branch7x7x3_1", 192, 1),
                _conv("branch7x7x3_2", 192, 1, 7, same=True),
                _conv("branch7x7x3_3", 192, 7, 1, same=True),
                _conv("branch7x7x3_4", 192, 3, stride=2),
            ),
            _halve(x),
        )


class BlockE(nn.Module):
    """Block for 8 x 8 places: branches that fork into 1x3 and 3x1."""

    pool: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps [N, 8, 8, C] to [N, 8, 8, 2048]."""
        single = _conv("branch3x3_1", 384, 1)(x)
        double = _chain(
            x, _conv("branch3x3dbl_1", 448, 1), _conv("branch3x3dbl_2", 384, 3, same=True)
        )
        return _concatenate(
            _conv("branch1x1", 320, 1)(x),
            _conv("branch3x3_2a", 384, 1, 3, same=True)(single),
            _conv("branch3x3_2b", 384, 3, 1, same=True)(single),
            _conv("branch3x3dbl_3a", 384, 1, 3, same=True)(double),
            _conv("branch3x3dbl_3b", 384, 3, 1, same=True)(double),
            _conv("branch_pool", 192, 1)(self.pool(x)),
        )


def prepare(images: Array) -> Array:
    """Turns stored images [N, H, W, 1 or 3] into the network's input, [N, 299, 299, 3] in [-1, 1].

    They are resized bilinearly by the pixels' centres, without antialiasing; a grey channel is
    repeated three times.
    """
    x = to_unit_interval(images)
    x = jax.image.resize(x, (len(x), SIDE, SIDE, x.shape[-1]), "bilinear", antialias=False)
    return jnp.broadcast_to(2.0 * x - 1.0, (len(x), SIDE, SIDE, 3))


class FidInception(nn.Module):
    """Maps prepared images [N, 299, 299, 3] to the output of the last average pool, [N, 2048]."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Applies the graph, without the classifier on top."""
        x = _conv("Conv2d_1a_3x3", 32, 3, stride=2)(x)
        x = _conv("Conv2d_2a_3x3", 32, 3)(x)
        x = _halve(_conv("Conv2d_2b_3x3", 64, 3, same=True)(x))
        x = _conv("Conv2d_3b_1x1", 80, 1)(x)
        x = _halve(_conv("Conv2d_4a_3x3", 192, 3)(x))
        for name, features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(features, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, channels in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(channels, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(_average_pool, name="Mixed_7b")(x)
        x = BlockE(_max_pool, name="Mixed_7c")(x)
        return jnp.mean(x, axis=(1, 2))


def check_weights(path: str, sha256: str = WEIGHTS_SHA256) -> None:
    """Checks that a file has the weights with which the FID is defined.

    Args:
        path: path of the file.
        sha256: the SHA-256 that its content must have.

    Raises:
        UsageError: if it has not; the message says what was found, and where the file is published.
    """
    needed = (
        f"the FID needs {WEIGHTS_FILE} from {WEIGHTS_URL}; download it and give its path here, or"
        " set evaluations.generated.features=classifier for another distance"
    )
    if not path:
        raise UsageError(f"{_KEY} is empty: {needed}")
    try:
        file = regular_file(path, _KEY)
    except UsageError as error:
        raise UsageError(f"{error}: {needed}") from error
    try:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
            size = os.fstat(content.fileno()).st_size
    except OSError as error:
        raise UsageError(f"{_KEY}: cannot read {path!r} ({error.strerror}): {needed}") from error
    if found != sha256:
        raise UsageError(
            f"{_KEY}: {path!r} ({size:,} bytes) has SHA-256 {found[:16]}..., expected"
            f" {sha256[:16]}...: {needed}"
        )


def load_weights(path: str, sha256: str = WEIGHTS_SHA256) -> dict[str, Any]:
    """Reads the variables of `FidInception` from a file.

    Raises:
        UsageError: if it is another file, or its arrays do not fit the network.
    """
    check_weights(path, sha256)
    arrays = read_torch_file(path)
    return variables_from_torch(arrays)


@functools.cache
def _shapes() -> Any:
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
    return jax.eval_shape(FidInception().init, jax.random.key(0), image)


_FROM_TORCH = {
    ("params", "conv", "kernel"): "conv.weight",
    ("params", "bn", "scale"): "bn.weight",
    ("params", "bn", "bias"): "bn.bias",
    ("batch_stats", "bn", "mean"): "bn.running_mean",
    ("batch_stats", "bn", "var"): "bn.running_var",
}


def variables_from_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Converts the state dict of the PyTorch port to the network's variables.

    Kernels turn from [out, in, H, W] to [H, W, in, out]. The classifier on top and BatchNorm's
    counts of batches are left out.

    Raises:
        UsageError: if an array is missing, unknown or has another shape.
    """
    used = set()

    def pick(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        kind, *modules, layer, name = (entry.key for entry in path)
        torch_name = ".".join([*modules, _FROM_TORCH[kind, layer, name]])
        if torch_name not in arrays:
            raise UsageError(f"the Inception weights have no {torch_name}")
        used.add(torch_name)
        array = arrays[torch_name]
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        if array.shape != leaf.shape or array.dtype != np.float32:
            raise UsageError(
                f"{torch_name} of the Inception weights is {array.dtype} {array.shape},"
                f" expected float32 {leaf.shape}"
            )
        return array

    variables = jax.tree_util.tree_map_with_path(pick, _shapes())
    idle = {"fc.weight", "fc.bias"}
    unknown = [k for k in arrays if k not in used | idle and not k.endswith("num_batches_tracked")]
    if unknown:
        raise UsageError(
            f"the Inception weights have {unknown[0]}, which is not part of the network"
        )
    return variables


# Compiled separately, so that images of any size share one compiled network.
_prepare = jax.jit(prepare)
_compute = jax.jit(lambda variables, batch: FidInception().apply(variables, batch))


def inception_features(
    variables: Mapping[str, Any], images: np.ndarray, *, batch_size: int = 50
) -> np.ndarray:
    """Computes features [N, 2048] of stored images [N, H, W, 1 or 3].

    An image takes some 11 GFLOP.

    Raises:
        ValueError: if the images have another shape.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must have shape [N, H, W, 1] or [N, H, W, 3], got shape {images.shape}"
        )
    variables = jax.device_put(variables)
    features = np.empty((len(images), NUM_FEATURES), np.float32)
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        features[start : start + batch_size] = _compute(variables, _prepare(batch))
    return features


def _extractor(trained: TrainedModel) -> Extractor:
    weights = _weights(trained, trained.config.generated.inception_path)
    return functools.partial(inception_features, weights)


@once_per_run
def _weights(trained: TrainedModel, path: str) -> Any:
    del trained
    return load_weights(path)


INCEPTION = FeatureSpec(
    _extractor,
    distance="fid",
    precision_recall="prd",
    is_fixed=True,
    options={
        "inception_path": Option(
            "",
            TEXT,
            "Path of the file with the Inception weights; docs/sample_quality.md says where"
            " to download it",
        )
    },
    check_files=lambda options: check_weights(options.inception_path),
)
