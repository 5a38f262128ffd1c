"""The table of claims: what each paper says, and what the records say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from launch.ledger.claims import BySetting, Claim, Found, Quantity, find, verdict
from launch.ledger.pages.account import Account
from launch.ledger.pages.blocks import anchor
from launch.ledger.table import Table
from sfvae_jax.reporting.markdown import lines_of
from sfvae_jax.reporting.measures import number

_HEADS = ("claim", "measured here", "runs", "does it hold?", "where")
_SMALLER = ", smaller"


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
    """
    links = {
        table.name: f"[{table.title.partition(':')[0]}]({paper}.md#{anchor(table.title)})"
        for paper, tables in papers.items()
        for table in tables
    }
    by_setting = {name: account.by_setting() for name, account in accounts.items()}
    rows = []
    for heading, group in claims.items():
        rows.append([f"**{heading}**", "", "", "", ""])
        rows += [_row(claim, by_setting, links[claim.first.table]) for claim in group]
    return lines_of(_HEADS, rows) + "\n"


def _row(claim: Claim, by_setting: Mapping[str, BySetting], link: str) -> list[str]:
    found = [find(one, by_setting[one.table]) for one in (claim.first, claim.second)]
    first, second = found
    if first is None or second is None:
        return [claim.says, "", "", "not run yet", link]
    smaller = _SMALLER if first.is_small or second.is_small else ""
    measured = f"{_shown(claim.first, first)}; {_shown(claim.second, second)}"
    runs = " and ".join(str(len(one.values)) for one in (first, second))
    answer = verdict(claim, first.values, second.values)
    return [claim.says, measured, runs, answer, f"{link}{smaller}"]


def _shown(quantity: Quantity, found: Found) -> str:
    values = list(found.values.values())
    spread = stdev(values) if len(values) > 1 else None
    return f"{quantity.name} {number(quantity.measure, mean(values), spread)}"
