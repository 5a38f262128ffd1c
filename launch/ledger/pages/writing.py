"""The results pages: written by hand, with blocks that are generated from the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.ledger.claims import Claim
from launch.ledger.pages.account import Account, account_of
from launch.ledger.pages.blocks import block, front, line, overview
from launch.ledger.pages.claims import text_of_claims
from launch.ledger.pages.plots import Panel, digest, digest_in, draw, pictures_of
from launch.ledger.papers.claims import CLAIMS
from launch.ledger.table import Table
from launch.ledger.tables import PAPERS
from sfvae_jax.reporting.documentation.pages import Page, page_with

Accounts = Mapping[str, Account]  # by the table's name
Papers = Mapping[str, Sequence[Table]]
Claims = Mapping[str, Sequence[Claim]]


def write_pages(folder: Path, papers: Papers = PAPERS, claims: Claims = CLAIMS) -> list[Path]:
    """Updates pages and pictures from the records; returns the files that changed.

    Args:
        folder: docs/results, with a page for each paper, index.md and, in records/, the records.
        papers: the tables of each paper.
        claims: by their headings; those about other tables are left out.

    Raises:
        UsageError: if a page lacks the block of a table, or has a block that belongs to none; if
            two runs of a claim's quantity have the same seed.
        OSError: if a file cannot be read or written.
    """
    accounts = _accounts(folder, papers)
    changed = []
    for page in _pages(folder, papers, claims, accounts):
        if not page.is_current:
            page.write()
            changed.append(page.path)
    wanted = _pictures(folder, papers, accounts)
    for path, panels in wanted.items():
        if digest_in(path) != digest(panels):
            draw(panels, path)
            changed.append(path)
    for path in _left_over(folder, wanted):
        path.unlink()
        changed.append(path)
    return changed


def check_pages(folder: Path, papers: Papers = PAPERS, claims: Claims = CLAIMS) -> list[str]:
    """Returns what differs between the pages and the records, and files that belong to no table.

    Texts are compared as they are, pictures by the digests of their content.

    Args:
        folder: docs/results.
        papers: the tables of each paper.
        claims: by their headings; those about other tables are left out.

    Raises:
        UsageError: if a page lacks the block of a table, or has a block that belongs to none; if
            two runs of a claim's quantity have the same seed.
        OSError: if a file cannot be read.
    """
    accounts = _accounts(folder, papers)
    wanted = _pictures(folder, papers, accounts)
    faults = [
        f"{page.path.name} is not what the records say"
        for page in _pages(folder, papers, claims, accounts)
        if not page.is_current
    ]
    for path, panels in wanted.items():
        there = digest_in(path)
        if there is None:
            faults.append(f"{path.name} is missing")
        elif there != digest(panels):
            faults.append(f"{path.name} was drawn from other records")
    orphans = [path for path in (folder / "records").glob("*/") if path.name not in accounts]
    strays = [*_left_over(folder, wanted), *sorted(orphans)]
    return faults + [f"{path.relative_to(folder)} belongs to no table" for path in strays]


def _accounts(folder: Path, papers: Papers) -> dict[str, Account]:
    return {
        table.name: account_of(table, folder / "records")
        for tables in papers.values()
        for table in tables
        if table.parts
    }


def _pages(folder: Path, papers: Papers, claims: Claims, accounts: Accounts) -> Iterator[Page]:
    """The page of each paper, the index, and README if it shows a table."""
    for paper, tables in papers.items():
        blocks = {t.name: block(t, accounts[t.name]) for t in tables if t.parts}
        others = [line(table) for table in tables if not table.parts]
        if others:
            heading = "## The other tables and figures\n"
            blocks[f"{paper}-others"] = "\n".join([heading, *others, ""])
        yield page_with(folder / f"{paper}.md", blocks)
    index = {"overview": overview(papers, accounts)}
    claimed = {
        heading: kept
        for heading, group in claims.items()
        if (kept := [claim for claim in group if claim.table in accounts])
    }
    if claimed:
        index["claims"] = text_of_claims(claimed, papers, accounts)
    yield page_with(folder / "index.md", index)
    shown = [table for tables in papers.values() for table in tables if table.front]
    if shown:
        blocks = {table.name: front(table, accounts[table.name]) for table in shown}
        yield page_with(folder.parents[1] / "README.md", blocks)


def _pictures(folder: Path, papers: Papers, accounts: Accounts) -> dict[Path, list[Panel]]:
    """Returns the panels of each picture by its path."""
    wanted = {}
    for tables in papers.values():
        for table in tables:
            by_setting = accounts[table.name].by_setting() if table.parts else {}
            for picture in pictures_of(table, by_setting).values():
                wanted[folder / "figures" / picture.name] = picture.panels
    return wanted


def _left_over(folder: Path, wanted: Mapping[Path, Any]) -> list[Path]:
    return sorted(set((folder / "figures").glob("*.png")) - set(wanted))
