"""Checks of what a plugin registers: names, types, numbers of arguments and options."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import ml_collections

from sfvae_jax.data import SPLITS
from sfvae_jax.data.sequences.kind import SequenceKind
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Language
from sfvae_jax.options import Option, is_plain, shown
from sfvae_jax.plugins.rooms import Room

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# What a field of a type must be, in words.
_WORDS = {str: "a text", bool: "True or False", int: "a whole number", float: "a number"}
_PRIORS = ("fixed", "floating", "none")
_CHOICES = {"prior": _PRIORS, "splits": SPLITS}  # by the names of fields
_NETWORKS = {False: 4, True: 3}  # arguments of ModelSpec.networks, for images and for sequences


def check_spec(room: Room, spec: Any) -> None:
    """Checks that a spec is complete and well-typed, and that its options are options.

    Raises:
        UsageError: naming the spec and the field.
    """
    _check_name(room, spec)
    what = f"{room.noun} {spec.name!r}"
    _check_fields(what, spec)
    kind = getattr(spec, "kind", None)
    if isinstance(kind, SequenceKind):
        _check_fields(f"{what}: kind", kind)
    if not getattr(spec, "summary", "") and not getattr(spec, "help", ""):
        raise UsageError(f"{what}: summary must say in a line what it is")
    _check_options(room, what, spec)
    for field, allowed in _CHOICES.items():
        for value in _as_tuple(getattr(spec, field, ())):
            if isinstance(value, str) and value not in allowed:
                raise UsageError(
                    f"{what}: {field} must be one of {', '.join(allowed)}, got {value!r}"
                )
    if hasattr(spec, "networks"):
        problem = _arguments_problem(spec.networks, _NETWORKS[spec.of_sequences])
        if problem:
            raise UsageError(f"{what}: networks {problem}")


def _check_name(room: Room, spec: Any) -> None:
    name = spec.name
    is_source = room.group == "data"
    ending = ":" if is_source else ""
    if not isinstance(name, str) or not _NAME.fullmatch(name.removesuffix(ending)):
        example = ", as in rings or, if a PATH follows, rings:" if is_source else ""
        raise UsageError(
            f"{room.noun} {shown(name)}: a name has letters, digits and underscores, and begins"
            f" with a letter{example}"
        )


def _check_fields(what: str, spec: Any) -> None:
    """Checks the type of every field, and how many arguments functions take."""
    hints = get_type_hints(type(spec), localns={"Language": Language})
    for field in dataclasses.fields(spec):
        problem = _problem(getattr(spec, field.name), hints[field.name])
        if problem:
            raise UsageError(f"{what}: {field.name} {problem}")


def _problem(value: Any, hint: Any) -> str:
    """Says in words how a value differs from its annotation; "" if it fits."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return ""
    if origin in (Union, types.UnionType):
        problems = [_problem(value, one) for one in args]
        return "" if "" in problems else problems[0]
    if hint is type(None):
        return "" if value is None else "must be None"
    if hint in _WORDS:
        given = isinstance(value, (int, float) if hint is float else hint)
        is_flag = isinstance(value, bool) and hint is not bool
        return "" if given and not is_flag else f"must be {_WORDS[hint]}, got {shown(value)}"
    if origin is Literal:
        listed = ", ".join(map(repr, args))
        return "" if value in args else f"must be one of {listed}, got {shown(value)}"
    if origin is tuple:
        return _tuple_problem(value, args[0])
    if origin is not None and issubclass(origin, Mapping):
        return "" if isinstance(value, Mapping) else f"must be a dictionary, got {shown(value)}"
    number = _number_of_arguments(hint)
    if number is not None:
        return _arguments_problem(value, number)
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        given = isinstance(value, hint)
        return "" if given else f"must be of class {hint.__name__}, got {shown(value)}"
    return ""


def _tuple_problem(value: Any, hint: Any) -> str:
    if not isinstance(value, tuple):
        return f"must be a tuple, such as (A, B) or (A,), got {shown(value)}"
    problems = filter(None, (_problem(entry, hint) for entry in value))
    return next((f"has an entry that {problem}" for problem in problems), "")


def _number_of_arguments(hint: Any) -> int | None:
    """Returns how many arguments a function of this type takes; None for another type, -1 if any.

    A protocol with `__call__` is the type of a function.
    """
    if get_origin(hint) is Callable:
        arguments = get_args(hint)[0]
        return -1 if arguments is Ellipsis else len(arguments)
    if getattr(hint, "_is_protocol", False) and "__call__" in vars(hint):
        return len(inspect.signature(hint.__call__).parameters) - 1
    return None


def _arguments_problem(value: Any, number: int) -> str:
    expected = f"must be a function of {number} argument{'s' if number != 1 else ''}"
    if not callable(value):
        return f"{'must be a function' if number < 0 else expected}, got {shown(value)}"
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a function of C tells nothing
        return ""
    try:
        if number >= 0:
            signature.bind(*[None] * number)
    except TypeError:
        return f"{expected}, got one of {signature}"
    return ""


def _check_options(room: Room, what: str, spec: Any) -> None:
    """Checks the options that a spec adds, and that those it names exist."""
    if room.group == "evaluations":
        _check_group(f"evaluations.{spec.name}.", what, spec.options)
        return
    own = room.own_options(spec)
    _check_group(f"{room.group}.", what, own)
    known = {*room.options(room.table), *own}
    for field in ("options", "loss_scales"):
        for name in getattr(spec, field, ()):
            if name not in known:
                raise UsageError(
                    f"{what}: {field} names {room.group}.{name}, which is not an option; describe"
                    " it in own_options"
                )


def _check_group(prefix: str, what: str, group: Mapping[str, Any]) -> None:
    for name, entry in group.items():
        key = f"{prefix}{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(
                f"{what}: the name of option {key} must consist of letters, digits and _"
            )
        if hasattr(ml_collections.ConfigDict, name) or name in ("latent_size", "name"):
            raise UsageError(f"{what}: an option cannot be named {name!r}; choose another name")
        if isinstance(entry, Mapping):
            _check_group(f"{key}.", what, entry)
        elif not isinstance(entry, Option):
            raise UsageError(
                f"{what}: {key} must be Option(default, rule, help), got {shown(entry)}"
            )
        elif not is_plain(entry.default):
            raise UsageError(
                f"{what}: the default of {key} must be a number, a text, True, False, None or a"
                f" tuple of these, got {shown(entry.default)}"
            )
        elif not isinstance(entry.help, str) or not entry.help.strip():
            raise UsageError(f"{what}: {key} must have a help text")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
