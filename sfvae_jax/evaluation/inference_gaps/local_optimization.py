"""The best posterior of a family for each image alone, for a fixed decoder (GAPS).

GAPS is Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from sfvae_jax import posteriors
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.evaluation.inference_gaps.adam_search import NONE_YET, Search, advance, begin
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES, Family
from sfvae_jax.evaluation.inference_gaps.settings import LocalOptimization
from sfvae_jax.evaluation.noise import Stream
from sfvae_jax.evaluation.trained_model import TrainedModel, latent_prior, program, require_bound
from sfvae_jax.objectives.numerics.batch import example_keys
from sfvae_jax.objectives.numerics.streams import stream_key

_FEW = 16  # images, below which a chunk is not halved any more
_JUDGEMENTS = 10  # batches of num_samples that decide between the start and what was found
_BASE = posteriors.DiagonalGaussian


class LocalPosteriors(NamedTuple):
    """The posteriors that a search found for N images.

    Attributes:
        posterior: posteriors of the family, a pytree of NumPy arrays [N, ...].
        steps: number of steps taken for each image, [N].
        converged: whether an image's search stopped for lack of improvement, [N]. The others took
            all `max_steps`, or their ELBO was never finite.
        elbo: ELBO of each image's posterior, [N], in nats, -inf where it was never finite. Its
            samples also chose the posterior: a bound to report needs fresh ones, as in `bounds_of`.
    """

    posterior: Any
    steps: np.ndarray
    converged: np.ndarray
    elbo: np.ndarray


def local_elbo(
    rng: Array,
    params: Any,
    family: Family,
    decode: Callable[[Array], Any],
    x: Array,
    likelihood: Any,
    prior_stddev: Array | float,
    num_samples: int,
) -> Array:
    """Estimates the ELBO of one image as a function of its own unconstrained parameters.

    1/k sum_k [log p(x|z_k) + log p(z_k) - log q(z_k)],   z_k ~ q   (GAPS Eq. 7 for a flow)

    The KL divergence is in closed form where the family's estimator has one.

    Args:
        rng: key for the samples.
        params: the posterior's parameters as `family.to_params` returns them.
        family: one of the values of `FAMILIES`.
        decode: maps one latent [m] to the likelihood's parameters.
        x: one example.
        likelihood: p(x|z), with `log_prob(x, parameters)`.
        prior_stddev: prior standard deviations, a scalar or [m].
        num_samples: k, at least 1.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: if num_samples is less than 1.
    """
    posterior = family.build(params)
    options = {"num_samples": num_samples, "prior_stddev": prior_stddev}
    return family.elbo(rng, decode, x, posterior, likelihood, **options).value


def optimize_posteriors(
    trained: TrainedModel,
    images: np.ndarray,
    family: str,
    settings: LocalOptimization | None = None,
    start: Any = None,
    progress: Callable[[float], None] | None = None,
) -> LocalPosteriors:
    """Finds q* of each image, the posterior of a family with the largest ELBO, by Adam.

    q*(z|x) = argmax_q E_q[log p(x|z) + log p(z) - log q(z)]   (GAPS Sections 5.2 and 6.4)

    `chunk_size` images are optimised at once, each until its own search stops; once half of a chunk
    has stopped, the others go on by themselves. Image i draws its noise from its index and the
    step, so that the chunk size only changes the rounding.

    Args:
        trained: the model, of which only the decoder, likelihood and prior are used.
        images: stored images [N, ...].
        family: a key of `FAMILIES`.
        settings: settings of the search; GAPS's own by default.
        start: posteriors [N, ...] to start from instead of the prior, either of that family or
            diagonal Gaussians. The posteriors found are no worse, as far as ten times `num_samples`
            samples can tell.
        progress: called after every check with the fraction of images that are finished.

    Returns:
        The posteriors, in the order of the images.

    Raises:
        UsageError: if the family is unknown, there are no images, the posteriors to start from are
            of another family, or their number differs from that of the images.
        NotApplicable: if the model has no bound or no prior.
    """
    settings = settings or LocalOptimization()
    if family not in FAMILIES:
        raise unknown_name("posterior family", family, FAMILIES)
    require_bound(trained)
    _check_start(family, start, images)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), start)
    key = ("optimize_posteriors", family, settings, str(one))
    programs = program(trained, key, lambda: _compile(trained, FAMILIES[family], settings, one))
    # Apart from the keys of the samples that later judge the posteriors found here.
    keys = example_keys(stream_key(trained.rng, Stream.LOCAL_OPTIMIZATION), len(images))
    count = len(images)
    size, found = min(settings.chunk_size, count), []
    for first in range(0, count, size):
        # The last chunk repeats its last image; the repetitions count as stopped.
        places = np.minimum(np.arange(first, first + size), count - 1)
        present = np.arange(first, first + size) < count
        own_start = jax.tree.map(lambda leaf: leaf[places], start)

        def report(running: int, end: int = min(first + size, count)) -> None:
            if progress is not None:
                progress((end - running) / count)

        search, held = programs.begin(own_start, present)
        own = (trained.params, images[places], keys[places])
        search = _run(programs, *own, search, report)
        posterior, judged = programs.finish(*own, search.best, held)
        value = np.where(np.asarray(judged) > NONE_YET, judged, -np.inf)
        steps, converged = np.asarray(search.steps), np.asarray(search.converged)
        chunk = LocalPosteriors(posterior, steps, converged, value)
        found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[present], chunk))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


class _Programs(NamedTuple):
    """Programs compiled once for all chunks and checkpoints, over a leading axis of images."""

    begin: Callable[[Any, np.ndarray], tuple[Search, Any]]
    advance: Callable[[Any, np.ndarray, Array, Search], Search]
    finish: Callable[[Any, np.ndarray, Array, Any, Any], tuple[Any, Array]]
    checks: int


class _ImageSearch:
    """The search for the posterior of one image; `_compile` maps its methods over images."""

    def __init__(
        self, trained: TrainedModel, family: Family, settings: LocalOptimization, start: Any
    ) -> None:
        """Prepares the search.

        Args:
            trained: the model.
            family: the posterior's family.
            settings: settings of the search.
            start: shapes of the posterior that it starts from, or None for the prior.
        """
        self._trained, self._family, self._settings = trained, family, settings
        self._prior_stddev = latent_prior(trained)
        # Once for all images and outside any program, where so many draws take seconds to compile.
        key = stream_key(trained.rng, Stream.LOCAL_STARTS)
        self.drawn = family.draw(key, self._prior_stddev.size, settings)
        # All parameters in one vector, as Adam on each of a flow's many arrays takes a minute to
        # compile.
        shapes = jax.eval_shape(self._starts, self.drawn, start)[1]
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        self._unravel = ravel_pytree(zeros)[1]

    def begin(self, drawn: Any, start: Any, running: Array) -> tuple[Search, Any]:
        """Returns the search before its first step, and the parameters of its start."""
        params, held = (ravel_pytree(params)[0] for params in self._starts(drawn, start))
        return begin(params, running), held

    def advance(self, model_params: Any, x: Array, key: Array, search: Search) -> Search:
        """Takes the steps up to the next check."""
        noise, settings = jax.random.split(key)[0], self._settings
        has_networks = self._family.has_networks
        rate = settings.network_learning_rate if has_networks else settings.learning_rate
        return advance(
            search,
            lambda params, step: self._elbo(
                model_params, x, jax.random.fold_in(noise, step), params
            ),
            learning_rate=rate,
            check_every=settings.check_every,
            patience=settings.patience,
        )

    def finish(self, model_params: Any, x: Array, key: Array, best: Any, held: Any) -> Any:
        """Returns the better of the best posterior found and the start, and its ELBO."""
        keys = jax.random.split(jax.random.split(key)[1], _JUDGEMENTS)
        pair = jnp.stack([best, held])

        def judge(rng: Array) -> Array:
            return jax.vmap(lambda params: self._elbo(model_params, x, rng, params))(pair)

        values = jax.lax.map(judge, keys)
        values = values[0] + jnp.mean(values - values[:1], axis=0)
        values = jnp.where(jnp.isfinite(values), values, NONE_YET)
        chosen = jnp.where(values[0] >= values[1], best, held)
        return self._family.build(self._unravel(chosen)), jnp.max(values)

    def _starts(self, drawn: Any, start: Any) -> tuple[Any, Any]:
        """Returns the parameters where the search begins, and those of its start."""
        family, prior_stddev = self._family, self._prior_stddev
        if start is None:
            start = posteriors.DiagonalGaussian(jnp.zeros_like(prior_stddev), prior_stddev)
        if isinstance(start, family.posterior) and family.posterior is not _BASE:
            return family.to_params(start), family.to_params(start)
        held = family.start(drawn, start, self._settings)
        return family.to_params(family.aside(drawn, held)), family.to_params(held)

    def _elbo(self, model_params: Any, x: Array, rng: Array, params: Any) -> Array:
        return local_elbo(
            rng,
            self._unravel(params),
            self._family,
            lambda z: self._trained.decode(model_params, z),
            x,
            self._trained.likelihood,
            self._prior_stddev,
            self._settings.num_samples,
        )


def _compile(
    trained: TrainedModel, family: Family, settings: LocalOptimization, start: Any
) -> _Programs:
    one = _ImageSearch(trained, family, settings, start)

    def over_images(method: Callable[..., Any]) -> Callable[..., Any]:
        @jax.jit
        def of_all(model_params: Any, images: Array, *more: Any) -> Any:
            axes = (None, 0, *(0 for _ in more))
            return jax.vmap(method, axes)(model_params, trained.pixels(images), *more)

        return of_all

    return _Programs(
        begin=functools.partial(jax.jit(jax.vmap(one.begin, (None, 0, 0))), one.drawn),
        advance=over_images(one.advance),
        finish=over_images(one.finish),
        checks=settings.whole_steps // settings.check_every,
    )


def _run(
    programs: _Programs,
    model_params: Any,
    images: np.ndarray,
    keys: Array,
    search: Search,
    report: Callable[[int], None],
) -> Search:
    """Runs each search of one chunk until it stops; `report` gets the number still running."""
    whole = jax.tree.map(np.array, search)
    active = np.arange(len(images))
    for _ in range(programs.checks):
        running = np.asarray(search.running)
        if not running.any():
            break
        size = _fewest(len(running), int(running.sum()))
        if size < len(running):
            _scatter(whole, active, search)
            # Those that run, and as many that have stopped, which do not change, as fill the size.
            active = active[np.argsort(~running, kind="stable")[:size]]
            search = jax.tree.map(lambda leaf: leaf[active], whole)
        search = programs.advance(model_params, images[active], keys[active], search)
        report(int(np.sum(search.running)))
    _scatter(whole, active, search)
    report(0)
    return whole


def _fewest(size: int, running: int) -> int:
    """Halves the size as long as all running searches still fit.

    There are few sizes, so that little is compiled again, and none is very small: compiling for a
    few images takes longer than taking the steps of those that have stopped.
    """
    while running <= size // 2 and size > _FEW:
        size //= 2
    return size


def _scatter(whole: Search, places: np.ndarray, part: Search) -> None:
    for leaf, update in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        leaf[places] = update


def _check_start(family: str, start: Any, images: np.ndarray) -> None:
    if len(images) == 0:
        raise UsageError("there are no images to optimise posteriors for; pass at least one")
    expected = FAMILIES[family].posterior
    if start is None:
        return
    if not isinstance(start, (expected, _BASE)):
        raise UsageError(
            f"start of family {family!r} must be a {expected.__name__} or a {_BASE.__name__}, got"
            f" a {type(start).__name__}"
        )
    counts = {len(leaf) for leaf in jax.tree.leaves(start)}
    if counts != {len(images)}:
        raise UsageError(
            f"start must have one posterior for each of the {len(images)} images, got"
            f" {', '.join(map(str, sorted(counts)))}"
        )
