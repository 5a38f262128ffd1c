"""The loss on the valid split, which reduces the learning rate and stops training early."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax import Array

from sfvae_jax.data import as_seen
from sfvae_jax.models import Model
from sfvae_jax.objectives import spectral_normalize
from sfvae_jax.runtime import processes
from sfvae_jax.training import early_stopping
from sfvae_jax.training.losses.base import build_loss, weights_at
from sfvae_jax.training.losses.model_functions import model_functions
from sfvae_jax.training.schedules import make_schedules, settled_after
from sfvae_jax.training.state import TrainState, averaged, make_keys

_LEAST = 1e-30  # any smaller loss is an improvement; optax requires a positive threshold


class Validation:
    """The training loss on the valid split, and what follows from it.

    With `train.validate_ema` the model is the moving average of its parameters. BatchNorm uses its
    running averages, the noise is the same each time, and annealed weights have the values of the
    last step, so that no schedule looks like a plateau. The loss is computed on batches of about
    `evaluations.batch_size`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        model: Model,
        examples: np.ndarray,
    ) -> None:
        """Prepares the loss; nothing is compiled yet.

        Args:
            config: resolved.
            model: the one that it describes.
            examples: the valid split, as stored.
        """
        schedules = make_schedules(config.objective, config.train.steps)
        batch_loss = build_loss(config, axis_name=None)
        last_step = jnp.asarray(config.train.steps - 1)

        @jax.jit
        def loss(state: TrainState, rng: Array, stored: Array) -> Array:
            if config.train.validate_ema:
                state = averaged(state)
            params, _ = spectral_normalize(state.params, state.vectors)
            functions = model_functions(
                model, params, state.batch_stats, config.objective.jacobian_dtype
            )
            x = as_seen(stored, config.data.scale)
            with jax.default_matmul_precision(config.train.matmul_precision):
                return batch_loss(rng, functions, x, weights_at(schedules, last_step))[0]

        self._loss = loss
        num_batches = math.ceil(len(examples) / config.evaluations.batch_size)
        self._batches = np.array_split(examples, num_batches)  # their sizes differ by 1 at most
        self._rng = make_keys(config.seed).evaluation
        plateau = optax.contrib.reduce_on_plateau(
            config.train.plateau_factor,
            max(config.train.plateau_patience, 1),
            rtol=0.0,
            atol=_LEAST,
        )
        # Without jit it would be compiled anew, and the program kept, at each validation.
        self._update = jax.jit(lambda state, loss: plateau.update((), state, value=loss)[1])
        self._halving = config.train.plateau_patience > 0
        self._stopping = config.train.stop_patience > 0
        unsettled = 0
        if self._stopping:
            every = config.train.validate_every
            unsettled = settled_after(schedules, config.train.steps, every)
        self._note = jax.jit(
            lambda state, loss: early_stopping.note(state, loss, state.step > unsettled)
        )

    def loss(self, state: TrainState) -> float:
        """Computes the mean of the objective's loss over the examples, in its own units.

        Each process takes its share of the batches, and all get the same number.
        """
        losses = np.zeros(len(self._batches), np.float32)
        for number in range(jax.process_index(), len(losses), jax.process_count()):
            rng = jax.random.fold_in(self._rng, number)
            losses[number] = self._loss(state, rng, self._batches[number])
        losses = processes.gathered(losses).sum(0)  # only one process has computed each
        sizes = list(map(len, self._batches))
        return sum(n * float(loss) for n, loss in zip(sizes, losses, strict=True)) / sum(sizes)

    def observe(self, state: TrainState, loss: float) -> TrainState:
        """Returns the state after a validation: with a reduced learning rate, or a new best model.

        The learning rate is reduced after `train.plateau_patience` validations without a new lowest
        loss. A run that may stop early keeps its best validation. One that is no better counts only
        once all annealed weights have their last values for good, because until then the model is
        trained with other weights than it is judged by.
        """
        if self._halving:
            plateau = self._update(state.plateau, np.float32(loss))
            state = dataclasses.replace(state, plateau=plateau)
        if self._stopping:
            state = dataclasses.replace(state, best=self._note(state, np.float32(loss)))
        return state
