"""Tries what a plugin registers on shapes alone, by `jax.eval_shape`: no number is computed.

A wrong shape or a missing method is thus told when the plugin is imported, not in the middle of a
run. What needs data, such as a data source or an evaluation, is not tried.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from sfvae_jax.errors import UsageError, unknown_name
from sfvae_jax.likelihoods import LIKELIHOODS, Gaussian, LikelihoodSpec
from sfvae_jax.models import ModelSpec
from sfvae_jax.objectives import Batch, Elbo, Example, Loss, ObjectiveInfo, Weights
from sfvae_jax.options import defaults, shown
from sfvae_jax.plugins.rooms import ROOMS, Room
from sfvae_jax.posteriors import POSTERIORS, PosteriorSpec
from sfvae_jax.training.updates.optimizers import OptimizerSpec
from sfvae_jax.training.updates.transformation import transformation

_LATENTS, _SHAPE, _BATCH = 3, (4, 5, 1), 4
_IMAGE = (28, 28, 1)  # for models, some of which take no smaller ones


def try_spec(room: Room, spec: Any) -> None:
    """Tries a spec that has passed `check_spec`.

    Raises:
        UsageError: naming the spec, the method and the shape.
    """
    settings = defaults(room.options({**room.table, spec.name: spec}))
    tries: dict[type, Callable[[], None]] = {
        PosteriorSpec: lambda: _try_posterior(spec, settings),
        LikelihoodSpec: lambda: _try_likelihood(spec, settings),
        ModelSpec: lambda: _try_model(spec, settings),
        ObjectiveInfo: lambda: _try_objective(spec, settings),
        OptimizerSpec: lambda: _try_optimizer(spec, settings),
    }
    attempt = tries.get(type(spec))
    if attempt is None:
        return
    try:
        attempt()
    except UsageError as error:
        raise UsageError(f"{room.noun} {spec.name!r}: {error}") from error


def _try_posterior(spec: PosteriorSpec, settings: ml_collections.ConfigDict) -> None:
    def look(raw: Array, rng: Array) -> Any:
        q = _posterior(spec, settings, raw)
        fields = [f.name for f in dataclasses.fields(q)] if dataclasses.is_dataclass(q) else []
        if "mean" not in fields or any(leaf is q for leaf in jax.tree.leaves(q)):
            raise UsageError(
                "build must return a dataclass with a field `mean` [m], which is a pytree"
                " (@jax.tree_util.register_dataclass)"
            )
        m = (_LATENTS,)
        _has_shape("the posterior's mean", q.mean, m)
        _has_shape("center()", _call(q, "center"), m)
        if spec.has_density:
            _has_shapes("sample_and_log_prob(rng)", _call(q, "sample_and_log_prob", rng), (m, ()))
        if spec.has_density and spec.has_inverse:
            drawn = _call(q, "sample_and_path_log_prob", rng)
            _has_shapes("sample_and_path_log_prob(rng)", drawn, (m, ()))
        for name in ("expected_log_prior", "entropy", "kl_to_prior") if spec.closed_form_kl else ():
            _has_shape(f"{name}()", _call(q, name), ())
        if spec.kl_per_dimension:
            _has_shape("the posterior's stddev", _attribute(q, "stddev"), m)
            _has_shape("kl_per_dimension()", _call(q, "kl_per_dimension"), m)
        if spec.gaussian:
            _has_shape("deviation(noise)", _call(q, "deviation", q.mean), m)
        return q

    number = spec.num_outputs(_with_latents(settings))
    if not isinstance(number, int) or number < 1:
        raise UsageError(f"num_outputs must return a positive whole number, got {number!r}")
    jax.eval_shape(look, _floats(number), jax.random.key(0))


def _try_likelihood(spec: LikelihoodSpec, settings: ml_collections.ConfigDict) -> None:
    if spec.of_sequences:
        return  # what it takes depends on the language
    likelihood = spec.build(settings, None)
    if spec.squared_error:
        _attribute(likelihood, "variance")

    def look(x: Array, rng: Array) -> None:
        parameters = _parameters(spec, jnp.float32(0.0))
        _has_shape("log_prob(x, parameters)", _call(likelihood, "log_prob", x, parameters), ())
        _has_shape("mean(parameters)", _call(likelihood, "mean", parameters), _SHAPE)
        _has_shape("sample(rng, parameters)", _call(likelihood, "sample", rng, parameters), _SHAPE)
        location = _call(likelihood, "location", parameters)
        fisher = _call(likelihood, "fisher", parameters)
        if jax.tree.map(jnp.shape, fisher) != jax.tree.map(jnp.shape, location):
            raise UsageError("fisher(parameters) must have the shape of location(parameters)")
        if spec.has_information:
            found = _call(likelihood, "information", x, parameters, parameters)
            _has_shape("information(x, parameters, tangent)", found, ())

    jax.eval_shape(look, _floats(*_SHAPE), jax.random.key(0))


def _try_model(spec: ModelSpec, settings: ml_collections.ConfigDict) -> None:
    if spec.of_sequences:
        return  # its networks depend on the language
    settings.name, number, multiple = spec.name, 6, 2
    try:
        made = spec.networks(settings, _IMAGE, number, multiple)
    except UsageError:
        return  # it does not take images of this size, or not by default
    if not (
        isinstance(made, tuple) and len(made) == 2 and all(isinstance(n, nn.Module) for n in made)
    ):
        raise UsageError("networks must return two Flax modules, (encoder, decoder)")
    size = multiple * math.prod(_IMAGE)
    for name, network, example, wanted in (
        ("encoder", made[0], _floats(*_IMAGE), number),
        ("decoder", made[1], _floats(settings.latent_size), size),
    ):
        found, _ = jax.eval_shape(
            lambda x, network=network: network.init_with_output(jax.random.key(0), x, None), example
        )
        shape = found.shape
        if math.prod(shape) != wanted or (name == "encoder" and len(shape) != 1):
            raise UsageError(
                f"the {name}'s output must have {wanted} numbers for images of {_IMAGE}, got shape"
                f" {shape}"
            )


def _try_objective(info: ObjectiveInfo, settings: ml_collections.ConfigDict) -> None:
    family = POSTERIORS.get(info.default_posterior)
    images = {name: spec for name, spec in LIKELIHOODS.items() if not spec.of_sequences}
    taken = info.likelihoods_in(images)
    if family is None or not taken:
        return
    likelihood = images[taken[0]]
    settings.name = info.name
    settings.beta = 1.0 if info.default_beta is None else info.default_beta
    settings.penalty_weight = info.default_penalty_weight or 0.0
    options = {name: _defaults_of(name) for name in ("posterior", "likelihood")}

    def decode(z: Array) -> Any:
        return _parameters(likelihood, jnp.sum(z))

    def look(x: Array, raw: Array, rng: Array) -> Any:
        q = _posterior(family, options["posterior"], raw)
        given = {
            "rng": rng,
            "posterior_variance": 1.0,
            "decode": decode,
            "likelihood": likelihood.build(options["likelihood"], None),
            "options": settings,
        }
        if info.of_example is not None:
            one = jnp.float32(1.0)
            example = Example(
                x=x,
                posterior=q,
                tangent_decode=None,
                decoder_params={},
                squared_error=likelihood.squared_error,
                of_sequences=False,
                weights=Weights(one, one, one),
                **given,
            )
            return info.of_example(example)
        assert info.of_batch is not None
        batch = Batch(
            x=jnp.stack([x] * _BATCH),
            means=jnp.stack([q.mean] * _BATCH),
            decode_given=lambda x: decode,
            tangent_decode=None,
            squared_error=likelihood.squared_error,
            axis_name=None,
            **given,
        )
        return info.of_batch(batch)

    number = family.num_outputs(_with_latents(options["posterior"]))
    value = jax.eval_shape(look, _floats(*_SHAPE), _floats(number), jax.random.key(0))
    _check_value(info, settings, value)


def _try_optimizer(spec: OptimizerSpec, settings: ml_collections.ConfigDict) -> None:
    params = {"params": {"encoder": {"kernel": _floats(4, 3), "bias": _floats(3)}}}
    optimizer = transformation(settings, 1e-3, spec)
    state = jax.eval_shape(_attribute(optimizer, "init"), params)
    updates, following = jax.eval_shape(_attribute(optimizer, "update"), params, state, params)
    for what, tree, like in (("updates", updates, params), ("state", following, state)):
        before, after = (jax.tree.map(lambda leaf: leaf.shape, one) for one in (like, tree))
        if before != after:
            raise UsageError(f"build: the shapes of the {what} of a step must be {before}")


def _check_value(info: ObjectiveInfo, settings: ml_collections.ConfigDict, value: Any) -> None:
    shapes = ((),) if info.of_example is not None else ((), (_BATCH,))
    name = "of_example" if info.of_example is not None else "of_batch"
    if isinstance(value, Elbo) != info.parts:
        have = "returns an Elbo" if isinstance(value, Elbo) else "returns no Elbo"
        raise UsageError(f"{name} {have}, so parts must be {isinstance(value, Elbo)}")
    if isinstance(value, Elbo):
        numbers = {"log_likelihood": value.log_likelihood, "log_prior": value.log_prior}
        numbers["entropy"] = value.entropy
    elif isinstance(value, Loss):
        numbers = {"value": value.value, **value.terms}
        for term in info.term_weights(settings) if info.term_weights is not None else ():
            if term not in value.terms:
                raise unknown_name("term of term_weights:", term, value.terms)
    else:
        numbers = {"its value": value}
    for what, number in numbers.items():
        if not hasattr(number, "shape") or number.shape not in shapes:
            raise UsageError(
                f"{name} must return an Elbo, a Loss or a bound, of scalars; {what} is {number!r}"
            )


def _posterior(spec: PosteriorSpec, settings: ml_collections.ConfigDict, raw: Array) -> Any:
    def declare(name: str, init: Callable[[Array], Any]) -> Any:
        return init(jax.random.key(0))

    code = spec.build(_with_latents(settings), raw, declare)
    x = jnp.zeros(_SHAPE)
    return spec.posterior(code, lambda z: jnp.sum(z) + x, x, Gaussian(1.0))


def _with_latents(settings: ml_collections.ConfigDict) -> Any:
    return types.SimpleNamespace(latent_size=_LATENTS, **settings.to_dict())


def _parameters(spec: LikelihoodSpec, center: Array) -> Any:
    """The parameters that the link makes of outputs near a number."""
    if spec.link is None:
        raise UsageError("link is missing; it makes the parameters from the decoder's output")
    number = spec.num_scales(_SHAPE)
    outputs = center + jnp.zeros((spec.outputs_per_element, *_SHAPE))
    return spec.link(outputs, lambda mean: mean, jnp.zeros(number) if number else None)


def _defaults_of(group: str) -> ml_collections.ConfigDict:
    room = next(room for room in ROOMS if room.group == group)
    return defaults(room.options(room.table))


def _attribute(holder: Any, name: str) -> Any:
    if not hasattr(holder, name):
        raise UsageError(f"{type(holder).__name__} must have `{name}`")
    return getattr(holder, name)


def _call(holder: Any, name: str, *arguments: Any) -> Any:
    return _attribute(holder, name)(*arguments)


def _has_shape(what: str, value: Any, shape: tuple[int, ...]) -> None:
    if isinstance(value, (Mapping, tuple, list)) or jnp.shape(value) != shape:
        got = value.shape if hasattr(value, "shape") else shown(value)
        raise UsageError(f"{what} must have shape {shape}, got {got}")


def _has_shapes(what: str, values: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    if not isinstance(values, tuple) or len(values) != len(shapes):
        raise UsageError(f"{what} must return z [m] and log q(z|x), a scalar")
    for value, shape in zip(values, shapes, strict=True):
        _has_shape(what, value, shape)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
