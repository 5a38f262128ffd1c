"""The tables that plugins add to, and which of their entries come from which plugin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sfvae_jax.data import SOURCES, DataSource
from sfvae_jax.data.options import option_group as data_options
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import EVALUATIONS, Evaluation
from sfvae_jax.evaluation import option_group as evaluation_options
from sfvae_jax.likelihoods import LIKELIHOODS, LikelihoodSpec
from sfvae_jax.likelihoods.options import option_group as likelihood_options
from sfvae_jax.models import MODELS, ModelSpec
from sfvae_jax.models.options import option_group as model_options
from sfvae_jax.objectives import OBJECTIVES, ObjectiveInfo
from sfvae_jax.options import Group
from sfvae_jax.posteriors import POSTERIORS, PosteriorSpec
from sfvae_jax.posteriors.options import option_group as posterior_options
from sfvae_jax.training.losses.options import option_group as objective_options
from sfvae_jax.training.options import option_group as train_options
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, OptimizerSpec


@dataclasses.dataclass(frozen=True)
class Room:
    """A table that plugins add to.

    Attributes:
        noun: what an entry is, such as "objective".
        group: its group in a config.
        spec: the class of its specs.
        table: the specs by name, which plugins are added to.
        options: returns the options of the group from a table.
    """

    noun: str
    group: str
    spec: type
    table: dict[str, Any]
    options: Callable[[Mapping[str, Any]], Group]

    def own_options(self, spec: Any) -> Mapping[str, Any]:
        """Returns the options that a spec adds to the group; an evaluation has a group itself."""
        if isinstance(spec, Evaluation):
            return {}
        kind = getattr(spec, "kind", None)
        return {**spec.own_options, **(kind.own_options if kind is not None else {})}


# An objective names a posterior, so that posteriors come first.
ROOMS = (
    Room("posterior", "posterior", PosteriorSpec, POSTERIORS, posterior_options),
    Room("likelihood", "likelihood", LikelihoodSpec, LIKELIHOODS, likelihood_options),
    Room("model", "model", ModelSpec, MODELS, model_options),
    Room("data source", "data", DataSource, SOURCES, data_options),
    Room("objective", "objective", ObjectiveInfo, OBJECTIVES, objective_options),
    Room("optimizer", "train", OptimizerSpec, OPTIMIZERS, train_options),
    Room("evaluation", "evaluations", Evaluation, EVALUATIONS, evaluation_options),
)

_OWNERS: dict[tuple[str, str], str] = {}
"""The plugin, by its key, of each entry that has one; the entry by its group and name."""


def room_of(spec: Any) -> Room:
    """Returns the room that a spec belongs to.

    Raises:
        UsageError: if it is no spec.
    """
    for room in ROOMS:
        if isinstance(spec, room.spec):
            return room
    known = ", ".join(room.spec.__name__ for room in ROOMS)
    raise UsageError(f"register() takes specs ({known}), got {type(spec).__name__}")


def tables_with(plugins: Collection[str] | None) -> dict[str, dict[str, Any]]:
    """Returns the tables by their groups, with the entries of some plugins and the library's own.

    Args:
        plugins: the keys of the plugins; None: of all that this process has imported.
    """
    return {
        room.group: {
            name: spec
            for name, spec in room.table.items()
            if plugins is None or _OWNERS.get((room.group, name)) in (None, *plugins)
        }
        for room in ROOMS
    }


def enter(plugin: str, specs: Sequence[Any]) -> None:
    """Adds the specs of a plugin to the tables: all of them, or none if one is refused.

    Args:
        plugin: its key.
        specs: what it has registered.

    Raises:
        UsageError: naming the spec, and what it collides with.
    """
    entered: list[tuple[Room, Any]] = [
        (room, spec) for room in ROOMS for spec in specs if isinstance(spec, room.spec)
    ]
    with _undone_by_errors():
        for room, spec in entered:
            _check_new(room, spec)
            room.table[spec.name] = spec
            _OWNERS[room.group, spec.name] = plugin
        for _, spec in entered:
            if isinstance(spec, ObjectiveInfo):
                _check_combinations(spec)


def check_beside_library(specs: Sequence[Any]) -> None:
    """Checks that specs can be entered where no plugin is.

    Raises:
        UsageError: naming the spec, and what it collides with.
    """
    with kept():
        for plugin in {*_OWNERS.values()}:
            leave(plugin)
        enter("this file", specs)


def leave(plugin: str) -> None:
    """Removes the specs of a plugin from the tables."""
    for room in ROOMS:
        for name in [*room.table]:
            if _OWNERS.get((room.group, name)) == plugin:
                del room.table[name], _OWNERS[room.group, name]


@contextmanager
def kept() -> Iterator[None]:
    """Restores all tables at the end."""
    before = _snapshot()
    try:
        yield
    finally:
        _restore(*before)


@contextmanager
def _undone_by_errors() -> Iterator[None]:
    before = _snapshot()
    try:
        yield
    except BaseException:
        _restore(*before)
        raise


def _snapshot() -> tuple[dict[tuple[str, str], str], list[dict[str, Any]]]:
    return dict(_OWNERS), [dict(room.table) for room in ROOMS]


def _restore(owners: dict[tuple[str, str], str], tables: list[dict[str, Any]]) -> None:
    _OWNERS.clear()
    _OWNERS.update(owners)
    for room, table in zip(ROOMS, tables, strict=True):
        room.table.clear()
        room.table.update(table)


def _check_new(room: Room, spec: Any) -> None:
    """Checks that a name, options and measures are not those of another entry."""
    if spec.name in room.table:
        owner = _OWNERS.get((room.group, spec.name))
        raise UsageError(
            f"{room.noun} {spec.name!r}: {owner or 'the library'} has one of this name; choose"
            " another name" + (", or name one of the two plugins" if owner else "")
        )
    known = room.options(room.table)
    for name, option in room.own_options(spec).items():
        if name in known and known[name] is not option:
            raise UsageError(
                f"{room.noun} {spec.name!r}: {room.group}.{name} is an option already; choose"
                " another name"
            )
    if isinstance(spec, Evaluation):
        if spec.name in known:
            raise UsageError(
                f"evaluation {spec.name!r}: evaluations.{spec.name} is an option already; choose"
                " another name"
            )
        taken = {one.name: name for name, entry in room.table.items() for one in entry.measures}
        for measure in spec.measures:
            if measure.name in taken:
                raise UsageError(
                    f"evaluation {spec.name!r}: evaluation {taken[measure.name]!r} takes the"
                    f" measure {measure.name!r} already; choose another name"
                )
    if getattr(spec, "kind", None) is not None:
        for other in room.table.values():
            if other.kind and other.kind.name == spec.kind.name and other.kind is not spec.kind:
                raise UsageError(
                    f"data source {spec.name!r}: there is a kind of sequences {spec.kind.name!r}"
                    " already; choose another name for the kind"
                )


def _check_combinations(info: ObjectiveInfo) -> None:
    """Checks that there are posteriors and likelihoods that an objective takes."""
    posteriors, likelihoods = info.posteriors_in(POSTERIORS), info.likelihoods_in(LIKELIHOODS)
    if info.default_posterior not in posteriors:
        found = "is unknown" if info.default_posterior not in POSTERIORS else "is not accepted"
        raise UsageError(
            f"objective {info.name!r}: default_posterior {info.default_posterior!r} {found};"
            f" takes_posterior accepts: {', '.join(posteriors) or 'none'}"
        )
    if not likelihoods:
        raise UsageError(f"objective {info.name!r}: takes_likelihood accepts no likelihood")
