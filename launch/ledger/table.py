"""What a table or figure of a paper consists of: its runs, and what prevents them."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from launch.ledger.views import View

_Kind = TypeVar("_Kind", bound=View)


@dataclasses.dataclass(frozen=True)
class Part:
    """Some runs of one config file's sweep.

    Attributes:
        config: the config file, such as "configs/mnist_collapse.py" or "configs/rae.py:laptop".
        filters: which runs of its sweep, as `launch.sweep --filter` takes them.
        overrides: "KEY=VALUE" settings of every run, for runs that are smaller than the paper's.
        setting: what is smaller than in the paper, in words; "" for the paper's own setting.
        hours: an estimate for one run on two cores, used until a run has been recorded.
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
        name: such as "sfvae-table4"; also the name of its folder in docs/results/records/.
        title: the heading on its page, with the paper and the number.
        parts: its runs.
        obstacle: what prevents (the rest of) its runs here, such as missing data or weights.
        shows: how its page shows the records.
        front: (measure, step) of the columns that README shows of it, in the paper's own setting.
    """

    name: str
    title: str
    parts: tuple[Part, ...] = ()
    obstacle: str = ""
    shows: tuple[View, ...] = ()
    front: tuple[tuple[str, str], ...] = ()

    def views(self, kind: type[_Kind]) -> list[_Kind]:
        """Returns the views of one kind, in their order."""
        return [view for view in self.shows if isinstance(view, kind)]


def seed_overrides(number: int) -> tuple[tuple[str, ...], ...]:
    """Returns the overrides of the seeds 0 to `number` - 1; 0, the default, has none.

    For tables whose first records, of one seed, do not name it.
    """
    return tuple((f"seed={seed}",) if seed else () for seed in range(number))


def shown_by(name: str, title: str, other: str) -> Table:
    """Returns a table or figure that is made from the runs of another one.

    Args:
        name: as for any table.
        title: as for any table.
        other: the name of the other table, and a remark about it.
    """
    return Table(name, title, obstacle=f"Its runs are those of {other}.")
