"""Seconds of calls that take turns, so that a busy machine disturbs all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[[], Any]]  # each returns once its result is there

_TURN = 0.2  # seconds that a turn of short calls lasts
_LONG = 20.0  # seconds from which on a first call is as good as any other
_MOST_ROUNDS = 15


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call, on the wall's clock."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(calls: Calls, rounds: int) -> dict[str, float]:
    """Seconds of the fastest of so many calls of each, after one that does not count."""
    seconds = dict.fromkeys(calls, float("inf"))
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            elapsed = seconds_of(call)
            if round_number:
                seconds[name] = min(seconds[name], elapsed)
    return seconds


def in_turns(calls: Mapping[str, Callable[[], float]], budget: float) -> dict[str, list[float]]:
    """Seconds of every counted call, in rounds in which each of the calls has its turn.

    A turn of a call that takes less than 0.2 s is one call that does not count, which finds other
    calls' data in the caches and their threads still waiting, and as many more as fill that time.
    There are as many rounds as the budget allows, at least 2 and at most 15, after two calls of
    each that do not count; of what takes more than 20 s, after one that does.

    Args:
        calls: by name; each makes its call, of a compiled program, and returns its seconds.
        budget: seconds that all of them may take together.

    Returns:
        Seconds of each call that counts, by name and in their order.
    """
    if not calls:
        return {}
    first = {name: call() for name, call in calls.items()}
    second = {name: s if s > _LONG else calls[name]() for name, s in first.items()}
    repeats = {name: max(1, round(_TURN / s)) for name, s in second.items()}
    measured = {name: [s] if s > _LONG else [] for name, s in second.items()}
    round_seconds = sum(max(s, _TURN) for s in second.values())
    for _ in range(min(_MOST_ROUNDS, max(2, int(budget / round_seconds)))):
        for name, call in calls.items():
            if repeats[name] > 1:
                call()
            measured[name] += [call() for _ in range(repeats[name])]
    return measured
