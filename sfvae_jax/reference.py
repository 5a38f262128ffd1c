"""Checks or writes the generated parts of the documentation.

  python -m sfvae_jax.reference [--write]

The blocks between `<!-- generated: NAME -->` and `<!-- end -->` in docs/*.md come from the options
and specs in the code. Without a flag, the command says which pages differ from the
code; with --write, it writes them.

Exit status: 0 all pages are current, 1 some differ (without --write), 2 a usage error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import sfvae_jax
from sfvae_jax.command_line.listing import first_line
from sfvae_jax.config import groups
from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.reporting.documentation import option_tables, spec_tables
from sfvae_jax.reporting.documentation.pages import Page, page_with
from sfvae_jax.reporting.markdown import code, lines_of
from sfvae_jax.runtime.output import prepare, say

ROOT = Path(sfvae_jax.__file__).resolve().parents[1]  # of the repository

# The blocks of each page, by their names.
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "docs/config.md": {"keys": lambda: option_tables.to_markdown(groups())},
    "docs/data.md": {"image-sources": spec_tables.image_sources},
    "docs/evaluations.md": {"evaluations": spec_tables.evaluations},
    "docs/experiments.md": {"experiments": lambda: experiments(ROOT)},
    "docs/likelihoods.md": {"likelihoods": spec_tables.likelihoods},
    "docs/models.md": {"models": spec_tables.models},
    "docs/objectives.md": {
        "objectives": spec_tables.objectives,
        "combinations": spec_tables.combinations,
    },
    "docs/posteriors.md": {"posteriors": spec_tables.posteriors},
    "docs/sample_quality.md": {"sources": spec_tables.generated_images},
    "docs/training.md": {"optimizers": spec_tables.optimizers},
    "docs/sequences.md": {"sequence-sources": spec_tables.sequence_sources},
}


def experiments(root: Path) -> str:
    """Every config file, with the first line of its docstring."""
    rows = []
    for path in sorted((root / "configs").glob("*.py")):
        rows.append([code(f"configs/{path.name}"), first_line(path)])
    return lines_of(("config", "experiment"), rows) + "\n"


def pages() -> list[Page]:
    """The pages with generated blocks, filled in from the code.

    Raises:
        UsageError: if a page is missing, or does not have the blocks that it should have.
    """
    try:
        return [
            page_with(ROOT / name, {block: text() for block, text in blocks.items()})
            for name, blocks in PAGES.items()
        ]
    except FileNotFoundError as error:
        raise UsageError(
            f"cannot find {error.filename}; run this command from a checkout of the repository"
        ) from error


def main(argv: Sequence[str]) -> int:
    """Checks or writes the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the pages that differ")
    flags = parser.parse_args(argv)
    try:
        outdated = [page for page in pages() if not page.is_current]
        for page in outdated:
            if flags.write:
                page.write()
            say(f"{'written' if flags.write else 'differs from the code'}: {shown(page.path)}")
    except (UsageError, OSError) as error:
        say(f"error: {error}", sys.stderr)
        return UsageError.exit_status
    if outdated and not flags.write:
        say("write them with `python -m sfvae_jax.reference --write`", sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    prepare()
    sys.exit(main(sys.argv[1:]))
