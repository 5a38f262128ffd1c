"""How all pictures look: the colour of each method, and the sizes of texts, lines and frames.

Drawing code names what it draws. `dress` sets the rest just before a figure is written, and leaves
alone what has a size of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# The palette of Okabe and Ito, which colour-blind readers can tell apart, without its yellow, which
# is faint on white; and a grey.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#7F7F7F"
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)

# For up to ten classes, such as the digits: Paul Tol's palette "muted".
CLASSES = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#7F7F7F"),
)
# The splits of a data set.
SPLITS = {"train": BLACK, "valid": ORANGE, "test": GREEN}

# Small dots beside the mean of several runs.
SINGLE_RUNS: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.5,
    "markeredgewidth": 0,
    "alpha": 0.5,
    "linestyle": "none",
}

MARKERS = ("o", "s", "^", "v", "P", "X")
LINES = ("-", "--", "-.", ":")


class Look(NamedTuple):
    """How a method is drawn: the arguments of matplotlib's `plot`, by their names there."""

    color: str
    marker: str
    linestyle: str


def _family(marker: str, linestyle: str, **colors: str) -> dict[str, Look]:
    return {name: Look(color, marker, linestyle) for name, color in colors.items()}


# The look of each objective. Blue is without samples, vermillion with them. Two objectives that
# share a colour have different markers and lines, and no paper compares them.
METHODS: Mapping[str, Look] = {
    **_family(
        *("o", "-"),
        sampling=VERMILLION,
        sticking_the_landing=ORANGE,
        iwae=PURPLE,
        control_variate=BLACK,
        sampling_free=BLUE,
        linearized=SKY,
        log_evidence=GREEN,
    ),
    **_family(
        *("s", "--"),
        constant_variance=ORANGE,
        bilbo=PURPLE,
        bilbo_baggins=BLACK,
        linearized_bilbo=BLUE,
    ),
    **_family(
        *("^", "-."),
        autoencoder=GREY,
        rae=ORANGE,
        rae_l2=BLUE,
        rae_gp=SKY,
        rae_sn=GREEN,
        cv_vae=PURPLE,
        wae_mmd=BLACK,
    ),
}


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """Returns how each line or point of a picture is drawn; no two look the same.

    An objective has its own colour. Several settings of it get lighter and lighter shades; if the
    picture shows nothing else, they get different colours. So do labels that begin with no
    objective of the library.

    Args:
        labels: names of methods, such as "sampling" or "sampling (objective.beta=0.1)".
    """
    methods: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        methods.setdefault(_objective_of(label), []).append(label)
    found: dict[str, Look] = {}
    for name in sorted(methods, key=lambda name: name == ""):  # others take what is left
        settings, own = methods[name], METHODS.get(name)
        if own is None or len(methods) == 1:
            found |= _in_different_colors(settings, own, {look.color for look in found.values()})
        else:
            found |= _in_shades(settings, own)
    return found


def _objective_of(label: str) -> str:
    """Returns the objective that a label begins with, also as "sampling free ELBO"; or ""."""
    name = label.partition(" (")[0].partition(",")[0]
    name = name.removesuffix(" ELBO").replace(" ", "_")
    return name if name in METHODS else ""


def _in_different_colors(labels: list[str], first: Look | None, taken: set[str]) -> dict[str, Look]:
    colors = [color for color in COLORS if color not in taken] or list(COLORS)
    if first is not None:
        colors = [first.color, *(color for color in colors if color != first.color)]
    return {
        label: Look(
            colors[number % len(colors)],
            MARKERS[number // len(colors) % len(MARKERS)],
            LINES[number // len(colors) % len(LINES)],
        )
        for number, label in enumerate(labels)
    }


def _in_shades(labels: list[str], own: Look) -> dict[str, Look]:
    lightest = 0.5 if len(labels) > 1 else 0.0
    start = MARKERS.index(own.marker)
    return {
        label: Look(
            lighter(own.color, lightest * number / max(len(labels) - 1, 1)),
            MARKERS[(start + number) % len(MARKERS)],
            own.linestyle,
        )
        for number, label in enumerate(labels)
    }


def lighter(color: str, share: float) -> str:
    """Returns a colour "#RRGGBB" mixed with a share of white."""
    parts = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (255 - part)):02X}" for part in parts)


