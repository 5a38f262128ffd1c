"""What a paper claims, as a comparison of two numbers, and whether the records agree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev, variance
from typing import Literal

from launch.ledger.record import Record
from launch.ledger.views import END, is_in
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.runs import by_step
from sfvae_jax.runs.files.config_file import flatten

# A difference is told from none if it is larger than so many standard errors.
STANDARD_ERRORS = 2.0

BySeed = dict[int, float]
BySetting = Mapping[str, Sequence[Record]]  # of one table, from `Account.by_setting`


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A measure of those runs of a table that differ in their seed only.

    Attributes:
        name: what tells it from the other quantity of a claim.
        table: the name of the table.
        measure: the name of the measure.
        where: (key, value) pairs that a run must have.
        step: the step at which it was taken, or "end".
    """

    name: str
    table: str
    measure: str
    where: tuple[tuple[str, str], ...] = ()
    step: str = END


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the two quantities that decide whether it holds.

    Attributes:
        says: the statement.
        first: the quantity that it is about.
        relation: what the first quantity is said to be, compared with the second.
        second: the other quantity.
        margin: how far apart two "equal" quantities may be.
    """

    says: str
    first: Quantity
    relation: Literal["less", "more", "equal"]
    second: Quantity
    margin: float = 0.0

    @property
    def tables(self) -> set[str]:
        """The names of the tables whose records decide it."""
        return {self.first.table, self.second.table}


@dataclasses.dataclass(frozen=True)
class Found:
    """The values of a quantity, by seed.

    Attributes:
        values: of one setting of the table, the first that has any.
        is_small: whether this setting is smaller than the paper's.
    """

    values: BySeed
    is_small: bool


def find(quantity: Quantity, by_setting: BySetting) -> Found | None:
    """Returns the values of a quantity; None if no record has it.

    Args:
        quantity: what to look for.
        by_setting: the records of its table.

    Raises:
        UsageError: if two of its runs have the same seed.
    """
    for setting, records in by_setting.items():
        values = _by_seed(quantity, records)
        if values:
            return Found(values, bool(setting))
    return None


def verdict(claim: Claim, first: BySeed, second: BySeed) -> str:
    """Returns whether the claim holds, in words.

    Args:
        claim: the claim.
        first: the values of its first quantity.
        second: those of the second one.
    """
    difference, error = _difference(claim, first, second)
    # Below 0 if the claim holds.
    excess = {
        "less": difference,
        "more": -difference,
        "equal": abs(difference) - claim.margin,
    }[claim.relation]
    if error is None:
        return "yes, in one run" if excess < 0 else "no, in one run"
    if abs(excess) < STANDARD_ERRORS * error:
        return "cannot be told"
    return "yes" if excess < 0 else "no"


def _by_seed(quantity: Quantity, records: Sequence[Record]) -> BySeed:
    found: BySeed = {}
    for record in records:
        if not is_in(flatten(record["config"]), quantity.where):
            continue
        at = str(record["step"]) if quantity.step == END else quantity.step
        value = by_step(record).get(at, {}).get(quantity.measure)
        if value is None:
            continue
        if record["seed"] in found:
            raise UsageError(
                f"{quantity.table}: {quantity.name!r} of a claim has two runs with seed"
                f" {record['seed']}; choose one of them by the quantity's where"
            )
        found[record["seed"]] = value
    return found


def _difference(claim: Claim, first: BySeed, second: BySeed) -> tuple[float, float | None]:
    """Returns the mean difference, and its standard error over seeds.

    Two measures of the same runs are compared run by run. The error is None if there is only one
    run of a quantity.
    """
    each = [first[seed] - second[seed] for seed in first if seed in second]
    same = (claim.first.table, claim.first.where) == (claim.second.table, claim.second.where)
    if same and each:
        return mean(each), stdev(each) / math.sqrt(len(each)) if len(each) > 1 else None
    difference = mean(first.values()) - mean(second.values())
    if min(len(first), len(second)) < 2:
        return difference, None
    squares = [variance(values.values()) / len(values) for values in (first, second)]
    return difference, math.sqrt(sum(squares))
