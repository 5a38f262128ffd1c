"""The steps of training at which one call of the device ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def call_ends(
    start: int, total: int, *, every: Sequence[int], at: Sequence[int] = ()
) -> Iterator[int]:
    """Yields the steps at which calls end, from `start` to `total`.

    A call ends at every multiple of each number in `every`, at each step in `at`, and at `total`.
    The next end depends on the current step alone, so that a run resumed from any of them makes the
    same calls, and therefore the same rounding errors, as one that was never stopped.
    """
    step = start
    while step < total:
        ends = [total, *(n * (step // n + 1) for n in every), *(end for end in at if end > step)]
        step = min(ends)
        yield step
