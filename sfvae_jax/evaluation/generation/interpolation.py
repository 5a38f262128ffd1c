"""Spherical interpolation between codes."""

from __future__ import annotations

import numpy as np

from sfvae_jax.evaluation.trained_model import TrainedModel, centers

# Below this sine the angle between two codes is rounding error, and leaves no great circle.
_MIN_SINE = 1e-6


def slerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    """Interpolates codes on the sphere (Shoemake, 1985; White, 2016; RAE Appendix D).

    sin((1 - t) w) / sin w * start + sin(t w) / sin w * end, w the angle between them.

    For codes that are parallel, opposite or zero the angle is not defined. The result is then the
    straight line (1 - t) start + t end, the limit of the formula as w -> 0.

    Args:
        start: codes [..., m].
        end: codes of the same shape.
        weight: t in [0, 1], a scalar or shaped [...].

    Returns:
        Codes [..., m] in float64: `start` at t = 0 and `end` at t = 1.

    Raises:
        ValueError: if the shapes differ.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if start.shape != end.shape or not start.ndim:
        raise ValueError(
            f"start and end must have the same shape [..., m], got {start.shape} and {end.shape}"
        )
    t = np.broadcast_to(np.asarray(weight, np.float64), start.shape[:-1])[..., None]
    a, b = _unit(start), _unit(end)
    # By the tangent of half the angle, which is exact for nearly parallel codes, unlike arccos.
    angle = 2.0 * np.arctan2(_norm(a - b), _norm(a + b))
    sine = np.sin(angle)
    straight = (sine < _MIN_SINE) | (_norm(a) == 0.0) | (_norm(b) == 0.0)
    safe = np.where(straight, 1.0, sine)
    weights = [np.where(straight, s, np.sin(s * angle) / safe) for s in (1.0 - t, t)]
    return weights[0] * start + weights[1] * end


def interpolated_codes(trained: TrainedModel, most_pairs: int, num_steps: int) -> np.ndarray:
    """Interpolates between the codes of pairs of the model's examples.

    Args:
        trained: the model and its examples, of which pair i are example i and example P + i.
        most_pairs: the largest number of pairs; there are no more than the examples make.
        num_steps: the number of codes from one of a pair to the other, both included.

    Returns:
        Codes [P, num_steps, m]; P is 0 if there are fewer than two examples.
    """
    pairs = min(most_pairs, len(trained.images) // 2)
    if not pairs:
        return np.empty((0, num_steps, 0))
    codes = centers(trained, trained.images[: 2 * pairs])
    weights = np.linspace(0.0, 1.0, num_steps)
    return np.stack([slerp(codes[:pairs], codes[pairs:], weight) for weight in weights], axis=1)


def _norm(z: np.ndarray) -> np.ndarray:
    return np.linalg.norm(z, axis=-1, keepdims=True)


def _unit(z: np.ndarray) -> np.ndarray:
    """Returns z / |z|, or zero for zero."""
    largest = np.max(np.abs(z), axis=-1, keepdims=True, initial=0.0)
    z = z / np.where(largest > 0.0, largest, 1.0)  # so that no square underflows or overflows
    norm = _norm(z)
    return z / np.where(norm > 0.0, norm, 1.0)
