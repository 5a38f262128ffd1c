"""What is refused when it is registered, and in what words."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
import pytest

from sfvae_jax import plugins
from sfvae_jax.data import SOURCES
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.bounds.collapse import COLLAPSE
from sfvae_jax.evaluation.registry import EVALUATIONS
from sfvae_jax.likelihoods import LIKELIHOODS, Bernoulli
from sfvae_jax.models import MODELS
from sfvae_jax.objectives import OBJECTIVES, Loss
from sfvae_jax.options import COUNT, POSITIVE, Option
from sfvae_jax.plugins.checks import check_spec
from sfvae_jax.plugins.rooms import ROOMS, enter, room_of
from sfvae_jax.plugins.trials import try_spec
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.training.updates.optimizers import OPTIMIZERS

pytestmark = pytest.mark.usefixtures("no_plugins")

SAMPLING, RAE, BILBO = OBJECTIVES["sampling"], OBJECTIVES["rae"], OBJECTIVES["bilbo"]
BERNOULLI, MLP, DIAGONAL = LIKELIHOODS["bernoulli"], MODELS["mlp"], POSTERIORS["diagonal"]
SPRITES, EQUATIONS = SOURCES["sprites"], SOURCES["equations"]


def _refused(spec, **changes):
    with pytest.raises(UsageError) as caught:
        plugins.register(dataclasses.replace(spec, **{"name": "mine", **changes}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.group)
def test_every_spec_of_the_library_passes(room):
    """The checks ask for nothing that the library's own parts do not have."""
    for name, spec in room.table.items():
        spec = dataclasses.replace(spec, name=name)
        check_spec(room, spec)
        try_spec(room, spec)


@pytest.mark.parametrize(
    ("spec", "changes", "told"),
    [
        (SAMPLING, {"name": "my objective"}, "a name has letters, digits and underscores"),
        (SAMPLING, {"name": 3}, "objective 3: a name has letters"),
        (SPRITES, {"name": "a:b"}, "as in rings or, if a PATH follows, rings:"),
        (SAMPLING, {"summary": ""}, "objective 'mine': summary must say in a line what it is"),
        (SAMPLING, {"bound": None}, "objective 'mine': bound must be a text, got None"),
        (SAMPLING, {"parts": "yes"}, "parts must be True or False, got 'yes'"),
        (SAMPLING, {"smallest_batch": True}, "smallest_batch must be a whole number, got True"),
        (SAMPLING, {"default_beta": "1"}, "default_beta must be a number, got '1'"),
        (SAMPLING, {"options": ["num_samples"]}, "options must be a tuple, such as (A, B) or (A,)"),
        (
            SAMPLING,
            {"options": ("samples",)},
            "options names objective.samples, which is not an option",
        ),
        (SAMPLING, {"prior": "none at all"}, "prior must be one of fixed, floating, none, got"),
        (SAMPLING, {"of_example": 5}, "of_example must be a function of 1 argument, got 5"),
        (
            SAMPLING,
            {"of_example": lambda rng, x: 0.0},
            "of_example must be a function of 1 argument, got one of (rng, x)",
        ),
        (BERNOULLI, {"build": lambda settings: None}, "build must be a function of 2 arguments"),
        (BERNOULLI, {"link": lambda outputs: outputs}, "link must be a function of 3 arguments"),
        (DIAGONAL, {"build": lambda raw: raw}, "build must be a function of 3 arguments"),
        (MLP, {"networks": lambda settings: None}, "networks must be a function of 4 arguments"),
        (SPRITES, {"open": lambda path: {}}, "open must be a function of 2 arguments"),
        (
            SPRITES,
            {"splits": ("train", "tests")},
            "splits must be one of train, valid, test, got 'tests'",
        ),
        (SPRITES, {"kind": "words"}, "kind must be of class SequenceKind, got 'words'"),
        (SPRITES, {"shape": (1.5,)}, "shape has an entry that must be a whole number, got 1.5"),
        (COLLAPSE, {"function": lambda trained: {}}, "function must be a function of 2 arguments"),
        (COLLAPSE, {"examples": "text"}, "examples must be one of 'images', 'sequences', 'both'"),
        (COLLAPSE, {"measures": ("mine",)}, "measures has an entry that must be of class Measure"),
        (COLLAPSE, {"name": ""}, "evaluation '': a name has letters"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(spec, changes, told):
    assert told in _refused(spec, **changes)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"tau2": 5}, "objective.tau2 must be Option(default, rule, help), got 5"),
        (
            {"a b": Option(1, COUNT, "x")},
            "the name of option objective.a b must consist of letters",
        ),
        ({"items": Option(1, COUNT, "x")}, "an option cannot be named 'items'"),
        ({"size": Option(1, COUNT, "")}, "objective.size must have a help text"),
        (
            {"size": Option([], plugins.SIZES, "x")},
            "the default of objective.size must be a number",
        ),
    ],
)
def test_an_option_is_an_option(own, told):
    assert told in _refused(SAMPLING, own_options=own)


def test_an_option_whose_default_breaks_its_rule():
    with pytest.raises(TypeError, match=r"the default -1\.0 must be a positive"):
        plugins.Option(-1.0, POSITIVE, "x")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Q:
    mean: jax.Array

    def center(self):
        return self.mean

    def sample_and_log_prob(self, rng):
        return self.mean, self.mean  # not a scalar


