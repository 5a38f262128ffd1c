"""Formulas between dollar signs become MathML, which browsers typeset without any script."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.structure.pages import Page

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
_NAME = re.compile("<mi>log</mi>")  # of a function, which browsers set without a space behind it


def on_page_content(content: str, page: Page, **_: object) -> str:
    """Replaces the formulas of a page; what cannot be set, such as a misspelt name, is an error."""

    def typeset(match: re.Match[str]) -> str:
        latex = html.unescape(match["latex"]).strip()
        display = "block" if match["tag"] == "div" else "inline"
        mathml = convert(latex, display=display)
        unknown = re.search(r">(\\\w+|&)<", mathml)
        if unknown:
            raise ValueError(f"{page.file.src_uri}: unknown {unknown[1]} in the formula {latex}")
        return _NAME.sub(r'\g<0><mspace width="0.17em"/>', mathml)

    return _FORMULA.sub(typeset, content)
