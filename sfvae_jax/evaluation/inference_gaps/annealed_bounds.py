"""Bounds of log p(x) by annealed importance sampling, for many images of a trained model.

Every image has C chains. The (image, chain) pairs form one list of rows, which runs in chunks of
one size; each chunk is one call of one compiled program, so that memory grows neither with the
images nor with the chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from sfvae_jax.data import as_seen
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.inference_gaps import annealing
from sfvae_jax.evaluation.inference_gaps.settings import Annealing
from sfvae_jax.evaluation.noise import Stream
from sfvae_jax.evaluation.progress import Progress
from sfvae_jax.evaluation.trained_model import TrainedModel, latent_prior, program
from sfvae_jax.objectives.numerics.streams import stream_key

# Streams of keys within `Stream.ANNEALING`.
_PILOT, _FORWARD, _REVERSE, _SIMULATION = range(4)


class AnnealedBounds(NamedTuple):
    """Bounds of log p(x) for N images.

    Attributes:
        bound: the bound of each image, in nats, [N].
        effective_sample_size: effective number of weights, between 1 and C, [N].
        standard_error: standard error of the bound, in nats, [N]; see `annealing.log_mean_weight`.
            For an upper bound it leaves out what another exact sample would change.
        acceptance_rate: mean over chains and temperatures, [N].
        least_acceptance_rate: mean over the chains at the temperature where it is lowest, [N].
        step_size: step sizes of the transitions, in units of the prior, [N, T].
    """

    bound: np.ndarray
    effective_sample_size: np.ndarray
    standard_error: np.ndarray
    acceptance_rate: np.ndarray
    least_acceptance_rate: np.ndarray
    step_size: np.ndarray


def forward_bounds(
    trained: TrainedModel, images: np.ndarray, settings: Annealing
) -> AnnealedBounds:
    """Computes lower bounds of log p(x) for stored images, annealing from the prior   (GAPS 6.5).

    log 1/C sum_c w_c for each image, in expectation at most log p(x), in nats. The encoder plays no
    part. A pilot with keys of its own chooses each image's step sizes. The noise of chain c of
    image i depends only on the model's key, i and c.

    Raises:
        NotApplicable: if the model has no bound, or no prior.
        UsageError: if there are no images.
    """
    if len(images) == 0:
        raise UsageError("there are no images to anneal; pass at least one")
    task = _Task(trained, settings, images, trained.data_scale)
    return _lower(task, _step_sizes(task))


def sandwich(
    trained: TrainedModel, num_simulated: int, settings: Annealing
) -> tuple[AnnealedBounds, AnnealedBounds]:
    """Computes lower and upper bounds of log p(x) for data drawn from the model itself, in nats.

    z ~ p(z), x ~ p(x|z): this z is an exact sample of p(z|x), from which chains go back to the
    prior (bidirectional Monte Carlo, Grosse et al., 2015; GAPS 6.5). For each x, in expectation,

        log 1/C sum_c w_c  <=  log p(x)  <=  -log 1/C sum_c w'_c

    where forward and reverse chains have the same step sizes. These come from a pilot that starts
    from the prior and does not use the exact z. In both directions step sizes and acceptance rates
    are listed by ascending temperature.

    Args:
        trained: the model.
        num_simulated: how many images to draw, at least 1.
        settings: how the chains are run.

    Returns:
        (lower, upper), in the order of the images drawn.

    Raises:
        NotApplicable: if the model has no bound, or no prior.
        UsageError: if num_simulated is less than 1.
    """
    if num_simulated < 1:
        raise UsageError(f"num_simulated must be 1 or more, got {num_simulated}")
    z, x = _simulate(trained, num_simulated, settings.chunk_size)
    task = _Task(trained, settings, x, 1.0)
    step_sizes = _step_sizes(task)
    return _lower(task, step_sizes), _upper(task, step_sizes, z)


class _Task:
    """What the pilot and the chains of both directions share."""

    def __init__(
        self, trained: TrainedModel, settings: Annealing, images: np.ndarray, scale: float
    ) -> None:
        self.prior_stddev = latent_prior(trained)
        self.trained, self.settings, self.images, self.scale = trained, settings, images, scale
        self.betas = annealing.temperatures(settings.num_temperatures, settings.schedule)
        self.hmc: dict[str, Any] = {
            "prior_stddev": self.prior_stddev,
            "num_leapfrog_steps": settings.num_leapfrog_steps,
        }

    def program(
        self, stream: int, function: Callable[[], Callable[..., Any]]
    ) -> Callable[..., Any]:
        """Returns a stream's program, compiled once for all splits of the data and checkpoints.

        It takes the stream's key, so that runs of all seeds share it in the compilation cache.
        """
        key = ("annealing", stream, self.settings)
        return program(self.trained, key, lambda: jax.jit(function()))

    def pixels(self, rows: np.ndarray) -> Array:
        """Returns stored or simulated images as the floats that the model sees."""
        return as_seen(self.images[rows], self.scale)

    def log_likelihood(self, params: Any, x: Array) -> annealing.LogLikelihood:
        return lambda z: self.trained.likelihood.log_prob(x, self.trained.decode(params, z))


def _step_sizes(task: _Task) -> np.ndarray:
    """Returns every image's step sizes, [N, T]; about one chunk of chains runs at once."""
    settings, key = task.settings, _stream(task.trained, _PILOT)

    def pilot(params: Any, key: Array, image: Array, index: Array) -> Array:
        return annealing.pilot_step_sizes(
            jax.random.fold_in(key, index),
            task.log_likelihood(params, image),
            task.betas,
            num_chains=settings.pilot_chains,
            target_acceptance=settings.target_acceptance,
            **task.hmc,
        )

    program = task.program(_PILOT, lambda: jax.vmap(pilot, (None, None, 0, 0)))
    size = max(1, settings.rows_at_once(settings.pilot_chains) // settings.pilot_chains)

    def run(rows: np.ndarray) -> Array:
        return program(task.trained.params, key, task.pixels(rows), rows)

    return np.concatenate(
        [sizes for _, sizes in _chunks(run, len(task.images), size, "annealing, step sizes")]
    )


def _lower(task: _Task, step_sizes: np.ndarray) -> AnnealedBounds:
    def log_weight(key: Array, log_likelihood: Any, sizes: Array, _: Array) -> Any:
        return annealing.forward_log_weight(key, log_likelihood, task.betas, sizes, **task.hmc)

    unused = np.zeros(len(task.images), np.float32)
    weights, acceptance = _run_chains(task, log_weight, step_sizes, unused, _FORWARD, "forward")
    return _bounds(annealing.log_mean_weight(weights), acceptance, step_sizes)


def _upper(task: _Task, step_sizes: np.ndarray, exact: np.ndarray) -> AnnealedBounds:
    def log_weight(key: Array, log_likelihood: Any, sizes: Array, z: Array) -> Any:
        return annealing.reverse_log_weight(key, log_likelihood, z, task.betas, sizes, **task.hmc)

    weights, acceptance = _run_chains(task, log_weight, step_sizes, exact, _REVERSE, "reverse")
    value, effective, error = annealing.log_mean_weight(weights)
    return _bounds((-value, effective, error), acceptance, step_sizes)


def _run_chains(
    task: _Task,
    log_weight: Callable[[Array, annealing.LogLikelihood, Array, Array], Any],
    step_sizes: np.ndarray,
    starts: np.ndarray,
    stream: int,
    label: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns log weights [N, C] and acceptance rates [N, T], averaged over the chains.

    `log_weight` gets a chain's key, its image's log likelihood and step sizes, and `starts[i]`.
    """
    num_images, num_chains = len(task.images), task.settings.num_chains
    key = _stream(task.trained, stream)

    def chain(
        params: Any,
        key: Array,
        image: Array,
        sizes: Array,
        start: Array,
        index: Array,
        number: Array,
    ) -> Any:
        own_key = jax.random.fold_in(jax.random.fold_in(key, index), number)
        return log_weight(own_key, task.log_likelihood(params, image), sizes, start)

    program = task.program(stream, lambda: jax.vmap(chain, (None, None, 0, 0, 0, 0, 0)))

    def run(rows: np.ndarray) -> Any:
        i, c = rows // num_chains, rows % num_chains
        return program(task.trained.params, key, task.pixels(i), step_sizes[i], starts[i], i, c)

    num_pairs = num_images * num_chains
    log_weights = np.empty(num_pairs)
    acceptance = np.zeros(step_sizes.shape)
    size = task.settings.rows_at_once(num_chains)
    chunks = _chunks(run, num_pairs, size, f"annealing, {label} chains")
    for rows, (weights, accepted) in chunks:
        log_weights[rows] = weights
        np.add.at(acceptance, rows // num_chains, accepted / num_chains)
    return log_weights.reshape(num_images, num_chains), acceptance


def _bounds(
    estimate: tuple[np.ndarray, np.ndarray, np.ndarray],
    acceptance: np.ndarray,
    step_sizes: np.ndarray,
) -> AnnealedBounds:
    bound, effective_sample_size, standard_error = estimate
    return AnnealedBounds(
        bound=bound,
        effective_sample_size=effective_sample_size,
        standard_error=standard_error,
        acceptance_rate=np.mean(acceptance, axis=1),
        least_acceptance_rate=np.min(acceptance, axis=1),
        step_size=step_sizes,
    )


def _simulate(trained: TrainedModel, count: int, chunk_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws latents from the prior, [N, m], and data given them, [N, ...]."""
    prior_stddev, key = latent_prior(trained), _stream(trained, _SIMULATION)

    def draw(params: Any, key: Array, index: Array) -> tuple[Array, Array]:
        latent_key, data_key = jax.random.split(jax.random.fold_in(key, index))
        z = prior_stddev * jax.random.normal(latent_key, prior_stddev.shape)
        return z, trained.likelihood.sample(data_key, trained.decode(params, z))

    simulate = program(trained, "simulated data", lambda: jax.jit(jax.vmap(draw, (None, None, 0))))

    def run(rows: np.ndarray) -> Any:
        return simulate(trained.params, key, rows)

    drawn = [pair for _, pair in _chunks(run, count, chunk_size, "annealing, simulated data")]
    latents, data = zip(*drawn, strict=True)
    return np.concatenate(latents), np.concatenate(data)


def _chunks(
    run: Callable[[np.ndarray], Any], num_rows: int, size: int, label: str
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields (rows, `run(rows)` on the host) for `size` consecutive rows at a time."""
    size = min(size, num_rows)
    with Progress(label, num_rows) as progress:
        for start in range(0, num_rows, size):
            rows = np.arange(start, start + size)
            # The last chunk repeats its last row, so that one compiled program serves all chunks.
            outputs = jax.device_get(run(np.minimum(rows, num_rows - 1)))
            rows = rows[rows < num_rows]
            count = len(rows)
            yield rows, jax.tree.map(lambda leaf, count=count: leaf[:count], outputs)
            progress.update(start + count)


def _stream(trained: TrainedModel, number: int) -> Array:
    return jax.random.fold_in(stream_key(trained.rng, Stream.ANNEALING), number)
