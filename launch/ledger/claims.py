"""What a paper claims, as a comparison of two numbers, and whether the records agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev, variance
from typing import Literal

from launch.ledger.record import Record
from launch.ledger.views import END, chosen_by
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.published_rows import PublishedRow
from sfvae_jax.reporting.runs import by_step, caveats_at

# A difference is told from none if it is larger than so many standard errors.
STANDARD_ERRORS = 2.0


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A measure of those runs of a table that differ in their seed only.

    Attributes:
        name: what tells it from the other quantity of a claim.
        measure: the name of the measure.
        where: (key, value) pairs that a run must have.
        step: the step at which it was taken, or "end".
        table: the name of its table; "" for that of the claim.
    """

    name: str
    measure: str
    where: tuple[tuple[str, str], ...] = ()
    step: str = END
    table: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement, and the two quantities that decide whether it holds.

    Attributes:
        says: the statement.
        table: the name of the table whose records decide it, unless a quantity names another; its
            settings are searched in their order.
        first: the quantity that the statement is about.
        relation: what the first quantity is said to be, compared with the second.
        second: the other quantity.
        margin: how far apart two "equal" quantities may be.
    """

    says: str
    table: str
    first: Quantity
    relation: Literal["less", "more", "equal"]
    second: Quantity
    margin: float = 0.0

    def table_of(self, quantity: Quantity) -> str:
        """Returns the name of a quantity's table."""
        return quantity.table or self.table


@dataclasses.dataclass(frozen=True)
class Values:
    """A quantity in the records of one setting.

    Attributes:
        by_seed: its values.
        num_runs: how many runs there are; some may lack the measure.
        is_doubtful: whether a value has a caveat.
        published: the paper's number for it, on the same data; None if the paper has none.
    """

    by_seed: Mapping[int, float]
    num_runs: int
    is_doubtful: bool
    published: float | None


@dataclasses.dataclass(frozen=True)
class Found:
    """Both quantities of a claim, and the setting of their runs, as in `Part.setting`."""

    first: Values
    second: Values
    setting: str


def find(claim: Claim, tables: Mapping[str, Mapping[str, Sequence[Record]]]) -> Found | None:
    """Returns both quantities, from the first setting that has them; None if none has.

    Args:
        claim: the claim.
        tables: the records of each table, by its name and then by setting (`Account.by_setting`).

    Raises:
        UsageError: if two runs of a quantity have the same seed.
    """
    for setting in tables[claim.table]:
        first, second = (
            _values(claim, one, tables[claim.table_of(one)].get(setting, ()))
            for one in (claim.first, claim.second)
        )
        if first.by_seed and second.by_seed:
            return Found(first, second, setting)
    return None


def verdict(claim: Claim, found: Found) -> str:
    """Returns whether the claim holds, in words."""
    difference, error = _difference(claim, found.first.by_seed, found.second.by_seed)
    # Below 0 if the claim holds.
    excess = {
        "less": difference,
        "more": -difference,
        "equal": abs(difference) - claim.margin,
    }[claim.relation]
    if abs(excess) <= STANDARD_ERRORS * (error or 0.0):
        return "cannot be told"
    answer = "yes" if excess < 0 else "no"
    return answer if error is not None else f"{answer}, in single runs"


def _values(claim: Claim, quantity: Quantity, records: Sequence[Record]) -> Values:
    found: dict[int, float] = {}
    chosen = chosen_by(quantity.where, records)
    seeds = [record["seed"] for record in chosen]
    if len(set(seeds)) < len(seeds):
        raise UsageError(
            f"{claim.table_of(quantity)}: {quantity.name!r} of the claim {claim.says!r} has several"
            f" runs with one seed, got seeds {sorted(seeds)}; choose one of each by the quantity's"
            " where"
        )
    is_doubtful = False
    for record in chosen:
        step = _step_of(quantity, record)
        value = by_step(record).get(step, {}).get(quantity.measure)
        if value is not None:
            found[record["seed"]] = value
            is_doubtful |= quantity.measure in caveats_at(record, step)
    return Values(found, len(chosen), is_doubtful, _published(quantity, chosen))


def _step_of(quantity: Quantity, run: Record) -> str:
    return str(run["step"]) if quantity.step == END else quantity.step


def _published(quantity: Quantity, runs: Sequence[Record]) -> float | None:
    if not runs:
        return None
    step = _step_of(quantity, runs[0])
    figure = PublishedRow(runs[0]).at(quantity.measure, step, last=quantity.step == END)
    return figure.mean if figure and not figure.data else None


def _difference(
    claim: Claim, first: Mapping[int, float], second: Mapping[int, float]
) -> tuple[float, float | None]:
    """Returns the mean difference, and its standard error over seeds.

    Two measures of the same runs are compared run by run. Otherwise a single run is taken to have
    the spread of the other quantity's runs. The error is None if both have one run.
    """
    each = [first[seed] - second[seed] for seed in first if seed in second]
    first_runs, second_runs = (
        (claim.table_of(one), one.where) for one in (claim.first, claim.second)
    )
    if first_runs == second_runs and each:
        return mean(each), stdev(each) / math.sqrt(len(each)) if len(each) > 1 else None
    groups = [list(values.values()) for values in (first, second)]
    difference = mean(groups[0]) - mean(groups[1])
    spreads = [variance(group) for group in groups if len(group) > 1]
    if not spreads:
        return difference, None
    squares = [(variance(group) if len(group) > 1 else spreads[0]) / len(group) for group in groups]
    return difference, math.sqrt(sum(squares))
