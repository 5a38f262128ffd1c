"""What a table or figure of a paper is made of: which runs, and what stands in their way."""

from __future__ import annotations

import dataclasses

from launch.ledger.views import View


@dataclasses.dataclass(frozen=True)
class Part:
    """Some runs of one config file's sweep.

    Attributes:
        config: the config file, "configs/mnist_collapse.py", or with ":PRESET".
        filters: which runs of its sweep, as `launch.sweep --filter` takes them.
        overrides: "KEY=VALUE" of every run, for a setting that is smaller than the paper's.
        setting: empty for the paper's own setting; else what is smaller, in words.
        hours: of one run on two cores, an estimate that serves until a run has been measured.
    """

    config: str
    filters: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    setting: str = ""
    hours: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table or a figure of a paper.

    Attributes:
        name: "sfvae-table4"; also of the folder docs/results/records/NAME/.
        title: the heading on its page, with the paper and the number.
        parts: its runs.
        obstacle: why (the rest of) it cannot be had here: data, weights, an accelerator.
        shows: how its page shows the records.
    """

    name: str
    title: str
    parts: tuple[Part, ...] = ()
    obstacle: str = ""
    shows: tuple[View, ...] = ()


def shown_by(name: str, title: str, other: str) -> Table:
    """A table or a figure that the runs of another one make.

    Args:
        name: as of any.
        title: as of any.
        other: the name of the other one, and what there is to say of it.
    """
    return Table(name, title, obstacle=f"Its runs are those of {other}.")
