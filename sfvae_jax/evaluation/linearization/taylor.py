"""A decoder beside its linearisation along one latent, with their outputs (SFVAE Figure A.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from jax.scipy.stats import norm

from sfvae_jax import objectives
from sfvae_jax.evaluation import figures, style
from sfvae_jax.evaluation.trained_model import TrainedModel, require_diagonal

REACH = 4.0  # the line reaches so many standard deviations of q(z|x) to both sides
_BINS = 60


class TaylorLine(NamedTuple):
    """One output of a decoder while one latent moves and the others stay at the posterior mean.

    Attributes:
        dimension: which latent moves.
        output: which output it is, in the flat decoder output.
        latent: values of the latent, [P].
        function: the output f there, [P].
        linearized: f(mean) + J (z - mean) there, [P]   (SFVAE Eq. 10).
        mean: the latent's mean under q(z|x).
        stddev: the latent's standard deviation under q(z|x).
        center: f(mean), the mean of the linearised output.
        deviation: |J| stddev, the standard deviation of the linearised output   (SFVAE Eq. 12).
        samples: f at equally likely values of the latent, [S].
    """

    dimension: Array
    output: Array
    latent: Array
    function: Array
    linearized: Array
    mean: Array
    stddev: Array
    center: Array
    deviation: Array
    samples: Array


def taylor_line(
    decode: Callable[[Array], Array],
    mean: Array,
    stddev: Array,
    *,
    num_points: int = 201,
    num_samples: int = 10_000,
    chunk_size: int = 500,
) -> TaylorLine:
    """Returns the line f(z_i), its tangent at the mean, and f(z_i) for z_i ~ q   (SFVAE 3.2).

    Latent i and output k have the largest linearised deviation |J_ki| stddev_i. The (s + 1/2) / S
    quantiles of N(mean_i, stddev_i^2) serve as samples of q without noise.

    Args:
        decode: maps one latent [m] to an array of any shape.
        mean: posterior mean, [m].
        stddev: posterior standard deviations, [m].
        num_points: P, evenly spaced over mean_i +- 4 stddev_i.
        num_samples: S.
        chunk_size: how many latents are decoded at once.
    """
    center, jacobian = objectives.decoder_jacobian(decode, mean)
    deviations = jnp.abs(jacobian) * stddev[None, :]
    output, dimension = jnp.unravel_index(jnp.argmax(deviations), deviations.shape)

    def along(value: Array) -> Array:
        return decode(mean.at[dimension].set(value)).ravel()[output]

    def decoded(values: Array) -> Array:
        return jax.lax.map(along, values, batch_size=min(chunk_size, len(values)))

    at, spread = mean[dimension], stddev[dimension]
    latent = at + spread * jnp.linspace(-REACH, REACH, num_points)
    quantiles = ndtri((jnp.arange(num_samples) + 0.5) / num_samples)
    middle = center.ravel()[output]
    return TaylorLine(
        dimension=dimension,
        output=output,
        latent=latent,
        function=decoded(latent),
        linearized=middle + jacobian[output, dimension] * (latent - at),
        mean=at,
        stddev=spread,
        center=middle,
        deviation=deviations[output, dimension],
        samples=decoded(at + spread * quantiles),
    )


def draw_taylor(trained: TrainedModel, title: str, path: Path) -> None:
    """Draws the line for the first image's posterior.

    Raises:
        NotApplicable: if the posterior is not a diagonal Gaussian.
    """

    def line(params: Any, x: Array, key: Array) -> TaylorLine:
        del key
        posterior = trained.encode(params, x)
        require_diagonal(posterior)
        return taylor_line(
            lambda z: trained.reconstruct(params, z), posterior.mean, posterior.stddev
        )

    found = trained.map_images(line, trained.images[:1], batch_size=1, key="Taylor line")
    figures.save(draw_line(TaylorLine(*(part[0] for part in found)), title), path)


def draw_line(line: TaylorLine, title: str) -> Any:
    """Returns a figure of f and its tangent, below q(z|x) and beside the output's densities."""
    function = {"color": style.GREY}
    tangent = {"color": style.METHODS["sampling_free"].color}
    figure = figures.new_figure(8, 6)
    figure.suptitle(title)
    shares = {"width_ratios": (3, 1), "height_ratios": (1, 3)}
    (above, corner), (main, beside) = figure.subplots(2, 2, gridspec_kw=shares)
    corner.set_visible(False)
    main.plot(line.latent, line.function, label="decoder f", **function)
    main.plot(line.latent, line.linearized, label="linearisation at the mean", **tangent)
    main.plot([line.mean], [line.center], "o", color=style.BLACK, label="posterior mean")
    main.set(xlabel=f"latent {line.dimension + 1}", ylabel=f"output {line.output + 1}")
    main.legend()
    above.fill_between(
        line.latent, norm.pdf(line.latent, line.mean, line.stddev), color=style.BLACK, alpha=0.2
    )
    above.set(ylabel="density q(z|x)", xlim=main.get_xlim(), ylim=(0.0, None))
    low, high = main.get_ylim()
    values = np.linspace(low, high, 401)
    linearized = norm.pdf(values, line.center, line.deviation)
    options = {"density": True, "orientation": "horizontal", "label": "f(z)", "alpha": 0.6}
    bars, *_ = beside.hist(line.samples, _BINS, range=(low, high), **options, **function)
    beside.plot(linearized, values, label="linearised", **tangent)
    # Where f is constant, as where a unit is off, a bar may be of any length.
    most = min(np.max(bars), 4.0 * np.max(linearized))
    beside.set(xlabel="density", xlim=(0.0, 1.05 * max(most, np.max(linearized))), ylim=(low, high))
    beside.legend()
    return figure
