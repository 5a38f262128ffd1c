"""What the papers claim and what we add, as far as two numbers can decide it."""

from __future__ import annotations

from launch.ledger.claims import Claim
from launch.ledger.papers.claims import back, beyond, flow, gaps, rae, sfvae

# By the heading above them.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "SFVAE": sfvae.CLAIMS,
    "BACK": back.CLAIMS,
    "GAPS": gaps.CLAIMS,
    "RAE": rae.CLAIMS,
    "FLOW": flow.CLAIMS,
    "Beyond the papers": beyond.CLAIMS,
}
