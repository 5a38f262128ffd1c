"""Options of a configuration: for each its default, the rule for its values, and its help.

A group of options is a table from names to `Option`s or to groups inside it. The table of a package
is in its `options.py`; `config.py` puts the tables together.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol, Union

import ml_collections
import numpy as np
from ml_collections import config_dict

from sfvae_jax.errors import UsageError, unknown_name

INT32_MAX = 2**31 - 1
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_MOST_SHOWN = 120  # characters of a value in a message

# Kinds of names that plugins add to, and what to do about a name that a plugin has.
_EXTENDED = ("objective", "posterior", "likelihood", "model", "optimizer", "evaluation")
_FROM_PLUGINS = "; others need --config.plugins=FILE.py"


class Rule(NamedTuple):
    """The rule for the values of an option.

    Attributes:
        holds: whether a value keeps the rule; it takes any object and does not raise.
        expected: what a value must be, in words that follow "must be".
        names: the choices, if the value is a name or a tuple of names.
        kind: what these names are, such as "objective".
    """

    holds: Callable[[Any], bool]
    expected: str
    names: tuple[str, ...] = ()
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a group.

    Attributes:
        default: its value unless a config changes it.
        rule: what its values must be.
        help: what it does.
        of: the type of its values if the default does not tell: it is None, or values of several
            types are allowed (object).

    Raises:
        TypeError: if the default breaks the rule, or is None without a type.
    """

    default: Any
    rule: Rule
    help: str
    of: type | None = None

    def __post_init__(self) -> None:
        """Checks the default."""
        if not self.rule.holds(self.default) or (self.default is None and self.of is None):
            raise TypeError(f"the default {self.default!r} must be {self.rule.expected}")


Group = Mapping[str, Union[Option, "Group"]]


def whole(least: int, most: int = INT32_MAX, most_text: str = "") -> Rule:
    """A whole number from `least` to `most`, but not True or False.

    Args:
        least: the smallest value.
        most: the largest value.
        most_text: how a message writes the largest value, if not in digits.
    """
    limit = most_text or {INT32_MAX: "2**31 - 1", 2**32 - 1: "2**32 - 1"}.get(most, str(most))
    return Rule(
        lambda value: is_whole(value, least, most), f"a whole number from {least} to {limit}"
    )


def one_of(kind: str, names: Iterable[str]) -> Rule:
    """One of the names in a table, to which others may be added later."""
    table = names if isinstance(names, Mapping) else frozenset(names)
    names = tuple(names)
    holds = lambda value: isinstance(value, str) and value in table  # noqa: E731
    return Rule(holds, f"one of {', '.join(map(repr, names))}", names, kind)


def some_of(kind: str, names: Iterable[str], *, least: int = 1) -> Rule:
    """A tuple of different names in a table, at least `least` of them."""
    names = tuple(names)

    def holds(value: Any) -> bool:
        given = is_tuple_of(value, lambda name: isinstance(name, str) and name in names)
        return given and len(value) >= least and len(set(value)) == len(value)

    number = f"{least} or more" if least else "any"
    return Rule(holds, f"{number} of {', '.join(names)}, none of them twice", names, kind)


def optional(rule: Rule) -> Rule:
    """The same rule, which also allows None."""
    return rule._replace(holds=lambda value: value is None or rule.holds(value))


def numbers_in(low: float, high: float, text: str) -> Rule:
    """A number with `low` <= number <= `high`; `text` says so in words."""
    return Rule(lambda value: is_number(value) and low <= value <= high, text)


def tuple_of(holds: Callable[[Any], bool], expected: str) -> Rule:
    """A tuple or a list, all of whose entries hold."""
    return Rule(lambda value: is_tuple_of(value, holds), expected)


def is_whole(value: Any, least: int = 0, most: int = INT32_MAX) -> bool:
    """Whether a value is a whole number from `least` to `most`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_integer and least <= value <= most


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number in the range of float32."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and -_HUGE <= value <= _HUGE


def is_tuple_of(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether a value is a tuple or a list whose entries all hold."""
    return isinstance(value, (tuple, list)) and all(map(holds, value))


