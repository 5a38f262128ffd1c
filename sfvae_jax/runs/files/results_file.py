"""results.json: the types of its entries, and what can be read of a damaged one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sfvae_jax.runs.checkpoints.folders import is_step

# The entries that do not belong to the step that was measured last.
LASTING = ("config", "published", "history", "history_caveats")

Results = dict[str, Any]


def readable(content: Mapping[str, Any]) -> tuple[Results, list[str]]:
    """Returns the entries that are valid, and what is wrong with the others.

    In the history each step is judged by itself. Entries with unknown names, which a later version
    may have written, are kept as they are.
    """
    found, faults = {}, []
    for key, value in content.items():
        is_right, expected = _KINDS.get(key, (_is_anything, ""))
        if key in _BY_STEP and isinstance(value, dict):
            wrong = [step for step, entry in value.items() if not is_right({step: entry})]
            value = {step: entry for step, entry in value.items() if step not in wrong}
            faults += [f"{key!r} at step {step[:20]!r} must be {expected}" for step in wrong]
        elif not is_right(value):
            faults.append(f"{key!r} must be {expected}")
            continue
        found[key] = value
    return found, faults


def is_number(value: Any) -> bool:
    """Whether a value is a number; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole_number(value: Any) -> bool:
    """Whether a value is a whole number; True and False are not."""
    return is_number(value) and isinstance(value, int)


def up_to(step: int, content: Results) -> Results:
    """Returns the entries without what was measured after a step."""
    stands = content.get("step", step + 1) <= step
    return {
        key: _first_steps(step, entry) if key in _BY_STEP else entry
        for key, entry in content.items()
        if key in LASTING or (stands and not (key == "ended_at" and entry > step))
    }


def is_at_end(content: Mapping[str, Any], steps: int) -> bool:
    """Whether the measures belong to a run that has ended, after all its steps or early."""
    return content.get("step") == steps or "ended_at" in content


def not_measured(history: Mapping[str, Any], steps: Iterable[int], last: int) -> list[int]:
    """Returns those of some steps, up to a last one, at which a history has no measures."""
    return [step for step in steps if step <= last and str(step) not in history]


def _first_steps(step: int, history: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in history.items() if int(key) <= step}


def _is_anything(value: Any) -> bool:
    return True


def _is_group(value: Any) -> bool:
    return isinstance(value, dict)


def _is_step(value: Any) -> bool:
    return is_whole_number(value) and value >= 0


def _are_measures(value: Any) -> bool:
    return _is_group(value) and all(v is None or is_number(v) for v in value.values())


def _are_texts(value: Any) -> bool:
    return _is_group(value) and all(isinstance(text, str) for text in value.values())


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _at_steps(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return _is_group(value) and all(is_step(s) and is_right(v) for s, v in value.items())

    return check


_BY_STEP = ("history", "history_caveats")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "config": (_is_group, "a group of settings"),
    "published": (_is_group, "a group of published figures"),
    "step": (_is_step, "a step"),
    "ended_at": (_is_step, "a step"),
    "metrics": (_are_measures, "measures, each a number or null"),
    "not_applicable": (_are_texts, "texts by the names of measures"),
    "caveats": (_are_texts, "texts by the names of measures"),
    "texts": (_are_texts, "texts by the names of measures"),
    "prior_stddev": (_are_numbers, "a list of numbers"),
    "checkpoint": (lambda value: isinstance(value, str), "a digest"),
    "history": (_at_steps(_are_measures), "measures, each a number or null"),
    "history_caveats": (_at_steps(_are_texts), "texts by the names of measures"),
}
