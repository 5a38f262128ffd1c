"""Every table and figure of the five papers."""

from __future__ import annotations

from launch.ledger.papers import back, flow, gaps, rae, sfvae
from launch.ledger.table import Table

PAPERS: dict[str, tuple[Table, ...]] = {
    "sfvae": sfvae.TABLES,
    "back": back.TABLES,
    "gaps": gaps.TABLES,
    "rae": rae.TABLES,
    "flow": flow.TABLES,
}
TABLES: tuple[Table, ...] = tuple(table for tables in PAPERS.values() for table in tables)