def _is_positive(value: Any) -> bool:
    return is_number(value) and value >= _TINY


COUNT = whole(1)
COUNT_OR_0 = whole(0)
DRAWN = whole(1, 1000)  # number of things in a picture
POSITIVE = Rule(_is_positive, "a positive, finite number that float32 holds, 1.2e-38 to 3.4e38")
NOT_NEGATIVE = Rule(
    lambda value: _is_positive(value) or (is_number(value) and value == 0),
    "a finite number, 0 or more, that float32 holds",
)
IN_0_1 = numbers_in(0.0, 1.0, "a number in [0, 1]")
BELOW_1 = numbers_in(0.0, math.nextafter(1.0, 0.0), "a number in [0, 1)")
BETWEEN_0_1 = numbers_in(_TINY, math.nextafter(1.0, 0.0), "a number in (0, 1)")
SIZES = tuple_of(lambda size: is_whole(size, 1), "positive sizes, such as (512, 256), or ()")
STEPS = tuple_of(is_whole, "steps, 0 or more, such as (0, 100, 1000)")
FLAG = Rule(lambda value: isinstance(value, (bool, np.bool_)), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and "\0" not in value, "a text without NUL")


def defaults(group: Group) -> ml_collections.ConfigDict:
    """Returns a group with the defaults of all its options."""
    made = ml_collections.ConfigDict()
    for name, entry in group.items():
        set_default(made, name, entry)
    return made


def set_default(values: ml_collections.ConfigDict, name: str, entry: Option | Group) -> None:
    """Gives an option or a group of options its default."""
    if not isinstance(entry, Option):
        values[name] = defaults(entry)
    elif entry.of is not None:
        values[name] = config_dict.FieldReference(entry.default, field_type=entry.of)
    else:
        values[name] = entry.default


def complete(whole: Group, known: Group, values: ml_collections.ConfigDict) -> None:
    """Adds options to a group: with their defaults or, where they are set already, their types.

    Args:
        whole: all options.
        known: those that are not added.
        values: the group.
    """
    for name, entry in whole.items():
        given, before = values.get(name), known.get(name)
        if isinstance(given, ml_collections.ConfigDict):
            if not isinstance(entry, Option) and not isinstance(before, Option):
                complete(entry, before or {}, given)
        elif before is None:
            if name in values:
                del values[name]
            set_default(values, name, entry)
            if given is not None:
                try:
                    values[name] = given
                except TypeError:  # its rule refuses it, in words
                    del values[name]
                    values[name] = given


class Owner(Protocol):
    """A spec that may add options to the group of its table."""

    @property
    def own_options(self) -> Mapping[str, Any]:
        """The `Option`s that it adds, by name."""


def own_options(specs: Mapping[str, Owner]) -> dict[str, Option]:
    """Returns the options that the specs of a table add to its group."""
    return {name: option for spec in specs.values() for name, option in spec.own_options.items()}


def check_own_options(
    group: str,
    values: Mapping[str, Any],
    specs: Mapping[str, Owner],
    chosen: str,
    *,
    noun: str = "",
    name: str = "name",
) -> None:
    """Checks that options which only other specs have keep their defaults.

    Args:
        group: the name of the group, such as "objective".
        values: the group.
        specs: the table.
        chosen: the name of the spec that is used.
        noun: what a spec describes; empty: the name of the group.
        name: the option that names the spec that is used.

    Raises:
        UsageError: naming the option and the specs that have it.
    """
    for key, option in own_options(specs).items():
        if key not in values or key in specs[chosen].own_options:
            continue
        if plain(values[key]) != plain(option.default):
            owners = [repr(one) for one, spec in specs.items() if key in spec.own_options]
            raise UsageError(
                f"{group}.{key} only applies to {noun or group} {' or '.join(owners)};"
                f" {group}.{name} is {chosen!r}, so leave {group}.{key} at {option.default!r}"
            )


def require_rules(group: Group) -> None:
    """Checks that every entry of a table is an `Option` or a group of options.

    Raises:
        TypeError: naming the entry that is not.
    """
    for name, entry in group.items():
        if isinstance(entry, Mapping):
            require_rules(entry)
        elif not isinstance(entry, Option):
            raise TypeError(f"{name} must be an Option(default, rule, help), got {shown(entry)}")


