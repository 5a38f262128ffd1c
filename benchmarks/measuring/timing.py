"""Seconds of calls that take turns, so that other load affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[[], Any]]  # each returns when its result is ready

_TURN = 0.2  # seconds that a turn of short calls lasts
_LONG = 20.0  # seconds; the first call of slower functions counts like any other
_MOST_ROUNDS = 15


def seconds_of(call: Callable[[], Any]) -> float:
    """Returns the wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest(calls: Calls, rounds: int) -> dict[str, float]:
    """Returns the seconds of the fastest of `rounds` calls of each, after an uncounted one."""
    seconds = dict.fromkeys(calls, float("inf"))
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            elapsed = seconds_of(call)
            if round_number:
                seconds[name] = min(seconds[name], elapsed)
    return seconds


def in_turns(calls: Mapping[str, Callable[[], float]], budget: float) -> dict[str, list[float]]:
    """Returns the seconds of every counted call, in rounds in which each function has a turn.

    The turn of a function that takes less than 0.2 s is one uncounted call, which finds data of
    other functions in the caches and their threads still waiting, and then as many calls as fill
    that time. There are as many rounds as the budget allows, at least 2 and at most 15. Each
    function is first called twice without counting; one that takes more than 20 s is called once,
    which counts.

    Args:
        calls: functions by name; each runs a compiled program and returns its seconds.
        budget: seconds that all of them may take together.

    Returns:
        The seconds of each counted call in their order, by name.
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
