"""The claims of the papers, and what the records say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from launch.ledger.claims import Claim, Found, Quantity, Values, find, verdict
from launch.ledger.pages.account import Account
from launch.ledger.pages.blocks import anchor
from launch.ledger.table import Table
from sfvae_jax.reporting.markdown import lines_of
from sfvae_jax.reporting.measures import number
from sfvae_jax.reporting.notes import DOUBT

_HEADS = ("claim", "measured here", "runs", "does it hold?", "table")


def text_of_claims(
    claims: Mapping[str, Sequence[Claim]],
    papers: Mapping[str, Sequence[Table]],
    accounts: Mapping[str, Account],
) -> str:
    """Returns a table of the claims that have been tested, and a list of the others, in Markdown.

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
    by_setting = {name: account.by_setting() for name, account in accounts.items()}
    rows: list[list[str]] = []
    untested: list[str] = []
    total = 0
    for heading, group in claims.items():
        total += len(group)
        of_group = []
        for claim in group:
            found, link = find(claim, by_setting), links[claim.table]
            if found is None:
                untested.append(f"- {heading}: {claim.says} ({link})")
            else:
                of_group.append([claim.says, *_cells(claim, found), link])
        rows += [[f"**{heading}**", *[""] * 4], *of_group] if of_group else []
    pieces = [f"{total - len(untested)} of {total} claims have been tested."]
    pieces += [lines_of(_HEADS, rows)] if rows else []
    pieces += ["Not tested yet:", "\n".join(untested)] if untested else []
    return "\n\n".join(pieces) + "\n"


def _cells(claim: Claim, found: Found) -> list[str]:
    """Returns the cells of a claim: its numbers, how many runs they are of, and the verdict."""
    both = (claim.first, found.first), (claim.second, found.second)
    measured = "; ".join(_shown(quantity, values) for quantity, values in both)
    runs = " and ".join(_number_of_runs(values) for _, values in both)
    return [measured, runs + ", reduced" * bool(found.setting), verdict(claim, found)]


def _shown(quantity: Quantity, values: Values) -> str:
    each = list(values.by_seed.values())
    spread = stdev(each) if len(each) > 1 else None
    mark = f" {DOUBT}" if values.is_doubtful else ""
    paper = values.published
    printed = "" if paper is None else f" (paper {number(quantity.measure, paper, None)})"
    return f"{quantity.name} {number(quantity.measure, mean(each), spread)}{mark}{printed}"


def _number_of_runs(values: Values) -> str:
    having = len(values.by_seed)
    return str(having) if having == values.num_runs else f"{having} of {values.num_runs}"
