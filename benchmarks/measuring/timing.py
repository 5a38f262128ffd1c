"""Seconds of calls that take turns, so that other load affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[[], Any]]  # each returns when its result is ready

_TURN = 0.2  # seconds that a turn of short calls lasts
_LONG = 20.0  # seconds; the first call of slower functions counts like any other
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 15
_ROUNDS_OF_SLOW = 2


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


def in_turns(
    calls: Mapping[str, Callable[[], float]], budget: float
) -> dict[str, list[list[float]]]:
    """Returns the seconds of every counted call, in rounds in which each function has a turn.

    The turn of a function that takes less than 0.2 s is one uncounted call, which finds data of
    other functions in the caches and their threads still waiting, and then as many calls as fill
    that time. There are as many rounds as the budget allows, at least 5 and at most 15. Each
    function is first called twice without counting. One that takes more than 20 s is called once,
    which counts as its first turn, and takes part in 2 rounds.

    Args:
        calls: functions by name; each runs a compiled program and returns its seconds.
        budget: seconds that all of them may take together.

    Returns:
        The turns of each function in their order, by name; a turn has the seconds of its calls.
    """
    if not calls:
        return {}
    first = {name: call() for name, call in calls.items()}
    second = {name: s if s > _LONG else calls[name]() for name, s in first.items()}
    repeats = {name: max(1, round(_TURN / s)) for name, s in second.items()}
    measured = {name: [[s]] if s > _LONG else [] for name, s in second.items()}
    round_seconds = sum(max(s, _TURN) for s in second.values())
    rounds = min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, int(budget / round_seconds)))
    for number in range(rounds):
        for name, call in calls.items():
            if second[name] > _LONG and number >= _ROUNDS_OF_SLOW:
                continue
            if repeats[name] > 1:
                call()
            measured[name].append([call() for _ in range(repeats[name])])
    return measured