def entry_of(group: Group, key: str) -> Option | Group | None:
    """Returns the option or group with a whole name, such as "train.steps"; None if unknown."""
    entry: Option | Group = group
    for name in key.split("."):
        if isinstance(entry, Option) or name not in entry:
            return None
        entry = entry[name]
    return entry


def keys(group: Group, prefix: str = "") -> list[str]:
    """The whole names of all options and groups, such as "train.steps" and "train"."""
    found: list[str] = []
    for name, entry in group.items():
        found.append(prefix + name)
        if not isinstance(entry, Option):
            found += keys(entry, f"{prefix}{name}.")
    return found


def check(group: Group, values: Mapping[str, Any], prefix: str = "") -> None:
    """Refuses values that break the rule of their option.

    Args:
        group: the table.
        values: of every option of the group.
        prefix: of the keys' whole names, such as "train.".

    Raises:
        UsageError: naming the key whole, its value and what was expected.
    """
    for name, entry in group.items():
        if isinstance(entry, Option):
            check_value(prefix + name, values[name], entry.rule)
        else:
            check(entry, values[name], f"{prefix}{name}.")


def check_value(key: str, value: Any, rule: Rule) -> None:
    """Checks that a value keeps a rule.

    Raises:
        UsageError: with the whole key, the value and what was expected.
    """
    if rule.holds(value):
        return
    if rule.names:
        for name in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(name, str) and name not in rule.names:
                more = _FROM_PLUGINS if rule.kind in _EXTENDED else ""
                raise UsageError(f"{key}: {unknown_name(rule.kind, name, rule.names)}{more}")
    raise UsageError(f"{key} must be {rule.expected}, got {shown(value)}")


def check_keys(
    group: Group, values: Any, prefix: str = "", known: Iterable[str] | None = None
) -> None:
    """Checks that a group has exactly the keys of its table.

    Args:
        group: the table.
        values: the group.
        prefix: the beginning of the whole names of its keys, such as "train.".
        known: all keys, from which similar ones are suggested; None: those of the group.

    Raises:
        UsageError: with the whole key that is unknown, missing or not a group.
    """
    known = keys(group, prefix) if known is None else known
    if not isinstance(values, ml_collections.ConfigDict):
        name = prefix.removesuffix(".") or "the config"
        raise UsageError(f"{name} must be a group of options, a ConfigDict, got {shown(values)}")
    for name in values:
        if name not in group:
            raise unknown_key(f"{prefix}{name}", known)
    for name, entry in group.items():
        if name not in values:
            raise UsageError(
                f"config key {prefix}{name} is missing; start from sfvae_jax.config.base_config(),"
                " which has all keys"
            )
        if not isinstance(entry, Option):
            check_keys(entry, values[name], f"{prefix}{name}.", known)


def unknown_key(key: str, known: Iterable[str]) -> UsageError:
    """Returns the error for an unknown key, with a similar key or those of its group."""
    known = list(known)
    group, _, last = key.rpartition(".")
    parts = [other.rpartition(".") for other in known]
    beside = {name: f"{of}{dot}{name}" for of, dot, name in parts if of == group}
    near = [beside[name] for name in difflib.get_close_matches(last, beside, n=1)]
    near += [other for other in known if other.rpartition(".")[2] == last]
    near += difflib.get_close_matches(key, known, n=1, cutoff=0.75) if not beside else []
    hint = (
        f"did you mean {near[0]}?" if near else f"known keys: {', '.join(beside.values() or known)}"
    )
    return UsageError(f"unknown config key {shown(key)[1:-1]}; {hint}")


def plain(value: Any) -> Any:
    """Converts a value to what JSON reads back, with tuples for lists and Python's numbers."""
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return value


def is_plain(value: Any) -> bool:
    """Whether `plain` leaves a value unchanged."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def shown(value: Any) -> str:
    """Formats a value for a message: in one line, and shortened if it is long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number with more digits than Python writes
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
