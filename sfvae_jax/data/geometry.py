"""The size and channels of images: crop, resize, convert to gray or RGB, pad; one at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import ml_collections
import numpy as np

from sfvae_jax.errors import UsageError

Shape = tuple[int, ...]
CHANNELS = (0, 1, 3)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What is done to every image of a data set, in this order; 0 leaves a step out.

    Attributes:
        crop: the side of the square that is cut from the middle.
        channels: 1 for gray, 3 for RGB.
        image_size: the side to which images are resized; without a crop, the largest square in the
            middle is cut first.
        pad_to: the side to which images are padded with zeros.
    """

    crop: int = 0
    channels: int = 0
    image_size: int = 0
    pad_to: int = 0

    @classmethod
    def of(cls, config: ml_collections.ConfigDict) -> Geometry:
        """Returns the geometry that a `data` group describes."""
        return cls(*(config[field.name] for field in dataclasses.fields(cls)))

    def shape(self, shape: Shape) -> Shape:
        """Returns the shape that an image of this shape has after these steps.

        Raises:
            UsageError: if a step cannot be applied to it.
        """
        if self == Geometry():
            return shape
        if len(shape) != 3:
            raise UsageError(
                "data.crop, data.channels, data.image_size and data.pad_to require images of shape"
                f" [H, W, C]; the examples have shape {shape}"
            )
        height, width, channels = shape
        if self.crop > min(height, width):
            raise UsageError(
                f"data.crop={self.crop} is larger than an image of {height}x{width} pixels; lower"
                " it"
            )
        if self.channels and channels not in (1, 3):
            raise UsageError(
                f"data.channels requires images with 1 or 3 channels, but one has {channels}; set"
                " data.channels=0"
            )
        if self.crop or self.image_size:
            height = width = self.image_size or self.crop
        if 0 < self.pad_to < max(height, width):
            raise UsageError(
                f"data.pad_to={self.pad_to} is smaller than an image of {height}x{width} pixels;"
                " raise it"
            )
        height, width = self.pad_to or height, self.pad_to or width
        return height, width, self.channels or channels

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Returns a stored image after these steps."""
        if self == Geometry():
            return image
        if self.crop or self.image_size:
            image = crop(image, self.crop or min(image.shape[:2]))
        if self.channels == 1:
            image = gray(image)
        if self.channels == 3 and image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        if self.image_size:
            image = resize(image, self.image_size)
        return pad(image, self.pad_to) if self.pad_to else image


def crop(image: np.ndarray, side: int) -> np.ndarray:
    """Cuts the square of this side from the middle of an image [H, W, C], rounded up and left."""
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def gray(image: np.ndarray) -> np.ndarray:
    """Returns the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of [H, W, 3] as [H, W, 1]."""
    if image.shape[-1] == 1:
        return image
    weights = np.array([299, 587, 114], np.int32)
    if image.dtype == np.uint8:
        return ((image @ weights + 500) // 1000).astype(np.uint8)[..., None]
    return (image @ (weights / 1000)).astype(np.float32)[..., None]


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """Resizes a square image [H, H, C] to [side, side, C]; each pixel is a mean over its area."""
    from PIL import Image

    if image.shape[0] == side:
        return image

    def resized(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BOX))

    if image.shape[-1] == 3 and image.dtype == np.uint8:
        return resized(np.ascontiguousarray(image))
    planes = (np.ascontiguousarray(image[..., c]) for c in range(image.shape[-1]))
    return np.stack([resized(plane) for plane in planes], axis=-1)


def pad(image: np.ndarray, side: int) -> np.ndarray:
    """Pads an image [H, W, C] with zeros to [side, side, C]; an odd one goes below and right."""
    margins = [((side - n) // 2, side - n - (side - n) // 2) for n in image.shape[:2]]
    return np.pad(image, [*margins, (0, 0)])


def common_shape(shapes: frozenset[Shape], treat: Callable[[Shape], Shape], origin: str) -> Shape:
    """Returns the one shape that images of these shapes have after their treatment.

    Args:
        shapes: all shapes that an image may have.
        treat: a function from the shape of an image to its shape after the treatment.
        origin: where the images come from, for error messages.

    Raises:
        UsageError: if they have several, saying how to make them one.
    """
    treated = sorted({treat(shape) for shape in sorted(shapes)})
    if len(treated) == 1:
        return treated[0]
    sizes = len({shape[:2] for shape in treated})
    kinds = sorted({shape[2] for shape in treated})
    if sizes == 1:
        numbers = " and ".join(map(str, kinds))
        raise UsageError(
            f"{origin} has images with {numbers} channels; set data.channels to 1 or 3"
        )
    small, large = (f"{shape[0]}x{shape[1]}" for shape in (treated[0], treated[-1]))
    raise UsageError(
        f"{origin} has images of {sizes} sizes, such as {small} and {large}; set data.image_size"
        " (and, if you like, data.crop)"
    )
