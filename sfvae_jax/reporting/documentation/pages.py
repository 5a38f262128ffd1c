"""Pages that are written by hand, except for blocks that are generated.

A block stands between the lines `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sfvae_jax.errors import UsageError
from sfvae_jax.runtime.files import write_text

_BLOCK = re.compile(
    r"(?P<start><!-- generated: (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


class Page(NamedTuple):
    """A page with its blocks as they should be.

    Attributes:
        path: the Markdown file.
        text: what it should contain.
        is_current: whether it does.
    """

    path: Path
    text: str
    is_current: bool

    def write(self) -> None:
        """Writes the page.

        Raises:
            OSError: if it cannot be written.
        """
        write_text(self.path, self.text)


def page_with(path: Path, blocks: Mapping[str, str]) -> Page:
    """Reads a page and fills in its blocks.

    Args:
        path: the Markdown file.
        blocks: the text of each block by its name; a text ends with a newline.

    Raises:
        UsageError: if the page lacks one of these blocks, or has another one.
        OSError: if it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    there = [match["name"] for match in _BLOCK.finditer(text)]
    if sorted(there) != sorted(blocks):
        wrong = sorted(set(there) ^ set(blocks)) or sorted(n for n in there if there.count(n) > 1)
        raise UsageError(
            f"{path} must have the blocks {', '.join(blocks)}, each once, as lines <!-- generated:"
            f" NAME --> and <!-- end -->; wrong: {', '.join(wrong)}"
        )
    filled = _BLOCK.sub(lambda match: match["start"] + blocks[match["name"]] + match["end"], text)
    return Page(path, filled, is_current=filled == text)
