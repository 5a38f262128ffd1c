"""Draws the texts of figures literally: `$` does not begin a formula, and LaTeX is not started.

Data paths, sentences, layer types and config values come from users, and matplotlib would parse
them: two `$` in a path would be a formula, most often an invalid one, which raises an error.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

_CHARACTER = 0.62  # width of most letters, relative to the size of the font
# For labels that matplotlib makes itself, such as powers of ten, which are formulas.
_PARSED = {"text.usetex": False, "text.parse_math": True}


@contextmanager
def texts_as_given(figure: Figure) -> Iterator[None]:
    """Returns a context for drawing a figure, in which its texts are drawn character by character.

    Titles that are wider than the figure are broken into lines.
    """
    for text in figure.findobj(Text):
        text.set_usetex(False)
        text.set_parse_math(True)
    given = [(text, text.get_text()) for text in _given(figure)]
    titles = {id(text) for text in _titles(figure)}
    for text, content in given:
        text.set_parse_math(False)
        shown = _encodable(content)
        text.set_text(_broken(shown, text, figure) if id(text) in titles else shown)
    before = {key: matplotlib.rcParams[key] for key in _PARSED}
    matplotlib.rcParams.update(_PARSED)  # no others: another thread may be changing them
    try:
        yield
    finally:
        matplotlib.rcParams.update(before)
        for text, content in given:
            text.set_text(content)


def _given(figure: Figure) -> list[Text]:
    """Returns all texts but the numbers at the ticks, which matplotlib writes."""
    ticks = {id(label) for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for axis in figure.findobj(Axis):
        if isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
            ours = (label for tick in axis.majorTicks for label in (tick.label1, tick.label2))
            ticks -= {id(label) for label in ours}
    offsets = {id(axis.offsetText) for axis in figure.findobj(Axis)}
    return [text for text in figure.findobj(Text) if id(text) not in ticks | offsets]


def _titles(figure: Figure) -> list[Text]:
    above = [] if figure._suptitle is None else [figure._suptitle]
    return [*above, *(axes.title for axes in figure.axes)]


def _broken(content: str, text: Text, figure: Figure) -> str:
    """Returns a text in lines, broken at spaces if possible; matplotlib never breaks a path."""
    width = int(72 * figure.get_figwidth() / (_CHARACTER * text.get_fontsize()))
    lines = (textwrap.fill(line, width, break_on_hyphens=False) for line in content.splitlines())
    return "\n".join(lines)


def _encodable(text: str) -> str:
    """Returns a text with `?` for bytes of a file name that are not UTF-8; no font has them."""
    return text.encode(errors="replace").decode()