# Sizes in points. A picture 1,500 pixels wide is most often shown at half its size.
TITLE, LABEL, TICK, LEGEND = 13.0, 12.0, 11.0, 11.0
_LINE_WIDTH = 2.0
_GRID = {"color": "0.9", "linewidth": 0.8}


def dress(figure: Figure) -> None:
    """Gives a figure the sizes and frames of all pictures.

    Texts and lines whose size differs from matplotlib's default keep it. A chart has a light grid,
    except along ticks without length, such as names have, and no frame above and on the right. An
    image and axes that are switched off stay as they are.
    """
    import matplotlib
    from matplotlib.font_manager import FontProperties

    def resize(text: Text | None, setting: str, size: float) -> None:
        default = FontProperties(size=matplotlib.rcParams[setting]).get_size_in_points()
        if text is not None and text.get_fontsize() == default:
            text.set_fontsize(size)

    default_width = matplotlib.rcParams["lines.linewidth"]
    resize(figure._suptitle, "figure.titlesize", TITLE)
    for axes in figure.axes:
        resize(axes.title, "axes.titlesize", LABEL)
        for axis in (axes.xaxis, axes.yaxis):
            resize(axis.label, "axes.labelsize", LABEL)
            if "labelsize" not in axis.get_tick_params():
                axis.set_tick_params(labelsize=TICK)
        for line in axes.lines:
            if line.get_linewidth() == default_width:
                line.set_linewidth(_LINE_WIDTH)
        if _is_chart(axes):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_axisbelow(True)
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_tick_params().get("length") != 0:
                    axis.grid(visible=True, **_GRID)
                _number_plainly(axis)
    legends = [axes.get_legend() for axes in figure.axes]
    for legend in (*legends, *figure.legends):
        if legend is None:
            continue
        for text in legend.get_texts():
            resize(text, "legend.fontsize", LEGEND)
        if legend.get_title().get_text():
            legend.get_title().set_fontsize(LEGEND)
        legend.get_frame().set(edgecolor="none", alpha=0.8)


def _is_chart(axes: Axes) -> bool:
    return bool(axes.axison and not axes.images and axes.spines["left"].get_visible())


def title_of(objective: str, data: str) -> str:
    """Returns the beginning of a run's titles, such as "sampling on mnist" or "rae on folder:cats".

    Args:
        objective: the run's `objective.name`.
        data: its `data.name`, of which only the last part of a path is shown.
    """
    source, colon, path = data.partition(":")
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return f"{objective} on {source}{colon}{last}"


def percent(axis: Any) -> None:
    """Writes the numbers at an axis, shares in [0, 1], in percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0))


def _number_plainly(axis: Any) -> None:
    """Writes numbers without an offset, and without powers on a short logarithmic axis."""
    from matplotlib.ticker import (
        LogLocator,
        MaxNLocator,
        NullFormatter,
        ScalarFormatter,
        StrMethodFormatter,
    )

    if isinstance(axis.get_major_formatter(), ScalarFormatter):
        axis.get_major_formatter().set_useOffset(False)
    low, high = sorted(axis.get_view_interval())
    has_own_ticks = not isinstance(axis.get_major_locator(), LogLocator)
    if axis.get_scale() != "log" or has_own_ticks or high > 100.0 * low:
        return
    few = (
        MaxNLocator(nbins=5, steps=[1, 2, 5, 10])
        if high < 10.0 * low
        else LogLocator(subs=(1.0, 2.0, 5.0))
    )
    axis.set_major_locator(few)
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