@dataclasses.dataclass(frozen=True)
class _NotAPytree(_Q):
    pass


class _P:
    def log_prob(self, x, parameters):
        return x - parameters

    def mean(self, parameters):
        return parameters


class _FlatBernoulli(Bernoulli):
    information = property()  # reading it is an AttributeError


def _raise(*unused):
    raise RuntimeError("of one's own")


@pytest.mark.parametrize(
    ("spec", "changes", "told"),
    [
        (DIAGONAL, {"build": lambda *a: 3}, "build must return a dataclass with a field `mean`"),
        (DIAGONAL, {"build": lambda s, raw, d: _NotAPytree(raw[:3])}, "which is a pytree (@jax"),
        (DIAGONAL, {"build": lambda s, raw, d: _Q(raw)}, "mean must have shape (3,), got (6,)"),
        (
            DIAGONAL,
            {"build": lambda s, raw, d: _Q(raw[:3])},
            "sample_and_log_prob(rng) must have shape (), got (3,)",
        ),
        (
            POSTERIORS["linearized"],
            {"of_decoder": lambda code, decode, x, likelihood: code},
            "Point must have `sample_and_log_prob`",
        ),
        (DIAGONAL, {"num_outputs": lambda s: 0}, "num_outputs must return a positive whole number"),
        (BERNOULLI, {"build": lambda *a: _P()}, "log_prob(x, parameters) must have shape (), got"),
        (BERNOULLI, {"link": None}, "link is missing; it makes the parameters from the decoder's"),
        (BERNOULLI, {"squared_error": True}, "Bernoulli must have `variance`"),
        (BERNOULLI, {"build": lambda *a: _FlatBernoulli()}, "must have `information`"),
        (MLP, {"networks": lambda *a: 5}, "networks must return two Flax modules"),
        (
            MLP,
            {"networks": lambda c, shape, n, k: MLP.networks(c, shape, n + 1, k)},
            "the encoder's output must have 6 numbers for images of (28, 28, 1), got shape (7,)",
        ),
        (SAMPLING, {"parts": False}, "of_example returns an Elbo, so parts must be True"),
        (RAE, {"parts": True}, "of_example returns no Elbo, so parts must be False"),
        (SAMPLING, {"of_example": lambda e: (e.x, 1.0), "parts": False}, "of scalars"),
        (
            RAE,
            {"of_example": lambda e: Loss(jnp.sum(e.x), {"norm": jnp.sum(e.x)})},
            "unknown term of term_weights: 'code_norm'",
        ),
        (BILBO, {"of_batch": lambda b: jnp.zeros((b.x.shape[0], 2))}, "of scalars"),
    ],
)
def test_what_has_a_wrong_shape_is_refused_before_any_run(spec, changes, told):
    assert told in _refused(spec, **changes)


def test_an_error_of_ones_own_keeps_its_words():
    with pytest.raises(RuntimeError, match="of one's own"):
        plugins.register(dataclasses.replace(SAMPLING, name="mine", of_example=_raise))


@pytest.mark.parametrize(
    ("spec", "changes", "told"),
    [
        (
            SAMPLING,
            {"default_posterior": "uniform"},
            "default_posterior 'uniform' is unknown; takes",
        ),
        (
            SAMPLING,
            {"default_posterior": "none"},
            "'none' is not accepted; takes_posterior accepts: d",
        ),
        (
            SAMPLING,
            {"takes_likelihood": lambda likelihood: False},
            "takes_likelihood accepts no likelihood",
        ),
        (
            SAMPLING,
            {"own_options": {"gamma": Option(1, COUNT, "x")}},
            "objective.gamma is an option",
        ),
        (COLLAPSE, {"name": "steps"}, "evaluations.steps is an option already"),
        (COLLAPSE, {}, "evaluation 'collapse' takes the measure 'collapse_fraction' already"),
        (
            EQUATIONS,
            {"kind": dataclasses.replace(EQUATIONS.kind, singular="text")},
            "there is a kind of sequences 'equations' already; choose another name for the kind",
        ),
    ],
)
def test_what_collides_with_the_library_is_refused(spec, changes, told):
    mine = dataclasses.replace(spec, **{"name": "mine", **changes})
    with pytest.raises(UsageError) as caught:
        enter("my_parts.py", [mine])
    assert told in str(caught.value)
    assert "mine" not in room_of(mine).table
    assert "mine" not in EVALUATIONS


def test_an_objective_may_take_a_posterior_of_the_same_plugin():
    """In whatever order they are registered."""
    own = dataclasses.replace(DIAGONAL, name="own_posterior")
    mine = dataclasses.replace(SAMPLING, name="mine", default_posterior="own_posterior")
    plugins.register(mine, own)
    enter("my_parts.py", [mine, own])
    assert OBJECTIVES["mine"].posteriors_in(POSTERIORS)[0] == "own_posterior"


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (
            lambda rate, **unused: optax.stateless(lambda g, params: jax.tree.map(jnp.sum, g)),
            "build: the shapes of the updates of a step must be",
        ),
        (lambda rate, **unused: rate, "float must have `init`"),
        (7, "build must be a function"),
    ],
)
def test_a_wrong_optimizer_is_told(build, told):
    assert f"optimizer 'mine': {told}" in _refused(OPTIMIZERS["adam"], build=build)
