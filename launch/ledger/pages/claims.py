"""The table of claims: what each paper says, and what the records say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from launch.ledger.claims import Claim, Quantity, Values, find, verdict
from launch.ledger.pages.account import Account
from launch.ledger.pages.blocks import anchor
from launch.ledger.record import Record
from launch.ledger.table import Table
from sfvae_jax.reporting.markdown import lines_of
from sfvae_jax.reporting.measures import number
from sfvae_jax.reporting.notes import DOUBT

_HEADS = ("claim", "measured here", "runs", "does it hold?", "where")


def table_of_claims(
    claims: Mapping[str, Sequence[Claim]],
    papers: Mapping[str, Sequence[Table]],
    accounts: Mapping[str, Account],
) -> str:
    """Returns a table of all claims in Markdown.

    Args:
        claims: by the heading above them.
        papers: the tables of each paper, by the name of its page.
        accounts: the records of each table, by its name.

    Raises:
        UsageError: if two runs of a quantity have the same seed.
    """
    links = {
        table.name: f"[{table.title.partition(':')[0]}]({paper}.md#{anchor(table.title)})"
        for paper, tables in papers.items()
        for table in tables
    }
    rows = []
    for heading, group in claims.items():
        rows.append([f"**{heading}**", "", "", "", ""])
        for claim in group:
            cells = _cells(claim, accounts[claim.table].by_setting())
            rows.append([claim.says, *cells, links[claim.table]])
    return lines_of(_HEADS, rows) + "\n"


def _cells(claim: Claim, by_setting: Mapping[str, Sequence[Record]]) -> list[str]:
    """Returns the cells of a claim: its numbers, how many runs they are of, and the verdict."""
    found = find(claim, by_setting)
    if found is None:
        return ["", "", "not run yet"]
    both = (claim.first, found.first), (claim.second, found.second)
    measured = "; ".join(_shown(quantity, values) for quantity, values in both)
    runs = " and ".join(_number_of_runs(values) for _, values in both)
    return [measured, runs + ", smaller" * bool(found.setting), verdict(claim, found)]


def _shown(quantity: Quantity, values: Values) -> str:
    each = list(values.by_seed.values())
    spread = stdev(each) if len(each) > 1 else None
    mark = f" {DOUBT}" if values.is_doubtful else ""
    return f"{quantity.name} {number(quantity.measure, mean(each), spread)}{mark}"


def _number_of_runs(values: Values) -> str:
    having = len(values.by_seed)
    return str(having) if having == values.num_runs else f"{having} of {values.num_runs}"
