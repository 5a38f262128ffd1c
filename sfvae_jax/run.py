"""A trained run as a user holds it: encode, decode, reconstruct, sample, measure and export."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from jax import Array

from sfvae_jax import data, evaluation, objectives
from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.evaluate import restore
from sfvae_jax.evaluation.bounds.importance import importance_log_evidence
from sfvae_jax.evaluation.bounds.sampled import map_bound
from sfvae_jax.evaluation.generation.densities.spec import Density
from sfvae_jax.evaluation.generation.densities.table import DENSITIES
from sfvae_jax.evaluation.generation.sources import density as density_of
from sfvae_jax.evaluation.noise import generator
from sfvae_jax.evaluation.trained_model import centers, decode_means
from sfvae_jax.likelihoods import LIKELIHOODS, Likelihood
from sfvae_jax.loading.batches import of_each
from sfvae_jax.loading.example_shape import example_shape, with_length
from sfvae_jax.loading.exporting import write_model
from sfvae_jax.loading.given import blank_example, count_of, key_of, latents, stored_examples
from sfvae_jax.loading.measured import measured
from sfvae_jax.loading.recorded import recorded_config, recorded_prior
from sfvae_jax.measuring.trained import log_caveats, measure, trained_model, without_floating_prior
from sfvae_jax.models import Model
from sfvae_jax.plugins import identified, import_plugins
from sfvae_jax.runs.checkpoints.folders import checkpoint_steps
from sfvae_jax.runs.checkpoints.proof import proof
from sfvae_jax.runs.plugin_files import tell_changed_plugins
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.training.early_stopping import best_of, best_step
from sfvae_jax.training.state import TrainState

_ALIASES = {"mixture": "gmm"}  # names of densities, and those that a config has for them


def load(
    workdir: str | os.PathLike,
    step: int | None = None,
    *,
    shape: Sequence[int] | None = None,
    plugins: Sequence[str] = (),
    use_ema: bool | None = None,
) -> Run:
    """Loads a trained run from its folder, which may be a copy and needs no data set.

    Nothing in the folder is changed.

    Args:
        workdir: the folder of the run.
        step: the checkpoint of this step; None: the last one, and for a run that may stop early the
            model with the best validation loss, which is the one that is evaluated.
        shape: the shape of an example, such as (28, 28, 1), or (T,) for sequences of T rules and
            (T, 2) for those with values; None: the run's files tell it, which those of an early
            version may not.
        plugins: where plugins of the run are now, if they have moved.
        use_ema: whether the parameters are their moving average; None: `evaluations.use_ema`.

    Raises:
        UsageError: if there is no run or no such step, a plugin is missing, the run keeps no
            moving average, or nothing tells the shape.
        RunError: if no checkpoint is whole.
    """
    if use_ema is not None and not isinstance(use_ema, bool):
        raise UsageError(f"use_ema must be True, False or None, got {use_ema!r}")
    files = Workdir(workdir, "workdir")
    import_plugins((plugins,) if isinstance(plugins, (str, os.PathLike)) else plugins)
    config = recorded_config(files, use_ema)
    config.plugins, config.plugin_digests = identified(config.plugins)
    tell_changed_plugins(config, files)
    _check_step(files, step)
    found = example_shape(config, files, shape)
    settings = with_length(config, found)
    model, state = restore(settings, files, found, step)
    state = best_of(state) if step in (None, best_step(state)) else state
    return Run(config, settings, files, model, state, found)


class Run:
    """A trained run; examples are images, or texts for a model of sequences.

    Images are uint8 in 0..255, or floats in [0, 1], of shape [N, H, W, C], for any N. They are
    taken as they are: for a model of binarised images, binarise them first. Texts are a list of
    strings. What a method computes is compiled once for each shape; large N are taken in batches of
    `evaluations.batch_size`. Arrays that are returned are NumPy's.

    Attributes:
        config: the configuration of the run, as config.json has it.
        step: the step of the loaded model.
        params: its variables as they are applied: normalised kernels, and BatchNorm's averages.
        likelihood: p(x|z), with `log_prob(x, parameters)` in nats, `sample(rng, parameters)` and
            more for one example, whose pixels are in [0, config.data.scale]; see
            `likelihood_parameters`.
        example_shape: the shape of one example.
        model: its Flax module for such an example: `model.apply(params, x, method="encode")`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        settings: ml_collections.ConfigDict,
        files: Workdir,
        model: Model,
        state: TrainState,
        shape: tuple[int, ...],
    ) -> None:
        """Takes what `load` has read; use that."""
        self.config, self.step, self.model = config, int(state.step), model
        self.example_shape = shape
        self._settings, self._files, self._state = settings, files, state
        self._splits = data.Splits(settings.data)
        self._bare = without_floating_prior(settings, model, state, self._blank, self._splits)
        self.params = self._bare.params
        self.likelihood: Likelihood = self._bare.likelihood

    def __repr__(self) -> str:
        """Returns where the run is, and what it is."""
        config = self.config
        return (
            f"<Run {self._files.name!r}: {config.objective.name}, {config.model.name}, posterior"
            f" {config.posterior.name}, likelihood {config.likelihood.name}, {self.latent_size}"
            f" latents, data {config.data.name} {list(self.example_shape)}, step {self.step}>"
        )

    @property
    def workdir(self) -> Path:
        """The folder of the run."""
        return self._files.folder

    @property
    def results(self) -> dict[str, Any]:
        """What results.json holds, such as "metrics"; {} if the run was not evaluated."""
        return self._files.read_results()

    @property
    def latent_size(self) -> int:
        """The number of latents m."""
        return self.config.model.latent_size

    def encode(self, x: Any) -> Any:
        """Returns q(z|x) of a batch: a posterior whose arrays have a leading axis N.

        `mean` is [N, m], and a Gaussian's `stddev` too. For a flow these are those of its base.
        Methods such as `sample_and_log_prob(rng)` take one example; use them under `jax.vmap`.

        Args:
            x: examples.

        Raises:
            UsageError: if x are no examples of this run.
        """
        trained = self._bare

        def posterior(params: Any, example: Array) -> Any:
            return trained.encode(params, trained.pixels(example))

        return of_each(trained, "encode", posterior, self._stored(x), self._blank)

    def decode(self, z: Any) -> Any:
        """Returns the means of p(x|z), [N, ...]; texts for sequences.

        Means of images have the scale of images in [0, 1]; those of a decoder without sigmoid may
        lie outside. The text of a latent is the mode of p(x|z).

        Args:
            z: latents [N, m].

        Raises:
            UsageError: if z are no latents of this run.
        """
        codes = latents(z, self.latent_size)
        if not len(codes):
            return self.decode(np.zeros((1, self.latent_size)))[:0]
        with jax.default_matmul_precision("float32"):
            if self._bare.language is None:
                return decode_means(self._bare, codes) / np.float32(self._bare.data_scale)
            return evaluation.decode_texts(self._bare, codes)

    def likelihood_parameters(self, z: Any) -> Any:
        """Returns the parameters of p(x|z) that `likelihood` takes, with a leading axis N.

        Those of images are in the scale of the model, [0, config.data.scale].

        Args:
            z: latents [N, m].

        Raises:
            UsageError: if z are no latents of this run.
        """
        codes, blank = latents(z, self.latent_size), np.zeros((1, self.latent_size), np.float32)
        return of_each(self._bare, "parameters", self._bare.decode, codes, blank)

    def reconstruct(self, x: Any) -> Any:
        """Returns `decode` of the center of q(z|x), which for a Gaussian is its mean.

        Args:
            x: examples.

        Raises:
            UsageError: if x are no examples of this run.
        """
        examples = self._stored(x)
        with jax.default_matmul_precision("float32"):
            codes = centers(self._bare, self._some(examples))
        return self.decode(codes[: len(examples)])

    def sample(
        self, rng: Any, num_samples: int, density: str = "prior", *, codes: Any = None
    ) -> Any:
        """Returns `decode` of latents that are drawn from a density.

        Args:
            rng: a JAX key, or a seed.
            num_samples: how many.
            density: "prior", the prior of training; "gaussian" or "mixture", which are fitted to
                codes; or another density of `evaluations.generated`.
            codes: the latents [N, m] to which the density is fitted; None: those of the training
                examples, for which the data set is read.

        Raises:
            UsageError: if the density does not apply, or the data set cannot be read.
        """
        number = count_of("num_samples", num_samples, 0)
        name = _ALIASES.get(density, density)
        if name not in DENSITIES:
            raise unknown_name("density", str(density), [*_ALIASES, *DENSITIES])
        noise = generator(key_of(rng), DENSITIES[name].stream)
        try:
            fitted = self._density(name, density, codes, noise)
        except evaluation.NotApplicable as reason:
            raise UsageError(
                f"density {density!r} does not apply to this run: {reason}"
            ) from reason
        return self.decode(fitted.sample(noise, number))

    def log_prob(self, rng: Any, x: Any, num_samples: int = 500) -> np.ndarray:
        """Returns log p(x) of each example in nats, [N], by importance sampling with q(z|x).

        log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), with z_k ~ q(z|x)   (GAPS Eq. 9)

        The estimate of a finite number K of samples is low on average. For images it is a density
        of pixels in [0, config.data.scale], if the likelihood is a density. Example i draws its
        noise from `jax.random.fold_in(rng, i)`.

        Args:
            rng: a JAX key, or a seed.
            x: examples.
            num_samples: K, for each example.

        Raises:
            UsageError: if x are no examples of this run, or the model has no p(x).
        """
        num_samples, key = count_of("num_samples", num_samples, 1), key_of(rng)
        examples = self._stored(x)
        chunk = min(num_samples, self.config.evaluations.marginal_likelihood.chunk_size)
        try:
            with jax.default_matmul_precision("float32"):
                return map_bound(
                    self._trained,
                    importance_log_evidence,
                    self._some(examples),
                    1,
                    rng=key,
                    num_samples=num_samples,
                    chunk_size=chunk,
                )[0][: len(examples)]
        except evaluation.NotApplicable as reason:
            raise UsageError(f"log_prob does not apply to this run: {reason}") from reason

    def measure(
        self, x: Any, names: Sequence[str] = (), *, options: Mapping[str, Any] | None = None
    ) -> dict[str, float | None]:
        """Returns measures of these examples by name, as results.json has them under "metrics".

        A measure that does not apply to the model is None. If a measure cannot be trusted as it
        stands, the logger "sfvae_jax" warns and says why. Evaluations that need more examples than
        x, such as `frechet`, read the data set.

        docs/evaluations.md says what they are, and in which units.

        Args:
            x: examples, at least one.
            names: the evaluations; (): those of the config.
            options: what to change of the config's options of these evaluations, such as
                {"iwae_bound.num_samples": 100, "batch_size": 50}.

        Raises:
            UsageError: if x are no examples of this run, an evaluation or an option is unknown, an
                option is not read, or a value breaks its rule.
        """
        examples = self._stored(x)
        if not len(examples):
            raise UsageError("x holds no examples; there is nothing to measure")
        group = measured(self.config, names, options or {})
        trained = dataclasses.replace(self._trained, images=examples, config=group)
        found = measure(trained)
        log_caveats(found["caveats"])
        return found["metrics"]

    def export(self, path: str | os.PathLike) -> Path:
        """Writes the model to a file for other programs, and returns its path.

        A name that ends with .npz gets all variables, by names such as
        "params/decoder/Dense_0/kernel". A name that ends with .stablehlo gets `decode` by
        `jax.export`, with the parameters in it: a function from float32 latents [n, m], for any n,
        to means of p(x|z), or to the rules of the likeliest sequence, on CPU, CUDA and TPU.

        Args:
            path: where to write; an existing file is replaced.

        Raises:
            UsageError: if the name ends with something else, or a package is missing.
            RunError: if the file cannot be written.
        """
        return write_model(self._bare, self.latent_size, path)

    @property
    def _blank(self) -> np.ndarray:
        """One example without content, which has the shape and the type of all others."""
        return blank_example(self.example_shape, data.language(self._settings.data))

    def _some(self, examples: np.ndarray) -> np.ndarray:
        """Returns the examples, or one if there are none: its results have the right shapes."""
        return examples if len(examples) else self._blank

    @functools.cached_property
    def _trained(self) -> evaluation.TrainedModel:
        """The model with its prior, which floats with some objectives."""
        if objectives.OBJECTIVES[self.config.objective.name].prior != "floating":
            return self._bare
        prior = recorded_prior(self._files, self._settings, proof(self._state)["digest"])
        if prior is not None:
            return dataclasses.replace(self._bare, prior_stddev=prior, programs={})
        try:
            return trained_model(
                self._settings, self.model, self._state, self._blank, splits=self._splits
            )
        except UsageError as error:
            raise UsageError(
                f"the prior of this run is fitted to its training data, and results.json of"
                f" {self._files.name} does not have it for step {self.step}: {error}; evaluate the"
                " run where its data are (--mode=evaluate)"
            ) from error

    def _stored(self, x: Any) -> np.ndarray:
        as_bytes = LIKELIHOODS[self.config.likelihood.name].requires_bytes
        return stored_examples(x, self.example_shape, self._bare.language, as_bytes=as_bytes)

    def _density(self, name: str, given: str, codes: Any, noise: np.random.Generator) -> Density:
        if codes is None:
            with jax.default_matmul_precision("float32"):
                return density_of(self._trained if name == "prior" else self._bare, name)
        codes, fit = latents(codes, self.latent_size), DENSITIES[name].of_codes
        if fit is None:
            others = [repr(known) for known, spec in DENSITIES.items() if spec.of_codes]
            raise UsageError(
                f"density {given!r} is not fitted to codes that are given; leave codes out, or"
                f" choose {' or '.join(others)}"
            )
        try:
            return fit(codes, self.config.evaluations.generated, noise)
        except ValueError as error:
            raise UsageError(f"density {given!r}: codes: {error}") from error


def _check_step(files: Workdir, step: int | None) -> None:
    if step is not None and (isinstance(step, bool) or not isinstance(step, (int, np.integer))):
        raise UsageError(f"step must be a whole number or None, got {step!r}")
    if not checkpoint_steps(files.checkpoints):
        raise UsageError(f"workdir {files.name} holds no checkpoint yet; train first")
